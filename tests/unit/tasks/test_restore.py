"""A state is made again by the real tools, and is the same: package by package and hash by hash."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from conda_lab import CACHE, ensure_root
from wheels import make_wheel

from envtrail.environments.find import identify
from envtrail.environments.inventory import read_snapshot
from envtrail.state.state import State
from envtrail.trail.layout import Layout

NOBODY = 65_534
BEFORE_MS, AFTER_MS = 1_764_000_000_000, 1_764_000_060_000
AT = "2025-11-24T16:00:30Z"
UV = str(Path(sys.executable).with_name("uv"))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *args: object) -> None:  # type: ignore[override]
        pass


class Place:
    """An environment with a past, an index, and a trail that knows of both states."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.wheels = folder / "index"
        self.prefix = folder / "home/exp"
        self.cache = folder / "uv-cache"
        layout = Layout(folder / "trail")
        layout.create()
        self.state = State(layout.state)
        handler = partial(_Quiet, directory=str(self.wheels))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        self.index = f"http://127.0.0.1:{self._server.server_port}/"
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(self.prefix)], check=True)

    def offer(self, name: str, version: str, **more: object) -> Path:
        """Put a wheel on the index."""
        wheel = make_wheel(self.wheels / name, name, version, **more)  # type: ignore[arg-type]
        self.list(name)
        return wheel

    def list(self, name: str) -> None:
        """The page of a project (PEP 503), with the hashes of its files."""
        folder = self.wheels / name
        links = [
            f'<a href="{wheel.name}#sha256={hashlib.sha256(wheel.read_bytes()).hexdigest()}">{wheel.name}</a>'
            for wheel in sorted(folder.glob("*.whl"))
        ]
        (folder / "index.html").write_text("<!doctype html>" + "".join(links))

    def install(self, *wanted: str) -> None:
        words = [UV, "pip", "install", "-q", "--python", str(self.prefix / "bin/python"), "--index-url", self.index, *wanted]
        subprocess.run(words, check=True, env=self.environment)

    def note(self, time_ms: int, prefix: Path | None = None) -> None:
        """Let the trail read the environment."""
        environment = identify(prefix or self.prefix)
        assert environment is not None
        self.state.put_environment(environment, seen_ms=time_ms)
        self.state.put_snapshot(read_snapshot(environment), time_ms=time_ms, reason="operation")

    @property
    def environment(self) -> dict[str, str]:
        return {
            **os.environ,
            "UV_CACHE_DIR": str(self.cache),
            "UV_NO_CONFIG": "1",
            "HOME": str(self.folder / "home"),
            "UV_INDEX_URL": "",
            "UV_OFFLINE": "0",
        }

    def restore(self, *words: str, name: str = "exp") -> subprocess.CompletedProcess[str]:
        argv = [
            sys.executable,
            "-m",
            "envtrail",
            "--data-dir",
            str(self.folder / "trail"),
            "env",
            "restore",
            name,
            "--at",
            AT,
            *words,
        ]
        environment = {name: value for name, value in self.environment.items() if value or not name.startswith("UV_")}
        return subprocess.run(argv, env=environment, cwd=self.folder, capture_output=True, text=True, check=False)

    def close(self) -> None:
        self.state.close()
        self._server.shutdown()
        self._server.server_close()


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    made = Place(tmp_path)
    for version in ("1.0", "2.0"):
        made.offer("alpha", version, requires=["beta"], scripts={"alpha": "alpha:main"})
        made.offer("beta", version)
    made.install("alpha==1.0", "beta==1.0")
    made.note(BEFORE_MS)
    made.install("alpha==2.0", "beta==2.0")
    made.note(AFTER_MS)
    yield made
    made.close()


def versions(prefix: Path) -> dict[str, str]:
    environment = identify(prefix)
    assert environment is not None
    return {item.name: item.version for item in read_snapshot(environment).packages}


def test_after_an_upgrade_the_state_before_is_made_again_and_is_the_same(place: Place) -> None:
    done = place.restore("--index-url", place.index, "--run", "--to", str(place.folder / "again"))
    assert done.returncode == 0, done.stdout + done.stderr
    assert "restored: identical, package by package and hash by hash" in done.stderr
    assert versions(place.folder / "again") == {"alpha": "1.0", "beta": "1.0"}
    assert versions(place.prefix) == {"alpha": "2.0", "beta": "2.0"}
    assert subprocess.run([str(place.folder / "again/bin/alpha")], check=False).returncode == 0


