"""A file that several environments have by one inode: what is written through one name is in all of them."""

from __future__ import annotations

import os
import time
from pathlib import Path

import msgspec
import pytest

from envtrail.environments.find import identify
from envtrail.environments.shared_files import find_shared
from envtrail.environments.verify import FileFinding, attribute, verify_environment
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


def test_a_file_is_looked_for_below_the_prefix_and_in_each_folder_of_packages(tmp_path: Path) -> None:
    def environment(name: str, *sites: str) -> Environment:
        prefix = tmp_path / name
        return Environment(prefix=str(prefix), kind="venv", site_packages=[f"{prefix}/{site}" for site in sites])

    def place(name: str, *, is_linked: bool = True) -> str:
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        os.link(module, path) if is_linked else path.touch()
        return str(path)

    module = tmp_path / "own/lib/a.py"
    module.parent.mkdir(parents=True)
    module.touch()
    own = environment("own", "lib")
    others = [own, environment("first", "old", "new", "none"), environment("second", "lib"), environment("third", "lib")]
    place("first/old/a.py", is_linked=False)
    linked = [place(name) for name in ("first/lib/a.py", "first/new/a.py", "second/lib/a.py")]
    place("third/lib/a.py", is_linked=False)
    place("elsewhere/a.py")
    status = module.stat()
    at = (status.st_dev, status.st_ino)
    now_ms = int(time.time() * 1000)
    changed = FileFinding(path=str(module), what="changed", package="a 1", changed_ms=now_ms, inode=at)
    known = msgspec.structs.replace(changed, operation="known", by="bob")
    alone = FileFinding(path=str(module), what="missing", package="a 1")
    operations = {
        str(tmp_path / "first"): [write_by_alice(tmp_path / "first/old/a.py", tmp_path)],
        str(tmp_path / "second"): [write_by_alice(Path(linked[2]), tmp_path)],
    }
    found = find_shared([changed, known, alone], own, others, lambda prefix: operations[prefix])
    assert found == [
        msgspec.structs.replace(changed, shared=linked, operation=operations[str(tmp_path / "second")][0].id, by="alice"),
        msgspec.structs.replace(known, shared=linked),
        alone,
    ]
    assert find_shared([alone], own, others, lambda _: pytest.fail("nothing is shared")) == [alone]
