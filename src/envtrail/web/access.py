"""Access: a one-time link becomes a session; programs send a token. Every other request is rejected before it reaches a page.

References:
    https://owasp.org/www-project-cheat-sheets/cheatsheets/Session_Management_Cheat_Sheet
    https://www.w3.org/TR/fetch-metadata/#sec-fetch-site-header
    https://fetch.spec.whatwg.org/#append-a-request-origin-header
    https://asgi.readthedocs.io/en/latest/specs/www.html
"""

from __future__ import annotations

import hmac
import secrets
import time
from collections.abc import Callable
from http.cookies import SimpleCookie
from typing import Any
from urllib.parse import urlsplit

from msgspec import Struct
from msgspec.structs import replace
from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse, RedirectResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from envtrail.model.identity import Identity, Right

COOKIE = "envtrail_session"
SESSION_S = 12 * 3600
PROXY_PROOF = "X-Envtrail-Proxy-Secret"
_MOST_SESSIONS = 200
_SOCKET = "/_nicegui_ws/"
"""The toolkit's socket: an open page uses it without a person, so it does not keep a session alive."""
_OPEN_LOGIN = '42["open",{"path":"/login","new_tab":false}]'
"""A message of the toolkit's socket (socket.io): the browser goes to the sign-in page."""
_OPEN = ("/healthz", "/login", "/login/oidc", "/login/oidc/done")
_LONGEST_NAME = 64
# The toolkit's requirements are allowed by name: it compiles its templates in the browser and sets inline styles.
_CSP = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval'; style-src 'self' 'unsafe-inline'; img-src 'self' data:; "
    "font-src 'self' data:; connect-src 'self'; object-src 'none'; base-uri 'self'; form-action 'self'; frame-ancestors 'none'"
)
HEADERS = {
    "Content-Security-Policy": _CSP,
    "X-Content-Type-Options": "nosniff",
    "X-Frame-Options": "DENY",
    # Not `no-referrer`: a browser then sends `Origin: null` with this page's own forms. Other sites receive no referrer either way.
    "Referrer-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
}


class WebSession(Struct, kw_only=True):
    """A signed-in user."""

    id: str
    identity: Identity
    rights: frozenset[Right]
    made_s: float
    seen_s: float
    language: str = "en"
    is_dark: bool | None = None
    """None: the browser's preference."""


