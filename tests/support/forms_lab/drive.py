"""Drive the table: people work side by side, each in their own folders and environments, and each row is written into the ledger."""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterable
from pathlib import Path

from audit_lab import become
from conda_lab import CondaRoot

from forms_lab.form import Form
from forms_lab.lab import Lab, make_environment
from forms_lab.ledger import Entry, Person, fill, look
from forms_lab.materials import Materials

HERE = Path(__file__).parent
_SHARED = {"venv": 6, "legacy": 2, "conda": 1, "root": 2, "system": 1}
"""How many environments of each kind a person has; rows go round. Other rows have a separate one."""
_TIMEOUT_S = 90


class Driver:
    """One person's part of the table."""

    def __init__(self, person: Person, folder: Path, lab: Lab, materials: Materials, index: str, conda: CondaRoot | None) -> None:
        self.person = person
        self.entries: list[Entry] = []
        self._home = Path(person.home)
        self._opt = folder / "opt" / person.name
        self._lab = lab
        self._conda = conda
        self._rows: list[tuple[Form, str, dict[str, str]]] = []
        self._turn: Counter[str] = Counter()
        self._made: set[Path] = set()
        self._faults: dict[str, str] = {}
        self._words = {
            "HOME": person.home,
            "TOOLS": str(lab.tools),
            "KERNEL310": str(lab.kernel),
            "SHELF": str(materials.shelf),
            "SLOW": str(materials.slow),
            "INDEX": index,
            "CHANNEL": materials.channel.as_uri(),
            "SYSTEM": str(lab.system),
            "HERE": str(HERE),
            "OTHER": str(self._home / "envs/other"),
        }
        if conda:
            self._words |= {"CONDA": str(conda.conda), "CONDA_CHANNEL": conda.channel.resolve().as_uri()}
        self._projects = materials.projects

    def prepare(self, rows: Iterable[tuple[Form, str]]) -> None:
        """Make folders and environments, and what a row needs to be there, before anything is watched."""
        self._home.mkdir(parents=True)
        self._own(self._home)
        self._make(self._home / "envs/other", "venv")
        for form, marker in rows:
            work = self._home / "rows" / marker
            work.mkdir(parents=True)
            project = self._home / "projects" / f"{marker}x"
            subprocess.run(["cp", "-r", self._projects / f"{marker}x", _parent(project)], check=True)
            words = {**self._words, "W": str(work), "M": f"{marker}x", "N": f"{marker}y", "PROJECT": str(project)}
            words["E"] = str(self._environment(form, marker))
            (work / "pyproject.toml").write_text(
                _PROJECT.format(marker=marker, poetry=_SOURCE.format("poetry", words["INDEX"]) + 'priority = "primary"\n')
                + _SOURCE.format("pdm", words["INDEX"]).replace('"local"', '"pypi"')
            )
            self._rows.append((form, marker, words))
        for folder in (self._home / "rows", self._home / "projects", self._home / "envs"):
            self._own(folder)
        for form, _, words in self._rows:
            if form.prepare:
                done = self._shell(form.prepare, form, words, login=False)
                if done.returncode:
                    self._faults[form.name] = f"could not be prepared: {done.stdout}"

    def run(self) -> None:
        """Drive the rows, one after the other."""
        for form, marker, words in self._rows:
            started = time.time()
            fault = self._faults.get(form.name)
            done = self._shell(form.script, form, words, login=True) if not fault else subprocess.CompletedProcess([], -2, fault)
            places = [fill(expected.prefix, words) for expected in form.expects] or [words["E"], words["W"]]
            self.entries.append(
                Entry(
                    form=form,
                    marker=marker,
                    person=self.person,
                    uid=0 if form.as_root else self.person.auid,
                    words=words,
                    exit_code=done.returncode,
                    output=done.stdout,
                    seen=look(marker, places),
                    started=started,
                    ended=time.time(),
                )
            )

    def _shell(self, script: str, form: Form, words: dict[str, str], *, login: bool) -> subprocess.CompletedProcess[str]:
        uid = 0 if form.as_root else self.person.auid
        variables = {
            "PATH": "/usr/bin:/bin",
            "HOME": words["HOME"],
            "LANG": "C.UTF-8",
            "PYTHONDONTWRITEBYTECODE": "",
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_CACHE_DIR": "1",
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": words["SHELF"],
            "UV_OFFLINE": "1",
            "UV_NO_INDEX": "1",
            "UV_FIND_LINKS": words["SHELF"],
            "UV_PYTHON_DOWNLOADS": "never",
            "POETRY_VIRTUALENVS_IN_PROJECT": "1",
            "PDM_CHECK_UPDATE": "0",
            "PIPENV_VENV_IN_PROJECT": "1",
            "VIRTUALENV_NO_PERIODIC_UPDATE": "1",
        }
        enter = become(self.person.auid, uid=uid) if login else _drop(uid)
        argv = ["/bin/sh", "-eu", "-c", fill(script, words)]
        try:
            return subprocess.run(
                argv, preexec_fn=enter, cwd=words["W"], env=variables, text=True, stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=_TIMEOUT_S, check=False,
            )  # fmt: skip
        except subprocess.TimeoutExpired as late:
            return subprocess.CompletedProcess(argv, -1, f"not done after {_TIMEOUT_S} s: {late.output!r}")

    def _environment(self, form: Form, marker: str) -> Path:
        kind = "root" if form.as_root and form.place == "venv" else form.place
        if kind == "none":
            return self._home / "no-environment"
        if kind in _SHARED:
            at = self._turn[kind] % _SHARED[kind]
            self._turn[kind] += 1
            name = f"{kind}{at}"
        else:
            name = marker
        prefix = (self._opt if kind in {"root", "system"} else self._home / "envs") / name
        self._make(prefix, kind)
        return prefix

    def _make(self, prefix: Path, kind: str) -> None:
        if prefix in self._made:
            return
        self._made.add(prefix)
        _parent(prefix)
        if kind == "system":
            subprocess.run(["cp", "-a", self._lab.system, prefix], check=True)
        elif kind == "bare":
            subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", prefix], check=True)
        elif kind == "conda":
            assert self._conda is not None
            argv = [self._conda.conda, "create", "-y", "-q", "-p", prefix, "python=3.10", "pip"]
            subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
        else:
            make_environment(self._lab, prefix, legacy=kind == "legacy")

    def _own(self, folder: Path) -> None:
        subprocess.run(["chown", "-R", f"{self.person.auid}:{self.person.auid}", folder], check=True)


_PROJECT = """[project]
name = "work-{marker}"
version = "1"
requires-python = ">=3.11,<4"
dependencies = []

[tool.poetry]
package-mode = false

[tool.pdm]
distribution = false

{poetry}
"""
_SOURCE = '[[tool.{}.source]]\nname = "local"\nurl = "{}"\n'


def drive(drivers: list[Driver]) -> list[Entry]:
    """Let everybody work at the same time; the ledger."""
    threads = [threading.Thread(target=driver.run) for driver in drivers]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return [entry for driver in drivers for entry in driver.entries]


def _parent(path: Path) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    return path.parent


def _drop(uid: int) -> Callable[[], None]:
    def enter() -> None:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)

    return enter
