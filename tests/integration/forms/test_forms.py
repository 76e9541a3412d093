"""Every way to change an environment, live: the table runs once, then each row is judged on its own."""

from __future__ import annotations

import json
import os
import shutil
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from audit_lab import RunningAgent, running_agent
from conda_lab import CACHE, ensure_root
from forms_lab.drive import Driver, drive
from forms_lab.form import Form
from forms_lab.judge import Document, faults_of, owners, strays
from forms_lab.lab import ensure_lab
from forms_lab.ledger import Entry, Person
from forms_lab.materials import Materials
from forms_lab.page import render_page, rows_of
from forms_lab.table import FORMS, MARKERS, SECTIONS

PAGE = Path(__file__).parents[3] / "docs/forms.md"
AUIDS = {"alice": 61101, "bob": 61102}
live = [pytest.mark.kernel, pytest.mark.conda, pytest.mark.timeout(900)]


class Trail:
    """What was done, and what Envtrail says was done."""

    def __init__(self, entries: list[Entry], operations: list[Document]) -> None:
        self.entries = {entry.form.name: entry for entry in entries}
        self.operations = operations
        self.faults = {name: self._faults(entry) for name, entry in self.entries.items()}

    def _faults(self, entry: Entry) -> list[str]:
        fault = entry.fault()
        return [f"the form itself: {fault}"] if fault else faults_of(entry, self.operations)


@pytest.fixture(scope="module")
def trail() -> Iterator[Trail]:
    folder = Path(tempfile.mkdtemp(prefix="envtrail-forms-", dir="/var/tmp"))
    folder.chmod(0o755)
    materials = Materials(folder / "materials")
    try:
        trail = _drive_all(folder, materials)
        if os.environ.get("ENVTRAIL_WRITE_FORMS"):
            sections = {title: [trail.entries[form.name] for form in forms] for title, forms in SECTIONS.items()}
            Path(os.environ["ENVTRAIL_WRITE_FORMS"]).write_text(render_page(sections, trail.operations, trail.faults))
        yield trail
    finally:
        materials.close()
        shutil.rmtree(folder)


def _drive_all(folder: Path, materials: Materials) -> Trail:
    lab = ensure_lab()
    conda = ensure_root(CACHE / "root")
    materials.make(list(MARKERS.values()), [lab.shelf])
    index = materials.serve()
    drivers = []
    for at, (name, auid) in enumerate(AUIDS.items()):
        person = Person(name=name, auid=auid, home=str(folder / name))
        driver = Driver(person, folder, lab, materials, index, conda)
        driver.prepare((form, MARKERS[form.name]) for form in FORMS if _person_of(form) == at)
        drivers.append(driver)
    opt = folder / "opt"
    pythons = f"/usr/bin/python3*:{opt}/*/*/bin/python3*:{conda.prefix}/bin/python3*:{lab.system}/bin/python3*"
    (folder / "agent").mkdir()
    with running_agent(
        folder / "agent",
        tuple(AUIDS.values()),
        profile=os.environ.get("ENVTRAIL_FORMS_PROFILE", "lean"),
        roots=[Path(driver.person.home) for driver in drivers] + [opt],
        ENVTRAIL_RULES_PYTHONS=pythons,
        ENVTRAIL_RULES_ROOTS=f"{conda.prefix}:{folder}/*/envs/*:{opt}/*/*",
    ) as agent:
        entries = drive(drivers)
        return Trail(entries, _settled(agent))


def _person_of(form: Form) -> int:
    """Who drives a form: conda locks its package cache, so its forms are one person's; the rest is split."""
    return 1 if form.place == "conda" or "$CONDA" in form.script + form.prepare else FORMS.index(form) % 2


def _settled(agent: RunningAgent) -> list[Document]:
    """All operations, when no more come."""
    seen: list[int] = []
    for _ in range(30):
        operations = agent.operations()
        seen.append(sum(operation["ended"] is not None for operation in operations))
        if len(seen) > 3 and len(set(seen[-3:])) == 1:
            break
        time.sleep(1)
    return operations


@pytest.mark.parametrize("form", FORMS, ids=lambda form: form.name)
class TestForm:
    pytestmark = live

    def test_is_what_the_ledger_says(self, form: Form, trail: Trail) -> None:
        entry = trail.entries[form.name]
        assert trail.faults[form.name] == [], f"{form.script}\n{entry.output[-2000:]}"


class TestTrail:
    pytestmark = live

    def test_no_operation_is_without_a_row_of_the_ledger(self, trail: Trail) -> None:
        found = [json.dumps(item) for item in strays(list(trail.entries.values()), trail.operations)]
        assert found == []

    def test_every_marker_is_found_once_and_by_the_right_person(self, trail: Trail) -> None:
        wrong = {}
        for entry in trail.entries.values():
            named = {entry.fill(change)[1:] for row in entry.form.expects for change in row.changes if "$" in change}
            for package in named:
                auids = [item["actor"]["auid"] for item in owners(package, trail.operations)]  # type: ignore[index]
                wanted = [entry.person.auid] * (len(entry.form.expects) if entry.form.group else 1)
                if auids != wanted and not entry.form.shared:
                    wrong[entry.form.name] = auids
        assert wrong == {}

    def test_every_form_was_driven(self, trail: Trail) -> None:
        assert sorted(trail.entries) == sorted(form.name for form in FORMS)


def test_the_page_has_exactly_the_forms_of_the_table_and_no_empty_cell() -> None:
    page = PAGE.read_text()
    assert rows_of(page) == [form.name for form in FORMS]
    lines = [line for line in page.splitlines() if line.startswith("|")]
    assert len(lines) == len(FORMS) + 2 * len(SECTIONS)
    assert [line for line in lines if "|  |" in line or line.count(" | ") < 6] == []


def test_names_of_forms_are_unique() -> None:
    assert len(MARKERS) == len(FORMS) >= 140
