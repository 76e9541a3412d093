"""What each finding says: every field of it, of a small environment."""

from __future__ import annotations

import base64
import hashlib
import os
from pathlib import Path

import msgspec
import pytest

from envtrail.environments import verify as verifying
from envtrail.environments.find import identify
from envtrail.environments.hidden import Hidden, find_bytecode, find_links, judge_bytecode
from envtrail.environments.reading import Files
from envtrail.environments.verify import FileFinding, Verification, verify_environment

SITE = "lib/python3.11/site-packages"
ABC = hashlib.sha256(b"abc")
HASH = base64.urlsafe_b64encode(ABC.digest()).rstrip(b"=").decode()


@pytest.fixture
def prefix(tmp_path: Path) -> Path:
    """With two packages, whose every file is listed."""
    prefix = tmp_path / "v"
    for name in ("x", "y"):
        info = prefix / SITE / f"{name}-1.0.dist-info"
        info.mkdir(parents=True)
        (info / "INSTALLER").write_text("pip\n")
        (info / "RECORD").write_text(f"{name}.py,sha256={HASH},3\n{name}-1.0.dist-info/METADATA,,\n")
        (info / "METADATA").write_text(f"Name: {name}\nVersion: 1.0\n")
        (prefix / SITE / f"{name}.py").write_text("abc")
    (prefix / "pyvenv.cfg").write_text("home = /usr/bin\nversion = 3.11.2\n")
    return prefix


def verify(prefix: Path, kind: str | None = None, **options: object) -> Verification:
    environment = identify(prefix)
    assert environment is not None
    environment = msgspec.structs.replace(environment, kind=kind or environment.kind)
    return verify_environment(environment, **options)  # type: ignore[arg-type]


def changed_ms(path: Path) -> int:
    return path.lstat().st_ctime_ns // 1_000_000


def changed(path: Path, **more: object) -> FileFinding:
    reported = {"expected_sha256": ABC.hexdigest(), "expected_size": 3, "found_size": 4, "changed_ms": changed_ms(path), **more}
    return FileFinding(path=str(path), what="changed", package="x 1.0", **reported)  # type: ignore[arg-type]


def test_an_environment_as_it_should_be(prefix: Path) -> None:
    sizes = [path.stat().st_size for path in (prefix / SITE).rglob("*") if path.suffix == ".py"]
    metadata = [path.stat().st_size for path in (prefix / SITE).rglob("METADATA")]
    done = verify(prefix)
    assert done == Verification(prefix=str(prefix), files=4, bytes=done.bytes, packages=2, findings=[], unlisted=[], faults=[])
    assert done.bytes in {sum(sizes), sum(sizes) + sum(metadata)}


def test_a_file_that_was_changed(prefix: Path) -> None:
    module = prefix / SITE / "x.py"
    module.write_text("abcd")
    assert verify(prefix).findings == verify(prefix, only_sizes=True).findings == [changed(module)]
    module.write_text("cba")
    of_content = {"found_sha256": hashlib.sha256(b"cba").hexdigest(), "found_size": 3}
    assert verify(prefix).findings == [changed(module, **of_content)]
    os.link(module, prefix.parent / "elsewhere")
    status = module.stat()
    assert verify(prefix).findings == [changed(module, **of_content, inode=(status.st_dev, status.st_ino))]
    assert [one.what for one in verify(prefix, only_sizes=True).findings] == ["linked"]


def test_a_file_that_is_not_there_and_bytecode_that_need_not_be(prefix: Path) -> None:
    (prefix / SITE / "x.py").unlink()
    with (prefix / SITE / "x-1.0.dist-info/RECORD").open("a") as record:
        record.write(f"__pycache__/x.pyc,,\n__pycache__/z.pyc,sha256={HASH},\ngone.so,,\n")
    missing = {"what": "missing", "package": "x 1.0", "detail": None}
    at = f"{prefix}/{SITE}"
    known = {"expected_sha256": ABC.hexdigest()}
    assert verify(prefix).findings == [
        FileFinding(path=f"{at}/__pycache__/z.pyc", **missing, **known),  # type: ignore[arg-type]
        FileFinding(path=f"{at}/gone.so", **missing),  # type: ignore[arg-type]
        FileFinding(path=f"{at}/x.py", **missing, **known, expected_size=3),  # type: ignore[arg-type]
    ]


def test_what_nobody_lists(prefix: Path) -> None:
    extra, half = prefix / SITE / "extra.py", prefix / SITE / "~half"
    extra.write_text("four")
    half.mkdir()
    found = [
        FileFinding(path=str(extra), what="added", package=None, found_size=4, changed_ms=changed_ms(extra)),
        FileFinding(path=str(half), what="half-removed", package=None, changed_ms=changed_ms(half)),
    ]
    assert verify(prefix).findings == found
    assert verify(prefix, package="x").findings == []
    assert verify(prefix, kind="system").findings == []
    assert verify(prefix, kind="target").findings == found


def test_one_package_alone(prefix: Path) -> None:
    for name in ("x", "y"):
        (prefix / SITE / f"{name}.py").unlink()
        with (prefix / SITE / f"{name}-1.0.dist-info/RECORD").open("a") as record:
            record.write(",,\n")
    (prefix / SITE / "x2-1.0.dist-info").mkdir()
    done = verify(prefix, package="x")
    assert (done.files, done.packages, done.unlisted) == (2, 1, [])
    assert [one.path for one in done.findings] == [f"{prefix}/{SITE}/x.py"]
    assert done.faults == ["x 1.0: RECORD line 3: no path"]
    done = verify(prefix)
    assert (done.packages, done.unlisted) == (2, ["x2-1.0.dist-info"])
    assert done.faults == ["x 1.0: RECORD line 3: no path", "y 1.0: RECORD line 3: no path"]