def test_the_files_are_taken_by_the_real_installers(place: Place) -> None:
    assert place.restore("--index-url", place.index, "-o", "out").returncode == 0
    for number, words in enumerate(
        (["pip", "sync", "out/pylock.toml"], ["pip", "install", "--require-hashes", "--no-deps", "-r", "out/requirements.txt"])
    ):
        prefix = place.folder / f"by-{number}"
        subprocess.run(["/usr/bin/python3", "-m", "venv", "--without-pip", str(prefix)], check=True)
        argv = [UV, *words, "--python", str(prefix / "bin/python"), "--index-url", place.index]
        done = subprocess.run(argv, env=place.environment, cwd=place.folder, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        assert versions(prefix) == {"alpha": "1.0", "beta": "1.0"}
    prefix = place.folder / "by-pip"
    subprocess.run(["/usr/bin/python3", "-m", "venv", str(prefix)], check=True)
    pip = [
        str(prefix / "bin/pip"),
        "install",
        "-q",
        "--require-hashes",
        "--no-deps",
        "--index-url",
        place.index,
        "-r",
        "out/requirements.txt",
    ]
    assert subprocess.run(pip, cwd=place.folder, env=place.environment, check=False).returncode == 0
    assert versions(prefix)["alpha"] == "1.0"


def test_another_artefact_under_the_same_version_is_refused(place: Place) -> None:
    (wheel,) = (place.wheels / "beta").glob("beta-1.0-*")
    wheel.unlink()
    place.offer("beta", "1.0", scripts={"beta": "beta:main"})
    shutil.rmtree(place.cache)
    done = place.restore("--index-url", place.index, "--json", "-o", "out")
    plan = json.loads(done.stdout)
    assert done.returncode == 1
    assert [(pin["name"], pin["proof"]) for pin in plan["pins"]] == [("alpha", "files")]
    assert [item["name"] for item in plan["lost"]] == ["beta"]
    assert "other files than were installed" in plan["lost"][0]["reason"]


def test_offline_only_a_cache_can_tell(place: Place) -> None:
    cached = place.restore("--offline", "--json", "-o", "out", "--index-url", place.index)
    assert cached.returncode == 0, cached.stdout + cached.stderr
    assert {pin["origin"] for pin in json.loads(cached.stdout)["pins"]} == {"cache (uv)"}
    shutil.rmtree(place.cache)
    done = place.restore("--offline", "--json", "-o", "out2", "--index-url", place.index)
    plan = json.loads(done.stdout)
    assert done.returncode == 1
    assert [item["name"] for item in plan["lost"]] == ["alpha", "beta"]
    assert all("not restorable by hash" in item["reason"] for item in plan["lost"])
    assert not (place.folder / "out2/requirements.txt").exists()


def test_without_uv_pip_is_asked_and_installs(
    place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]
) -> None:
    from envtrail.cli.main import run
    from envtrail.tasks import restore as restoring

    monkeypatch.setattr(restoring, "_find_uv", lambda: None)
    monkeypatch.setenv("HOME", str(place.folder / "home"))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.chdir(place.folder)
    words = ["--data-dir", str(place.folder / "trail"), "env", "restore", "exp", "--at", AT, "--index-url", place.index]
    code = run([*words, "--run", "--to", str(place.folder / "again"), "--json"])
    said = capfd.readouterr()
    assert code == 0, said
    assert {pin["origin"] for pin in json.loads(said.out)["pins"]} == {"index (pip)"}
    assert versions(place.folder / "again") == {"alpha": "1.0", "beta": "1.0"}


def test_what_came_from_a_file_or_a_project_is_named_by_what_it_is(place: Place) -> None:
    wheel = place.offer("gamma", "1.0")
    project = place.folder / "project"
    project.mkdir()
    (project / "pyproject.toml").write_text('[build-system]\nrequires = []\nbuild-backend = "backend"\nbackend-path = ["."]\n')
    place.install(str(wheel))
    info = next((place.prefix / "lib").glob("python3*/site-packages")) / "delta-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: delta\nVersion: 1.0\n")
    (info / "direct_url.json").write_text(json.dumps({"url": project.as_uri(), "dir_info": {"editable": True}}))
    place.note(BEFORE_MS + 1)
    plan = json.loads(place.restore("--index-url", place.index, "--json", "-o", "out").stdout)
    lost = {item["name"]: item["reason"] for item in plan["lost"]}
    assert list(lost) == ["delta", "gamma"] or list(lost) == ["delta"], plan
    assert lost["delta"].startswith("an editable install of file:///")


def test_nothing_that_is_there_is_overwritten_and_a_target_must_be_named(place: Place) -> None:
    for words in (["--run"], ["--run", "--to", str(place.prefix)]):
        done = place.restore(*words)
        assert done.returncode == 2
        assert "hint:" in done.stderr


def test_a_dry_run_makes_nothing(place: Place) -> None:
    done = place.restore("--index-url", place.index, "--dry-run", "--to", str(place.folder / "again"))
    assert "would run: " in done.stdout
    assert not (place.folder / "again").exists()


def test_a_tool_that_fails_is_quoted(place: Place) -> None:
    assert place.restore("--index-url", place.index, "-o", "out").returncode == 0
    shutil.rmtree(place.cache)
    real = place.wheels / "beta"
    done = place.restore("--index-url", place.index, "--run", "--to", "/proc/none/such")
    assert real.exists()
    assert done.returncode == 4
    assert "ended with 1" in done.stderr


