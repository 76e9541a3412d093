"""What holds for the repository as a whole."""

from __future__ import annotations

import json
import re
import subprocess
from importlib.metadata import distribution, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).parents[2]
FREE = ("Apache", "MIT", "BSD", "PSF", "MPL", "ISC", "Unlicense", "Zlib", "Unicode", "CC0", "BSL", "0BSD")


def _tracked() -> list[Path]:
    listed = subprocess.run(["git", "ls-files"], cwd=ROOT, capture_output=True, text=True, check=True).stdout
    return [ROOT / line for line in listed.splitlines()]


def test_a_module_is_read_in_one_sitting() -> None:
    lengths = {str(path.relative_to(ROOT)): len(path.read_text().splitlines()) for path in _tracked() if path.suffix == ".py"}
    assert {name: length for name, length in lengths.items() if length > 400} == {}
    assert len((ROOT / "README.md").read_text().splitlines()) <= 120


def test_no_crate_forbids_our_licence() -> None:
    listed = subprocess.run(["cargo", "metadata", "--format-version", "1"], cwd=ROOT, capture_output=True, check=True).stdout
    licences = {package["name"]: package["license"] or "" for package in json.loads(listed)["packages"]}
    assert {name: words for name, words in licences.items() if not any(free in words for free in FREE)} == {}


IMPORTED_LGPL = {"pysigma"}
"""Imported as separate packages, in an extra, replaceable and never vendored: what LGPL-2.1 section 6 requires."""


def test_no_dependency_forbids_our_licence() -> None:
    names = [Requirement(text).name for text in requires("envtrail") or [] if "< '3.11'" not in text]
    assert len(names) >= 10
    for name in sorted(set(names) - IMPORTED_LGPL - {"envtrail"}):
        metadata = distribution(name).metadata
        words = " ".join(
            [metadata.get("License-Expression") or "", metadata.get("License") or "", *metadata.get_all("Classifier", [])]
        )
        assert any(free in words for free in FREE), name
        assert "GPL" not in words, name


def test_every_dependency_has_its_reason_in_the_docs() -> None:
    text = (ROOT / "docs/dependencies.md").read_text()
    names = {Requirement(item).name for item in requires("envtrail") or []} - {"envtrail"}
    assert len(names) >= 10
    assert [name for name in sorted(names) if name not in text] == []


def _pins(file: str) -> set[str]:
    """`name==version` and its hashes, of each requirement."""
    lines = (ROOT / file).read_text().replace("\\\n", " ").splitlines()
    return {re.sub(r"\s+(;.*?)?(?=--hash)", " ", line) for line in lines if line and not line.lstrip().startswith("#")}


def test_a_service_is_installed_with_the_pins_that_were_tested() -> None:
    service = _pins("requirements-service.txt")
    assert service <= _pins("requirements.txt")
    assert all("--hash=sha256:" in pin for pin in service)
    needed = {canonicalize_name(Requirement(text).name) for text in requires("envtrail") or []} - {"envtrail"}
    assert needed <= {canonicalize_name(pin.partition("==")[0]) for pin in service}