def test_bytecode_that_runs_whatever_its_source_holds_is_whose_it_is(prefix: Path) -> None:
    cached = prefix / SITE / "__pycache__"
    cached.mkdir()
    for name in ("x", "y"):
        (cached / f"{name}.cpython-311.pyc").write_bytes(b"\0\0\0\0\1" + bytes(11))
    with (prefix / SITE / "x-1.0.dist-info/RECORD").open("a") as record:
        record.write("__pycache__/x.cpython-311.pyc,,\n")
    at = {one: cached / f"{one}.cpython-311.pyc" for one in ("x", "y")}
    why = {"what": "unchecked", "detail": "it runs whatever its source holds"}
    found = [
        FileFinding(path=str(at["x"]), package="x 1.0", changed_ms=changed_ms(at["x"]), **why),  # type: ignore[arg-type]
        FileFinding(path=str(at["y"]), package=None, changed_ms=changed_ms(at["y"]), **why),  # type: ignore[arg-type]
    ]
    assert verify(prefix).findings == found
    assert verify(prefix, package="x").findings == found[:1]


def test_a_file_with_another_name_is_reported_once(prefix: Path) -> None:
    modules = [prefix / SITE / f"{name}.py" for name in ("x", "y")]
    for module in modules:
        os.link(module, prefix.parent / module.name)
    os.link(modules[1], prefix.parent / "third")
    modules[0].write_text("abcd")
    why = "it has 2 other names, under which it can be changed"
    linked = FileFinding(path=str(modules[1]), what="linked", package="y 1.0", changed_ms=changed_ms(modules[1]), detail=why)
    assert [one.what for one in verify(prefix).findings] == ["changed", "linked"]
    assert verify(prefix).findings[1] == linked
    assert verify(prefix, package="x").findings == verify(prefix).findings[:1]


def test_its_progress_is_reported_of_all_bytes(prefix: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with (prefix / SITE / "large").open("wb") as file:
        file.truncate(30_000_000)
    with (prefix / SITE / "x-1.0.dist-info/RECORD").open("a") as record:
        record.write("large,sha256=" + "A" * 43 + ",30000000\n")
    monkeypatch.setattr(verifying, "_POLL_MS", 1)
    reported: list[tuple[int, int]] = []
    done = verify(prefix, on_progress=lambda read, of: reported.append((read, of)))
    assert reported
    assert {of for _, of in reported} == {30_000_006}
    assert all(0 <= read <= 30_000_100 for read, _ in reported)
    assert [one.path for one in done.findings] == [f"{prefix}/{SITE}/large"]


@pytest.mark.parametrize(
    ("flags", "length", "is_wrong"),
    [
        (0, 16, False),
        (1, 16, True),
        (2, 16, False),
        (3, 16, False),
        (5, 16, False),
        (256, 16, False),
        (1, 15, False),
        (1, 20, True),
    ],
)
def test_bytecode_whose_source_is_never_compared(flags: int, length: int, *, is_wrong: bool) -> None:
    head = (b"abcd" + flags.to_bytes(4, "little") + bytes(12))[:length]
    assert judge_bytecode(head) == ("it runs whatever its source holds" if is_wrong else None)


def test_bytecode_is_judged_by_its_source(tmp_path: Path) -> None:
    unchecked = b"abcd\1" + bytes(11)
    names = {"__pycache__/a.cpython-311.pyc": "a.py", "__pycache__/b.pyc": None, "c.pyc": None, "d.pyc": "d.py", "e.pyc": "e.py"}
    for name, source in names.items():
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_bytes(bytes(16) if name == "e.pyc" else unchecked)
        if source:
            (tmp_path / source).touch()
    (tmp_path / "f.pyc").symlink_to("/none")
    (tmp_path / "f.py").touch()
    paths = [f"{tmp_path}/{name}" for name in ("gone.pyc", "f.pyc", *names)]
    (tmp_path / "g.pyc").write_bytes(unchecked)

    def hidden(name: str, what: str, detail: str) -> Hidden:
        return Hidden(f"{tmp_path}/{name}", what, detail, changed_ms(tmp_path / name))

    why, no_source = "it runs whatever its source holds", "it runs, and there is no source to compare it with"
    files = Files(str(tmp_path))
    assert list(find_bytecode(files, [*paths, f"{tmp_path}/g.pyc"], {f"{tmp_path}/g.py"})) == [
        hidden("__pycache__/a.cpython-311.pyc", "unchecked", why),
        hidden("c.pyc", "sourceless", no_source),
        hidden("d.pyc", "unchecked", why),
        hidden("g.pyc", "unchecked", why),
    ]


def test_other_names_of_a_file_are_counted(tmp_path: Path) -> None:
    for name, count in (("one", 1), ("two", 2), ("four", 4)):
        (tmp_path / name).touch()
        for number in range(1, count):
            os.link(tmp_path / name, tmp_path / f"{name}{number}")
    paths = {f"{tmp_path}/{name}": "p 1" for name in ("none", "one", "two", "four")}
    found = list(find_links(Files(str(tmp_path)), paths))
    assert found == [
        Hidden(f"{tmp_path}/two", "linked", "it has 1 other name, under which it can be changed", changed_ms(tmp_path / "two")),
        Hidden(
            f"{tmp_path}/four", "linked", "it has 3 other names, under which it can be changed", changed_ms(tmp_path / "four")
        ),
    ]
