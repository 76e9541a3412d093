"""Measure Envtrail beside its peers; writes bench/results/.

    python bench/run.py [--quick] [parser install watch load start inventory alert page ship]

`install`, `watch`, `load`, `alert` and `page` need root and the kernel's audit; their rules are bounded to one test uid. `ship`
needs a JDK of 21 or newer.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).parent
sys.path[:0] = [str(HERE), str(HERE.parent / "tests/support")]

import alert  # noqa: E402
import install  # noqa: E402
import inventory  # noqa: E402
import load  # noqa: E402
import page  # noqa: E402
import parser as log_parser  # noqa: E402
import report  # noqa: E402
import ship  # noqa: E402
import start  # noqa: E402
import watch  # noqa: E402

PARTS = {
    "parser": log_parser.measure,
    "install": install.measure,
    "watch": watch.measure,
    "load": load.measure,
    "start": start.measure,
    "inventory": inventory.measure,
    "alert": alert.measure,
    "page": page.measure,
    "ship": ship.measure,
}


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("--quick", action="store_true", help="fewer rounds and a tenth of the events; writes nothing")
    arguments.add_argument(
        "parts", nargs="*", choices=[*PARTS, []], help="which parts; the others keep the figures they had; all of them by default"
    )
    chosen = arguments.parse_args()
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    tables = []
    for name in chosen.parts or PARTS:
        with tempfile.TemporaryDirectory(prefix="envtrail-bench-", dir="/tmp") as folder:
            os.chmod(folder, 0o755)
            measured = PARTS[name](Path(folder), quick=chosen.quick)
        for table in measured if isinstance(measured, list) else [measured]:
            tables.append(table)
            print(table.render(), flush=True)
    if not chosen.quick:
        report.write(tables)


if __name__ == "__main__":
    main()
