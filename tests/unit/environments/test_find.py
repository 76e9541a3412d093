"""Which folders are environments, what is known of each without running anything, and where they are looked for."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envtrail.environments.find import expand_pythons, expand_roots, has_register, identify, search_folders, user_mounts
from envtrail.model.environment import Environment

SITE = "lib/python3.11/site-packages"
MADE_S = 1_700_000_000
MADE_MS = MADE_S * 1000


def make(prefix: Path, *names: str, **content: str) -> Path:
    """Files, and folders whose names end in `/`; content by the name's last part without its ending."""
    for name in names:
        path = prefix / name
        (path if name.endswith("/") else path.parent).mkdir(parents=True, exist_ok=True)
        if not name.endswith("/"):
            path.write_text(content.get(path.stem, ""))
            os.utime(path, (MADE_S, MADE_S))
    return prefix


def known(prefix: Path, kind: str, *sites: str, **more: object) -> Environment:
    reported = {"owner_uid": os.getuid(), "site_packages": [f"{prefix}/{site}" for site in sites], **more}
    return Environment(prefix=str(prefix), kind=kind, **reported)  # type: ignore[arg-type]


class TestVenv:
    def test_its_configuration_says_what_it_is(self, tmp_path: Path) -> None:
        text = "HOME=/opt/py/bin\n no key\nInclude-System-Site-Packages = False \nversion = 3.11.2.final.0\n"
        made = make(tmp_path, "pyvenv.cfg", f"{SITE}/", "include/python3.9/patchlevel.h", pyvenv=text)
        reported = {"python": "3.11.2", "created_ms": MADE_MS, "base": "/opt/py/bin"}
        assert identify(made) == known(made, "venv", SITE, **reported, sees_system=False)
        (tmp_path.parent / "name").symlink_to(tmp_path)
        assert identify(tmp_path.parent / "name") == identify(tmp_path)

    @pytest.mark.parametrize(
        ("text", "python", "sees_system"),
        [
            ("version = 3.11.2\nversion_info = 3.9.1", "3.11.2", True),
            ("version_info = 3.12", "3.12", True),
            ("version = none\ninclude-system-site-packages = yes", "3.11", False),
            ("include-system-site-packages = TRUE", "3.11", True),
            ("", "3.11", None),
        ],
    )
    def test_what_it_does_not_say_is_known_from_its_folders(
        self, tmp_path: Path, text: str, python: str, *, sees_system: bool | None
    ) -> None:
        found = identify(make(tmp_path, "pyvenv.cfg", f"{SITE}/", "lib/python3.9/", pyvenv=text))
        assert found == known(tmp_path, "venv", SITE, python=python, created_ms=MADE_MS, sees_system=sees_system)

    def test_a_configuration_that_cannot_be_read_is_a_fault(self, tmp_path: Path) -> None:
        make(tmp_path, f"{SITE}/")
        (tmp_path / "pyvenv.cfg").symlink_to("/none")
        found = identify(tmp_path)
        assert found is not None
        assert (found.kind, found.faults) == ("venv", ["pyvenv.cfg: a symbolic link, which is not followed"])
        assert (found.base, found.sees_system, found.python) == (None, None, "3.11")

    @pytest.mark.parametrize(("made_s", "is_known"), [(0, True), (-1, False), (5, True), (6, False)])
    def test_a_time_that_no_calendar_has_is_not_known(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, made_s: int, *, is_known: bool
    ) -> None:
        monkeypatch.setattr("envtrail.environments.find._LATEST_MS", 5000)
        make(tmp_path, "pyvenv.cfg")
        os.utime(tmp_path / "pyvenv.cfg", (made_s, made_s))
        found = identify(tmp_path)
        assert found is not None
        assert found.created_ms == (made_s * 1000 if is_known else None)


