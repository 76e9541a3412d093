"""A file that several environments have by one inode: what is written through one name is in all of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from envtrail.environments.find import identify
from envtrail.environments.shared_files import find_shared
from envtrail.environments.verify import attribute, verify_environment
from envtrail.interpret.drift import operation_of_drift
from envtrail.model.environment import Environment
from envtrail.model.operation import Actor, Confidence, FileChange, Operation

SITE = "lib/python3.11/site-packages"
ALICE = Actor(name="alice", uid=1001, auid=1001, method="auid", confidence=Confidence.CERTAIN)


def make(prefix: Path, *, linked_to: Path | None = None) -> Environment:
    (prefix / f"{SITE}/six-1.0.dist-info").mkdir(parents=True)
    (prefix / "bin").mkdir()
    (prefix / "bin/python").symlink_to("/usr/bin/python3")
    (prefix / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n")
    module = prefix / f"{SITE}/six.py"
    if linked_to is None:
        module.write_text("x = 1\n")
    else:
        os.link(linked_to / f"{SITE}/six.py", module)
    metadata = prefix / f"{SITE}/six-1.0.dist-info"
    (metadata / "METADATA").write_text("Name: six\nVersion: 1.0\n")
    (metadata / "RECORD").write_text("six.py,sha256=AjnBAzBdYLcuTT6F_C6Cio5JS4C93MiAQEVi6PcIbIw,6\nsix-1.0.dist-info/RECORD,,\n")
    found = identify(prefix)
    assert found is not None
    return found


def write_by_alice(path: Path, prefix: Path, seconds: float = 0) -> Operation:
    at_ms = int((time.time() + seconds) * 1000)
    made = operation_of_drift(str(prefix), "venv", [], since_ms=at_ms - 1, until_ms=at_ms, node="n")
    return msgspec.structs.replace(made, actor=ALICE, files=[FileChange(path=str(path), what="written")])


@pytest.mark.parametrize(("is_linked", "is_known"), [(True, True), (True, False), (False, True)])
def test_the_other_names_and_who_wrote_through_one_are_named(tmp_path: Path, is_linked: bool, is_known: bool) -> None:
    other = make(tmp_path / "other")
    own = make(tmp_path / "own", linked_to=tmp_path / "other" if is_linked else None)
    (tmp_path / f"other/{SITE}/six.py").write_text("x = 2\n")
    if not is_linked:
        (tmp_path / f"own/{SITE}/six.py").write_text("x = 2\n")
    operation = write_by_alice(tmp_path / f"other/{SITE}/six.py", tmp_path / "other")
    operations = {other.prefix: [operation] if is_known else []}
    findings = attribute(verify_environment(own, package="six").findings, [])
    (found,) = find_shared(findings, own, [own, other], lambda prefix: operations[prefix])
    assert (found.what, found.package) == ("changed", "six 1.0")
    assert found.shared == ([f"{tmp_path}/other/{SITE}/six.py"] if is_linked else [])
    expected = (operation.id, "alice") if is_linked and is_known else (None, None)
    assert (found.operation, found.by) == expected


def test_a_name_that_was_written_through_at_another_time_explains_nothing(tmp_path: Path) -> None:
    other = make(tmp_path / "other")
    own = make(tmp_path / "own", linked_to=tmp_path / "other")
    (tmp_path / f"own/{SITE}/six.py").write_text("x = 2\n")
    earlier = write_by_alice(tmp_path / f"other/{SITE}/six.py", tmp_path / "other", seconds=-600)
    (found,) = find_shared(verify_environment(own, package="six").findings, own, [other], lambda _: [earlier])
    assert (len(found.shared), found.operation) == (1, None)
