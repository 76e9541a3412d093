"""The detections beside the loop: what was added since the last look, evaluated in one batch."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import IO, NamedTuple

import msgspec
import pyarrow as pa

from envtrail.config import Config
from envtrail.detect.detection import LoadedDetections
from envtrail.detect.detector import Detector, table_of
from envtrail.detect.rows import Known, Row, change_rows, gap_row, operation_row, run_row
from envtrail.detect.tables import in_segment
from envtrail.errors import ExitCode
from envtrail.model.finding import Finding, Level, make_finding_id
from envtrail.model.gap import Gap
from envtrail.model.operation import Operation
from envtrail.model.run import Run
from envtrail.state.office_hours import read_office_hours
from envtrail.state.state import State

REFUSED = "detection-refused"
_NAMES_INTERVAL_MS = 10_000
_FIRST_S = 20
_LONGEST_READ_S = 300
_MOST_HELD_ROWS = 200_000
"""Events that wait for a look; more are looked at at once."""


class _Reader(NamedTuple):
    process: subprocess.Popen[bytes]
    output: IO[bytes]
    until_s: float
    """By the monotonic clock; then it is ended."""


class Detecting:
    """Rows in, findings out.

    Args:
        config: Everything.
        state: What is known.
        is_alive: Whether a process's image still runs.
        owner_of: Prefix → name of the environment's owner.
    """

    def __init__(
        self,
        config: Config,
        state: State,
        *,
        is_alive: Callable[[int], bool],
        owner_of: Callable[[str], str | None],
    ) -> None:
        self._config = config
        self._state = state
        self._is_alive = is_alive
        self._owner_of = owner_of
        self._office_hours = read_office_hours(config)
        self._interval_ms = config.detect.interval_ms
        self._known = Known(sources=state.sources(), packages=state.package_names())
        self._batches: list[pa.Table] = []
        self._held_rows = 0
        self._rows: dict[str, list[Row]] = {"operations": [], "changes": [], "runs": [], "gaps": []}
        self._looked_ms = self._named_ms = 0
        self._stamp: tuple[tuple[str, int], ...] | None = None
        self._detector: Detector | None = None
        self._reader: _Reader | None = None

    def reload(self) -> list[Finding]:
        """Read the rules where they have changed, in another process; gives a finding for each that is at fault.

        Rules are somebody's text: however long they take, and whatever they do to their reader, the loop goes on.
        """
        if self._reader is not None:
            return self._take_rules(self._reader)
        stamp = self._stamp_of_files()
        if stamp != self._stamp:
            self._stamp = stamp
            environment = {
                **os.environ,
                "ENVTRAIL_DETECT_PATH": str(self._config.detect.path),
                "ENVTRAIL_DETECT_PACK": str(self._config.detect.pack).lower(),
            }
            # In memory: under the unit's protection there is no folder for temporary files.
            output = os.fdopen(os.memfd_create("envtrail-detections"), "w+b")
            words = [sys.executable, "-m", "envtrail", "detections", "compile"]
            try:
                process = subprocess.Popen(
                    words, env=environment, stdin=subprocess.DEVNULL, stdout=output, stderr=subprocess.DEVNULL
                )
            except OSError:
                # No process to be had now: at the next look.
                output.close()
                self._stamp = None
                return []
            self._reader = _Reader(process, output, time.monotonic() + _LONGEST_READ_S)
        return []

    def await_rules(self) -> list[Finding]:
        """The rules that are being read: at the start, they are evaluated on everything."""
        findings = self.reload()
        if self._reader is not None:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._reader.process.wait(_FIRST_S)
            findings += self._take_rules(self._reader)
        return findings

    def close(self) -> None:
        """Read no more."""
        if self._reader is not None:
            self._reader.process.kill()
            self._reader.process.wait()
            self._reader.output.close()

    def _take_rules(self, reader: _Reader) -> list[Finding]:
        code = reader.process.poll()
        if code is None and time.monotonic() < reader.until_s:
            return []
        self._reader = None
        if code is None:
            reader.process.kill()
            reader.process.wait()
        with reader.output as output:
            output.seek(0)
            text = output.read()
        if code == ExitCode.CANNOT_RUN:
            # The extra is not installed, or this Python is older than pySigma's: `envtrail doctor` says so.
            return []
        if code != 0:
            how = f"ended with {code}" if code is not None else f"took more than {_LONGEST_READ_S} s"
            why = f"{self._config.detect.path}: reading the rules {how}; those read before stay in force"
            return [self._refused(f"{why} (hint: envtrail detections check)")]
        loaded = msgspec.json.decode(text, type=LoadedDetections)
        self._detector = Detector(loaded, is_alive=self._is_alive)
        self._named_ms = 0
        return [
            self._refused(f"{item.path}:{item.line}:{item.column}: {item.title}: {item.reason}")
            for item in loaded.refused
            if item.is_fault
        ]

    def _refused(self, reason: str) -> Finding:
        # By the time of the files: a restart finds the same thing, not another one.
        at_ms = max((changed for _, changed in self._stamp or ()), default=0) // 1_000_000
        return Finding(
            id=make_finding_id(REFUSED, reason, at_ms),
            detection=REFUSED,
            source="trail",
            title="A detection is at fault, and is not evaluated",
            level=Level.MEDIUM,
            time_ms=at_ms,
            host=self._config.node,
            reason=reason,
        )

    def _stamp_of_files(self) -> tuple[tuple[str, int], ...]:
        folder = self._config.detect.path
        found = []
        with contextlib.suppress(OSError):
            for file in sorted(folder.rglob("*.y*ml")):
                with contextlib.suppress(OSError):
                    found.append((str(file), file.stat().st_mtime_ns))
        return tuple(found)

    def hold_events(self, events: pa.RecordBatch, segment: int) -> None:
        """Take typed events, whose records lie in a segment."""
        if self._detector is not None and events.num_rows and "events" in self._detector.tables:
            self._batches.append(in_segment(events, segment))
            self._held_rows += events.num_rows

    def hold_operation(self, operation: Operation) -> None:
        """Take an operation as it was judged."""
        if operation.actor.method == "owner":
            return
        row = operation_row(operation, self._office_hours, self._owner_of(operation.environment.prefix))
        self._rows["operations"].append(row)
        self._rows["changes"] += change_rows(operation, row, self._known)

    def hold_runs(self, runs: Sequence[Run]) -> None:
        """Take runs as they begin."""
        if self._detector is not None and "runs" in self._detector.tables:
            self._rows["runs"] += [run_row(run, self._office_hours) for run in runs if run.ended is None]

    def hold_gaps(self, gaps: Sequence[Gap]) -> None:
        """Take entries of the loss ledger."""
        self._rows["gaps"] += [gap_row(gap) for gap in gaps]

    def look(self, now_ms: int, *, is_last: bool = False) -> Iterator[Finding]:
        """What was noticed since the last look, where it is time for one."""
        is_due = now_ms - self._looked_ms >= self._interval_ms or self._held_rows > _MOST_HELD_ROWS or is_last
        if self._detector is None and self._reader is None:
            # Nothing can evaluate the rules without the extra, or on a Python older than pySigma's.
            for held in self._rows.values():
                held.clear()
        if self._detector is None or not is_due:
            return
        self._looked_ms = now_ms
        if now_ms - self._named_ms > _NAMES_INTERVAL_MS:
            self._named_ms = now_ms
            self._detector.set_names(self._state.names())
        batches, self._batches, self._held_rows = self._batches, [], 0
        if batches:
            yield from self._detector.evaluate("events", pa.concat_tables(batches))
        for table, rows in self._rows.items():
            if rows:
                self._rows[table] = []
                yield from self._detector.evaluate(table, table_of(table, rows))
