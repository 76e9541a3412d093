"""A report as CSV files, one for each table, for spreadsheets."""

from __future__ import annotations

import csv
from pathlib import Path

from envtrail.errors import InputError
from envtrail.model.text import safe_cell
from envtrail.report.content import Report
from envtrail.report.sections import Translate, make_sections


def write_tables(report: Report, translate: Translate, folder: Path) -> list[Path]:
    """Write `NAME.csv` for each table into a folder, which is created; returns the files.

    Raises:
        InputError: the folder cannot be written.
    """
    written = []
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for section in make_sections(report, translate):
            path = folder / f"{section.name}.csv"
            with path.open("w", newline="", encoding="utf-8-sig") as file:
                # With a byte order mark: without one, Excel assumes another encoding.
                out = csv.writer(file)
                out.writerow(section.columns)
                out.writerows([safe_cell(cell) for cell in row] for row in section.rows)
            written.append(path)
    except OSError as fault:
        raise InputError(f"`{folder}` cannot be written: {fault.strerror}", hint="name another folder with -o") from None
    return written
