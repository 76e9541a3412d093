"""A root of a current conda, of its source: `current.py SOURCE PREFIX VERSION` (26.7.1 was tried).

The registries have no current conda; SOURCE is a checkout of its repository. What it needs comes from PyPI, but for menuinst, which is not there and
which only Windows needs; it solves with the classic solver. `ENVTRAIL_BURSTS_CONDAS=PREFIX/bin/conda` lets the bursts use it beside 24.7.1.
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import tomli
from packaging.requirements import Requirement

sys.path.insert(0, str(Path(__file__).parents[1]))

from conda_lab import CACHE, ensure_root

_PROGRAM = "#!{python}\nimport sys\nfrom conda.cli import main\n\nif __name__ == '__main__':\n    sys.exit(main())\n"


def make_current(source: Path, prefix: Path, version: str) -> None:
    """Lay down a Python with the conda that is there, then put the current one into it."""
    root = ensure_root(CACHE / "root")
    subprocess.run([root.conda, "create", "-y", "-q", "-p", prefix, "python=3.10", "pip", "setuptools"], check=True)
    python = prefix / "bin/python"
    wanted = map(Requirement, tomli.loads((source / "pyproject.toml").read_text())["project"]["dependencies"])
    needed = [str(one) for one in wanted if one.name != "menuinst"]
    uv = [Path(sys.executable).parent / "uv", "pip", "install", "-q", "--link-mode", "copy", "--python", python]
    subprocess.run([*uv, *needed], check=True)
    site = prefix / "lib/python3.10/site-packages"
    subprocess.run(["cp", "-r", source / "conda", site], check=True)
    (site / "conda/_version.py").write_text(f'__version__ = version = "{version}"\n')
    program = prefix / "bin/conda"
    program.write_text(_PROGRAM.format(python=python))
    program.chmod(0o755)
    (prefix / ".condarc").write_text((root.prefix / ".condarc").read_text())
    for name in ("envs", "pkgs"):
        (prefix / name).mkdir(exist_ok=True)


if __name__ == "__main__":
    make_current(Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3])
