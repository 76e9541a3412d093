"""The private channel between the recorder and the agent: observations to append one way, how far the trail has come the other.

Three pairs of sockets, made by the recorder before it starts the agent: requests, each with its answer, notices that nobody waits
for, and what is looked up for the agent (`record.host_channel`). The recorder answers from a separate thread and never waits for the agent; an agent that does not read notices misses some,
and learns the rest by the next one, or by a request.
"""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from itertools import islice
from threading import Thread
from typing import Union

import msgspec
from msgspec import Struct

from envtrail.errors import CannotRunError
from envtrail.model.bounds import UNDECODABLE
from envtrail.model.environment import Environment
from envtrail.model.observation import Observation
from envtrail.record.appended import Appended, Waiting
from envtrail.record.framing import receive, send
from envtrail.record.host_channel import HostChannel, HostClient, HostLookup
from envtrail.record.recorder import Recorder
from envtrail.trail.follower import Follower
from envtrail.trail.layout import Layout
from envtrail.trail.reader import Committed, Step

_ANSWER_S = 30.0
_ENDING_S = 0.5
_MOST_STEPS = 256


class WatchRequest(Struct, frozen=True, kw_only=True, tag="watch"):
    """Where environments are: the rules follow them."""

    environments: list[Environment]


class AppendRequest(Struct, frozen=True, kw_only=True, tag="append"):
    """Observations to append; none where only the place is requested."""

    observations: list[Observation]
    now_ms: int


class AppendAnswer(Struct, frozen=True, kw_only=True):
    """What became of them, and how far the trail has come."""

    is_kept: bool
    committed: Committed
    full_since_ms: int | None


class Ends(Struct, frozen=True, kw_only=True):
    """One side's descriptors of a channel."""

    requests: int
    notices: int
    facts: int

    @property
    def all(self) -> tuple[int, int, int]:
        """To be inherited by the process that gets them."""
        return self.requests, self.notices, self.facts

    def close(self) -> None:
        """Give them back, once that process has them."""
        for descriptor in self.all:
            os.close(descriptor)


CommittedNow = Callable[[], Committed]
_encode = msgspec.json.encode
_request = msgspec.json.Decoder(Union[AppendRequest, WatchRequest]).decode
_answer = msgspec.json.Decoder(AppendAnswer).decode
_committed = msgspec.json.Decoder(Committed).decode


class RecorderChannel:
    """The recorder's side; one for each agent that is started.

    Args:
        recorder: Appends.
        committed: How far the trail has been written; called with the recorder's lock held.
        host: Looks up what the agent has no rights for.
        watch: Called with where environments are.
    """

    def __init__(
        self,
        recorder: Recorder,
        committed: CommittedNow,
        host: HostLookup,
        watch: Callable[[list[Environment]], None] = lambda _: None,
    ) -> None:
        self._recorder = recorder
        self._watch = watch
        self._committed = committed
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
        self._notices, notices = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._notices.setblocking(False)
        self._facts = HostChannel(host)
        self.agent_ends = Ends(requests=theirs.detach(), notices=notices.detach(), facts=self._facts.agent_end)
        self._thread = Thread(target=self._serve, name="agent-channel", daemon=True)
        self._thread.start()

    def notify(self) -> None:
        """Say how far the trail has come, if there is room for it."""
        with suppress(OSError):
            self._notices.send(_encode(self._committed()))

    def is_open(self) -> bool:
        """Whether an agent is at the other end; one that has just ended is waited for a moment."""
        self._thread.join(_ENDING_S)
        return self._thread.is_alive()

    def close(self) -> None:
        """End it; the agent's requests fail."""
        with suppress(OSError):
            self._requests.shutdown(socket.SHUT_RDWR)
        self._thread.join()
        self._requests.close()
        self._notices.close()
        self._facts.close()

    def _serve(self) -> None:
        # What is wrong with a message ends the channel: whoever is at the other end is started again, with another one.
        with suppress(OSError, EOFError, msgspec.MsgspecError, *UNDECODABLE):
            while True:
                request = _request(receive(self._requests))
                if isinstance(request, WatchRequest):
                    # Folders of users are looked at: the recorder's loop does not wait for that.
                    self._watch(request.environments)
                with self._recorder.lock:
                    is_kept = isinstance(request, WatchRequest) or self._recorder.append(request.observations, request.now_ms)
                    answer = AppendAnswer(
                        is_kept=is_kept, committed=self._committed(), full_since_ms=self._recorder.full_since_ms
                    )
                send(self._requests, _encode(answer))


