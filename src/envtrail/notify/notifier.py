"""The notification loop: new items of the trail become notifications, and each channel sends its own in order.

Each channel has its own thread, so that a slow one delays no other; the loop itself never waits for one.
"""

from __future__ import annotations

import queue
import threading
from collections import deque
from collections.abc import Callable, Sequence
from pathlib import Path

from envtrail.model.approval import RequestStatus
from envtrail.model.finding import Finding, Status
from envtrail.notify.channels import Channel
from envtrail.notify.messages import Digest, Message, render_decision, render_digest, render_finding, render_request
from envtrail.notify.outbox import DAY_MS, KEPT_MS, Notification, NotificationSubject, Outbox
from envtrail.notify.services import Answer
from envtrail.state.change_log import ChangeLog
from envtrail.trail.layout import Layout

POLL_MS = 200
"""How often the trail is polled."""
GRACE_MS = 3_600_000
"""Items up to this long before the first start are sent too."""

NEVER = 1 << 62
Send = Callable[[Channel, Message], Answer]


def send_message(channel: Channel, message: Message) -> Answer:
    """Through Apprise."""
    return channel.service.send(message.title, message.body, message.level)


class Notifier:
    """Sends notifications of new items in a trail.

    Args:
        folder: Of the trail.
        channels: Destinations.
        clock: Wall clock in ms.
        send: Delivers a message and waits for the answer; called in a thread for each channel.
        wake: Called when an answer has arrived.
    """

    def __init__(
        self,
        folder: Path,
        channels: Sequence[Channel],
        clock: Callable[[], int],
        send: Send = send_message,
        *,
        wake: Callable[[], None] = lambda: None,
    ) -> None:
        layout = Layout(folder)
        now_ms = clock()
        self._outbox = Outbox(folder / "notify.sqlite")
        self._change_log = ChangeLog(layout.state)
        self._clock = clock
        self._answers: queue.SimpleQueue[_Answered] = queue.SimpleQueue()
        self._unmarked: deque[_Answered] = deque()
        self.is_paused = False
        """Nothing more is sent; messages in flight are awaited."""
        self._lanes = [_Lane(channel, send, self._answers, wake) for channel in channels]
        self._outbox.begin([channel.name for channel in channels], now_ms)
        self._is_first = self._outbox.fact("first_ms") is None
        if self._is_first:
            self._outbox.keep("first_ms", now_ms)
        self._first_ms = self._outbox.fact("first_ms") or now_ms
        self._must_poll = False
        self._epoch = 0
        self._cursor = 0
        self._requests: dict[str, str] = {}
        self._forgot_ms = 0

    def step(self, now_ms: int) -> int:
        """Do what is due now; returns when to call again at the latest (ms)."""
        self._take_answers(now_ms)
        self._must_poll = self._change_log.changed() or self._must_poll
        if self._must_poll:
            self._poll(now_ms)
            # Only now: a failed poll is repeated.
            self._must_poll = False
        for lane in self._lanes:
            if not self.is_paused and not lane.busy and lane.due_ms <= now_ms:
                self._serve(lane, now_ms)
        if now_ms - self._forgot_ms > DAY_MS:
            self._outbox.forget(now_ms - KEPT_MS)
            self._forgot_ms = now_ms
        soonest = min((lane.due_ms for lane in self._lanes if not lane.busy), default=now_ms + POLL_MS)
        return max(now_ms, min(now_ms + POLL_MS, soonest))

    @property
    def is_idle(self) -> bool:
        """Whether no message is in flight."""
        return not any(lane.busy for lane in self._lanes)

    def close(self) -> None:
        """End; a message in flight may be sent again at the next start."""
        self._take_answers(self._clock())
        for lane in self._lanes:
            lane.close()
        self._change_log.close()
        self._outbox.close()

    def _take_answers(self, now_ms: int) -> None:
        while not self._answers.empty():
            self._unmarked.append(self._answers.get())
        while self._unmarked:
            lane, notification, answer = self._unmarked[0]
            if answer.fault is None:
                self._outbox.succeed(lane.channel.name, notification.number, now_ms)
                lane.retry_ms = 0
            else:
                lane.retry_ms = self._outbox.fail(lane.channel.name, now_ms, answer)
            # Only now: what could not be written, on a full disk, is written at the next step.
            self._unmarked.popleft()
            lane.busy = False
            lane.due_ms = max(now_ms, lane.retry_ms)

    def _poll(self, now_ms: int) -> None:
        """Make notifications of new items, in one transaction."""
        oldest_ms = max(self._first_ms - GRACE_MS, now_ms - KEPT_MS)
        if self._change_log.epoch != self._epoch:
            self._epoch = self._change_log.epoch
            self._cursor = 0
            self._requests = {}
        last = self._change_log.last_number()
        requests = self._change_log.request_states(now_ms - KEPT_MS)
        changed = {id_: state for id_, state in requests.items() if self._requests.get(id_) != state}
        if last <= self._cursor and not changed:
            return
        with self._outbox.transaction():
            for number, finding in self._change_log.findings(self._cursor, oldest_ms):
                last = max(last, number)
                if self._outbox.see("finding", finding.id, finding.time_ms) and finding.status is Status.OPEN:
                    self._put_finding(finding, now_ms)
            for id_, state in changed.items():
                self._put_request(id_, state, oldest_ms, now_ms)
        self._cursor = last
        self._requests = requests
        self._is_first = False
        for lane in self._lanes:
            lane.hurry(now_ms)

    def _put_finding(self, finding: Finding, now_ms: int) -> None:
        subject = NotificationSubject(
            kind="finding",
            id=finding.id,
            host=finding.host,
            time_ms=finding.time_ms,
            detection=finding.detection,
            user=finding.user if finding.user is not None else str(finding.uid) if finding.uid is not None else None,
            prefix=finding.prefix,
            level=finding.level,
        )
        for lane in self._lanes:
            if lane.channel.wants_finding(finding):
                self._outbox.put(lane.channel.name, subject, render_finding(finding, lane.channel.language), now_ms)

    def _put_request(self, id_: str, state: str, oldest_ms: int, now_ms: int) -> None:
        request = self._change_log.request(id_)
        if request is None:
            return
        kind = "request" if request.status is RequestStatus.PENDING else "decision"
        is_old = request.time_ms < oldest_ms and (kind == "request" or self._is_first)
        if not self._outbox.see(kind, f"{id_} {state}", max(request.time_ms, now_ms)) or is_old:
            return
        render = render_request if kind == "request" else render_decision
        subject = NotificationSubject(
            kind=kind, id=id_, host=request.host, time_ms=request.time_ms, user=request.terms.user, prefix=request.terms.prefix
        )
        for lane in self._lanes:
            if kind in lane.channel.kinds and lane.channel.wants_environment(request.terms.prefix):
                self._outbox.put(lane.channel.name, subject, render(request, lane.channel.language), now_ms)

    def _serve(self, lane: _Lane, now_ms: int) -> None:
        channel = lane.channel

        def write(digest: Digest) -> Message:
            return render_digest(digest, channel.language)

        while True:
            notification = self._outbox.next_notification(
                channel.name, now_ms, window_ms=channel.window_ms, most=channel.most_per_window, write=write
            )
            if notification is None:
                due = self._outbox.next_digest_ms(channel.name, channel.window_ms)
                lane.due_ms = NEVER if due is None else max(due, now_ms + 1)
                return
            why = self._why_not(notification)
            if why is None:
                self._outbox.attempt(notification.number)
                lane.submit(notification)
                return
            self._outbox.give_up(notification.number, why, now_ms)

    def _why_not(self, notification: Notification) -> str | None:
        """Why something is no longer sent: it was dealt with while it waited."""
        if notification.kind == "finding":
            finding = self._change_log.finding(notification.subject)
            return None if finding is None or finding.status is Status.OPEN else f"it was {finding.status.value}"
        if notification.kind == "request":
            request = self._change_log.request(notification.subject)
            return None if request is None or request.status is RequestStatus.PENDING else f"it was {request.status.value}"
        return None


