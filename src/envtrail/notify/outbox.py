"""Notifications until they are sent: a row is committed before a message is sent, and marked after the channel accepted it.

A message can arrive twice, when the process ends between the two; it cannot be lost. The file is not part of the trail:
without it notifications start again from the next start on.

States: `waiting` → `sent`; `waiting` → `folded` (similar, or too many) → `digested`; or `given up` (no longer current, or its channel is gone).

References:
    https://www.sqlite.org/wal.html
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager
from pathlib import Path

import msgspec
from msgspec import Struct

from envtrail.model.finding import Level
from envtrail.notify.messages import Digest, Group, Message
from envtrail.notify.services import Answer
from envtrail.state.schema import in_transaction
from envtrail.state.side_file import open_ledger, reading_ledger

FORMAT = 1
DAY_MS = 86_400_000
KEPT_MS = 90 * DAY_MS
"""How long it is remembered that something was sent; anything older is not sent any more."""
FIRST_WAIT_MS = 1_000
LONGEST_WAIT_MS = 600_000
_TRIES_IN_A_ROW = 5
"""After these the next message has its turn: one that a channel never accepts delays the others no longer than this."""

_TABLES = """
CREATE TABLE facts (name TEXT PRIMARY KEY, value INTEGER) WITHOUT ROWID;
CREATE TABLE seen (kind TEXT, id TEXT, time_ms INTEGER, PRIMARY KEY (kind, id)) WITHOUT ROWID;
CREATE TABLE letters (number INTEGER PRIMARY KEY, channel TEXT, kind TEXT, subject TEXT, detection TEXT, user TEXT, prefix TEXT,
  host TEXT, level INTEGER, title TEXT, body TEXT, made_ms INTEGER, state TEXT, attempts INTEGER, folded_ms INTEGER,
  done_ms INTEGER, digest INTEGER, note TEXT, UNIQUE (channel, kind, subject));
CREATE INDEX letters_open ON letters (channel, state, digest) WHERE state IN ('waiting', 'folded');
CREATE INDEX letters_told ON letters (channel, detection, user, prefix, state, done_ms);
CREATE INDEX letters_done ON letters (channel, done_ms) WHERE state = 'sent';
CREATE TABLE channels (name TEXT PRIMARY KEY, failures INTEGER, next_ms INTEGER, success_ms INTEGER, fault_ms INTEGER, fault TEXT,
  permanent INTEGER) WITHOUT ROWID;
