"""Which programs restore runs, and what package metadata cannot make them do."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from envtrail.environments.restore import needs_index, plan_restoration, render_requirements
from envtrail.model.environment import Environment, Package, Snapshot
from envtrail.tasks.restore import find_program

NOBODY = 65_534


class TestPrograms:
    def program(self, folder: Path, mode: int = 0o755) -> Path:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "tool").write_text("#!/bin/sh\n")
        (folder / "tool").chmod(mode)
        return folder / "tool"

    def test_one_that_only_we_could_write_is_taken_and_the_next_where_that_is_none(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        open_to_all, ours = self.program(tmp_path / "a"), self.program(tmp_path / "b")
        open_to_all.parent.chmod(0o777)
        monkeypatch.setenv("PATH", f"bin:{open_to_all.parent}:{ours.parent}")
        assert find_program(["none", "tool"]) == str(ours)
        assert find_program(["tool"], not_below=str(ours.parent)) is None
        ours.chmod(0o757)
        assert find_program(["tool"]) is None
        assert find_program(["tool"], also=[self.program(tmp_path / "c", 0o644)]) is None

    def test_a_link_to_one_of_the_environment_is_one_of_the_environment(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        inside = self.program(tmp_path / "v/bin")
        (tmp_path / "tool").symlink_to(inside)
        monkeypatch.setenv("PATH", str(tmp_path))
        assert find_program(["tool"]) == str(tmp_path / "tool")
        assert find_program(["tool"], not_below=str(tmp_path / "v")) is None

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
    def test_one_of_another_user_is_none_wherever_it_lies(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        tool = self.program(tmp_path / "bin")
        monkeypatch.setenv("PATH", str(tool.parent))
        for path in (tool, tool.parent):
            os.chown(path, NOBODY, -1)
            assert find_program(["tool"]) is None
            os.chown(path, 0, -1)
        assert find_program(["tool"]) == str(tool)


@pytest.mark.parametrize(
    "told",
    [
        {"name": "-e /home/alice/trojan #"},
        {"name": "a\n-e /home/alice/trojan"},
        {"version": "1.0 --index-url=http://evil.example/"},
        {"version": "not a version"},
        {"url": "https://h/a-1.0-py3-none-any.whl\n-e /home/alice/trojan", "archive": "sha256:" + "0" * 64},
        {"url": "https://h/a-1.0-py3-none-any.whl", "archive": "sha256:0\n-e /home/alice/trojan"},
        {"url": "http://[", "archive": "sha256:" + "0" * 64},
        {"ecosystem": "conda", "url": "https://h/a-1-0.conda", "archive": "sha256:" + "0" * 64, "md5": "0\n@EXPLICIT"},
    ],
)
def test_metadata_cannot_give_orders_to_an_installer(told: dict[str, str]) -> None:
    package = Package(**{"ecosystem": "pypi", "name": "a", "version": "1.0", **told})  # type: ignore[arg-type]
    assert not needs_index(package)
    environment = Environment(prefix="/v\n-e /home/alice/trojan", kind="venv")
    snapshot = Snapshot(prefix="/v", kind="venv", packages=[package])
    plan = plan_restoration(environment, snapshot, {}, at="now")
    assert (plan.pins, len(plan.lost)) == ([], 1)
    sound = Package(ecosystem="pypi", name="a", version="1.0", url="https://h/a-1.0.whl", archive="sha256:" + "0" * 64)
    plan = plan_restoration(environment, Snapshot(prefix="/v", kind="venv", packages=[sound]), {}, at="now")
    assert "\n-e" not in (render_requirements(plan) or "\n-e")
