"""Decisions that come over the socket, handed to the loop, which alone writes."""

from __future__ import annotations

import os
import queue
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from concurrent.futures import TimeoutError as FutureTimeoutError
from contextlib import contextmanager
from typing import Optional

import msgspec

from envtrail.agent.processes import read_login_uid
from envtrail.agent.world import name_of
from envtrail.errors import CannotRunError, EnvtrailError, StateBehindError
from envtrail.host_directory import groups_of
from envtrail.model.decision import Decided, Decision, Person
from envtrail.model.identity import Right
from envtrail.state.store import Viewer

LoginUid = Callable[[int, int], Optional[int]]
_WAIT_S = 20
_MOST_A_TURN = 32
"""Decisions that the loop makes before it reads records again."""


class Letter:
    """One decision that waits for its answer."""

    def __init__(self, decision: Decision, by: Person) -> None:
        self.decision = decision
        self.by = by
        self.decided: Decided | None = None
        self.answer: Future[Decided] = Future()

    @contextmanager
    def answered(self) -> Iterator[None]:
        """Answer with `decided`, or with what was raised."""
        try:
            yield
        except EnvtrailError as fault:
            self.answer.set_exception(fault)
            if isinstance(fault, StateBehindError):
                raise
        except BaseException as fault:
            self.answer.set_exception(CannotRunError(f"the agent failed: {fault}", hint="its journal says more"))
            raise
        else:
            assert self.decided is not None  # noqa: S101 - set where nothing was raised
            self.answer.set_result(self.decided)


class Inbox:
    """Between the socket's threads and the loop.

    Args:
        login_uid: The login uid of a process (pid, its uid), None where it has none, ProcessLookupError where it has gone; called
            by the socket's threads.
    """

    def __init__(self, login_uid: LoginUid = read_login_uid) -> None:
        self._login_uid = login_uid
        self.may_decide: Callable[[Person, str], bool] = lambda *_: False
        """Whether somebody may decide about an environment; set by the loop, called by the socket's threads."""
        self._letters: queue.SimpleQueue[Letter] = queue.SimpleQueue()
        self._is_closed = False

    def submit(self, decision: Decision, viewer: Viewer, pid: int) -> Decided:
        """Hand a decision of whoever runs a process to the loop, and wait.

        Raises:
            EnvtrailError: what the loop says.
            CannotRunError: the agent does not answer.
        """
        letter = Letter(decision, person_behind(viewer, pid, self._login_uid))
        if self._is_closed:
            raise CannotRunError("the agent is ending", hint="try again when it runs")
        self._letters.put(letter)
        try:
            return letter.answer.result(_WAIT_S)
        except FutureTimeoutError:
            if letter.answer.cancel():  # else it is being decided now
                raise CannotRunError(
                    f"the agent has not decided within {_WAIT_S} s, and will not", hint="`envtrail status` says how it is"
                ) from None
            return letter.answer.result(_WAIT_S)

    def asks_about(self, viewer: Viewer, pid: int, prefix: str) -> bool:
        """Whether whoever runs a process may decide about an environment."""
        return self.may_decide(person_behind(viewer, pid, self._login_uid), prefix)

    def take(self, most: int = _MOST_A_TURN) -> Iterator[Letter]:
        """What has come since the last call and is still waited for; the rest of many waits for the next call."""
        for _ in range(most):
            try:
                letter = self._letters.get_nowait()
            except queue.Empty:
                return
            if letter.answer.set_running_or_notify_cancel():
                yield letter

    def close(self) -> None:
        """Nothing is answered any more."""
        self._is_closed = True
        for letter in self.take(self._letters.qsize() + 1):
            letter.answer.set_exception(CannotRunError("the agent is ending", hint="try again when it runs"))


def person_behind(viewer: Viewer, pid: int, login_uid: LoginUid = read_login_uid) -> Person:
    """Who decides: somebody whom the page knows, else whoever runs the process at the other end.

    Raises:
        CannotRunError: who that is cannot be determined, or may not decide.
    """
    identity = viewer.identity
    if identity is None:
        try:
            login = login_uid(pid, viewer.uid)
        except ProcessLookupError:
            raise CannotRunError(
                "the process that sent this has ended: it is not known whose login it was",
                hint="let it run until it has its answer",
            ) from None
        person = person_of(viewer.uid, login, is_admin=viewer.sees_everything)
        return msgspec.structs.replace(person, is_web_ui=viewer.may_speak)
    if identity.name == "root" and identity.uid != 0:
        raise CannotRunError("an account of the page that is called `root` decides nothing", hint="another name for it")
    # Where the policy says nothing, the service's group approves: who may triage on the page stands for it.
    service = frozenset({"envtrail"}) if Right.TRIAGE in viewer.rights else frozenset()
    return Person(
        uid=viewer.uid,
        login_uid=identity.uid,
        name=identity.name,
        groups=groups_of(identity.name) | service,
        is_admin=Right.TRIAGE in viewer.rights,
        may_decide=Right.DECIDE in viewer.rights,
        known_by=identity.method,
    )


def person_of(uid: int, login: int | None, *, is_admin: bool) -> Person:
    """Who a process acts for: the login that it keeps through su and sudo, and what it has become."""
    number = login if login is not None else uid
    name = name_of(number) or str(number)
    groups = groups_of(name) | groups_of(name_of(uid) or str(uid))
    return Person(uid=uid, login_uid=login, name=name, groups=groups, is_admin=is_admin)


def myself() -> Person:
    """Who runs this process, and writes the trail by itself."""
    uid = os.geteuid()
    try:
        login = read_login_uid(os.getpid(), uid)
    except ProcessLookupError:  # /proc is not there, or hides it
        login = None
    return msgspec.structs.replace(person_of(uid, login, is_admin=uid == 0), is_web_ui=True)
