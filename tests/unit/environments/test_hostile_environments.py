"""What the owner of an environment can put into it for whoever reads it as root: nothing is read through, and nothing stops."""

from __future__ import annotations

import json
import os
import shutil
from pathlib import Path

import msgspec
import pytest
from hostile_lab import CONDA, CONDA_FILES, INFO, SECRET, SITE, VENV_FILES, look, make, names, replace, reported, verify
from inspect_lab import INSPECTOR

from envtrail.config import load_config
from envtrail.environments import find
from envtrail.environments.find import identify
from envtrail.environments.inventory import read_snapshot
from envtrail.environments.reading import on_disk, show
from envtrail.inspect.search import find_environments

pytestmark = pytest.mark.timeout(30)


class TestLinks:
    @pytest.mark.parametrize("name", VENV_FILES)
    def test_a_link_to_a_secret_is_a_fault_of_that_file_and_nothing_of_it_is_told(self, tmp_path: Path, name: str) -> None:
        prefix = make(tmp_path)
        secret = tmp_path / "shadow"
        secret.write_text(f"Name: {SECRET}\nVersion: {SECRET}\nhome = {SECRET}\n")
        replace(prefix / name, lambda path: path.symlink_to(secret))
        assert SECRET not in reported(prefix)
        environment, taken = look(prefix)
        assert "y" in names(taken)
        assert any(os.path.basename(name) in fault and "link" in fault for fault in environment.faults + taken.faults)

    @pytest.mark.parametrize("name", CONDA_FILES)
    def test_nor_in_a_conda_environment(self, tmp_path: Path, name: str) -> None:
        prefix = make(tmp_path, conda=True)
        secret = tmp_path / "secret.json"
        secret.write_text(
            json.dumps({"name": SECRET, "version": "1"})
            if name.endswith(".json")
            else f'==> 2025-01-02 03:04:05 <==\n# cmd: {SECRET}\n+{SECRET}-1-0\n#define PY_VERSION "{SECRET}"\n'
        )
        replace(prefix / name, lambda path: path.symlink_to(secret))
        assert SECRET not in reported(prefix)
        assert "six" in names(look(prefix)[1])

    def test_a_link_to_a_json_file_of_roots_is_not_quoted(self, tmp_path: Path) -> None:
        prefix = make(tmp_path)
        (tmp_path / "root.json").write_text(json.dumps({"url": f"https://{SECRET}/"}))
        (prefix / INFO / "direct_url.json").symlink_to(tmp_path / "root.json")
        assert SECRET not in reported(prefix)

    def test_whether_another_file_is_there_is_not_told(self, tmp_path: Path) -> None:
        answers = set()
        for target in (tmp_path / "there", tmp_path / "absent"):
            (tmp_path / "there").touch()
            shutil.rmtree(tmp_path / "v", ignore_errors=True)
            prefix = make(tmp_path)
            (prefix / INFO / "REQUESTED").symlink_to(target)
            (prefix / SITE / "y-1.0.dist-info/RECORD").unlink()
            (prefix / SITE / "y-1.0.dist-info/RECORD").symlink_to(target)
            shutil.rmtree(tmp_path / "trail", ignore_errors=True)
            answers.add(msgspec.json.encode(look(prefix)[1]))
        assert len(answers) == 1

    @pytest.mark.parametrize("place", ["lib", "lib/python3.11", SITE])
    def test_the_packages_of_another_environment_are_not_shown(self, tmp_path: Path, place: str) -> None:
        theirs = make(tmp_path / "bob")
        (theirs / SITE / "x-1.0.dist-info/METADATA").write_text(f"Name: private\nVersion: {SECRET}\n")
        prefix = make(tmp_path)
        shutil.rmtree(prefix / place)
        (prefix / place).symlink_to(theirs / place)
        environment, taken = look(prefix)
        assert names(taken) == []
        assert SECRET not in reported(prefix)
        if place == SITE:
            assert environment.faults[0] == f"{SITE}: no folder of its own"
            assert taken.absent is not None

    def test_an_environment_that_is_swapped_for_a_link_while_it_is_read_is_not_entered(self, tmp_path: Path) -> None:
        prefix, theirs = make(tmp_path), make(tmp_path / "bob")
        environment = identify(prefix)
        assert environment is not None
        shutil.rmtree(prefix)
        prefix.symlink_to(theirs)
        with pytest.raises(OSError, match="Not a directory"):
            read_snapshot(environment)

    def test_links_that_are_as_they_should_be(self, tmp_path: Path) -> None:
        prefix = make(tmp_path)
        (prefix / "lib64").symlink_to("lib")
        (prefix / "bin").mkdir()
        (prefix / "bin/python").symlink_to("/usr/bin/python3")
        (tmp_path / "name").symlink_to(prefix)
        environment, taken = look(tmp_path / "name")
        assert (environment.prefix, environment.faults, environment.site_packages) == (str(prefix), [], [str(prefix / SITE)])
        assert (names(taken), taken.faults) == (["x", "y"], [])

    def test_an_egg_link_leads_to_a_project_of_its_owner_and_to_no_other(self, tmp_path: Path) -> None:
        prefix = make(tmp_path)
        project = tmp_path / "project"
        (project / "work.egg-info").mkdir(parents=True)
        (project / "work.egg-info/PKG-INFO").write_text("Name: work\nVersion: 2.0\n")
        (prefix / SITE / "work.egg-link").write_text(f"{project}\n.")
        assert "work" in names(look(prefix)[1])
        if os.geteuid() != 0:
            pytest.skip("needs root, to be somebody else's")
        os.chown(project / "work.egg-info/PKG-INFO", 65_534, 65_534)
        _, taken = look(prefix)
        assert "work" not in names(taken)
        assert taken.faults == ["work.egg-link: a file of somebody else's"]

    def test_the_register_of_a_user_is_no_link_and_no_pipe(self, tmp_path: Path) -> None:
        home = tmp_path / "home"
        (home / ".conda").mkdir(parents=True)
        register = home / ".conda/environments.txt"
        register.write_bytes(b"/opt/x\n/a\0b\nrelative\n/\xff\n")
        assert list(find._registered(str(home))) == ["/opt/x", "/\udcff"]
        for make_it in (os.mkfifo, lambda path: path.symlink_to("/etc/passwd")):
            replace(register, make_it)
            assert list(find._registered(str(home))) == []


