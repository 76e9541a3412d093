"""The whole of what a tool makes of a command line: where, why there, what of, what was requested, from where.

`tests/data/intentions.jsonl` has a command line a row. `ENVTRAIL_WRITE_GOLDEN=1 pytest tests/unit/interpret/test_intentions.py` writes the answers
anew: read what differs.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import msgspec

from envtrail.interpret.tool import Invocation
from envtrail.interpret.tools import TOOLS

ROWS = Path(__file__).parents[2] / "data/intentions.jsonl"


def answer(row: dict[str, Any]) -> dict[str, Any] | None:
    argv = row["argv"].split()
    path = row.get("path", argv[0])
    exe = "/usr/bin/python3.11" if path.endswith("python") else path
    home = None if row.get("homeless") else "/home/a"
    variables = row.get("variables", {})
    invocation = Invocation(exe=exe, argv=argv, path=path, cwd="/w", uid=1, home=home, variables=variables)
    found = [msgspec.to_builtins(intention) for tool in TOOLS if (intention := tool.read(invocation)) is not None]
    assert len(found) <= 1
    return {name: value for name, value in found[0].items() if name != "argv" and value} if found else None


def test_each_command_line_is_read_as_written() -> None:
    rows = [json.loads(line) for line in ROWS.read_text().splitlines()]
    assert len(rows) >= 300
    if os.environ.get("ENVTRAIL_WRITE_GOLDEN"):
        lines = [json.dumps({**row, "intention": answer(row)}, ensure_ascii=False) for row in rows]
        ROWS.write_text("\n".join(lines) + "\n")
    wrong = [(row["argv"], answer(row)) for row in rows if answer(row) != row["intention"]]
    assert wrong == []


def test_the_words_are_kept_as_they_were_typed() -> None:
    for argv, words in (
        ("/v/bin/python /v/bin/pip3 install -q six", ["pip", "install", "-q", "six"]),
        ("/v/bin/python get-pip.py -q", ["pip", "install", "-q", "pip"]),
        ("/o/bin/python /o/bin/conda-env create -n x", ["conda", "env", "create", "-n", "x"]),
        ("/v/bin/python setup.py install -q", ["setup.py", "install", "-q"]),
        ("/v/bin/python -m venv --clear env", ["venv", "--clear", "env"]),
        ("/v/bin/python -m ensurepip -U", ["ensurepip", "-U"]),
    ):
        invocation = Invocation(exe="/usr/bin/python3.11", argv=argv.split(), path=argv.split()[0], cwd="/w", uid=1)
        assert [found.argv for tool in TOOLS if (found := tool.read(invocation))] == [words]
