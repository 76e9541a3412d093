"""How files of users are opened: what is read, and what is refused in which words."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from envtrail.environments.reading import Entry, Files, hold_file, is_escaped, is_of_kernel, on_disk, show, tell


@pytest.fixture
def files(tmp_path: Path) -> Files:
    (tmp_path / "lib/python3.11").mkdir(parents=True)
    (tmp_path / "lib/python3.9").mkdir()
    (tmp_path / "lib/python3.11/os.py").write_text("abc")
    (tmp_path / "lib/readme").touch()
    (tmp_path / "link").symlink_to("lib")
    os.mkfifo(tmp_path / "pipe")
    return Files(str(tmp_path))


class TestRead:
    def test_a_file_is_read_whole_or_not_at_all(self, files: Files) -> None:
        assert files.read("lib/python3.11/os.py", 3) == b"abc"
        with pytest.raises(OSError, match="more than 2 bytes") as reported:
            files.read("lib/python3.11/os.py", 2)
        assert reported.value.errno == errno.EFBIG
        assert files.read_head("lib/python3.11/os.py", 2) == b"ab"
        with open(files.descriptor("lib/python3.11/os.py"), "rb") as file:
            assert file.read() == b"abc"

    @pytest.mark.parametrize(
        ("name", "number", "why"),
        [
            ("none", None, "No such file or directory"),
            ("lib", errno.EINVAL, "no regular file"),
            ("pipe", errno.EINVAL, "no regular file"),
            ("link", errno.ELOOP, "a symbolic link, which is not followed"),
            ("a\udfff", errno.EINVAL, "no name of a file"),
        ],
    )
    def test_what_is_no_file_is_refused(self, files: Files, name: str, number: int | None, why: str) -> None:
        for read in (lambda: files.read(name, 9), lambda: files.read_head(name, 9), lambda: files.descriptor(name)):
            with pytest.raises(OSError, match=why) as reported:
                read()
            assert reported.value.errno == number

    def test_of_one_environment_so_much_is_read_and_no_more(self, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("envtrail.environments.reading._TOTAL_BYTES", 6)
        bounded = Files(files.prefix)
        for _ in range(2):
            bounded.read("lib/python3.11/os.py", 9)
        with pytest.raises(OSError, match="the metadata of this environment is larger than any is") as reported:
            bounded.read("lib/python3.11/os.py", 9)
        assert reported.value.errno == errno.EFBIG
        small = Files(files.prefix)
        for _ in range(6):
            with pytest.raises(OSError, match="more than 1 bytes"):
                small.read("lib/python3.11/os.py", 1)
        with pytest.raises(OSError, match="larger than any is"):
            small.read("lib/python3.11/os.py", 1)

    def test_elsewhere_only_a_file_of_the_same_owner_is_read_and_none_of_the_kernels(self, files: Files, tmp_path: Path) -> None:
        uid = os.getuid()
        path = str(tmp_path / "link/python3.11/os.py")
        assert files.read_elsewhere(path, 3, owner_uid=uid) == b"abc"
        for place, owner_uid in ((path, uid + 1), ("/proc/self/status", uid), ("/dev/null", 0)):
            with pytest.raises(OSError, match="a file of somebody else's") as reported:
                files.read_elsewhere(place, 3, owner_uid=owner_uid)
            assert reported.value.errno == errno.EACCES
        with pytest.raises(OSError, match="more than 2 bytes"):
            files.read_elsewhere(path, 2, owner_uid=uid)

    def test_what_a_path_leads_to_is_held(self, files: Files, tmp_path: Path) -> None:
        with hold_file(str(tmp_path / "link/readme")) as (handle, place):
            assert (place, os.fstat(handle).st_size) == (f"{tmp_path}/lib/readme", 0)
        with pytest.raises(OSError, match="Bad file descriptor"):
            os.fstat(handle)
        for name in ("a\0b", "a\udfff"):
            with pytest.raises(OSError, match="no name of a file") as reported, hold_file(name):
                pass
            assert reported.value.errno == errno.EINVAL


class TestFolders:
    def test_names_are_sorted_and_a_link_is_no_folder(self, files: Files) -> None:
        assert files.entries("") == [Entry("lib", is_folder=True), Entry("link", is_folder=False), Entry("pipe", is_folder=False)]
        for name, number, why in (
            ("pipe", errno.ENOTDIR, "no folder"),
            ("link", errno.ENOTDIR, "no folder"),
            ("x", None, "No such file"),
        ):
            with pytest.raises(OSError, match=why) as reported:
                files.entries(name)
            assert reported.value.errno == number

    def test_too_many_names_are_a_fault_of_their_own(self, files: Files, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("envtrail.environments.reading.MOST_NAMES", 3)
        assert len(files.entries("lib")) == 3
        monkeypatch.setattr("envtrail.environments.reading.MOST_NAMES", 2)
        for ask in (lambda: files.entries("lib"), lambda: files.match("lib/*/os.py")):
            with pytest.raises(OSError, match="more than 2 names") as reported:
                ask()
            assert reported.value.errno == errno.E2BIG

    @pytest.mark.parametrize(
        ("pattern", "found"),
        [
            ("lib/python3*", ["lib/python3.11", "lib/python3.9"]),
            ("lib/python3*/os.py", ["lib/python3.11/os.py"]),
            ("*/readme", ["lib/readme"]),
            ("link", ["link"]),
            ("link/readme", []),
            ("l*", ["lib", "link"]),
            ("pipe/x", []),
            ("none/*", []),
            ("lib/none", []),
        ],
    )
    def test_what_lies_at_a_pattern(self, files: Files, pattern: str, found: list[str]) -> None:
        assert files.match(pattern) == found

    def test_a_path_is_below_the_prefix_or_refused(self, files: Files, tmp_path: Path) -> None:
        assert files.below(str(tmp_path)) == ""
        assert files.below(f"{tmp_path}//lib/x") == "lib/x"
        assert files.below(f"{tmp_path}/Xlib") == "Xlib"
        for path in (f"{tmp_path}x", "/", "lib"):
            with pytest.raises(OSError, match="a path out of the environment") as reported:
                files.below(path)
            assert reported.value.errno == errno.EXDEV
        assert Files("/").below("/lib") == "lib"


class TestNames:
    @pytest.mark.parametrize(
        ("name", "shown"),
        [("ä", "ä"), ("a\udcff", "a\\xff"), ("a\udc80b", "a\\x80b"), ("a\ud800", "a\\ud800"), ("\ud800ä", "\\ud800ä")],
    )
    def test_what_is_no_text_is_shown_by_its_bytes(self, name: str, shown: str) -> None:
        assert show(name) == shown
        assert is_escaped(shown) == ("\\x" in shown)

    def test_a_path_is_found_again_by_how_it_is_shown(self, tmp_path: Path) -> None:
        assert on_disk("/a\\x41") == "/a\\x41"
        shown, raw = f"{tmp_path}/a\\xff", f"{tmp_path}/a\udcff"
        assert on_disk(shown) == shown
        os.mkdir(raw)
        assert on_disk(shown) == raw
        os.mkdir(shown)
        with pytest.raises(OSError, match="two paths are spelt so, one of them of bytes that are no UTF-8") as reported:
            on_disk(shown)
        assert reported.value.errno == errno.EINVAL
        os.rmdir(raw)
        assert on_disk(shown) == shown
        valid = f"{tmp_path}/\\xc3\\xa4"
        os.mkdir(f"{tmp_path}/ä")
        assert on_disk(valid) == valid

    @pytest.mark.parametrize(
        ("fault", "said"),
        [
            (OSError(2, "gone", "/secret"), "gone"),
            (OSError("only words"), "only words"),
            (ValueError("a value"), "a value"),
            (ValueError(), "ValueError"),
        ],
    )
    def test_a_fault_is_reported_without_the_path(self, fault: Exception, said: str) -> None:
        assert tell(fault) == said

    @pytest.mark.parametrize(
        ("place", "is_kernels"), [("/proc/1", True), ("/sys/a", True), ("/dev/a", True), ("/process/a", False)]
    )
    def test_files_of_the_kernel_are_known_by_their_place(self, place: str, *, is_kernels: bool) -> None:
        assert is_of_kernel(place) is is_kernels
