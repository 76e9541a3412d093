"""The recorded trail is unpacked by itself, on every Python, and nothing of an archive leads out of its folder."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from envtrail.config import load_config
from envtrail.errors import InputError
from envtrail.model.operation import Operation
from envtrail.tasks.demo import play, unpack


def archive(folder: Path, *members: tuple[str, bytes], links: tuple[tuple[str, str], ...] = ()) -> Path:
    path = folder / "a.tar"
    with tarfile.open(path, "w") as tar:
        for name, target in links:
            link = tarfile.TarInfo(name)
            link.type, link.linkname = tarfile.SYMTYPE, target
            tar.addfile(link)
        for name, content in members:
            item = tarfile.TarInfo(name)
            item.size = len(content)
            tar.addfile(item, io.BytesIO(content))
    return path


def test_the_demo_needs_no_filter_of_tarfile(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Python 3.11.2, which Debian 12 has, knows none: `extractall` takes no word `filter` there."""

    def extractall(self: tarfile.TarFile, path: str = ".", members: object = None, *, numeric_owner: bool = False) -> None:
        raise AssertionError("extracts without a filter")

    for name in ("data_filter", "tar_filter", "fully_trusted_filter"):
        monkeypatch.delattr(tarfile, name, raising=False)
    monkeypatch.setattr(tarfile.TarFile, "extractall", extractall)
    found: list[object] = []
    folder = play(load_config(environ={}, flags={"data_dir": str(tmp_path)}), on_result=found.append, pause=False)
    assert folder == tmp_path / "demo"
    assert sum(isinstance(item, Operation) for item in found) > 10


@pytest.mark.parametrize("name", ["../out", "a/../../out", "/tmp/envtrail-out"])
def test_a_name_that_leads_out_is_refused(tmp_path: Path, name: str) -> None:
    folder = tmp_path / "in"
    with pytest.raises(InputError, match="points outside"):
        unpack(archive(tmp_path, (name, b"x")), folder)
    assert not (tmp_path / "out").exists()
    assert not Path("/tmp/envtrail-out").exists()


def test_links_are_left_out(tmp_path: Path) -> None:
    (tmp_path / "in").mkdir()
    unpack(archive(tmp_path, ("b/c", b"x"), ("away/c", b"y"), links=(("away", str(tmp_path)),)), tmp_path / "in")
    assert (tmp_path / "in/b/c").read_bytes() == b"x"
    assert (tmp_path / "in/away/c").read_bytes() == b"y"
    assert not (tmp_path / "c").exists()