"""


class Notification(Struct, frozen=True, kw_only=True):
    """A message to be sent to a channel."""

    number: int
    kind: str
    """`finding`, `request`, `decision` or `digest`."""
    subject: str
    message: Message


class NotificationSubject(Struct, frozen=True, kw_only=True):
    """What a notification is about."""

    kind: str
    id: str
    host: str
    time_ms: int
    detection: str = ""
    user: str | None = None
    prefix: str | None = None
    level: Level = Level.MEDIUM


class ChannelState(Struct, frozen=True, kw_only=True):
    """State of a channel, as `notify status` shows it."""

    name: str
    sent: int
    digested: int
    waiting: int
    """Including folded ones."""
    given_up: int
    failures: int
    """Consecutive ones."""
    next_ms: int | None
    """Next try after a failure."""
    success_ms: int | None
    fault_ms: int | None
    fault: str | None
    permanent: bool
    """The channel rejects us: retries continue, but somebody has to fix it."""


class Outbox:
    """`DATA/notify.sqlite`; one writer, the notifier.

    Args:
        path: Of the file; created, readable by its owner only, when it does not exist.
        jitter: Between 0 and 1, a new value for each call.

    Raises:
        StoreError: it cannot be used.
    """

    def __init__(self, path: Path, *, jitter: Callable[[], float] = random.random) -> None:
        self._jitter = jitter
        self._database = open_ledger(path, tables=_TABLES, version=FORMAT, synchronous="NORMAL", hint=_HINT)

    def transaction(self) -> AbstractContextManager[None]:
        """All changes inside take effect together or not at all."""
        return in_transaction(self._database)

    def fact(self, name: str) -> int | None:
        """A number that was stored."""
        row = self._database.execute("SELECT value FROM facts WHERE name = ?", (name,)).fetchone()
        return int(row[0]) if row else None

    def keep(self, name: str, value: int) -> None:
        """Store a number."""
        self._database.execute("INSERT OR REPLACE INTO facts VALUES (?, ?)", (name, value))

    def see(self, kind: str, id_: str, time_ms: int) -> bool:
        """Note that an item was processed; False when it had been before."""
        return self._database.execute("INSERT OR IGNORE INTO seen VALUES (?, ?, ?)", (kind, id_, time_ms)).rowcount > 0

    def put(self, channel: str, subject: NotificationSubject, message: Message, now_ms: int) -> None:
        """Add a message for a channel, unless it has one about the same subject."""
        self._database.execute(
            "INSERT OR IGNORE INTO letters (channel, kind, subject, detection, user, prefix, host, level, title, body, made_ms, state, "
            "attempts) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 'waiting', 0)",
            (
                channel,
                subject.kind,
                subject.id,
                subject.detection,
                subject.user or "",
                subject.prefix or "",
                subject.host,
                subject.level.rank,
                message.title,
                message.body,
                now_ms,
            ),
        )

    def next_notification(
        self, channel: str, now_ms: int, *, window_ms: int, most: int, write: Callable[[Digest], Message]
    ) -> Notification | None:
        """The next message to send to a channel; similar and excess messages are folded into a digest on the way.

        Args:
            channel: Its name.
            now_ms: Wall clock.
            window_ms: How long similar findings are held back, and the window in which messages are counted.
            most: Messages in a window.
            write: Renders a digest.
        """
        with self.transaction():
            notification = self._due_digest(channel, now_ms - window_ms, now_ms, write)
            if notification is not None:
                return notification
            room = most - self._sent_since(channel, now_ms - window_ms, now_ms)
            rows = self._database.execute(
                "SELECT number, kind, detection, user, prefix FROM letters WHERE channel = ? AND state = 'waiting' "
                f"ORDER BY attempts / {_TRIES_IN_A_ROW}, number",
                (channel,),
            ).fetchall()
            for number, kind, *topic in rows:
                if kind == "digest" or (
                    room > 0 and not (kind == "finding" and self._was_sent(channel, topic, now_ms, window_ms))
                ):
                    return self._notification(number)
                self._database.execute("UPDATE letters SET state = 'folded', folded_ms = ? WHERE number = ?", (now_ms, number))
        return None

    def next_digest_ms(self, channel: str, window_ms: int) -> int | None:
        """When a channel's digest is due; None when nothing is held back."""
        oldest = self._oldest_folded(channel)
        return None if oldest is None else oldest + window_ms

    def attempt(self, number: int) -> None:
        """It is about to be sent. If this cannot be written, success could not be either: nothing is sent."""
        self._database.execute("UPDATE letters SET attempts = attempts + 1 WHERE number = ?", (number,))

    def succeed(self, channel: str, number: int, now_ms: int) -> None:
        """The channel accepted it: the texts are deleted."""
        with self.transaction():
            self._database.execute(
                "UPDATE letters SET state = 'sent', done_ms = ?, title = NULL, body = NULL WHERE number = ?", (now_ms, number)
            )
            self._database.execute(
                "UPDATE letters SET state = 'digested', done_ms = ?, title = NULL, body = NULL WHERE digest = ? AND state = 'folded' "
                "AND channel = ?",
                (now_ms, number, channel),
            )
            self._touch(channel)
            self._database.execute(
                "UPDATE channels SET failures = 0, next_ms = NULL, permanent = 0, success_ms = ? WHERE name = ?",
                (now_ms, channel),
            )

    def fail(self, channel: str, now_ms: int, answer: Answer) -> int:
        """The channel failed: returns when to retry, later each time, at most after ten minutes."""
        with self.transaction():
            self._touch(channel)
            row = self._database.execute("SELECT failures FROM channels WHERE name = ?", (channel,)).fetchone()
            wait = min(LONGEST_WAIT_MS, FIRST_WAIT_MS << min(int(row[0]), 20))
            next_ms = now_ms + round(wait * (0.5 + self._jitter() / 2))
            self._database.execute(
                "UPDATE channels SET failures = failures + 1, next_ms = ?, fault_ms = ?, fault = ?, permanent = ? WHERE name = ?",
                (next_ms, now_ms, answer.fault, answer.permanent, channel),
            )
        return next_ms

    def give_up(self, number: int, why: str, now_ms: int) -> None:
        """It is no longer to be sent."""
        self._database.execute(
            "UPDATE letters SET state = 'given up', note = ?, done_ms = ?, title = NULL, body = NULL WHERE number = ?",
            (why, now_ms, number),
        )

    def begin(self, channels: Sequence[str], now_ms: int) -> None:
        """A notifier starts with these channels: messages for others are given up, and each channel is tried at once."""
        marks = ",".join("?" * len(channels))
        with self.transaction():
            self._database.execute(
                "UPDATE letters SET state = 'given up', note = 'its channel is not in the file any more', done_ms = ?, title = NULL, "
                f"body = NULL WHERE state IN ('waiting', 'folded') AND channel NOT IN ({marks})",
                (now_ms, *channels),
            )
            self._database.execute(f"DELETE FROM channels WHERE name NOT IN ({marks})", tuple(channels))
            for channel in channels:
                self._touch(channel)
            self._database.execute("UPDATE channels SET next_ms = NULL")

    def forget(self, before_ms: int) -> None:
        """Delete what was done before a given time."""
        with self.transaction():
            self._database.execute("DELETE FROM seen WHERE time_ms < ?", (before_ms,))
            self._database.execute("DELETE FROM letters WHERE done_ms < ? AND made_ms < ?", (before_ms, before_ms))

    def close(self) -> None:
        """Close the file."""
        self._database.close()

    def _touch(self, channel: str) -> None:
        self._database.execute("INSERT OR IGNORE INTO channels (name, failures, permanent) VALUES (?, 0, 0)", (channel,))

    def _was_sent(self, channel: str, topic: Sequence[str], now_ms: int, window_ms: int) -> bool:
        """Whether a similar one was sent within the window, or is held back for the next digest."""
        alike = "SELECT 1 FROM letters WHERE channel = ? AND detection = ? AND user = ? AND prefix = ?"
        row = self._database.execute(
            f"{alike} AND state IN ('sent', 'digested') AND done_ms > ? AND done_ms <= ? "
            f"UNION ALL {alike} AND state = 'folded' LIMIT 1",
            (channel, *topic, now_ms - window_ms, now_ms, channel, *topic),
        ).fetchone()
        return row is not None

    def _sent_since(self, channel: str, since_ms: int, now_ms: int) -> int:
        row = self._database.execute(
            "SELECT count(*) FROM letters WHERE channel = ? AND state = 'sent' AND kind != 'digest' AND done_ms > ? AND done_ms <= ?",
            (channel, since_ms, now_ms),
        ).fetchone()
        return int(row[0])

    def _oldest_folded(self, channel: str) -> int | None:
        row = self._database.execute(
            "SELECT min(folded_ms) FROM letters WHERE channel = ? AND state = 'folded' AND digest IS NULL", (channel,)
        ).fetchone()
        return None if row[0] is None else int(row[0])

    def _due_digest(self, channel: str, before_ms: int, now_ms: int, write: Callable[[Digest], Message]) -> Notification | None:
        oldest = self._oldest_folded(channel)
        if oldest is None or before_ms < oldest <= now_ms:
            return None
        where = "channel = ? AND state = 'folded' AND digest IS NULL"
        first, last, number, host = self._database.execute(
            f"SELECT min(made_ms), max(made_ms), max(number), max(host) FROM letters WHERE {where}", (channel,)
        ).fetchone()
        rows = self._database.execute(
            f"SELECT kind, detection, user, prefix, level, count(*) FROM letters WHERE {where} GROUP BY 1, 2, 3, 4, 5 "
            "ORDER BY level DESC, count(*) DESC, detection, user, prefix",
            (channel,),
        ).fetchall()
        levels = list(Level)
        groups = [
            Group(kind=kind, detection=detection, user=user or None, prefix=prefix or None, level=levels[level], count=count)
            for kind, detection, user, prefix, level, count in rows
        ]
        subject = NotificationSubject(kind="digest", id=f"digest-{number}", host=host, time_ms=now_ms, level=groups[0].level)
        message = write(Digest(id=subject.id, host=host, since_ms=first, until_ms=last, groups=groups))
        self.put(channel, subject, message, now_ms)
        made = self._database.execute(
            "SELECT number FROM letters WHERE channel = ? AND kind = 'digest' AND subject = ?", (channel, subject.id)
        ).fetchone()[0]
        self._database.execute(f"UPDATE letters SET digest = ? WHERE {where}", (made, channel))
        return self._notification(made)

    def _notification(self, number: int) -> Notification:
        kind, subject, title, body, level = self._database.execute(
            "SELECT kind, subject, title, body, level FROM letters WHERE number = ?", (number,)
        ).fetchone()
        message = Message(id=subject, title=title, body=body, level=list(Level)[level])
        return Notification(number=number, kind=kind, subject=subject, message=message)


