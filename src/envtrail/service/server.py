"""The service's socket: other users ask the trail here, and see what is theirs.

One JSON line comes in, JSON lines go out, `{"end": true}` last. The kernel says who asks (SO_PEERCRED, unix(7)); only the page,
which runs as root or as an account of its own, may say of whom it asks.
"""

from __future__ import annotations

import grp
import pwd
import traceback
from collections.abc import Callable, Hashable
from pathlib import Path

import msgspec

from envtrail.errors import CannotRunError, EnvtrailError, UsageError
from envtrail.host_directory import uid_of_name
from envtrail.model.credentials import Checked, Credentials
from envtrail.model.decision import Decided, Decision
from envtrail.model.identity import Identity
from envtrail.service.authorization import Request, answer, viewer_for
from envtrail.service.connections import Connection, GoneError, Limits, Listener, Peer
from envtrail.service.rates import Allowance, Turns
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.store import Viewer

Decide = Callable[[Decision, Viewer, int], Decided]
Check = Callable[[Credentials], Checked]
MayDecide = Callable[[Viewer, int, str], bool]
_WAIT_S = 20.0


class _Share:
    """What some of those who ask have in common: turns for queries, an allowance for what becomes evidence."""

    def __init__(self, *, events: int, queries: int, decisions: Allowance, decision_bytes: Allowance) -> None:
        self._events = Turns(together=events, each=1, wait_s=_WAIT_S)
        """Each such query holds events of the open segment in memory."""
        self._queries = Turns(together=queries, each=max(1, queries // 2), wait_s=_WAIT_S)
        self._decisions = decisions
        self._decision_bytes = decision_bytes

    def turns(self, method: str) -> Turns:
        return self._events if method == "events" else self._queries

    def take_decision(self, key: Hashable, size_bytes: int) -> None:
        """Count what is to be written to the evidence.

        Raises:
            CannotRunError: it was too much lately.
        """
        wait_s = max(self._decisions.take(key, 1), self._decision_bytes.take(key, size_bytes))
        if wait_s > 0:
            raise CannotRunError(
                "too many requests, decisions or access-log entries of one user came lately",
                hint=f"try again in {wait_s:.0f} s",
            )


class StoreServer:
    """Answers on a Unix socket in threads of its own.

    Args:
        path: Of the socket; made for everybody to connect to.
        folder: The data folder.
        group: Whose members see everything.
        page_account: As whom the page runs, besides root.
        is_separated: The page's administrators have parts of the rights each (`web.separate_administrators`).
        decide: Writes down what somebody (viewer, pid) decides; null where nothing may be written.
        check: Whether a name and a password are those of an account of this machine; null where that is not asked here.
        may_decide: Whether somebody (viewer, pid) may decide about an environment: then they are told of its requests and grants.

    Raises:
        OSError: the socket cannot be made.
    """

    limits = Limits()
    """Connections, and how long they may take."""

    def __init__(
        self,
        path: Path,
        folder: Path,
        *,
        group: str,
        page_account: str | None = None,
        is_separated: bool = False,
        decide: Decide | None = None,
        check: Check | None = None,
        may_decide: MayDecide = lambda *_: False,
    ) -> None:
        self._folder = folder
        self._group = group
        self._page_account = page_account
        self._is_separated = is_separated
        self._decide = decide
        self._check = check
        self._may_decide = may_decide
        self._shares = {
            False: _Share(
                events=2,
                queries=8,
                decisions=Allowance(per_s=0.2, most=30),
                decision_bytes=Allowance(per_s=1024, most=256 * 1024),
            ),
            True: _Share(
                events=2,
                queries=8,
                decisions=Allowance(per_s=20, most=1000),
                decision_bytes=Allowance(per_s=256 * 1024, most=16 << 20),
            ),
        }
        """By whether it is root, the web UI's account or the service's group."""
        self._listener = Listener(path, self._serve, self.limits, lambda uid: is_page(uid, page_account))

    def close(self) -> None:
        """Stop answering and remove the socket."""
        self._listener.close()

    def _serve(self, connection: Connection) -> None:
        try:
            line = connection.read_request()
            if not line:
                return
            self._answer(connection, line)
            connection.say({"end": True})
        except (msgspec.DecodeError, RecursionError, UnicodeDecodeError) as fault:
            connection.say_fault(
                UsageError(f"the request is not understood: {fault}", hint="client and service must be of the same version")
            )
        except EnvtrailError as fault:
            connection.say_fault(fault)
        except GoneError:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever one asks, the others are answered
            traceback.print_exc()
            connection.say_fault(EnvtrailError(f"the service failed: {type(fault).__name__}", hint="its journal says more"))
        connection.flush()

    def _answer(self, connection: Connection, line: bytes) -> None:
        request = msgspec.json.decode(line, type=Request)
        peer = connection.peer
        viewer = viewer_of(peer, self._group, self._page_account)
        share = self._shares[viewer.sees_everything]
        key: Hashable = viewer.uid
        if request.on_behalf is not None:
            viewer = _spoken_for(request.on_behalf, viewer, self._is_separated)
            key = request.on_behalf.name
        if request.credentials is not None:
            connection.say(_checked(self._check, request.credentials, viewer))
        elif request.decision is not None:
            if self._decide is None:
                raise CannotRunError("nothing may be decided over this socket", hint="ask the service's")
            # Of whom the page speaks, each has what a user of the machine has.
            (share if key == peer.uid else self._shares[False]).take_decision(key, len(line))
            connection.say(self._decide(request.decision, viewer, peer.pid))
        else:
            with share.turns(request.method).turn(key):
                self._tell(connection, request, viewer)

    def _tell(self, connection: Connection, request: Request, viewer: Viewer) -> None:
        store = EmbeddedStore(self._folder)
        try:
            for item in answer(store, request, viewer, lambda prefix: self._may_decide(viewer, connection.peer.pid, prefix)):
                connection.say(item)
            connection.flush()
        finally:
            store.close()


def _checked(check: Check | None, given: Credentials, page: Viewer) -> Checked:
    if not page.may_speak:
        raise CannotRunError(
            "only the page may ask for passwords to be checked", hint="`web.account` names the account that it runs as"
        )
    if check is None:
        raise CannotRunError("the machine's accounts may not come in", hint="`web.pam = true`")
    return check(given)


def _spoken_for(identity: Identity, page: Viewer, is_separated: bool) -> Viewer:
    if not page.may_speak:
        raise CannotRunError("only the page may ask for somebody else", hint="`web.account` names the account that it runs as")
    return viewer_for(identity, is_separated=is_separated)


def is_page(uid: int, page_account: str | None) -> bool:
    """Whether a user may be the page, which says who is before it."""
    return uid in {0, uid_of_name(page_account)}


def viewer_of(peer: Peer, group: str, page_account: str | None) -> Viewer:
    """What whoever is at the other end may see."""
    may_speak = is_page(peer.uid, page_account)
    return Viewer(uid=peer.uid, sees_everything=may_speak or _is_member(peer.uid, peer.gid, group), may_speak=may_speak)


def _is_member(uid: int, gid: int, group: str) -> bool:
    try:
        entry = grp.getgrnam(group)
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return False
    return gid == entry.gr_gid or name in entry.gr_mem
