"""Signing in: the one-time link, a password, an OpenID provider; signing out; language and colours."""

from __future__ import annotations

import asyncio
import html
import time
from collections.abc import Callable
from ipaddress import ip_address
from pathlib import Path
from urllib.parse import urlsplit

from fastapi import FastAPI, Request, Response
from fastapi.responses import HTMLResponse, RedirectResponse

from envtrail.config import Config
from envtrail.errors import CannotRunError, EnvtrailError
from envtrail.host_directory import groups_of, uid_of_name
from envtrail.i18n import LANGUAGES, translator
from envtrail.model.credentials import Checked, Credentials
from envtrail.model.identity import Identity
from envtrail.model.text import safe
from envtrail.model.tries import Tries, keys_of
from envtrail.web.access import COOKIE, PROXY_PROOF, SESSION_S, Doors, Proxy, WebSession
from envtrail.web.accounts import Accounts
from envtrail.web.oidc import Provider
from envtrail.web.roles import role_of

_STATE_COOKIE = "envtrail_state"
_WRONG_S = 1.0
"""Minimum time of every failure: its duration does not show what was wrong."""
_AT_ONCE = 2
"""Passwords that are checked at the same time: each needs 64 MiB (argon2id)."""
_MOST_CHARACTERS = 1024
_SHORTEST_SECRET = 32
"""Of a proxy: wrong ones are not counted."""
_PAGE = """<!doctype html><html lang="{language}"><head><meta charset="utf-8"><title>Envtrail</title>
<meta name="viewport" content="width=device-width, initial-scale=1"><meta name="color-scheme" content="light dark">{more}
<style>body{{font:16px/1.5 system-ui,sans-serif;max-width:24rem;margin:4rem auto;padding:0 1rem}}
label{{display:block;margin:.75rem 0 .25rem}}input,button,.button{{font:inherit;box-sizing:border-box;width:100%;padding:.5rem}}
button,.button{{margin-top:1rem;background:#0b4f8a;color:#fff;border:0;border-radius:4px;text-align:center;text-decoration:none;display:block}}
.said{{border-left:4px solid #b42318;padding-left:.75rem}}:focus-visible{{outline:3px solid #79c0ff;outline-offset:2px}}</style></head>
<body><main><h1>Envtrail</h1>{body}</main></body></html>"""

_FORM = """<form method="post" action="/login"><label for="name">{name}</label>
<input id="name" name="name" autocomplete="username" required autofocus maxlength="64"><label for="password">{password}</label>
<input id="password" name="password" type="password" autocomplete="current-password" required maxlength="1024">
<button>{button}</button></form>"""
Check = Callable[[Credentials], Checked]


