"""Write docs/environments.md: every command of the page is run on the recorded trail, and its output is what it said.

python tools/write_environments_page.py
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

ROOT = Path(__file__).parent.parent
PAGE = ROOT / "docs/environments.md"
TEXT = ROOT / "docs/environments.in.md"


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TZ": "UTC", "COLUMNS": "160", "ENVTRAIL_DATA_DIR": folder, "ENVTRAIL_NO_PAGER": "1"}
        program = [sys.executable, "-m", "envtrail"]
        subprocess.run(
            [*program, "demo", "--fast"], env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        trail = [*program, "--data-dir", f"{folder}/demo"]
        page = []
        for line in TEXT.read_text().splitlines():
            page.append(line)
            if not line.startswith("$ envtrail "):
                continue
            command, _, cut = line.removeprefix("$ envtrail ").partition("   # first ")
            done = subprocess.run(
                [*trail, *shlex.split(command)], env=environment, cwd=folder, capture_output=True, text=True, check=False
            )
            said = (done.stdout + done.stderr).rstrip().replace(folder, "/var/lib/envtrail").splitlines()
            if cut:
                page[-1] = f"$ envtrail {command}"
                said = [*said[: int(cut)], "…"]
            page += said
        PAGE.write_text("\n".join(page) + "\n")


if __name__ == "__main__":
    main()