class Doors:
    """Sessions and tokens, in memory: a restart ends them all.

    Args:
        owner: Who started the web UI: the one-time link is for them.
        idle_s: A session unused for this long ends.
        is_separated: `web.separate_administrators`.
        clock: Monotonic seconds.
        on_used: Called with the next link when one was used.
        of_token: The account of a token; None: there is none.
    """

    def __init__(
        self,
        *,
        owner: Identity,
        idle_s: float,
        is_separated: bool = False,
        clock: Any = time.monotonic,
        on_used: Callable[[str], None] = lambda _: None,
        of_token: Callable[[str], Identity | None] = lambda _: None,
    ) -> None:
        self._of_token = of_token
        self._owner = owner
        self._idle_s = idle_s
        self._is_separated = is_separated
        self._clock = clock
        self._on_used = on_used
        self._sessions: dict[str, WebSession] = {}
        self._link = secrets.token_urlsafe(32)
        self.api_token = secrets.token_urlsafe(32)

    @property
    def link(self) -> str:
        """The token of the one-time link; a new one after it was used."""
        return self._link

    def enter(self, token: str) -> WebSession | None:
        """A session for the holder of the link, which is then used up. None for a wrong token.

        Wrong tokens are not counted: 256 random bits cannot be guessed, and a count would let others make the link unusable.
        """
        if not hmac.compare_digest(token.encode(), self._link.encode()):
            return None
        self._link = secrets.token_urlsafe(32)
        self._on_used(self._link)
        return self.begin(self._owner)

    def begin(self, identity: Identity) -> WebSession:
        """A session with a new number for an identified user."""
        now = self._clock()
        rights = identity.rights(is_separated=self._is_separated)
        session = WebSession(id=secrets.token_urlsafe(32), identity=identity, rights=rights, made_s=now, seen_s=now)
        if len(self._sessions) >= _MOST_SESSIONS:
            del self._sessions[min(self._sessions, key=lambda id_: self._sessions[id_].seen_s)]
        self._sessions[session.id] = session
        return session

    def find(self, headers: Headers, *, is_use: bool = True) -> WebSession | None:
        """The session of a request.

        Args:
            headers: Of the request.
            is_use: A person made the request: the session is in use.
        """
        cookie = SimpleCookie()
        try:
            cookie.load(headers.get("cookie", ""))
        except ValueError:
            return None
        session = self._sessions.get(cookie[COOKIE].value) if COOKIE in cookie else None
        if session is None or not self.is_open(session):
            return None
        if is_use:
            session.seen_s = self._clock()
        return session

    def who(self, headers: Headers) -> tuple[Identity, Callable[[], bool]]:
        """The user of a request's session or token, and a check whether it is still valid.

        Raises:
            PermissionError: it has neither.
        """
        session = self.find(headers)
        if session is not None:
            return session.identity, lambda: self.is_open(session)
        identity = self.of_program(headers)
        if identity is not None:
            return identity, lambda: True
        raise PermissionError("no session, and no token")

    def is_open(self, session: WebSession) -> bool:
        """Whether a session is still valid: not signed out, not too old, not idle for too long."""
        now = self._clock()
        return (
            self._sessions.get(session.id) is session
            and now - session.made_s <= SESSION_S
            and now - session.seen_s <= self._idle_s
        )

    def leave(self, session: WebSession) -> None:
        """End a session."""
        self._sessions.pop(session.id, None)

    def of_program(self, headers: Headers) -> Identity | None:
        """The user of a token: the one printed at the start, or an account's."""
        kind, _, token = headers.get("authorization", "").partition(" ")
        if kind.lower() != "bearer":
            return None
        if hmac.compare_digest(token.encode(), self.api_token.encode()):
            return replace(self._owner, method="token")
        return self._of_token(token)


class Proxy(Struct, frozen=True, kw_only=True):
    """A reverse proxy that identifies users."""

    addresses: frozenset[str]
    """Addresses that are trusted; headers from any other address are ignored."""
    secret: str
    """Which it sends too: on its machine, perhaps this one, any account can connect from its address."""
    user_header: str
    groups_header: str | None
    """Names separated by commas; None: groups are ignored."""
    identify: Callable[[str, frozenset[str]], Identity | None]

    def identity(self, scope: Scope, headers: Headers) -> Identity | None:
        """The identity for its headers; None: nobody who may sign in."""
        sent = [header for header in (self.user_header, self.groups_header) if header]
        if any(len(headers.getlist(header)) > 1 for header in sent):
            return None  # A proxy that adds its own passes on what the browser sent: the first would win.
        name = headers.get(self.user_header, "")
        if not self.is_from(scope, headers) or not name or len(name) > _LONGEST_NAME or not name.isprintable():
            return None
        groups = headers.get(self.groups_header, "") if self.groups_header else ""
        return self.identify(name, frozenset(word.strip() for word in groups.split(",") if word.strip()))

    def is_from(self, scope: Scope, headers: Headers) -> bool:
        """Whether a request comes from it."""
        client, sent = scope.get("client"), headers.get(PROXY_PROOF, "")
        return client is not None and client[0] in self.addresses and hmac.compare_digest(sent.encode(), self.secret.encode())


