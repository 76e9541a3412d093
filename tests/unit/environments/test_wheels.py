"""Wheels that lie on this machine: what they are, and which of them is what is installed."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import msgspec
import pytest
from wheels import make_wheel

from envtrail.core import content_digest
from envtrail.environments.wheels import WheelFacts, compress_tags, find_cached, find_wheels, is_same, read_unpacked, read_wheel
from envtrail.model.environment import Package

NAMES = frozenset({"some-name", "tagged"})


def pack(path: Path, files: dict[str, str]) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with zipfile.ZipFile(path, "w") as archive:
        for name, text in files.items():
            archive.writestr(name, text)
    return path


def facts_of(path: Path, record: bytes, **other: str) -> WheelFacts:
    facts = WheelFacts(
        name="some-name",
        version="1.0",
        content=f"sha256:{content_digest(record)}",
        filename="Some_Name-1.0-py3-none-any.whl",
        path=str(path),
        sha256=hashlib.sha256(path.read_bytes()).hexdigest(),
        size_bytes=path.stat().st_size,
    )
    return msgspec.structs.replace(facts, **other)


def record_of(wheel: Path) -> bytes:
    with zipfile.ZipFile(wheel) as archive:
        return archive.read("Some_Name-1.0.dist-info/RECORD")


class TestRead:
    def test_a_wheel_is_known_by_what_it_holds_whatever_it_is_called(self, tmp_path: Path) -> None:
        wheel = make_wheel(tmp_path, "Some-Name", "1.0")
        assert read_wheel(wheel) == facts_of(wheel, record_of(wheel))
        body = wheel.rename(tmp_path / "a1b2.body")
        assert read_wheel(body) == facts_of(body, record_of(body))
        other = body.rename(tmp_path / "other.whl")
        assert read_wheel(other) == facts_of(other, record_of(other), filename="other.whl")

    def test_its_file_name_has_its_build_and_all_its_tags(self, tmp_path: Path) -> None:
        wheel = "Build: 2\nTag: py2-none-any\nX-Tag: no\ntag: no\nTag:\tpy3-none-any\n"
        files = {"a/tagged-9.dist-info/RECORD": "", "tagged-1_1.dist-info/RECORD": "", "tagged-1_1.dist-info/WHEEL": wheel}
        facts = read_wheel(pack(tmp_path / "x.body", files))
        assert facts is not None
        assert (facts.name, facts.version, facts.filename) == ("tagged", "1-1", "tagged-1_1-2-py2.py3-none-any.whl")

    @pytest.mark.parametrize("files", [{}, {"tagged-1.dist-info/WHEEL": ""}, {"tagged-1.dist-info/RECORD": ""}])
    def test_a_zip_without_the_two_documents_of_a_wheel_is_none(self, tmp_path: Path, files: dict[str, str]) -> None:
        assert read_wheel(pack(tmp_path / "x.whl", files)) is None

    def test_what_is_damaged_or_encrypted_or_not_there_is_none(self, tmp_path: Path) -> None:
        wheel = make_wheel(tmp_path, "some-name", "1.0")
        raw = wheel.read_bytes()
        record = raw.rindex(b"some_name-1.0.dist-info/RECORD")
        for changed in (
            raw[:-10],
            raw[: record - 38] + b"\1" + raw[record - 37 :],
            b"",
            raw[: record - 36] + b"\x63" + raw[record - 35 :],
        ):
            wheel.write_bytes(changed)
            assert read_wheel(wheel) is None
        assert read_wheel(tmp_path / "none.whl") is None

    def test_what_an_installer_laid_down_is_known_by_its_records(self, tmp_path: Path) -> None:
        for folder, name in (("lib/python3.11/site-packages", "Some_Name-1.0"), ("z", "a-b-2.0")):
            (tmp_path / folder / f"{name}.dist-info").mkdir(parents=True)
            (tmp_path / folder / f"{name}.dist-info/RECORD").write_text(f"{name}.py,,\n")
        one, two = (f"sha256:{content_digest(f'{name}.py,,'.encode() + bytes([10]))}" for name in ("Some_Name-1.0", "a-b-2.0"))
        assert read_unpacked(tmp_path) == [
            WheelFacts(name="some-name", version="1.0", content=one, filename=""),
            WheelFacts(name="a-b", version="2.0", content=two, filename=""),
        ]


class TestFind:
    def test_wheels_of_a_project_are_found_in_order_and_no_others_are_opened(self, tmp_path: Path) -> None:
        first = make_wheel(tmp_path / "a/deep", "Some-Name", "1.0")
        second = make_wheel(tmp_path / "b", "Some-Name", "2.0")
        third = make_wheel(tmp_path / "b", "some-name", "3.0")
        make_wheel(tmp_path / "a", "other", "1.0")
        (tmp_path / "a/a.whl").write_text("a name that is none")
        (tmp_path / "a/some_name-4.0-py3-none-any.whl").write_text("no zip")
        (tmp_path / "a/some_name-5.0-py3-none-any.whl").mkdir()
        found = find_wheels([tmp_path / "b", tmp_path / "none", tmp_path / "a"], NAMES)
        assert [facts.path for facts in found] == [str(second), str(third), str(first)]

    def test_what_pip_keeps_of_the_index_is_found_and_copied_under_its_name(self, tmp_path: Path) -> None:
        wheel = make_wheel(tmp_path, "Some-Name", "1.0")
        other = make_wheel(tmp_path, "other", "1.0")
        raw, record = wheel.read_bytes(), record_of(wheel)
        cache, extracted = tmp_path / "cache", tmp_path / "out/of"
        (cache / "http-v2/1").mkdir(parents=True)
        (cache / "http/2").mkdir(parents=True)
        (cache / "http-v2/1/one.body").write_bytes(raw)
        (cache / "http-v2/1/one").write_bytes(raw)
        (cache / "http-v2/1/page.body").write_text("<!doctype html>")
        (cache / "http-v2/1/other.body").write_bytes(other.read_bytes())
        (cache / "http/2/unmarked").write_bytes(raw)
        encode = msgspec.msgpack.encode
        for name, answer in (("b", {"response": {"body": raw}}), ("c", {"response": {"body": "text"}}), ("d", {}), ("e", 3)):
            (cache / "http/2" / name).write_bytes(b"cc=4," + encode(answer))
        (cache / "http/2/f").write_bytes(b"cc=4,\xc1")
        (cache / "http/2/g").write_bytes(b"cc=4," + encode({"response": {"body": other.read_bytes()}}))
        finding = find_cached([tmp_path / "none", cache], NAMES, extracted)
        copy = extracted / "Some_Name-1.0-py3-none-any.whl"
        found = [next(finding)]
        assert copy.read_bytes() == raw
        copy.unlink()
        found += finding
        expected = facts_of(copy, record)
        assert [(one.path, one.content, one.filename) for one in found] == [(str(copy), expected.content, copy.name)] * 2
        assert found == [expected, msgspec.structs.replace(expected, sha256=found[1].sha256)]
        assert copy.read_bytes() == raw
        assert [path.name for path in extracted.iterdir()] == [copy.name]

    def test_nothing_is_made_where_nothing_is_found(self, tmp_path: Path) -> None:
        assert list(find_cached([tmp_path / "none"], NAMES, tmp_path / "out")) == []
        assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    ("version", "content", "name", "said"),
    [
        ("1.0", "sha256:1", "some-name", True),
        ("1", "sha256:1", "some-name", True),
        ("1.0", "sha256:2", "some-name", False),
        ("1.0", None, "some-name", None),
        ("1.1", None, "some-name", False),
        ("1.0", "sha256:1", "other", False),
    ],
)
def test_a_wheel_is_what_is_installed_when_name_version_and_files_are_the_same(
    version: str, content: str | None, name: str, *, said: bool | None
) -> None:
    facts = WheelFacts(name="some-name", version="1.0", content="sha256:1", filename="")
    assert is_same(Package(ecosystem="pypi", name=name, version=version, content=content), facts) is said


@pytest.mark.parametrize(
    ("tags", "said"),
    [
        (["py2-none-any", "py3-none-any"], "py2.py3-none-any"),
        (["cp311-cp311-manylinux_2_17_x86_64", "cp311-cp311-linux_x86_64"], "cp311-cp311-manylinux_2_17_x86_64.linux_x86_64"),
        (["py3-none", "py3-none-any", "a-b-c-d"], "py3-none-any"),
    ],
)
def test_tags_are_compressed_part_by_part(tags: list[str], said: str) -> None:
    assert compress_tags(tags) == said
