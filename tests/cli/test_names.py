"""Names on the command line, of a log in which what changed is not recorded: `tests/data/names/`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from envtrail.cli.names import given_environment

LOG = Path(__file__).parents[1] / "data" / "names" / "changes_not_recorded.log"
ID = "01HF7YAT00"
OTHER = (
    LOG.read_text()
    .replace(":100)", ":200)")
    .replace(":110)", ":210)")
    .replace("000.000", "900.000")
    .replace("003.000", "903.000")
)


@pytest.fixture(scope="module")
def trail(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("names") / "trail"
    assert ask(folder, "import", str(LOG)).returncode == 0
    return folder


def ask(trail: Path, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(trail), "ENVTRAIL_NODE": "h"}
    return subprocess.run(
        [sys.executable, "-m", "envtrail", *words], env=environment, capture_output=True, text=True, check=False
    )


def documents(trail: Path, *words: str) -> list[dict[str, Any]]:
    return [json.loads(line) for line in ask(trail, *words, "--json").stdout.splitlines()]


@pytest.mark.parametrize("name", ["six", "SIX"])
def test_what_was_requested_is_listed_and_marked(trail: Path, name: str) -> None:
    done = ask(trail, "log", "--package", name)
    assert done.returncode == 0
    assert "changes not recorded: requested six==1.16.0" in done.stdout
    assert "1 operation whose changes are not recorded matches by request" in done.stderr
    found = documents(trail, "log", "--package", name)
    assert [(item["id"][:10], item["matched"], item["changes"], item["requested"]) for item in found] == [
        (ID, "requested", None, ["six==1.16.0"])
    ]


def test_what_nobody_requested_may_have_changed_all_the_same(trail: Path) -> None:
    done = ask(trail, "log", "--package", "numpy")
    assert done.returncode == 1
    assert f"1 operation whose changes are not recorded may belong here too: {ID}" in done.stderr
    (line,) = documents(trail, "log", "--package", "numpy")
    assert line["incomplete"]["reason"] == "changes not recorded"
    assert line["incomplete"]["operations"] == 1
    assert [one[:10] for one in line["incomplete"]["examples"]] == [ID]


@pytest.mark.parametrize("spec", ["six==1.16.0", "six", "six<2", "pkg:pypi/six@1.16.0", "six vers:pypi/>=1|<2"])
def test_impact_counts_what_was_requested(trail: Path, spec: str) -> None:
    (found,) = documents(trail, "impact", spec)
    assert (found["basis"], found["requested"], found["brought_in"][:10]) == ("requested", "six==1.16.0", ID)
    assert found["holding"]["package"]["version"] == "1.16.0"
    assert f"uid 1000 {ID} requested six==1.16.0" in ask(trail, "impact", spec).stdout


@pytest.mark.parametrize("spec", ["six==1.17.0", "six>=1.17", "numpy"])
def test_impact_of_what_was_not_requested_says_what_it_lacks(trail: Path, spec: str) -> None:
    done = ask(trail, "impact", spec)
    assert done.returncode == 1
    assert f"no environment has, or had, {spec}" in done.stderr
    if spec == "numpy":
        assert "may belong here too" in done.stderr


@pytest.mark.parametrize(
    ("words", "code", "reported"),
    [
        (("log", "--env", "w"), 1, "no environment named `w` is in the trail; known: /opt/v"),
        (("log", "--env", "/v"), 1, "no environment named `/v` is in the trail"),
        (("log", "--env", "v/", "--oneline"), 0, ID),
        (("log", "--env", "/opt/v/", "--oneline"), 0, ID),
        (("log", "--user", "alice"), 1, "no person named `alice` is in the trail; known: 1000"),
        (("log", "--user", "1000", "--oneline"), 0, ID),
        (("events", "--user", "alice"), 1, "no person named `alice`"),
        (("events", "--user", "1000"), 0, "six==1.16.0"),
        (("runs", "--env", "w"), 1, "no environment named `w`"),
        (("findings", "--user", "bob"), 1, "no person named `bob`"),
        (("sessions", "--user", "bob"), 1, "no person named `bob`"),
        (("requests", "--env", "/prod"), 1, "no environment named `/prod`"),
        (("grants", "--user", "1"), 1, "no person named `1`"),
        (("top", "people", "--env", "w"), 1, "no environment named `w`"),
        (("top", "installs", "--env", "w"), 1, "no environment named `w`"),
        (("env", "show", "w"), 2, "no environment named `w`"),
        # The kernel refuses the look at it, as it does that of a folder in another's closed home.
        (("env", "show", "/" + "w" * 300), 2, "no environment named `/www"),
        (("env", "history", "v"), 2, "the trail has only operations of `/opt/v`"),
        (("log", "--grep", "nothing like it"), 1, "no operations found"),
        (("log", "--kind", "instal"), 2, "did you mean `install`?"),
        (("log", "--outcome", "sucess"), 2, "did you mean `success`?"),
        (("events", "--kind", "foo"), 2, "is not one of 'exec', 'exit'"),
        (("runs", "--kind", "Script"), 2, "did you mean `script`?"),
        (("findings", "--level", "hihg"), 2, "did you mean `high`?"),
        (("log", "--tool", "pipp"), 1, "no tool named `pipp` is in the trail; nearest: pip"),
        (("log", "--tool", "conda"), 1, "no operations found"),
        (("log", "--host", "H"), 1, "no machine named `H` is in the trail; known: h"),
        (("log", "--host", "h", "--user", "1000", "--oneline"), 0, ID),
        (("events", "--host", "h", "--key", "none"), 1, "no events found"),
        (("events", "--host", "gpu"), 1, "no machine named `gpu`"),
        (("gaps", "--host", "H"), 1, "no machine named `H`"),
        (("gaps", "--host", "h"), 1, "no gaps: nothing is known to be missing"),
        (("top", "people", "--host", "H"), 1, "no machine named `H`"),
        (("sessions", "--host", "H"), 1, "no machine named `H`"),
    ],
)
def test_each_verb_takes_names_alike(trail: Path, words: tuple[str, ...], code: int, reported: str) -> None:
    done = ask(trail, *words)
    assert done.returncode == code, done.stderr
    assert reported in done.stdout + done.stderr


def test_a_name_of_several_environments_is_refused_with_all_of_them(tmp_path: Path) -> None:
    log = tmp_path / "two.log"
    log.write_text(LOG.read_text() + OTHER.replace("/opt/v/", "/srv/v/"))
    assert ask(tmp_path / "trail", "import", str(log)).returncode == 0
    for verb in ("log", "runs", "findings", "requests", "grants"):
        done = ask(tmp_path / "trail", verb, "--env", "v")
        assert done.returncode == 2
        assert "more than one environment is named `v`: /opt/v, /srv/v" in done.stderr
    assert ask(tmp_path / "trail", "log", "--env", "srv/v", "--oneline").returncode == 0


def test_people_are_known_by_the_names_in_the_log(tmp_path: Path) -> None:
    log = tmp_path / "enriched.log"
    log.write_text(LOG.read_text().replace("key=(null)\n", 'key=(null)\x1dARCH=x86_64 SYSCALL=execve AUID="alice" UID="alice"\n'))
    assert ask(tmp_path / "trail", "import", str(log)).returncode == 0
    done = ask(tmp_path / "trail", "events", "--user", "alice")
    assert done.returncode == 0
    # The exit names nobody: its number is alice's, as the operation shows.
    assert len(done.stdout.splitlines()) == 3
    assert ask(tmp_path / "trail", "events", "--user", "ali").returncode == 1


def test_root_is_the_name_of_uid_0_on_every_machine(tmp_path: Path) -> None:
    log = tmp_path / "root.log"
    log.write_text(LOG.read_text().replace("uid=1000", "uid=0").replace("auid=0", "auid=4294967295"))
    trail = tmp_path / "trail"
    assert ask(trail, "import", str(log)).returncode == 0
    for verb in (("events",), ("log", "--oneline"), ("runs", "--all")):
        by_number, by_name = ask(trail, *verb, "--user", "0"), ask(trail, *verb, "--user", "root")
        assert (by_name.returncode, by_name.stdout) == (by_number.returncode, by_number.stdout)
    assert ask(trail, "events", "--user", "root").returncode == 0
    done = ask(trail, "sessions", "--user", "root")
    assert (done.returncode, "no person named" in done.stderr) == (1, False)


def test_a_machine_that_only_has_events_is_known(tmp_path: Path) -> None:
    log = tmp_path / "raw.log"
    log.write_text("node=db1 type=CONFIG_CHANGE msg=audit(1700000000.000:1): op=set audit_enabled=1 old=1 auid=0 ses=1 res=1\n")
    trail = tmp_path / "trail"
    assert ask(trail, "import", str(log)).returncode == 0
    assert ask(trail, "events", "--host", "db1").returncode == 0
    assert "no events found" in ask(trail, "events", "--host", "db1", "--key", "k").stderr
    assert "known: db1" in ask(trail, "events", "--host", "DB1").stderr


def test_folders_are_taken_from_here_and_from_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "real")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert (
        given_environment("~/real") == given_environment("./real/") == given_environment(f"{tmp_path}/link") == f"{tmp_path}/real"
    )
    assert given_environment(".") == str(tmp_path)
    assert given_environment("real") == "real"
    assert given_environment("gpu1:/x/") == "gpu1:/x/"
    assert given_environment(f"{tmp_path}/link", is_fleet=True) == f"{tmp_path}/link"