class Gate:
    """In front of everything: no session, no page, no socket.

    Args:
        app: The application behind it.
        doors: Sessions and tokens.
        hosts: Host names that requests may use: another one is a rebinding attack.
        proxy: Identifies users; None: there is none.
    """

    def __init__(self, app: ASGIApp, doors: Doors, hosts: frozenset[str], *, proxy: Proxy | None = None) -> None:
        self._proxy = proxy
        self._app = app
        self._doors = doors
        self._hosts = hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Admit or reject a request."""
        if scope["type"] not in {"http", "websocket"}:
            await self._app(scope, receive, send)
            return
        made = self._through_proxy(scope)
        headers = Headers(scope=scope)
        refused = self._why_not(scope, headers)
        if scope["type"] == "websocket":
            if refused is not None:
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, self._while_open(self._doors.find(headers, is_use=False), receive, send), send)
            return

        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer = MutableHeaders(scope=message)
                for name, value in HEADERS.items():
                    answer[name] = value
                if made is not None:
                    answer.append("Set-Cookie", f"{COOKIE}={made.id}; Path=/; Max-Age={SESSION_S}; HttpOnly; SameSite=strict")
                if scope["scheme"] == "https":
                    answer["Strict-Transport-Security"] = "max-age=31536000"
                if "cache-control" not in answer:
                    answer["Cache-Control"] = "no-store"
            await send(message)

        if refused is None:
            await self._app(scope, receive, guarded)
        elif refused == "login" and "text/html" in headers.get("accept", ""):
            await RedirectResponse("/login", status_code=303)(scope, receive, guarded)
        else:
            code = {"login": 401, "host": 421}.get(refused, 403)
            await PlainTextResponse(_SAID[refused], status_code=code)(scope, receive, guarded)

    def _while_open(self, session: WebSession | None, receive: Receive, send: Send) -> Receive:
        """Messages from a browser's socket, until its session has ended: later events of such a page do not reach the toolkit."""

        async def received() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and (session is None or not self._doors.is_open(session)):
                await send({"type": "websocket.send", "text": _OPEN_LOGIN})
                return {"type": "websocket.disconnect", "code": 1008, "reason": "the session has ended"}
            return message

        return received

    def _through_proxy(self, scope: Scope) -> WebSession | None:
        """A new session when the proxy names another user than the session does; the request then belongs to it."""
        headers = MutableHeaders(scope=scope)
        if self._proxy is None or not self._proxy.is_from(scope, headers):
            return None
        if self._proxy is None or not self._proxy.is_from(scope, headers):
            return None
        session, named = self._doors.find(headers), self._proxy.identity(scope, headers)
        if session is not None and (session.identity.method != "proxy" or session.identity == named):
            return None
        if session is not None:
            self._doors.leave(session)
        if named is None or scope["type"] != "http":
            return None
        made = self._doors.begin(named)
        headers["cookie"] = f"{COOKIE}={made.id}"
        return made

    def _why_not(self, scope: Scope, headers: Headers) -> str | None:
        host = headers.get("host", "").rpartition(":")[0] or headers.get("host", "")
        if host.strip("[]") not in self._hosts:
            return "host"
        is_change = scope["type"] == "websocket" or scope["method"] not in {"GET", "HEAD", "OPTIONS"}
        if is_change and not is_same_origin(headers):
            return "origin"
        path = scope["path"]
        if path in _OPEN:
            return None
        if (path.startswith("/api/") or path == "/metrics") and self._doors.of_program(headers):
            return None
        is_use = scope["type"] == "http" and not path.startswith(_SOCKET)
        return None if self._doors.find(headers, is_use=is_use) else "login"


def is_same_origin(headers: Headers) -> bool:
    """Whether the browser states that a page of this origin made the request; a request without such a statement is rejected.

    `Sec-Fetch-Site` is set by the browser alone (`none`: by the person, without a page); it is not sent over plain HTTP to another machine, and by
    browsers from before 2023. Then `Origin` decides, which every browser sends with a POST and with a websocket.
    """
    site = headers.get("sec-fetch-site")
    if site is not None:
        return site in {"same-origin", "none"}
    origin = headers.get("origin")
    return origin is not None and urlsplit(origin).netloc == headers.get("host")


_SAID = {
    "login": "no session: open the link that `envtrail web` printed\n",
    "host": "this host name is not accepted; hint: `envtrail web --name NAME` adds one\n",
    "origin": "the request does not come from a page of this address (Sec-Fetch-Site, Origin); hint: reload the page and try again\n",
}
