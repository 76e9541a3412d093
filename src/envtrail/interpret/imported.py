"""What began in logs that were written before, until its end is read: each log goes on in its next part, whatever is read in between."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

MOST_LOGS = 16
"""As many as the core knows the processes of."""
_MOST_OF_LOG = 4096


class Imported:
    """Images by the log that records them, the log that was read last at the end."""

    def __init__(self) -> None:
        self._logs: dict[str, dict[int, None]] = {}
        self._log_of: dict[int, str] = {}
        self.log: str | None = None
        """That is read now."""

    def __contains__(self, image: object) -> bool:
        return image in self._log_of

    def begin(self, log: str) -> list[int]:
        """The records that follow are of this log; gives what is forgotten for it, whose end will not be recorded."""
        self.log = log
        known = self._logs.pop(log, {})
        forgotten = list(known) if not log else []  # A log without a name has no next part.
        self._logs[log] = {} if not log else known
        if len(self._logs) > MOST_LOGS:
            forgotten += self._logs.pop(next(iter(self._logs)))
        for image in forgotten:
            self._log_of.pop(image, None)
        return forgotten

    def end(self) -> None:
        """The records that follow are of here and now."""
        self.log = None

    def images(self) -> list[int]:
        """Those of the log that was read last."""
        return list(next(reversed(self._logs.values()), ()))

    def add(self, image: int) -> list[int]:
        """One has begun in the log that is read, if any is; gives what is forgotten for it."""
        if self.log is None:
            return []
        images = self._logs[self.log]
        images[image] = None
        self._log_of[image] = self.log
        if len(images) <= _MOST_OF_LOG:
            return []
        oldest = next(iter(images))
        self.discard(oldest)
        return [oldest]

    def discard(self, image: int) -> None:
        """The end of one was read."""
        log = self._log_of.pop(image, None)
        if log is not None:
            self._logs[log].pop(image, None)

    def machine(self, node: str, *, is_here: bool, image: int | None = None) -> str:
        """What separates the processes of one machine from another's: a log that names none is of one that nobody knows.

        Args:
            node: The machine's name.
            is_here: It is the name of this one, or the log names none.
            image: Of which the machine is wanted; None: of what is read now.
        """
        log = self.log if image is None else self._log_of.get(image)
        return node if log is None or not is_here else f"{log}\0{node}"

    def save(self) -> dict[str, list[int]]:
        """For the next segment."""
        return {log: list(images) for log, images in self._logs.items()}

    def restore(self, logs: Mapping[str, Sequence[int]]) -> None:
        """Take up what was going on."""
        for log, images in logs.items():
            self._logs[log] = dict.fromkeys(images)
            self._log_of.update(dict.fromkeys(images, log))
