"""The service's socket, where other users query the trail and see what they may see.

A request is one JSON line, the answer JSON lines, `{"end": true}` last. The kernel identifies the user (SO_PEERCRED, unix(7)); only the web
UI, which runs as root or as its own account, may name another user.
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
from envtrail.model.bounds import UNDECODABLE
from envtrail.model.credentials import Checked, Credentials
from envtrail.model.decision import Decided, Decision
from envtrail.model.identity import Identity
from envtrail.service.authorization import ServiceRequest, answer, viewer_for
from envtrail.service.connections import Connection, GoneError, Limits, Peer, SocketListener
from envtrail.service.file_access import FindReadable, find_readable
from envtrail.service.rates import Allowance, Turns
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.store import Viewer

Decide = Callable[[Decision, Viewer, int], Decided]
Check = Callable[[Credentials], Checked]
MayDecide = Callable[[Viewer, int, str], bool]
_WAIT_S = 20.0


class _Share:
    """Limits shared by all clients: turns for queries, a rate for what becomes evidence."""

    def __init__(self, *, events: int, queries: int, decisions: Allowance, decision_bytes: Allowance) -> None:
        self._events = Turns(together=events, each=1, wait_s=_WAIT_S)
        """Each such query holds events of the open segment in memory."""
        self._queries = Turns(together=queries, each=max(1, queries // 2), wait_s=_WAIT_S)
        self._decisions = decisions
        self._decision_bytes = decision_bytes

    def turns(self, method: str) -> Turns:
        return self._events if method == "events" else self._queries

    def take_decision(self, key: Hashable, size_bytes: int) -> None:
        """Count what is about to be written to the evidence.

        Raises:
            CannotRunError: the rate limit is exceeded.
        """
        wait_s = max(self._decisions.take(key, 1), self._decision_bytes.take(key, size_bytes))
        if wait_s > 0:
            raise CannotRunError(
                "too many requests, decisions or access-log entries of one user in a short time",
                hint=f"try again in {wait_s:.0f} s",
            )


class StoreServer:
    """Serves a Unix socket in its own threads.

    Args:
        path: Of the socket; everybody may connect to it.
        folder: The data folder.
        group: Whose members see everything.
        web_account: Account of the web UI, besides root.
        is_separated: The rights of the web UI's administrators are divided (`web.separate_administrators`).
        decide: Records the decision of a user (viewer, pid); None when nothing may be written.
        check: Whether a name and a password are those of an account of this machine; None when passwords are not checked here.
        may_decide: Whether a user (viewer, pid) may decide about an environment: they then see its requests and grants.
        find: Which paths a user can read.

    Raises:
        OSError: the socket cannot be created.
    """

    limits = Limits()
    """Limits of the connections."""

    def __init__(  # noqa: PLR0913 - one a thing that it needs of the agent
        self,
        path: Path,
        folder: Path,
        *,
        group: str,
        web_account: str | None = None,
        is_separated: bool = False,
        decide: Decide | None = None,
        check: Check | None = None,
        may_decide: MayDecide = lambda *_: False,
        find: FindReadable = find_readable,
    ) -> None:
        self._folder = folder
        self._find = find
        self._group = group
        self._web_account = web_account
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
        self._listener = SocketListener(path, self._serve, self.limits, lambda uid: is_web_ui(uid, web_account))

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
        except UNDECODABLE as fault:
            connection.say_fault(
                UsageError(f"the request is invalid: {fault}", hint="client and service must be of the same version")
            )
        except EnvtrailError as fault:
            connection.say_fault(fault)
        except GoneError:
            raise
        except Exception as fault:  # noqa: BLE001 - whatever one request does, the others are answered
            traceback.print_exc()
            connection.say_fault(EnvtrailError(f"the service failed: {type(fault).__name__}", hint="its journal has the details"))
        connection.flush()

    def _answer(self, connection: Connection, line: bytes) -> None:
        request = msgspec.json.decode(line, type=ServiceRequest)
        peer = connection.peer
        viewer = viewer_of(peer, self._group, self._web_account)
        share = self._shares[viewer.sees_everything]
        key: Hashable = viewer.uid
        if request.on_behalf is not None:
            viewer = _spoken_for(request.on_behalf, viewer, self._is_separated)
            key = request.on_behalf.name
        if request.credentials is not None:
            connection.say(_checked(self._check, request.credentials, viewer))
        elif request.decision is not None:
            if self._decide is None:
                raise CannotRunError("this socket accepts no decisions", hint="use the service's socket")
            # Each user for whom the web UI makes requests has the limits of a user of the machine.
            (share if key == peer.uid else self._shares[False]).take_decision(key, len(line))
            if not peer.is_there():
                raise CannotRunError("the process that connected has ended", hint="let it run until it has its answer")
            connection.say(self._decide(request.decision, viewer, peer.pid))
        else:
            with share.turns(request.method).turn(key):
                self._write_result(connection, request, viewer)

    def _write_result(self, connection: Connection, request: ServiceRequest, viewer: Viewer) -> None:
        store = EmbeddedStore(self._folder)
        try:
            pid = connection.peer.pid
            for item in answer(store, request, viewer, lambda prefix: self._may_decide(viewer, pid, prefix), self._find):
                connection.say(item)
            connection.flush()
        finally:
            store.close()


def _checked(check: Check | None, given: Credentials, peer: Viewer) -> Checked:
    if not peer.may_speak:
        raise CannotRunError("only the web UI may have passwords checked", hint="`web.account` names the account that it runs as")
    if check is None:
        raise CannotRunError("the machine's accounts may not sign in", hint="`web.pam = true`")
    return check(given)


def _spoken_for(identity: Identity, peer: Viewer, is_separated: bool) -> Viewer:
    if not peer.may_speak:
        raise CannotRunError(
            "only the web UI may make requests for other users", hint="`web.account` names the account that it runs as"
        )
    return viewer_for(identity, is_separated=is_separated)


def is_web_ui(uid: int, web_account: str | None) -> bool:
    """Whether a user may be the web UI, which names the signed-in user."""
    return uid in {0, uid_of_name(web_account)}


def viewer_of(peer: Peer, group: str, web_account: str | None) -> Viewer:
    """What the peer may see."""
    may_speak = is_web_ui(peer.uid, web_account)
    return Viewer(uid=peer.uid, sees_everything=may_speak or _is_member(peer.uid, peer.gid, group), may_speak=may_speak)


def _is_member(uid: int, gid: int, group: str) -> bool:
    try:
        entry = grp.getgrnam(group)
        name = pwd.getpwuid(uid).pw_name
    except KeyError:
        return False
    return gid == entry.gr_gid or name in entry.gr_mem