def read_states(path: Path) -> list[ChannelState]:
    """States of the channels; empty when nothing was ever sent.

    Raises:
        StoreError: the file cannot be read.
    """
    with reading_ledger(path, hint=_HINT) as database:
        if database is None:
            return []
        counts: dict[str, dict[str, int]] = {}
        for channel, state, count in database.execute(
            "SELECT channel, state, count(*) FROM letters WHERE kind != 'digest' GROUP BY 1, 2"
        ):
            counts.setdefault(channel, {})[state] = count
        rows = database.execute(
            "SELECT name, failures, next_ms, success_ms, fault_ms, fault, permanent FROM channels ORDER BY name"
        ).fetchall()
    return [_state(row, counts.get(row[0], {})) for row in rows]


_HINT = "it may be deleted: notifications then start again from the next start on"


def _state(row: Sequence[object], counts: dict[str, int]) -> ChannelState:
    names = ("name", "failures", "next_ms", "success_ms", "fault_ms", "fault", "permanent")
    values = dict(zip(names, row, strict=True)) | {
        "sent": counts.get("sent", 0),
        "digested": counts.get("digested", 0),
        "waiting": counts.get("waiting", 0) + counts.get("folded", 0),
        "given_up": counts.get("given up", 0),
    }
    return msgspec.convert(values, ChannelState, strict=False)