def put_traps(place: Place) -> Path:
    """Every program by which the owner of an environment could have somebody run what they like; where they would leave a mark."""
    mark = place.folder / "mark"
    trap = f"#!/bin/sh\necho ran $0 >> {mark}\nexit 1\n"
    home = place.folder / "home-of-python"
    home.mkdir()
    (place.prefix / "bin").mkdir(exist_ok=True)
    programs = [place.prefix / "bin" / name for name in ("python", "python3", "python3.11", "pip", "uv", "conda")]
    for program in [*programs, *(home / name for name in ("python3", "python3.11"))]:
        program.unlink(missing_ok=True)
        program.write_text(trap)
        program.chmod(0o755)
    version = (place.prefix / "pyvenv.cfg").read_text().partition("version = ")[2].split()[0]
    (place.prefix / "pyvenv.cfg").write_text(f"home = {home}\nversion = {version}\n")
    # What Python would import from the folder that somebody stands in.
    for module in ("pip", "venv", "site"):
        (place.folder / f"{module}.py").write_text(f"open({str(mark)!r}, 'a').write('imported {module}')\nraise SystemExit(1)\n")
    return mark


def test_no_program_of_the_environment_is_run(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    mark = put_traps(place)
    monkeypatch.setenv("PATH", f"{place.prefix}/bin:{os.environ['PATH']}")
    done = place.restore("--index-url", place.index, "--run", "--to", str(place.folder / "again"))
    assert not mark.exists(), mark.read_text()
    assert done.returncode == 0, done.stdout + done.stderr
    assert versions(place.folder / "again") == {"alpha": "1.0", "beta": "1.0"}


def test_nor_without_uv(place: Place, monkeypatch: pytest.MonkeyPatch, capfd: pytest.CaptureFixture[str]) -> None:
    from envtrail.cli.main import run
    from envtrail.tasks import restore as restoring

    mark = put_traps(place)
    monkeypatch.setattr(restoring, "_find_uv", lambda: None)
    monkeypatch.setenv("HOME", str(place.folder / "home"))
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PATH", f"{place.prefix}/bin:{os.environ['PATH']}")
    monkeypatch.chdir(place.folder)
    words = ["--data-dir", str(place.folder / "trail"), "env", "restore", "exp", "--at", AT, "--index-url", place.index]
    code = run([*words, "--run", "--to", str(place.folder / "again"), "--json"])
    assert not mark.exists(), mark.read_text()
    assert code == 0, capfd.readouterr()


@pytest.mark.skipif(os.geteuid() != 0, reason="root is who must not")
def test_root_does_not_run_what_the_owner_of_an_environment_has_chosen(place: Place) -> None:
    os.chown(place.prefix, NOBODY, NOBODY)
    place.note(BEFORE_MS)
    done = place.restore("--index-url", place.index, "--run", "--to", str(place.folder / "again"))
    assert (done.returncode, (place.folder / "again").exists()) == (3, False), done.stderr
    assert "does not belong to root" in done.stderr
    assert "hint: run this as its owner" in done.stderr


@pytest.mark.skipif(os.geteuid() != 0, reason="root is who must not")
def test_root_makes_nothing_where_others_can_put_something_in_its_place(place: Place) -> None:
    theirs = place.folder / "theirs"
    theirs.mkdir()
    os.chown(theirs, NOBODY, NOBODY)
    done = place.restore("--index-url", place.index, "--run", "--to", str(theirs / "again"))
    assert (done.returncode, list(theirs.iterdir())) == (3, []), done.stderr


def test_the_interpreter_may_be_named(place: Place) -> None:
    words = ["--index-url", place.index, "--dry-run", "--to", str(place.folder / "again")]
    done = place.restore(*words, "--python", "/usr/bin/python3")
    assert f"would run: /usr/bin/python3 -I -m venv --without-pip {place.folder}/again" in done.stdout


@pytest.mark.conda
@pytest.mark.timeout(300)
def test_a_conda_environment_is_made_again_from_its_documents(place: Place) -> None:
    root = ensure_root(CACHE / "root")
    prefix = place.folder / "home/conda-exp"
    channel = ["--override-channels", "-c", root.channel.resolve().as_uri(), "--offline"]
    subprocess.run(
        [str(root.conda), "create", "-y", "-q", "-p", str(prefix), *channel, "python=3.10", "six=1.16"],
        check=True,
        capture_output=True,
    )
    place.note(BEFORE_MS, prefix)
    subprocess.run(
        [str(root.conda), "install", "-y", "-q", "-p", str(prefix), *channel, "six=1.17"], check=True, capture_output=True
    )
    place.note(AFTER_MS, prefix)
    assert versions(prefix)["six"] == "1.17.0"
    environment = {**place.environment, "CONDA_EXE": str(root.conda)}
    argv = [
        sys.executable,
        "-m",
        "envtrail",
        "--data-dir",
        str(place.folder / "trail"),
        "env",
        "restore",
        str(prefix),
        "--at",
        AT,
    ]
    argv += ["--offline", "--run", "--to", str(place.folder / "again")]
    done = subprocess.run(
        argv,
        env={k: v for k, v in environment.items() if v or not k.startswith("UV_")},
        cwd=place.folder,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert versions(place.folder / "again")["six"] == "1.16.0"
    assert "hash by hash" in done.stderr
    assert (place.folder / "conda-exp-restore/conda-explicit.txt").read_text().count(".conda#") == 3
