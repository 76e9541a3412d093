"""The native reader of metadata says what a slow one in Python says, whatever the bytes."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envtrail.core import DistInfo, content_digest, read_dist_infos

FIELDS = ["Name", "Version", "License", "License-Expression", "Requires-Dist", "Summary", "name", "REQUIRES-DIST"]
lines = st.one_of(
    st.tuples(
        st.sampled_from(FIELDS), st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12)
    ).map(": ".join),
    st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=12),
)
headers = st.lists(lines, max_size=10).map("\n".join).map(str.encode) | st.binary(max_size=80)
rows = st.tuples(
    st.sampled_from(
        ["a.py", "b/c.py", "x-1.dist-info/INSTALLER", "x-1.dist-info/RECORD", "__pycache__/a.pyc", '"q,r.py"', "../../bin/s"]
    )
    | st.text(st.characters(exclude_characters="\r\n", exclude_categories=["Cs"]), max_size=8),
    st.sampled_from(["", "sha256=abc"]),
    st.sampled_from(["", "7", " 8 ", "x", "-1", "000"]),
).map(",".join)
records = (
    st.lists(rows, max_size=8)
    .flatmap(lambda found: st.sampled_from(["\n", "\r\n", "\r"]).map(lambda end: end.join(found)))
    .map(str.encode)
)


def read(folder: Path, files: dict[str, bytes]) -> DistInfo | None:
    for path in folder.iterdir():
        path.unlink()
    for name, content in files.items():
        (folder / name).write_bytes(content)
    ((found, faults),) = read_dist_infos(str(folder.parent), [folder.name])
    assert faults == []
    return found


def header(content: bytes, key: bytes) -> list[str]:
    """Every value of a field up to the empty line."""
    values = []
    for line in (raw.removesuffix(b"\r") for raw in content.split(b"\n")):
        if not line:
            break
        name, colon, value = line.partition(b":")
        if colon and line[:1] not in b" \t" and name.lower() == key and (kept := value.strip(b" \t\r\n\x0c")):
            values.append(kept.decode("utf-8", "backslashreplace"))
    return values


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(metadata=headers, wheel=headers, record=records, installer=st.sampled_from([None, b"pip\n", b" uv 0.1 ", b"", b"\xff"]))
def test_the_reader_agrees_with_its_reference(
    tmp_path: Path, metadata: bytes, wheel: bytes, record: bytes, installer: bytes | None
) -> None:
    files = {"METADATA": metadata, "WHEEL": wheel, "RECORD": record} | ({"INSTALLER": installer} if installer is not None else {})
    found = read(tmp_path, files)
    names, versions = header(metadata, b"name"), header(metadata, b"version")
    if not names or not versions:
        assert found is None
        return
    assert found is not None
    assert (found.name, found.version) == (names[0], versions[0])
    assert found.requires == header(metadata, b"requires-dist")
    assert found.license == next(iter(header(metadata, b"license-expression") + header(metadata, b"license")), None)
    assert found.tags == header(wheel, b"tag")
    assert found.installer == ((installer or b"").decode("utf-8", "backslashreplace").strip() or None)
    kept = [line for line in re.split(rb"[\r\n]+", record) if line]
    own = sorted(line for line in kept if not any(part in line for part in (b".pyc,", b"/INSTALLER,", b"/REQUESTED,")))
    assert found.record_sha256 == hashlib.sha256(b"\n".join(own)).hexdigest()
    sizes = [line.rpartition(b",")[2].strip(b" \t\x0c") for line in kept]
    assert found.size_bytes == sum(int(size) for size in sizes if size and all(48 <= byte <= 57 for byte in size))
    assert found.content_sha256 == content_digest(record)


@given(st.lists(rows, max_size=6), st.randoms())
def test_the_order_of_a_record_does_not_matter(found: list[str], chance: object) -> None:
    shuffled = list(found)
    chance.shuffle(shuffled)  # type: ignore[attr-defined]
    assert content_digest("\n".join(found).encode()) == content_digest("\n".join(shuffled).encode())


def test_folders_that_are_none_are_null_and_keep_their_place(tmp_path: Path) -> None:
    good = tmp_path / "a-1.dist-info"
    good.mkdir()
    (good / "METADATA").write_text("Name: a\nVersion: 1\n")
    (tmp_path / "link").symlink_to(good)
    (tmp_path / "file").touch()
    found = read_dist_infos(str(tmp_path), ["absent", good.name, "file", "link", "../a-1.dist-info", str(good)])
    assert [item.name if item else None for item, _ in found] == [None, "a", None, None, None, None]
    assert [faults[0] for _, faults in found if faults] == [
        "No such file or directory (os error 2)",
        "METADATA: Not a directory (os error 20)",
        "a symbolic link, which is not followed",
        "a path out of the environment",
        "a path out of the environment",
    ]
    assert len(read_dist_infos(str(tmp_path), [good.name] * 500)) == 500
