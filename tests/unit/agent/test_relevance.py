"""Which changes of files are changes of an environment."""

from __future__ import annotations

import pytest

from envtrail.agent.relevance import is_nothing, parts_of, without_times
from envtrail.model.operation import FileChange


def changes(*paths: str, what: str = "written") -> list[FileChange]:
    return [FileChange(path=path, what=what) for path in paths]


@pytest.mark.parametrize("below", ["notes.txt", "checkpoints/a.pt", ".git/index", "data/lib/x", "libx"])
def test_data_below_a_prefix_is_no_part_of_it(below: str) -> None:
    files = changes(f"/v/{below}")
    assert [parts_of(files, "/v", kind) for kind in ("venv", "conda", "target", "user", "unknown")] == [
        [],
        [],
        files,
        files,
        files,
    ]


def test_what_is_left_of_a_virtual_environment_has_data_of_others_below_it_too() -> None:
    files = changes("/v/notes.txt", "/v/lib/python3.11/site-packages/x.py")
    assert parts_of(files, "/v", "target", ["/v/lib/python3.11/site-packages"]) == files[1:]
    assert parts_of(files, "/v", "target", ["/v/"]) == files


@pytest.mark.parametrize(
    "below", ["", "/bin/pip", "/lib/python3.11/site-packages/x.pth", "/pyvenv.cfg", "/conda-meta/a-1-0.json"]
)
def test_what_packages_bring_and_the_folder_itself_are(below: str) -> None:
    files = changes(f"/v{below}")
    assert parts_of(files, "/v", "conda") == files


def test_what_opens_or_touches_and_writes_nothing_has_changed_nothing() -> None:
    module = changes("/v/lib/python3.11/site-packages/x.py")
    assert is_nothing(changes("/v/conda-meta/history", "/v/.lock"))
    assert is_nothing(module, exe="/usr/bin/touch")
    assert not is_nothing(changes("/v/lib/x.py", what="created"), exe="/usr/bin/touch")
    assert not is_nothing(module, exe="/home/bob/touch")
    assert not is_nothing(module)


@pytest.mark.parametrize(
    ("program", "is_recorded", "is_kept"),
    [("chmod", False, True), ("chown", False, True), ("touch", False, False), (None, False, False), ("python3", True, True)],
)
def test_attributes_are_mode_and_owner_where_program_or_record_say_so_else_perhaps_times(
    program: str | None, is_recorded: bool, is_kept: bool
) -> None:
    written = changes("/v/lib/a.py")
    attributes = changes("/v/lib/b.py", what="attributes")
    kept = without_times([*written, *attributes], program=program, is_recorded=is_recorded)
    assert kept == [*written, *(attributes if is_kept else [])]


def test_conda_that_removes_documents_alone_lists() -> None:
    listing = [*changes("/v/conda-meta/numpy-1.26.4-py_0.json", what="deleted"), *changes("/v/conda-meta/history")]
    assert is_nothing(listing, tool="conda")
    assert not is_nothing(listing, tool="pip")
    assert not is_nothing([*listing, *changes("/v/lib/x.py", what="deleted")], tool="conda")
