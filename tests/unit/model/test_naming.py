"""What names mean, and that nobody else decides it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.utils import canonicalize_name

from envtrail.model.naming import (
    conda_roots,
    expand_home,
    fits_environment,
    fits_package_name,
    fits_person,
    is_environment,
    is_package,
    is_path,
    is_person,
    nearest,
    normalise_name,
    requested_name,
    requested_version,
)

SOURCES = Path(__file__).parents[3] / "src" / "envtrail"
NAMES = st.from_regex(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,20}[A-Za-z0-9])?", fullmatch=True)


@pytest.mark.parametrize(
    ("given", "name", "same"),
    [
        ("charset_normalizer", "charset-normalizer", True),
        ("Charset.Normalizer", "charset_normalizer", True),
        ("ruamel.yaml", "ruamel-yaml", True),
        ("zope--interface", "Zope.Interface", True),
        ("six", "sixx", False),
        ("charsetnormalizer", "charset-normalizer", False),
        ("", "six", False),
        ("keras", "\u212aeras", False),
        ("torch", "t\u043erch", False),
        ("torch", "\uff54orch", False),
        ("torch", "torch\u200b", False),
        ("six", "\u017fix", False),
    ],
)
def test_packages(given: str, name: str, same: bool) -> None:
    assert is_package(given, name) is same


@pytest.mark.parametrize(
    ("given", "prefix", "same"),
    [
        ("ml", "/opt/conda/envs/ml", True),
        ("ml/", "/opt/conda/envs/ml", True),
        ("envs/ml", "/opt/conda/envs/ml", True),
        ("/opt/conda/envs/ml", "/opt/conda/envs/ml", True),
        ("/opt/conda//envs/ml/", "/opt/conda/envs/ml", True),
        ("gpu1:ml", "gpu1:/opt/conda/envs/ml", True),
        ("gpu1:/opt/conda/envs/ml/", "gpu1:/opt/conda/envs/ml", True),
        ("/opt/conda/envs/ml", "gpu1:/opt/conda/envs/ml", True),
        ("gpu2:ml", "gpu1:/opt/conda/envs/ml", False),
        ("gpu1:ml", "/opt/conda/envs/ml", False),
        ("/ml", "/opt/conda/envs/ml", False),
        ("/prod", "/srv/prod", False),
        ("ML", "/opt/conda/envs/ml", False),
        ("l", "/opt/conda/envs/ml", False),
        ("m_", "/opt/conda/envs/ml", False),
        ("%", "/opt/conda/envs/ml", False),
        ("ml", "/opt/conda/envs/ml/lib", False),
        ("/", "/opt/conda/envs/ml", False),
        ("", "/opt/conda/envs/ml", False),
    ],
)
def test_environments(given: str, prefix: str, same: bool) -> None:
    assert is_environment(given, prefix) is same


def test_the_machine_may_be_told_beside_the_prefix() -> None:
    assert is_environment("gpu1:ml", "/envs/ml", host="gpu1")
    assert not is_environment("gpu1:ml", "/envs/ml", host="gpu2")


@pytest.mark.parametrize(
    ("given", "name", "number", "same"),
    [
        ("alice", "alice", 1001, True),
        ("1001", "alice", 1001, True),
        ("1001", None, 1001, True),
        ("20231234", "20231234", 996, True),
        ("alice", None, 1001, False),
        ("1", "alice", 1001, False),
        ("ali", "alice", 1001, False),
        ("Alice", "alice", 1001, False),
        ("99999999999999999999", "alice", 1001, False),
        ("١", "alice", 1, False),
        ("root", None, 0, True),
        ("root", "toor", 0, False),
        ("root", None, 1000, False),
    ],
)
def test_people(given: str, name: str | None, number: int | None, same: bool) -> None:
    assert is_person(given, name, number) is same


@pytest.mark.parametrize(
    ("spec", "name", "version"),
    [
        ("six", "six", None),
        ("six==1.16.0", "six", "1.16.0"),
        ("Charset_Normalizer[x]==3.0 ; python_version > '3'", "charset-normalizer", "3.0"),
        ("six===1.16", "six", "1.16"),
        ("six==1.*", "six", None),
        ("six>=1.16", "six", None),
        ("six==1.16,<2", "six", None),
        ("conda-forge::six=1.16", "six", None),
        ("six=1.16.0=pyh_0", "six", "1.16.0"),
        ("_libgcc_mutex=0.1", "-libgcc-mutex", None),
        ("six @ https://x/y.zip", "six", None),
        ("./six-1.16.0-py2.py3-none-any.whl", "six", "1.16.0"),
        ("https://x/six-1.16.0-py3-none-any.whl#sha256=0", "six", "1.16.0"),
        ("git+https://x/y.git#egg=Six", "six", None),
        ("/x/six-1.16.0-pyh_0.conda", "six", "1.16.0"),
        (".", None, None),
        ("./six", None, None),
        ("https://x/y", None, None),
        ("", None, None),
    ],
)
def test_what_a_command_line_asks_for(spec: str, name: str | None, version: str | None) -> None:
    assert (requested_name(spec), requested_version(spec)) == (name, version)


def test_patterns_of_policies() -> None:
    assert fits_package_name("charset_*", "charset-normalizer")
    assert fits_package_name("Ruamel.*", "ruamel.yaml")
    assert not fits_package_name("charset_?", "charset-normalizer")
    assert fits_environment(["/srv/envs/prod/"], "/srv/envs/prod")
    assert fits_environment(["prod*"], "/srv/envs/prod2")
    assert not fits_environment(["prod"], "/srv/envs/prod2")
    assert fits_person(["ali*"], "alice", 1001)
    assert fits_person(["1001"], None, 1001)
    assert not fits_person(["1001"], "alice", 1001)
    assert not fits_person(["*"], None, 1001)


def test_the_root_of_conda() -> None:
    known = [("/opt/conda", "conda"), ("/opt/conda/envs/ml", "conda"), ("/srv/own", "conda"), ("/v", "venv")]
    assert conda_roots(known) == ["/opt/conda"]


def test_home_folders() -> None:
    homes = {"": "/home/me", "bob": "/home/bob"}
    assert expand_home("~/v", homes.get) == "/home/me/v"
    assert expand_home("~bob", homes.get) == "/home/bob"
    assert expand_home("~eve/v", homes.get) == "~eve/v"
    assert expand_home("/x~", homes.get) == "/x~"


def test_names_that_are_most_like_one() -> None:
    assert nearest("ml-epx", [f"/envs/e{at}" for at in range(20)] + ["/envs/ml-exp"]) == ["/envs/ml-exp"]
    assert nearest("zzz", ["alice", "bob"]) == ["alice", "bob"]
    assert nearest("zzz", [f"user{at}" for at in range(20)]) == []


def test_the_end_of_a_path() -> None:
    assert is_path("train.py", "/home/a/train.py")
    assert is_path("a/train.py", "/home/a/train.py")
    assert not is_path("rain.py", "/home/a/train.py")
    assert not is_path("/train.py", "/home/a/train.py")


@given(NAMES)
def test_the_normal_form_is_that_of_packaging_and_stays_what_it_is(name: str) -> None:
    assert normalise_name(name) == canonicalize_name(name)
    assert normalise_name(normalise_name(name)) == normalise_name(name)
    assert requested_name(name) == normalise_name(name)


_OWN_MEANINGS = re.compile(
    r"canonicalize_name"
    r"|re\.(?:sub|compile)\(\s*r?[\"']\[[-_.]{2,3}\]\+"
    r"|\.endswith\([^)\n]*[\"']/[\"'] *\+"
    r"|prefix LIKE|query\.package\.lower|query\.user\.isdecimal|query\.user (?:==|in)|\.rpartition\(\"/\"\)\[2\] =="
)


def test_nobody_else_decides_what_a_name_means() -> None:
    sources = sorted(SOURCES.rglob("*.py"))
    assert len(sources) > 300
    own = {path.name for path in sources if _OWN_MEANINGS.search(path.read_text())} - {"naming.py"}
    assert own == set()