class TestKinds:
    def test_conda_says_its_python_and_its_root(self, tmp_path: Path) -> None:
        make(tmp_path, "conda-meta/python-3.10.13-h0_0.json", "conda-meta/history", f"{SITE}/", f"lib64/{SITE[4:]}/")
        (tmp_path / "conda-meta/later.json").touch()
        found = identify(tmp_path)
        assert found == known(tmp_path, "conda", SITE, f"lib64/{SITE[4:]}", python="3.10.13", created_ms=MADE_MS)
        inner = make(tmp_path / "envs/e", "conda-meta/", "lib/")
        assert identify(inner) == known(inner, "conda", base=str(tmp_path))
        for other in (make(tmp_path / "x/e", "conda-meta/"), make(tmp_path / "y/envs/e", "conda-meta/")):
            assert identify(other) == known(other, "conda")
        venv = make(tmp_path / "envs/v", "pyvenv.cfg", pyvenv="version = 3\n")
        assert identify(venv) == known(venv, "venv", created_ms=MADE_MS, sees_system=True)

    def test_a_file_in_the_place_of_a_mark_is_none(self, tmp_path: Path) -> None:
        assert identify(make(tmp_path, "conda-meta", "pyvenv.cfg/")) is None
        assert identify(tmp_path / "none") is None
        assert identify(tmp_path / "conda-meta") is None
        assert identify(Path("/a\0b")) is None

    def test_packages_of_a_user(self, tmp_path: Path) -> None:
        local = make(tmp_path / ".local", "bin/python3", "lib/python3.11/os.py", "x.dist-info/RECORD")
        assert identify(local) is None
        make(local, f"{SITE}/", "lib/python3/dist-packages/")
        assert identify(local) == known(local, "user", SITE, python="3.11")

    def test_a_systems_python(self, tmp_path: Path) -> None:
        make(tmp_path, "bin/python3", "lib/")
        assert identify(tmp_path) is None
        make(tmp_path, "lib/python3/dist-packages/")
        assert identify(tmp_path) == known(tmp_path, "system", "lib/python3/dist-packages")
        sites = ("lib/python3.11/dist-packages", SITE, "lib64/python3.11/site-packages", "local/lib/python3.11/dist-packages")
        make(tmp_path, "lib/python3.11/os.py", *(f"{site}/" for site in sites), "lib/python3.9/", "lib/python3.10/")
        every = sorted(("lib/python3/dist-packages", *sites))
        assert identify(tmp_path) == known(tmp_path, "system", *every, python="3.11")
        (tmp_path / "lib/python3/dist-packages").rmdir()
        assert identify(tmp_path) == known(tmp_path, "system", *sorted(sites), python="3.11")
        (tmp_path / "bin/python3").unlink()
        assert identify(tmp_path) is None

    def test_its_headers_say_its_version_before_its_folders_do(self, tmp_path: Path) -> None:
        make(tmp_path, "bin/python3", "lib/python3.11/os.py", "include/python3.10/", "include/python3.12/x")
        header = make(tmp_path, "include/python3.11/patchlevel.h", patchlevel='#define PY_VERSION   "3.11.9+"\n')
        (tmp_path / "include/python3.10/patchlevel.h").symlink_to("/none")
        faults = ["include/python3.10/patchlevel.h: a symbolic link, which is not followed"]
        assert identify(header) == known(tmp_path, "system", python="3.11.9+", faults=faults)
        (tmp_path / "include/python3.11/patchlevel.h").write_text("#define PY_VERSION x\n")
        assert identify(header) == known(tmp_path, "system", python="3.11", faults=faults)

    @pytest.mark.parametrize(
        ("names", "sites"),
        [
            (["x-1.dist-info/RECORD", f"{SITE}/"], [""]),
            ([f"{SITE}/x-1.dist-info/"], [SITE]),
            (["local/lib/python3.11/dist-packages/x-1.dist-info/"], ["local/lib/python3.11/dist-packages"]),
            (["x-1.dist-info/", "x.py"], [""]),
            (["x-1.dist-info/", "x.egg-info/"], None),
            (["x.egg-info/", "x.py"], None),
            ([f"{SITE}/x.py"], None),
        ],
    )
    def test_what_target_and_prefix_leave_behind(self, tmp_path: Path, names: list[str], sites: list[str] | None) -> None:
        make(tmp_path, *names)
        os.utime(next(iter([*tmp_path.rglob("*.dist-info"), tmp_path])), (MADE_S, MADE_S))
        found = identify(tmp_path)
        python = "3.11" if any(name.startswith("lib/python3.11") for name in names) else None
        assert found == (None if sites is None else known(tmp_path, "target", *sites, python=python, created_ms=MADE_MS))

    def test_a_link_to_packages_is_a_fault_and_no_folder_of_them(self, tmp_path: Path) -> None:
        make(tmp_path, "pyvenv.cfg", "lib/python3.10/", f"{SITE}/")
        (tmp_path / "lib/python3.10/site-packages").symlink_to(tmp_path / SITE)
        found = identify(tmp_path)
        assert found is not None
        assert found.site_packages == [f"{tmp_path}/{SITE}"]
        assert found.faults == ["lib/python3.10/site-packages: no folder of its own"]

    def test_two_folders_that_are_written_alike_are_unknown(self, tmp_path: Path) -> None:
        for name in ("v\\xff", "v\udcff"):
            (tmp_path / name).mkdir()
        why = "two paths are spelt so, one of them of bytes that are no UTF-8"
        shown = f"{tmp_path}/v\\xff"
        assert identify(Path(shown)) == Environment(prefix=shown, kind="unknown", faults=[why])

    def test_a_folder_with_more_names_than_any_has_is_unknown(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("envtrail.environments.reading.MOST_NAMES", 2)
        make(tmp_path, "pyvenv.cfg", *(f"lib/n{number}" for number in range(3)))
        assert identify(tmp_path) == known(tmp_path, "unknown", faults=["more than 2 names"])


class TestSearch:
    def test_each_place_is_looked_at_to_its_depth_and_no_further(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        found = ["v", "a/x", "m", "m/envs/e", ".local/share/pipx/venvs/p", ".virtualenvs/q", ".local/share/uv/tools/1/2/3"]
        passed = ["v/inner", "a/b/w", "skipped/v", ".local/share/uv/tools/1/2/4/5", ".local/share/other/v"]
        passed += [f"{name}/v" for name in ("node_modules", "__pycache__", "site-packages", ".git", "pkgs", ".cache")]
        make(home, *(f"{name}/{'conda-meta/' if name[0] == 'm' else 'pyvenv.cfg'}" for name in [*found, *passed]), "m/envs/f/")
        (home / "link").symlink_to(home / "v")
        searched = search_folders([], [str(home), str(tmp_path / "none")], [], 2, {f"{home}/skipped"})
        assert searched == sorted([*(f"{home}/{name}" for name in [*found, ".local"]), f"{tmp_path}/none/.local"])
        deeper = search_folders([], [str(home)], [], 3, {f"{home}/skipped"})
        assert set(deeper) - set(searched) == {f"{home}/a/b/w"}

    def test_a_root_of_conda_has_environments_below_it(self, tmp_path: Path) -> None:
        make(tmp_path, "envs/a/conda-meta/", "envs/b/x", "c/conda-meta/", "d/e/conda-meta/")
        (tmp_path / "envs/link").symlink_to(tmp_path / "c")
        expected = [str(tmp_path), f"{tmp_path}/c", f"{tmp_path}/envs/a"]
        assert search_folders([str(tmp_path)], [], [], 0) == expected
        assert search_folders([str(tmp_path / "none"), str(tmp_path)], [], [], 0) == sorted([*expected, f"{tmp_path}/none"])

    def test_what_conda_has_noted_for_a_user(self, tmp_path: Path) -> None:
        make(tmp_path, ".conda/environments.txt", environments="/opt/x\nrelative\n/a\0b\n/opt/y")
        assert search_folders([], [], [str(tmp_path), str(tmp_path / "none")], 0) == ["/opt/x", "/opt/y"]
        assert (has_register(str(tmp_path)), has_register(str(tmp_path / ".conda"))) == (True, False)
        (tmp_path / ".conda/environments.txt").write_text("/x\n" * 400_000)
        assert search_folders([], [], [str(tmp_path)], 0) == []

    def test_patterns_of_names(self, tmp_path: Path) -> None:
        make(tmp_path, "a/conda/", "b/conda/bin", ".c/conda/", "f")
        (tmp_path / "broken").symlink_to("/none")

        def expand(*patterns: str, skipped: tuple[str, ...] = ()) -> list[str]:
            found = expand_roots((f"{tmp_path}/{one}" for one in patterns), {f"{tmp_path}/{one}" for one in skipped})
            return [os.path.relpath(path, tmp_path) for path in found]

        assert expand("*/conda", "f", "none", "broken") == ["a/conda", "b/conda", "f", "broken"]
        assert expand("[ab]", "?/conda/bin", ".?/conda", "f/*") == ["a", "b", "b/conda/bin", ".c/conda"]
        assert expand("*/conda", "b/conda", "b//conda/", skipped=("a", "b/conda")) == []
        assert list(expand_roots(["/"])) == ["/"]

    def test_an_interpreter_leads_to_its_prefix(self, tmp_path: Path) -> None:
        make(tmp_path, "real/bin/python3.11", "bin/")
        (tmp_path / "bin/python3").symlink_to(tmp_path / "real/bin/python3.11")
        (tmp_path / "bin/python3.9").symlink_to("/none")
        patterns = [f"{tmp_path}/bin/python3*", f"{tmp_path}/none/python3", f"{tmp_path}/*/bin/python3.11"]
        assert list(expand_pythons(patterns)) == [f"{tmp_path}/real"] * 2
        assert list(expand_pythons(patterns, {f"{tmp_path}/bin"})) == [f"{tmp_path}/real"]


@pytest.mark.parametrize(
    ("line", "found"),
    [
        ("37 35 0:50 / /home/al\\040ice\\134m rw shared:1 - fuse.sshfs h: rw,user_id=1000,group_id=1", {"/home/al ice\\m": 1000}),
        ("37 35 0:50 / /m rw - fuse x user_id=7", {"/m": 7}),
        ("37 35 0:50 / /m rw - fuseblk /dev/sdb rw,user_id=0", {}),
        ("37 35 0:50 / /m rw - fuse x rw,the_user_id=7", {}),
        ("37 35 0:50 / /m rw - fuse x rw,user_id=7x", {}),
        ("37 35 0:50 / /m rw - ext4 user_id=7 rw,user_id=7", {}),
        ("37 35 0:50 / - fuse x user_id=7", {}),
        ("37 35 0:50 / /m", {}),
    ],
)
def test_file_systems_of_users_are_known_by_their_options(line: str, found: dict[str, int]) -> None:
    assert user_mounts(f"36 35 98:0 / /mnt rw - ext4 /dev/root rw\n{line}\n") == found
