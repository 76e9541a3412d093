"""What the recorder looks at on behalf of the agent: it has the rights, and opens no file that a user owns."""

from __future__ import annotations

from contextlib import suppress

import msgspec

from envtrail.agent.file_changes import roots_of
from envtrail.agent.processes import ProcessesHere, read_login_uid
from envtrail.agent.starting import variable_names, watch_execs
from envtrail.agent.upkeep import RuleKeeper
from envtrail.capture.loss import overrun_gap
from envtrail.config import Config
from envtrail.core import FileWatch
from envtrail.model.environment import Environment
from envtrail.model.gap import Gap
from envtrail.model.observation import ProcessSeen
from envtrail.record.file_queue import FileQueue, SeenFiles
from envtrail.record.host_channel import FilesAnswer


class RecorderHost:
    """The watches of execs and of files, from before the first agent to after the last one.

    Args:
        config: Everything.
        rules: Whether what they watch is where it was.
        environments: Where environments were when they were last looked for.
    """

    def __init__(self, config: Config, rules: RuleKeeper, environments: list[Environment]) -> None:
        self._config = config
        self._rules = rules
        self._execs = watch_execs(config)
        self._processes = ProcessesHere(variable_names(config), self._execs)
        self._files: FileWatch | None = None
        self._queue = FileQueue()
        self._overflows = 0
        self._entered = 0
        """Of what the queue had no room for, how much is in the loss ledger."""
        if config.capture.file_watch:
            # Without the right, or on an old kernel, `doctor` says what is not seen.
            with suppress(OSError):
                self._files = FileWatch(list(roots_of(environments)))

    def set_roots(self, roots: list[str]) -> None:
        """See changes below these folders from now on."""
        if self._files is not None:
            self._files.set_roots(roots)

    def take_files(self, done: int, wanted: int) -> FilesAnswer:
        """Changes of files that were not done with before."""
        if self._files is not None:
            self._queue.put(msgspec.convert(group, SeenFiles, from_attributes=True) for group in self._files.read())
        first, groups = self._queue.take(done, wanted)
        return FilesAnswer(first=first, groups=groups, overflows=self._overflows)

    def see(self, pid: int, exec_ms: int, now_ms: int) -> ProcessSeen | None:
        """A process as it was at its exec, else as it is now."""
        return self._processes.see(pid, exec_ms, now_ms)

    def login_uid(self, pid: int, uid: int) -> int | None:
        """The login uid of a process of this uid; None when it has none, ProcessLookupError when it has gone."""
        return read_login_uid(pid, uid)

    def is_outdated(self) -> bool:
        """Whether something that the rules watch is no longer where it was."""
        return self._rules.is_outdated()

    def losses(self, now_ms: int, since_ms: int) -> list[Gap]:
        """The loss ledger's entry for changes of files for which there was no room; called by the recorder's loop."""
        # Another thread fills the queue: its count only grows.
        queued = self._queue.lost
        lost = queued - self._entered + (self._files.take_overflows() if self._files is not None else 0)
        self._entered = queued
        if not lost:
            return []
        self._overflows += lost
        return [overrun_gap(self._config.node, "changes of files", lost, since_ms, now_ms)]

    def close(self) -> None:
        """End the watches."""
        for watch in (self._execs, self._files):
            if watch is not None:
                watch.close()
