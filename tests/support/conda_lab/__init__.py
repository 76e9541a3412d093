"""The genuine conda 24.7.1 in a Miniconda-like root, made from PyPI alone.

conda itself is not on the registries, but the `conda-lock` wheel vendors all of it: one pass over its import lines undoes that. A
CPython tree of pyenv and a few dozen wheels become `.conda` packages in a local channel; py-rattler lays down a first prefix from it, and the
conda in there lays down the root, so that its history is genuine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import subprocess
import sys
import venv
from pathlib import Path

HERE = Path(__file__).parent
CACHE = Path(os.environ.get("ENVTRAIL_CACHE", "/var/tmp/envtrail-conda-lab"))


class CondaRoot:
    """A root that is there."""

    def __init__(self, prefix: Path, channel: Path) -> None:
        self.prefix = prefix
        self.channel = channel
        self.conda = prefix / "bin/conda"
        self.environment = prefix / "envs/ml-exp"


def find_python_tree() -> Path | None:
    """A CPython 3.10 that pyenv built; None when there is none."""
    home = Path(os.environ.get("PYENV_ROOT", Path.home() / ".pyenv"))
    trees = sorted(home.glob("versions/3.10.*"))
    return trees[-1] if trees else None


def ensure_root(prefix: Path, *, cache: Path = CACHE) -> CondaRoot:
    """Make the root at `prefix` (about a minute, and 60 MB of wheels the first time), or find it there."""
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / "conda-lab.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        channel = _ensure_channel(cache)
        if not (prefix / "envs/ml-exp/conda-meta/history").exists():
            shutil.rmtree(prefix, ignore_errors=True)
            _lay_down(prefix, channel, cache)
    return CondaRoot(prefix, channel)


def _ensure_channel(cache: Path) -> Path:
    channel = cache / "channel"
    if (channel / "noarch/repodata.json").exists():
        return channel
    tree = find_python_tree()
    if tree is None:
        raise RuntimeError("the conda lab needs a CPython 3.10 built by pyenv (`pyenv install 3.10`)")
    tools = cache / "conda-tools"
    venv.create(tools, with_pip=False, symlinks=True)
    uv = [
        str(Path(sys.executable).parent / "uv"),
        "pip",
        "install",
        "-q",
        "--link-mode",
        "copy",
        "--python",
        str(tools / "bin/python"),
    ]
    _run(
        [sys.executable, "-m", "venv", "--clear", str(tools)]
        if not tree
        else [str(tree / "bin/python3.10"), "-m", "venv", "--clear", str(tools)]
    )
    _run([*uv, "--require-hashes", "-r", str(HERE / "tools.txt")])
    wheels = cache / "conda-wheels"
    pip = [str(tools / "bin/pip"), "wheel", "-q", "--no-build-isolation", "--no-deps", "--require-hashes", "-w", str(wheels)]
    for name in ("packages.txt", "older.txt", "conda.txt", "conda-shell.txt"):
        _run([*pip, "-r", str(HERE / name)])
    building = cache / "channel.part"
    shutil.rmtree(building, ignore_errors=True)
    _run([str(tools / "bin/python"), str(HERE / "channel.py"), str(building), str(wheels), str(tree)])
    building.rename(channel)
    return channel


def _lay_down(prefix: Path, channel: Path, cache: Path) -> None:
    address = channel.resolve().as_uri()
    settings = f"channels:\n  - {address}\ndefault_channels: []\nsolver: classic\nauto_update_conda: false\nnotify_outdated_conda: false\n"
    boot = cache / "conda-boot"
    if not (boot / "bin/conda").exists():
        shutil.rmtree(boot, ignore_errors=True)
        _run(
            [
                str(cache / "conda-tools/bin/python"),
                str(HERE / "bootstrap.py"),
                str(boot),
                address,
                "python=3.10",
                "pip",
                "setuptools",
                "conda=24.7.1",
            ]
        )
    (boot / ".condarc").write_text(settings)
    _run(
        [
            str(boot / "bin/conda"),
            "create",
            "-y",
            "-q",
            "-p",
            str(prefix),
            "python=3.10",
            "pip",
            "setuptools",
            "wheel",
            "conda=24.7.1",
        ]
    )
    (prefix / ".condarc").write_text(settings)
    for name in ("envs", "pkgs"):
        (prefix / name).mkdir(exist_ok=True)
    _run(
        [
            str(prefix / "bin/conda"),
            "create",
            "-y",
            "-q",
            "-n",
            "ml-exp",
            "python=3.10",
            "pip",
            "numpy=1.26",
            "requests=2.31",
            "six=1.17",
        ]
    )


def _run(argv: list[str]) -> None:
    environment = {"PATH": "/usr/bin:/bin", "HOME": os.environ.get("HOME", "/root"), "LANG": "C.UTF-8"}
    environment |= {name: value for name, value in os.environ.items() if name.startswith(("PIP_", "UV_", "SSL_", "REQUESTS_"))}
    done = subprocess.run(argv, env=environment, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(argv[:6])} …: exit {done.returncode}\n{done.stdout[-2000:]}\n{done.stderr[-2000:]}")