class _Lane:
    """The thread of one channel, with one notification in it at a time."""

    def __init__(
        self,
        channel: Channel,
        send: Send,
        answers: queue.SimpleQueue[_Answered],
        wake: Callable[[], None],
    ) -> None:
        self.channel = channel
        self.busy = False
        self.due_ms = 0
        """When to check for the next notification."""
        self.retry_ms = 0
        """Earliest time after a failure."""
        self._notifications: queue.SimpleQueue[Notification | None] = queue.SimpleQueue()
        self._send = send
        self._answers = answers
        self._wake = wake
        # A daemon: a channel that hangs must not block the end of the process.
        threading.Thread(target=self._run, name=f"notify-{channel.name}", daemon=True).start()

    def hurry(self, now_ms: int) -> None:
        """There may be new notifications; a failed channel is left alone until its retry time."""
        self.due_ms = max(now_ms, self.retry_ms)

    def submit(self, notification: Notification) -> None:
        self.busy = True
        self._notifications.put(notification)

    def close(self) -> None:
        self._notifications.put(None)

    def _run(self) -> None:
        while (notification := self._notifications.get()) is not None:
            try:
                answer = self._send(self.channel, notification.message)
            except Exception as fault:  # noqa: BLE001 - whatever a channel does, its thread stays and the loop hears of it
                answer = Answer(fault=type(fault).__name__)
            self._answers.put((self, notification, answer))
            self._wake()


_Answered = tuple[_Lane, Notification, Answer]
