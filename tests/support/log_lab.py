"""Logs into a separate trail, and all that the trail then says."""

from __future__ import annotations

import json
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from envtrail.agent.build import open_trail
from envtrail.agent.importing import ImportReport, import_files
from envtrail.agent.world import ImportedWorld
from envtrail.config import Config, load_config
from envtrail.model.gap import Gap
from envtrail.model.text import record_lines
from envtrail.state.embedded import EmbeddedStore
from envtrail.state.store import EventRow, Query
from envtrail.tasks.rebuild import rebuild_state
from envtrail.tasks.verify import compare_state

ALL = Query(limit=None, everything=True, oldest_first=True)
LOGS = Path(__file__).parents[1]


class Said(msgspec.Struct):
    """What a trail says."""

    operations: list[dict[str, Any]]
    runs: list[dict[str, Any]]
    sessions: list[dict[str, Any]]

    def without(self, *names: str) -> Said:
        """The same without some fields."""
        return Said(*([{key: value for key, value in row.items() if key not in names} for row in rows] for rows in self.all()))

    def all(self) -> tuple[list[dict[str, Any]], ...]:
        """Everything."""
        return self.operations, self.runs, self.sessions


class Trail:
    """A trail that only imports."""

    def __init__(self, folder: Path, node: str = "vm") -> None:
        flags = {"data_dir": str(folder), "node": node}
        self.config: Config = load_config(environ={}, flags=flags)

    def take(self, *files: Path) -> ImportReport:
        """Import files in one command."""
        return import_files(self.config, files)

    def take_text(self, *texts: bytes, name: str = "audit.log") -> ImportReport:
        """Import texts as the rotated files of one log, in one command."""
        folder = self.config.data_dir.parent / "texts"
        folder.mkdir(parents=True, exist_ok=True)
        files = []
        for at, text in enumerate(texts):
            file = folder / (name if at == len(texts) - 1 else f"{name}.{len(texts) - 1 - at}")
            file.write_bytes(text)
            files.append(file)
        return self.take(*files)

    def seal(self) -> None:
        """Seal the open segment."""
        with open_trail(self.config, world=ImportedWorld()) as opened:
            opened.writer.seal(wait=True)

    def rebuild(self) -> None:
        """Make the state again from the evidence."""
        rebuild_state(self.config)

    def differences(self) -> list[str]:
        """What the state says that the evidence does not, and the other way round."""
        compared = compare_state(self.config)
        return [*(fault.what for fault in compared.faults), *compared.notes]

    def said(self) -> Said:
        """Operations, runs and sessions, oldest first."""
        with closing(EmbeddedStore(self.config.data_dir)) as store:
            return Said(
                *(
                    [json.loads(msgspec.json.encode(row)) for row in rows]
                    for rows in (store.operations(ALL), store.runs(ALL), store.sessions(ALL))
                )
            )

    def gaps(self) -> list[Gap]:
        """The loss ledger."""
        with closing(EmbeddedStore(self.config.data_dir)) as store:
            return list(store.gaps(ALL))

    def events(self) -> list[EventRow]:
        """All events with their records."""
        with closing(EmbeddedStore(self.config.data_dir)) as store:
            return list(store.events(ALL, with_records=True))


def check_quotes(events: Sequence[EventRow]) -> None:
    """Every quoted line carries its event's time and serial, and there are as many as the event says."""
    for event in events:
        time_ms, serial = event.values["time"], event.values["serial"]
        stamp = f"({time_ms // 1000}.{time_ms % 1000:03d}:{serial})"
        lines = record_lines(event.records or "")
        assert len(lines) == event.values["records"], (stamp, lines)
        assert all(stamp in line for line in lines), (stamp, lines)