class TestPipes:
    @pytest.mark.parametrize("name", VENV_FILES)
    def test_a_pipe_is_a_fault_at_once(self, tmp_path: Path, name: str) -> None:
        prefix = make(tmp_path)
        replace(prefix / name, os.mkfifo)
        environment, taken = look(prefix)
        assert "y" in names(taken)
        assert any("no regular file" in fault for fault in environment.faults + taken.faults)
        verify(prefix)

    @pytest.mark.parametrize("name", CONDA_FILES)
    def test_nor_does_a_conda_environment_wait(self, tmp_path: Path, name: str) -> None:
        prefix = make(tmp_path, conda=True)
        replace(prefix / name, os.mkfifo)
        assert names(look(prefix)[1]) == ["six", "x", "y"]
        verify(prefix)


class TestNames:
    def test_names_that_are_no_utf_8_are_shown_escaped(self, tmp_path: Path) -> None:
        prefix = make(tmp_path, conda=True)
        site = os.fsencode(prefix / SITE)
        for name in (b"z\xff-1.dist-info", b"e\xff.egg-info", b"\xff.egg-link", b"~\xff"):
            os.mkdir(site + b"/" + name)
        with open(site + b"/z\xff-1.dist-info/METADATA", "wb") as file:
            file.write(b"Name: z\xff\nVersion: 1\n")
        with open(os.fsencode(prefix) + b"/conda-meta/python-3\xff-0.json", "w") as file:
            file.write(CONDA.replace("six", "seven"))
        environment, taken = look(prefix)
        assert {"z\\xff", "seven"} <= set(names(taken))
        assert environment.python == "3\\xff"
        assert any(fault.startswith("e\\xff.egg-info") for fault in taken.faults)
        assert b"\\xff" in msgspec.json.encode(verify(prefix))

    def test_a_prefix_that_is_no_utf_8_is_read_by_its_bytes(self, tmp_path: Path) -> None:
        raw = make(tmp_path).rename(os.fsdecode(os.fsencode(tmp_path) + b"/v\xff"))
        shown = f"{tmp_path}/v\\xff"
        environment, taken = look(raw)
        assert (environment.prefix, names(taken)) == (shown, ["x", "y"])
        assert names(look(Path(shown))[1]) == ["x", "y"]
        assert verify(Path(shown)).packages == 2
        assert (show(on_disk(shown)), on_disk(shown)) == (shown, str(raw))
        reported = {"rules.roots": [], "rules.pythons": [], "rules.venv_roots": [str(tmp_path)], "rules.search_depth": 2}
        found = find_environments(load_config(environ={}, flags=reported), INSPECTOR).environments
        assert [item.prefix for item in found if item.prefix.startswith(str(tmp_path))] == [shown]

    def test_two_that_are_spelt_alike_are_neither(self, tmp_path: Path) -> None:
        raw = make(tmp_path).rename(os.fsdecode(os.fsencode(tmp_path) + b"/v\xff"))
        Path(f"{tmp_path}/v\\xff").mkdir()
        environment, taken = look(Path(f"{tmp_path}/v\\xff"))
        assert "two paths are spelt so" in environment.faults[0]
        assert taken.absent is not None
        assert raw.exists()

    def test_a_name_with_brackets_is_a_name(self, tmp_path: Path) -> None:
        prefix = make(tmp_path).rename(tmp_path / "v[1]*")
        assert names(look(prefix)[1]) == ["x", "y"]
