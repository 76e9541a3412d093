"""The page of forms, written by a run of the table: what the trail said of each row, and whether that is right."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence

from forms_lab.judge import Document, changes_of, operations_of
from forms_lab.ledger import Entry

_HEAD = """# Every way to change an environment

Each row was typed in the shell of a test user, with the real tool, live under the kernel's audit, and is judged against a ledger that
the driver of the rows wrote on its own (`tests/support/forms_lab`). The page is written by the run itself:
`ENVTRAIL_WRITE_FORMS=docs/forms.md pytest tests/integration/forms`. In the cells `~` is the person's home, `WORK` the row's
own folder, `LEAF` and `TREE` its own packages, `ROW` its number; `+`, `-` and `^` are packages that came, went and changed. What was
written for an operation is what Envtrail said, right or wrong; `none` means that it said nothing.

"""
_COLUMNS = ("Form", "Operation", "Environment", "Person", "Outcome", "Changes", "Verdict")
_ROW = re.compile(r"^\| ([^|]+?) \|", re.MULTILINE)


def render_page(sections: Mapping[str, Sequence[Entry]], operations: Sequence[Document], faults: Mapping[str, list[str]]) -> str:
    """The whole page; `faults` by the form's name."""
    right = sum(not faults[entry.form.name] for entries in sections.values() for entry in entries)
    total = sum(map(len, sections.values()))
    parts = [_HEAD, f"Of {total} forms {right} were right in this run.\n"]
    for title, entries in sections.items():
        parts.append(f"\n## {title}\n\n{_line(_COLUMNS)}{_line(['---'] * len(_COLUMNS))}")
        parts += [_line(_cells(entry, operations_of(entry, operations), faults[entry.form.name])) for entry in entries]
    return "".join(parts)


def rows_of(page: str) -> list[str]:
    """The names of the forms that a page has, in order."""
    return [name.replace("\\", "") for name in _ROW.findall(page) if name not in {"Form", "---"}]


def _cells(entry: Entry, found: list[Document], faults: list[str]) -> list[str]:
    person = "root, as " + entry.person.name if entry.uid == 0 else entry.person.name
    cells = [entry.form.name]
    if found:
        cells += [_join(f"{item['tool']} {item['kind']}" for item in found)]
        cells += [_join(_place(entry, item) for item in found), person]
        cells += [_join(_outcome(item) for item in found), _join(" ".join(changes_of(item)) or "none" for item in found)]
    else:
        cells += ["none", "none", person, f"exit {entry.exit_code}", "none"]
    verdict = "right" if not faults else f"wrong: {'; '.join(faults)}"
    return [_plain(entry, cell) for cell in (*cells, verdict)]


def _place(entry: Entry, operation: Document) -> str:
    environment = operation["environment"]
    assert isinstance(environment, dict)
    return f"{environment['kind']} {environment['prefix']}"


def _outcome(operation: Document) -> str:
    code, signal = operation["exit_code"], operation["signal"]
    return str(operation["outcome"]) + (
        f", exit {code}" if code is not None else f", signal {signal}" if signal is not None else ""
    )


def _join(cells: object) -> str:
    return "; ".join(dict.fromkeys(cells))  # type: ignore[call-overload]


def _plain(entry: Entry, text: str) -> str:
    """Without what differs between runs: folders and numbers."""
    words = entry.words
    text = text.replace(words["W"], "WORK").replace(words["HOME"], "~")
    for name, shown in (("x", "LEAF"), ("y", "TREE"), ("", "ROW")):
        text = text.replace(entry.marker + name, shown)
    text = re.sub(r"/[^\s`']+/opt/\w+/", "/opt/", text)
    return text if len(text) < 400 else text[:400] + " …"


def _line(cells: Sequence[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|").replace("\n", " ") for cell in cells) + " |\n"
