"""What was measured, as JSON and as Markdown."""

from __future__ import annotations

import json
import os
import platform
from dataclasses import asdict, dataclass, field
from datetime import datetime, timezone
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parent


def _machine() -> str:
    return f"{os.cpu_count()} cores, {_processor()}, kernel {platform.release()}, Python {platform.python_version()}"


def _processor() -> str:
    for line in Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            return line.partition(":")[2].strip()
    return platform.machine()


@dataclass
class Table:
    title: str
    what: str
    columns: list[str]
    rows: list[list[str | int | float]]
    not_run: list[str] = field(default_factory=list)
    measured: str = field(default_factory=lambda: datetime.now(tz=timezone.utc).strftime("%Y-%m-%d"))
    machine: str = field(default_factory=_machine)

    def render(self) -> str:
        lines = [f"## {self.title}", "", self.what, ""]
        lines += ["| " + " | ".join(self.columns) + " |", "| " + " | ".join("---" for _ in self.columns) + " |"]
        lines += [
            "| " + " | ".join(f"{cell:,}" if isinstance(cell, int) else str(cell) for cell in row) + " |" for row in self.rows
        ]
        lines += [f"\nMeasured {self.measured} on {self.machine}."]
        lines += [f"\nNot run: {name}" for name in self.not_run]
        return "\n".join(lines) + "\n"


def write(tables: list[Table]) -> None:
    """Write the figures; a table that was not measured now keeps those that it had, their day and their machine."""
    results = HERE / "results"
    results.mkdir(exist_ok=True)
    newest = max(results.glob("*.json"), default=None)
    kept = [Table(**table) for table in json.loads(newest.read_text())["tables"]] if newest else []
    merged = {table.title: table for table in [*kept, *tables]}
    moment = max(table.measured for table in merged.values())
    document = {"date": moment, "tables": [asdict(table) for table in merged.values()]}
    (results / f"{moment}.json").write_text(json.dumps(document, indent=1, ensure_ascii=False) + "\n")
    head = f"# Figures of {moment}\n\nCompare within one table: absolute figures belong to its machine.\n\n"
    (results / "latest.md").write_text(head + "\n".join(table.render() for table in merged.values()))
