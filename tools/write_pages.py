"""Write the pages whose commands are run on the recorded trail: their output is what it said.

python tools/write_pages.py [environments sbom impact]
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import tempfile
from pathlib import Path

DOCS = Path(__file__).parent.parent / "docs"
PAGES = ("environments", "sbom", "impact")
ADVISORY = {
    "id": "GHSA-9wx4-h78v-vm56",
    "aliases": ["CVE-2024-35195"],
    "summary": "verify=False stays in force for the whole connection",
    "affected": [
        {
            "package": {"ecosystem": "PyPI", "name": "requests"},
            "ranges": [{"type": "ECOSYSTEM", "events": [{"introduced": "0"}, {"fixed": "2.32.2"}]}],
        }
    ],
}
"""What the export of the page on impact holds: the facts of one that is real, as OSV spells them."""


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        environment = {**os.environ, "TZ": "UTC", "COLUMNS": "160", "ENVTRAIL_DATA_DIR": folder, "ENVTRAIL_NO_PAGER": "1"}
        program = [sys.executable, "-m", "envtrail"]
        subprocess.run(
            [*program, "demo", "--fast"], env=environment, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        export = Path(folder, "osv")
        export.mkdir()
        (export / f"{ADVISORY['id']}.json").write_text(json.dumps(ADVISORY))
        for page in sys.argv[1:] or PAGES:
            lines = _run((DOCS / f"{page}.in.md").read_text(), [*program, "--data-dir", f"{folder}/demo"], environment, folder)
            (DOCS / f"{page}.md").write_text("\n".join(lines) + "\n")


def _run(text: str, trail: list[str], environment: dict[str, str], folder: str) -> list[str]:
    page = []
    for line in text.splitlines():
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
    return page


if __name__ == "__main__":
    main()
