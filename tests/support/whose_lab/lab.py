"""What people work with and on: wheels, a channel, and environments that are there before anything is watched."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

from conda_lab import CACHE, CondaRoot
from forms_lab.lab import Lab, install
from wheels import make_wheel

from whose_lab.ledger import Person
from whose_lab.places import NAMES, VERSIONS, Slot, World

HERE = Path(__file__).parent
_PARENTS = ("wolf", "otter")
"""In the system's Python too."""


def make_world(folder: Path, lab: Lab, conda: CondaRoot | None, condas: tuple[Path, ...]) -> World:
    """Wheels, their unpacked forms, a channel, a system's Python."""
    shelf, stash, tools = folder / "shelf", folder / "stash", folder / "tools"
    for name in NAMES:
        for version in VERSIONS:
            wheel = make_wheel(shelf, name, version, scripts={name.lower(): f"{name}:main"})
            with zipfile.ZipFile(wheel) as archive:
                archive.extractall(stash / f"{name}-{version}")
    (stash / "payload.pth").write_text("import os\n")
    channels: tuple[str, ...] = ()
    if conda:
        _make_channel(folder / "channel", shelf)
        channels = ((folder / "channel").as_uri(), conda.channel.resolve().as_uri())
    tools.mkdir()
    shutil.copy2(Path(sys.executable).parent / "uv", tools / "uv")
    system = folder / "opt/system"
    system.parent.mkdir()
    subprocess.run(["cp", "-a", lab.system, system], check=True)
    for name in _PARENTS:
        shutil.copytree(stash / f"{name}-1.0", system / "lib/python3/dist-packages", dirs_exist_ok=True)
    _compile(system)
    subprocess.run(["chmod", "-R", "a+rX", folder], check=True)
    return World(folder=folder, shelf=shelf, stash=stash, uv=tools / "uv", system=system, condas=condas, channels=channels)


def make_slots(world: World, people: list[Person], lab: Lab, conda: CondaRoot | None) -> list[Slot]:
    """Everybody's own environments, and those that all share."""
    shared = world.folder / "shared"
    shared.mkdir()
    slots = [_venv(lab, shared / "main", is_fixed=True), _venv(lab, shared / "loose", with_pip=False)]
    if conda:
        slots.append(_conda(conda, shared / "ml"))
    for person in people:
        envs = person.home / "envs"
        (person.home / "scratch").mkdir(parents=True)
        child = envs / "child"
        subprocess.run([world.system / "bin/python3", "-m", "venv", "--without-pip", "--system-site-packages", child], check=True)
        own = [
            _venv(lab, envs / "work", is_fixed=True),
            _venv(lab, envs / "play", with_pip=False),
            Slot(kind="venv", prefix=envs / "late"),
            Slot(kind="venv", prefix=world.folder / "raid" / person.name / "far"),
            Slot(kind="venv", prefix=child, is_fixed=True, parent=world.system),
            Slot(kind="target", prefix=person.home / "lib"),
            Slot(kind="user", prefix=person.home / ".local", is_fixed=True, parent=world.system),
        ]
        own += [Slot(kind="conda", prefix=envs / "fresh")] if conda else []
        for slot in own:
            slot.owner = person
        slots += own
        (world.folder / "raid" / person.name).mkdir(parents=True)
        for folder in (person.home, world.folder / "raid" / person.name):
            subprocess.run(["chown", "-R", f"{person.auid}:{person.auid}", folder], check=True)
    subprocess.run(["chmod", "-R", "a+rwX", shared], check=True)
    return slots


def variables_of(world: World) -> dict[str, str]:
    """The variables of everybody's shell."""
    return {
        "PIP_DISABLE_PIP_VERSION_CHECK": "1", "PIP_NO_CACHE_DIR": "1", "PIP_NO_INDEX": "1", "PIP_FIND_LINKS": str(world.shelf),
        "UV_OFFLINE": "1", "UV_NO_INDEX": "1", "UV_FIND_LINKS": str(world.shelf), "UV_LINK_MODE": "copy", "UV_PYTHON_DOWNLOADS": "never",
    }  # fmt: skip


def _venv(lab: Lab, prefix: Path, *, with_pip: bool = True, is_fixed: bool = False) -> Slot:
    subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", prefix], check=True)
    if with_pip:
        install(lab, prefix, "pip", shelf=lab.shelf)
        _compile(prefix)
    return Slot(kind="venv", prefix=prefix, is_fixed=is_fixed)


def _conda(conda: CondaRoot, prefix: Path) -> Slot:
    argv = [conda.conda, "create", "-y", "-q", "-p", prefix, "--copy", "python=3.10", "pip"]
    subprocess.run(argv, check=True, stdout=subprocess.DEVNULL)
    return Slot(kind="conda", prefix=prefix, is_fixed=True)


def _compile(prefix: Path) -> None:
    """Compile what is there, or each pip that may not write there compiles itself again."""
    subprocess.run([prefix / "bin/python3", "-m", "compileall", "-q", prefix / "lib"], check=False, stdout=subprocess.DEVNULL)


def _make_channel(channel: Path, shelf: Path) -> None:
    """Each wheel as the conda package that a feedstock would make of it."""
    code = (
        "import asyncio, os, pathlib, sys, rattler.index, channel as c\n"
        "target, shelf = map(pathlib.Path, sys.argv[1:])\n"
        "for wheel in sorted(shelf.glob('*.whl')): c.pack_wheel(wheel, target)\n"
        "(target / 'linux-64').mkdir()\n"
        "asyncio.run(rattler.index.index_fs(target))\n"
        "os._exit(0)  # py-rattler 0.28.0 may crash while the interpreter shuts down\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(HERE.parent / "conda_lab"), "PYTHONDONTWRITEBYTECODE": "1"}
    subprocess.run([CACHE / "conda-tools/bin/python", "-c", code, channel, shelf], check=True, env=environment)
