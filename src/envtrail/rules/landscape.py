"""What there is to watch on this machine."""

from __future__ import annotations

import contextlib
import glob
import os
import re
from collections.abc import Iterable, Iterator
from itertools import chain

from msgspec import Struct

from envtrail.config import Config
from envtrail.model.environment import Environment

_HELPER = re.compile(r"(-config|-gdb\.py|-intel64|-stubgen)$")


class Landscape(Struct, frozen=True, kw_only=True):
    """Paths, each resolved and once: rules match what a link leads to."""

    interpreters: list[str]
    managers: list[str]
    scripts: list[str]
    """Console scripts that the classic rules name (pip, conda, jupyter-notebook)."""
    environment_roots: list[str]
    """Folders in which environments lie or appear (`/opt/conda/envs`)."""
    site_packages: list[str]
    conda_meta: list[str]

    def paths(self) -> Iterator[str]:
        """Everything in it."""
        yield from chain(
            self.interpreters, self.managers, self.scripts, self.environment_roots, self.site_packages, self.conda_meta
        )


def survey(environments: Iterable[Environment], config: Config) -> Landscape:
    """Gather what the rules speak of from the environments that were found and from the configured places."""
    interpreters: set[str] = set()
    roots: set[str] = set()
    sites: set[str] = set()
    metas: set[str] = set()
    scripts: set[str] = set()
    for environment in environments:
        prefix = environment.prefix
        interpreters |= _executables(f"{prefix}/bin/python3*")
        scripts |= {path for name in ("pip", "conda", "jupyter-notebook") if os.path.exists(path := f"{prefix}/bin/{name}")}
        sites |= {folder for folder in environment.site_packages if os.path.isdir(folder)}
        if environment.kind == "conda":
            metas.add(f"{prefix}/conda-meta")
            roots.add(f"{prefix}/envs" if os.path.isdir(f"{prefix}/envs") else os.path.dirname(prefix))
        elif environment.kind == "venv":
            roots.add(prefix)
    for pattern in config.rules.pythons:
        interpreters |= _executables(pattern)
    managers = {path for pattern in config.rules.managers for path in _executables(pattern)}
    return Landscape(
        interpreters=sorted(interpreters),
        managers=sorted(managers),
        scripts=sorted(scripts),
        environment_roots=sorted(root for root in roots if root.count("/") > 1),
        site_packages=sorted(sites),
        conda_meta=sorted(metas),
    )


def _executables(pattern: str) -> set[str]:
    found = set()
    for path in glob.glob(pattern):
        # Whoever owns it may take it away at any moment.
        with contextlib.suppress(OSError):
            found |= set() if _HELPER.search(path) else {os.path.realpath(path, strict=True)}
    return {path for path in found if os.path.isfile(path) and os.access(path, os.X_OK)}