class Entrance:
    """The routes that need no session.

    Args:
        config: `web.*`.
        doors: Creates sessions.
        accounts: The web UI's own.
        check: Has the agent check an account of this machine; None: such accounts may not sign in.
        is_secure: The web UI is reached by TLS.
        has_link: The one-time link is enabled.
        report: Receives a line for each sign-in, successful or not.
    """

    def __init__(
        self,
        config: Config,
        doors: Doors,
        accounts: Accounts,
        *,
        check: Check | None,
        is_secure: bool,
        has_link: bool,
        report: Callable[[str], None],
    ) -> None:
        self._report = report
        self._config = config
        self._doors = doors
        self._check = check
        self._is_secure = is_secure
        self._has_link = has_link
        self._accounts = accounts
        self._provider = provider_of(config)
        self._tries = Tries(time.monotonic)
        self._turns = asyncio.Semaphore(_AT_ONCE)

    def add_to(self, app: FastAPI) -> None:
        """Mount them."""
        app.add_api_route("/login", self.show, methods=["GET"], include_in_schema=False)
        app.add_api_route("/login", self.take, methods=["POST"], include_in_schema=False)
        app.add_api_route("/login/oidc", self.send_away, methods=["GET"], include_in_schema=False)
        app.add_api_route("/login/oidc/done", self.take_back, methods=["GET"], include_in_schema=False)
        app.add_api_route("/leave", self.leave, methods=["GET"], include_in_schema=False)
        app.add_api_route("/language/{language}", self.language, methods=["GET"], include_in_schema=False)
        app.add_api_route("/colour/{colour}", self.colour, methods=["GET"], include_in_schema=False)

    async def show(self, request: Request, token: str = "") -> Response:
        """The sign-in page; with the link's token: sign in."""
        if token and self._has_link:
            session = self._doors.enter(token)
            if session is not None:
                return self._welcome(request, _onward(), session)
        return self._page(request, code=403 if token else 200)

    async def take(self, request: Request) -> Response:
        """Sign in with a name and a password."""
        started = time.monotonic()
        form = await request.form(max_files=0, max_fields=4)
        name, password = (str(form.get(field) or "")[:_MOST_CHARACTERS] for field in ("name", "password"))
        address = request.client.host if request.client else ""
        counted = "" if _is_shared(address, self._config) else address
        keys = keys_of(name, counted)
        wait_s = self._tries.begin(keys)
        if wait_s > 0:
            return self._page(request, code=429, wait_s=wait_s)
        identity: Identity | None = None
        fault: str | None = None
        try:
            async with self._turns:
                identity, wait_s = await asyncio.to_thread(self._known, name, password, counted)
        except EnvtrailError as raised:
            fault = f"{raised.message}. {raised.hint or ''}"
        if identity is not None:
            self._tries.note_right(keys)
            return self._welcome(request, RedirectResponse("/", status_code=303), self._doors.begin(identity))
        self._report(f"{safe(name[:64])} failed to sign in, from {address}")
        if wait_s > 0 or fault is not None:
            self._tries.forgive(keys)
        await asyncio.sleep(max(0.0, started + _WRONG_S - time.monotonic()))
        return self._page(request, code=429 if wait_s > 0 else 403, wait_s=wait_s, fault=fault, is_wrong=True)

    async def send_away(self, request: Request) -> Response:
        """Redirect to the provider."""
        if self._provider is None:
            return self._page(request, code=404)
        try:
            address, state = await self._provider.begin(f"{request.url.scheme}://{request.headers['host']}/login/oidc/done")
        except EnvtrailError as fault:
            return self._page(request, code=503, fault=fault.message)
        answer = RedirectResponse(address, status_code=303)
        # Lax: the provider sends the browser back here from its own site.
        answer.set_cookie(
            _STATE_COOKIE, state, max_age=600, path="/login", httponly=True, samesite="lax", secure=self._is_behind_tls(request)
        )
        return answer

    async def take_back(self, request: Request, code: str = "", state: str = "") -> Response:
        """Return from the provider."""
        if self._provider is None:
            return self._page(request, code=404)
        try:
            vouched = await self._provider.finish(code=code, state=state, cookie=request.cookies.get(_STATE_COOKIE, ""))
        except EnvtrailError as fault:
            return self._page(request, code=403, fault=fault.message)
        identity = vouched_identity(vouched.name, vouched.groups, "oidc", self._config)
        if identity is None:
            return self._page(request, code=403, is_wrong=True)
        answer = self._welcome(request, _onward(), self._doors.begin(identity))
        answer.delete_cookie(_STATE_COOKIE, path="/login")
        return answer

    async def leave(self, request: Request) -> Response:
        """End the session."""
        session = self._doors.find(request.headers)
        if session is not None:
            self._doors.leave(session)
        answer = RedirectResponse("/login", status_code=303)
        answer.delete_cookie(COOKIE)
        return answer

    async def language(self, request: Request, language: str, back: str = "/") -> Response:
        """Change the language."""
        session = self._doors.find(request.headers)
        if session is not None and language in LANGUAGES:
            session.language = language
        return RedirectResponse(within(back), status_code=303)

    async def colour(self, request: Request, colour: str, back: str = "/") -> Response:
        """Change the colour scheme."""
        session = self._doors.find(request.headers)
        if session is not None:
            session.is_dark = {"dark": True, "light": False}.get(colour)
        return RedirectResponse(within(back), status_code=303)

    def _known(self, name: str, password: str, address: str) -> tuple[Identity | None, float]:
        """The identity, or None; and the time to wait, if PAM refuses to check now."""
        identity = self._accounts.check(name, password)
        if identity is not None or self._check is None or any(account.name == name for account in self._accounts.read()):
            return identity, 0.0
        checked = self._check(Credentials(name=name, password=password, address=address))
        role = role_of(name, groups_of(name), self._config) if checked.is_right else None
        if role is None:
            return None, checked.wait_s
        return Identity(name=name, role=role, uid=checked.uid, method="pam"), 0.0

    def _welcome(self, request: Request, answer: Response, session: WebSession) -> Response:
        known = session.identity
        address = request.client.host if request.client else "?"
        self._report(f"{safe(known.name)} signed in as {known.role.value} by {known.method}, from {address}")
        answer.set_cookie(COOKIE, session.id, max_age=SESSION_S, httponly=True, samesite="strict", secure=self._is_secure)
        return answer

    def _is_behind_tls(self, request: Request) -> bool:
        return self._is_secure or request.url.scheme == "https"

    def _page(
        self, request: Request, *, code: int, wait_s: float = 0, fault: str | None = None, is_wrong: bool = False
    ) -> Response:
        language = "zh" if request.headers.get("accept-language", "").lower().startswith("zh") else "en"
        _ = translator(language)
        said = []
        if wait_s > 0:
            said.append(_("Too many tries. Wait {seconds} seconds.").format(seconds=round(wait_s + 0.5)))
        elif fault is not None:
            said.append(fault)
        elif is_wrong:
            said.append(_("Wrong name or password."))
        body = "".join(f'<p class="said" role="alert">{html.escape(text)}</p>' for text in said)
        if self._check is not None or self._config.web.accounts.exists():
            body += _FORM.format(name=_("Name"), password=_("Password"), button=_("Sign in"))
        if self._provider is not None:
            through = _("Sign in with {provider}").format(provider=urlsplit(self._config.web.oidc_issuer).netloc)
            body += f'<a class="button" href="/login/oidc">{html.escape(through)}</a>'
        if self._has_link:
            how = _("Open the link that `envtrail web` printed. It works once; the command prints the next one.")
            body += f"<p>{how}</p>"
        page = _PAGE.format(language={"zh": "zh-Hans"}.get(language, language), more="", body=body)
        headers = {"Retry-After": str(round(wait_s + 0.5))} if wait_s > 0 else None
        return HTMLResponse(page, status_code=code, headers=headers)