class AppenderChannel:
    """The agent's side: an `Appender` whose steps are read from the trail itself.

    Args:
        ends: That the recorder made for it.
        layout: Of the trail.

    Raises:
        CannotRunError: the recorder does not answer.
    """

    def __init__(self, ends: Ends, layout: Layout) -> None:
        self._requests = socket.socket(fileno=ends.requests)
        self._requests.settimeout(_ANSWER_S)
        self._notices = socket.socket(fileno=ends.notices)
        self._notices.setblocking(False)
        self.host = HostClient(ends.facts)
        """What this process has no rights for."""
        self._layout = layout
        self._waiting = Waiting()
        self._full_since_ms: int | None = None
        self._follower: Follower | None = None
        self._steps: Iterator[Step] | None = None
        self._poll = select.poll()
        self._poll.register(self._requests, 0)
        self._poll.register(self._notices, select.POLLIN)
        self._committed = self._request(AppendRequest(observations=[], now_ms=0)).committed
        self._read_to: Committed | None = None

    @property
    def full_since_ms(self) -> int | None:
        """Since when nothing is recorded because the disk is full, as the last answer said."""
        return self._full_since_ms

    def begin(self, first: int) -> Iterator[Step]:
        """Every step from a segment on, as far as the trail has come by now; 0: from the first."""
        if not first:
            first = min(self._layout.numbers(), default=1)
        self._follower, self._read_to = Follower(self._layout, first), self._committed
        return self._follower.steps(self._committed)

    def wait(self, timeout_ms: int) -> bool:
        """Wait at most this long for something to be appended; whether something was.

        Raises:
            CannotRunError: the recorder has ended.
        """
        if self._read_to != self._committed:
            return True
        found = self._poll.poll(timeout_ms)
        if any(event & (select.POLLHUP | select.POLLERR) for _, event in found):
            raise _ended()
        return bool(found)

    def take(self) -> list[Appended]:
        """What was appended since the last call, in order; of much, the first part."""
        if self._follower is None:
            return []
        if self._steps is None:
            self._hear()
            if self._read_to == self._committed:
                return []
            self._read_to, self._steps = self._committed, self._follower.steps(self._committed)
        taken = [Appended(step=step) for step in islice(self._steps, _MOST_STEPS)]
        if len(taken) < _MOST_STEPS:
            self._steps = None
        return taken

    def append(self, observations: Sequence[Observation], now_ms: int) -> bool:
        """Have observations appended; False where the disk is full.

        Raises:
            CannotRunError: the recorder has ended.
        """
        if not observations:
            return True
        answer = self._request(AppendRequest(observations=list(observations), now_ms=now_ms))
        self._note(answer.committed)
        return answer.is_kept

    def watch(self, environments: Sequence[Environment]) -> None:
        """Let the rules follow where environments are.

        Raises:
            CannotRunError: the recorder has ended.
        """
        self._note(self._request(WatchRequest(environments=list(environments))).committed)

    def note(self, observations: Sequence[Observation], now_ms: int) -> None:
        """Have observations appended; what finds no room on the disk waits."""
        self._waiting.note(self, observations, now_ms)

    def close(self) -> None:
        """Give the sockets and files back."""
        self._requests.close()
        self._notices.close()
        self.host.close()
        if self._follower is not None:
            self._follower.close()

    def _request(self, request: AppendRequest | WatchRequest) -> AppendAnswer:
        try:
            send(self._requests, _encode(request))
            answer = _answer(receive(self._requests))
        except (OSError, EOFError):
            raise _ended() from None
        self._full_since_ms = answer.full_since_ms
        return answer

    def _hear(self) -> None:
        with suppress(BlockingIOError):
            while notice := self._notices.recv(4096):
                self._note(_committed(notice))

    def _note(self, committed: Committed) -> None:
        if committed.position > self._committed.position:
            self._committed = committed


def _ended() -> CannotRunError:
    return CannotRunError(
        "the recorder has ended", hint="`journalctl -u envtrail-recorder` says why; it is started again with the next one"
    )