def _onward() -> Response:
    """To the first page, but not by a redirect: the strict cookie is not sent along a chain that started at another site."""
    more = '<meta http-equiv="refresh" content="0;url=/">'
    return HTMLResponse(_PAGE.format(language="en", more=more, body='<a class="button" href="/">Envtrail</a>'))


def vouched_identity(name: str, groups: frozenset[str], method: str, config: Config) -> Identity | None:
    """An identity that another service vouches for; None: they may not sign in. Nobody becomes root this way."""
    uid = uid_of_name(name)
    role = role_of(name, groups | groups_of(name), config) if name != "root" and uid != 0 else None
    return Identity(name=name, role=role, uid=uid, method=method) if role is not None else None


def _is_shared(address: str, config: Config) -> bool:
    """Whether many people come from an address: what one of them guesses is not counted against the others."""
    try:
        return ip_address(address).is_loopback or address in config.web.proxy_from
    except ValueError:
        return False


def proxy_of(config: Config) -> Proxy | None:
    """The reverse proxy of the settings; None: none.

    Raises:
        CannotRunError: its secret is missing, can be read by others, or is too short.
    """
    addresses, path = frozenset(config.web.proxy_from), config.web.proxy_secret_file
    if not addresses:
        return None
    secret = _read_secret(path, "web.proxy_secret_file")
    if path is None or secret is None:
        raise CannotRunError(
            "`web.proxy_from` alone names no proxy: any account of that machine could say to be anybody",
            hint=f"`web.proxy_secret_file`: a file with what the proxy sends in {PROXY_PROOF}",
        )
    if path.stat().st_mode & 0o007:
        raise CannotRunError(f"`{path}` is open to every account of this machine", hint=f"chmod o= {path}")
    if len(secret) < _SHORTEST_SECRET:
        raise CannotRunError(
            f"`{path}` holds fewer than {_SHORTEST_SECRET} characters", hint=f"(umask 077; openssl rand -hex 32 > {path})"
        )
    return Proxy(
        addresses=addresses,
        secret=secret,
        user_header=config.web.proxy_user_header,
        groups_header=config.web.proxy_groups_header,
        identify=lambda name, groups: vouched_identity(name, groups, "proxy", config),
    )


def _read_secret(path: Path | None, setting: str) -> str | None:
    """What the file of a setting holds; None where none is named.

    Raises:
        CannotRunError: it cannot be read.
    """
    try:
        return path.read_text().strip() if path is not None else None
    except OSError as fault:
        raise CannotRunError(f"`{path}` cannot be read: {fault.strerror}", hint=f"`{setting}`") from None


def within(path: str) -> str:
    """A path of this site; None for another site's address."""
    return path if path.startswith("/") and not path.startswith(("//", "/\\")) else "/"


def provider_of(config: Config) -> Provider | None:
    """The OpenID provider of the settings; None: there is none.

    Raises:
        CannotRunError: its secret cannot be read.
    """
    issuer = config.web.oidc_issuer
    if issuer is None:
        return None
    return Provider(
        issuer=issuer,
        client_id=config.web.oidc_client_id,
        secret=_read_secret(config.web.oidc_client_secret_file, "web.oidc_client_secret_file"),
        name_claim=config.web.oidc_name_claim,
        groups_claim=config.web.oidc_groups_claim,
    )
