"""The command line on a real trail: an imported log in a separate folder."""

from __future__ import annotations

import gzip
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from audit_lab import open_folders
from logs import pip_log

from envtrail.cli.main import COMMANDS
from envtrail.cli.render import safe, safe_cell
from envtrail.cli.times import parse_time
from envtrail.errors import UsageError

HOSTILE = "\x1b[31mred\x07\nsecond=line\u202e"


class Cli:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.environment = {**os.environ, "ENVTRAIL_DATA_DIR": str(folder / "trail"), "ENVTRAIL_NODE": "h", "LC_ALL": "C.UTF-8"}

    def __call__(self, *words: str, **variables: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-m", "envtrail", *words],
            env={**self.environment, **variables},
            capture_output=True,
            text=True,
            check=False,
        )


@pytest.fixture
def cli(tmp_path: Path) -> Cli:
    return Cli(tmp_path)


@pytest.fixture
def trail(cli: Cli) -> Cli:
    log = cli.folder / "audit.log.gz"
    log.write_bytes(
        gzip.compress(
            (pip_log(["install", "six==1.16.0"]) + pip_log(["install", HOSTILE, "=1+1"], pid=200, serial=20, code=1)).encode()
        )
    )
    assert cli("import", str(log)).returncode == 0
    return cli


@pytest.mark.parametrize(
    "words",
    [
        ("elastic", "ship", "--once", "--url", "http://127.0.0.1:1"),
        ("elastic", "write", "--once", "{folder}/envtrail.ndjson"),
        ("elastic", "status"),
        ("elastic", "refused"),
        ("log",),
    ],
)
def test_where_no_trail_is_it_is_said_and_nothing_is_made(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli(*(word.format(folder=cli.folder) for word in words))
    assert done.returncode == 2
    assert f"no trail in `{cli.folder}/trail` yet" in done.stderr
    assert "`envtrail up` watches this machine" in done.stderr
    assert list(cli.folder.iterdir()) == []


def test_who_asked_for_all_of_it_is_told_when_it_is_stopped_before(trail: Cli) -> None:
    words = ("elastic", "ship", "--once", "--url", "http://127.0.0.1:1")
    ship = subprocess.Popen([sys.executable, "-m", "envtrail", *words], env=trail.environment, stderr=subprocess.PIPE, text=True)
    with ship:
        assert ship.stderr is not None
        assert "does not answer" in ship.stderr.readline()
        ship.terminate()
        assert ship.wait(20) == 130


def test_the_former_name_of_the_access_log_is_accepted_and_not_listed(trail: Cli) -> None:
    assert (trail("looks").returncode, trail("looks").stderr) == (1, trail("access-log").stderr)
    listed = trail("--help").stdout
    assert "access-log" in listed
    assert "looks" not in listed


@pytest.mark.parametrize("words", [("elastic", "setup"), ("elastic", "check"), ("fleet", "status")])
def test_without_a_server_an_option_that_exists_is_named(cli: Cli, words: tuple[str, ...]) -> None:
    done = cli(*words)
    assert done.returncode == 2
    assert "`--url https://es.example:9200`, or elastic.urls in /etc/envtrail/envtrail.toml" in done.stderr
    assert "--url" in cli(*words, "--help").stdout


@pytest.mark.parametrize("name", ["hunt", "elastic status", "elastic ship", "elastic write", "elastic refused", "doctor", "seal"])
def test_what_is_of_one_machine_refuses_a_fleet_by_its_name(trail: Cli, name: str) -> None:
    done = trail("--store", "http://127.0.0.1:1", *name.split(), *(["download_piped"] if name == "hunt" else []))
    assert done.returncode == 3
    assert f"`envtrail {name}` is run on its machine" in done.stderr
    assert "without --store" in done.stderr


def test_nothing_is_decided_about_a_fleet_from_outside(trail: Cli) -> None:
    done = trail("--store", "http://127.0.0.1:1", "mute", "download_piped", "--user", "ci")
    assert done.returncode == 3
    assert "a decision is made on its machine" in done.stderr


def test_an_imported_log_is_a_trail(trail: Cli) -> None:
    documents = [json.loads(line) for line in trail("log", "--json", "--reverse").stdout.splitlines()]
    first, second = documents
    assert (first["tool"], first["argv"], first["outcome"], first["exit_code"]) == (
        "pip",
        ["pip", "install", "six==1.16.0"],
        "success",
        0,
    )
    assert (first["changes"], first["absent"]["changes"]) == (None, "not recorded")
    actor = first["actor"]
    assert (actor["name"], actor["uid"], actor["auid"], actor["session"], actor["remote"]) == ("alice", 1001, 1001, 3, None)
    assert (actor["method"], actor["confidence"]) == ("auid", "certain")
    assert (second["outcome"], second["exit_code"]) == ("failure", 1)


def test_importing_again_adds_no_operation_twice(trail: Cli) -> None:
    before = trail("log", "--json").stdout
    assert trail("import", str(trail.folder / "audit.log.gz")).returncode == 0
    assert [json.loads(line)["id"] for line in trail("log", "--json").stdout.splitlines()] == [
        json.loads(line)["id"] for line in before.splitlines()
    ]


@pytest.mark.parametrize(
    "words",
    [
        ("log",),
        ("log", "-p"),
        ("log", "--oneline"),
        ("show", "01KA"),
        ("events",),
        ("events", "--records"),
        ("export", "--format", "csv"),
        ("status",),
    ],
)
def test_what_users_typed_reaches_no_terminal_raw(trail: Cli, words: tuple[str, ...]) -> None:
    if words[0] == "show":
        words = ("show", json.loads(trail("log", "--json", "-n", "1").stdout)["id"])
    out = trail(*words)
    assert out.returncode == 0, out.stderr
    assert "\x1b" not in out.stdout
    assert "\u202e" not in out.stdout
    assert "\nsecond=line" not in out.stdout


def test_a_cell_is_no_formula() -> None:
    assert [safe_cell(text) for text in ("=1+1", "+x", "-5", "@a", "six")] == ["'=1+1", "'+x", "-5", "'@a", "six"]
    assert safe("a\x1b[0m\u202eb\n") == "a\\x1b[0m\\u202eb\\x0a"


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("log",), 2, "no trail in"),
        (("verify",), 2, "no trail in"),
        (("nonsense",), 2, "No such command"),
        (("log", "--since", "the day after"), 2, "is not a time"),
        (("import", "/no/such/file"), 2, "no file `/no/such/file`"),
        (("import", "/tmp"), 2, "is a folder"),
        (("export", "--format", "parquet"), 2, "parquet needs a file"),
        (("rules", "plan", "--profile", "lavish"), 2, "'lavish' is not one of 'lean', 'full'"),
        (("--config", "/no/such.toml", "config", "check"), 2, "no configuration file"),
    ],
)
def test_bad_input_gets_one_sentence_and_its_code(cli: Cli, words: tuple[str, ...], code: int, said: str) -> None:
    out = cli(*words)
    assert out.returncode == code
    assert said in out.stderr
    assert "Traceback" not in out.stderr


def test_finding_nothing_is_one(trail: Cli) -> None:
    out = trail("log", "--user", "nobody-here")
    assert (out.returncode, out.stdout) == (1, "")
    assert "no person named `nobody-here` is in the trail" in out.stderr
    out = trail("log", "--tool", "conda")
    assert (out.returncode, out.stdout) == (1, "")
    assert "no operations found" in out.stderr


def test_all_faults_of_the_settings_at_once(cli: Cli) -> None:
    bad = cli.folder / "bad.toml"
    bad.write_text('nodde = "x"\n[store]\nretention_days = "many"\n')
    out = cli("--config", str(bad), "config", "check")
    assert out.returncode == 2
    assert f"{bad}:1:1: `nodde` is not a setting; did you mean `node`?" in out.stderr
    assert f"{bad}:3:1: `store.retention_days` must be a whole number from 1 to 36_500 (days), not `many`" in out.stderr
    out = cli("config", "check", str(bad), "--json")
    assert (out.returncode, [json.loads(line)["key"] for line in out.stdout.splitlines()]) == (
        2,
        ["nodde", "store.retention_days"],
    )
    out = cli("--config", str(bad), "config", "show", "--json")
    assert (out.returncode, len(out.stdout.splitlines())) == (2, 2)


def test_the_example_is_a_sound_file_and_says_nothing_but_defaults(cli: Cli) -> None:
    example = cli("config", "example").stdout
    file = cli.folder / "example.toml"
    for text in (example, re.sub("^#([a-z_]+ = )", r"\1", example, flags=re.MULTILINE)):
        file.write_text(text)
        assert cli("config", "check", str(file)).returncode == 0
    assert example.count("\n#data_dir = ") == 1


def test_a_damaged_archive_is_read_as_far_as_the_damage_and_leaves_a_gap(trail: Cli) -> None:
    whole = (trail.folder / "audit.log.gz").read_bytes()
    torn = trail.folder / "torn.gz"
    torn.write_bytes(whole[: len(whole) // 2])
    before = trail("log", "--json").stdout
    for _ in range(2):
        out = trail("import", str(torn))
        assert (out.returncode, f"{torn}: audit log (gzip)" in out.stderr, "not read to its end" in out.stderr) == (2, True, True)
    assert trail("log", "--json").stdout == before
    (gap,) = [json.loads(line) for line in trail("gaps", "--json").stdout.splitlines()]
    assert (gap["cause"], str(torn) in gap["detail"], gap["since_ms"] <= gap["until_ms"]) == ("damaged", True, True)
    assert trail("seal").returncode == 0
    assert trail("verify").returncode == 0
    assert trail("rebuild").returncode == 0
    assert [json.loads(line) for line in trail("gaps", "--json").stdout.splitlines()] == [gap]


def test_every_command_has_help(cli: Cli) -> None:
    names = [name for section in COMMANDS.values() for name in section]
    assert len(names) > 15
    for name in names:
        assert cli(name, "--help").returncode == 0, name


def test_help_imports_nothing_heavy() -> None:
    code = "import sys\nfrom envtrail.cli.main import run\nrun(['--help'])\nprint([m for m in ('pyarrow','duckdb','rich','sqlite3') if m in sys.modules])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert out.stdout.splitlines()[-1] == "[]"


def test_the_reader_may_leave_early(trail: Cli) -> None:
    out = subprocess.run(
        f"{sys.executable} -m envtrail events --json | head -c 10",
        shell=True,
        env=trail.environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert "Traceback" not in out.stderr
    assert "error" not in out.stderr


@pytest.mark.parametrize(
    ("text", "hours_ago"), [("2h ago", 2), ("90m", 1.5), ("1 day ago", 24), ("now", 0), ("3 weeks ago", 504)]
)
def test_human_times(text: str, hours_ago: float) -> None:
    now_ms = 1_764_000_000_000
    assert now_ms - parse_time(text, now_ms) == hours_ago * 3_600_000


def test_days_begin_at_local_midnight(monkeypatch: pytest.MonkeyPatch) -> None:
    import time

    monkeypatch.setenv("TZ", "Asia/Shanghai")
    time.tzset()
    try:
        now_ms = 1_764_000_000_000  # 2025-11-25 00:00:00 +0800
        assert parse_time("today", now_ms) == 1_764_000_000_000
        assert parse_time("yesterday", now_ms) == 1_763_913_600_000
        assert parse_time("2025-11-20", now_ms) == 1_763_568_000_000
        assert parse_time("last monday", now_ms) == 1_763_913_600_000
    finally:
        monkeypatch.undo()
        time.tzset()
    with pytest.raises(UsageError):
        parse_time("someday", now_ms)


@pytest.mark.kernel
def test_a_member_sees_their_own_and_nobody_elses(trail: Cli, tmp_path_factory: pytest.TempPathFactory) -> None:
    from envtrail.service.server import StoreServer

    folder = tmp_path_factory.mktemp("socket")
    open_folders(folder)
    path = folder / "envtrail.sock"
    server = StoreServer(path, trail.folder / "trail", group="envtrail")
    try:
        answers = {}
        for uid in (0, 1001, 61020):
            child = os.fork()
            if child == 0:
                os._exit(_ask(path, uid, folder / f"answer-{uid}"))
            os.waitpid(child, 0)
            answers[uid] = (folder / f"answer-{uid}").read_text()
        assert answers == {0: "2 4", 1001: "2 4", 61020: "0 0"}
    finally:
        server.close()


def _ask(path: Path, uid: int, out: Path) -> int:
    from envtrail.service.client import RemoteStore
    from envtrail.state.store import Query

    with out.open("w") as handle:
        os.setgroups([])
        os.setgid(uid)
        os.setuid(uid)
        store = RemoteStore(str(path))
        handle.write(f"{len(list(store.operations(Query())))} {len(list(store.events(Query())))}")
    return 0


def test_a_service_that_would_refuse_its_settings_is_not_started(cli: Cli) -> None:
    bad = cli.folder / "refused.toml"
    bad.write_text('[rules]\nprofile = "leanx"\n')
    for verb, code in (("install", 2), ("upgrade", 2), ("uninstall", 0)):
        out = cli("--config", str(bad), "service", verb, "--dry-run")
        assert (out.returncode, "did you mean `lean`" in out.stderr) == (code, code == 2)


def test_the_service_is_installed_and_uninstalled_without_a_trace(cli: Cli) -> None:
    root = cli.folder / "root"
    assert cli("service", "install", "--root", str(root)).returncode == 0
    for name in ("recorder", "agent"):
        unit = (root / f"etc/systemd/system/envtrail-{name}.service").read_text()
        assert "@ENVTRAIL@" not in unit
        start = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
        program = start.removeprefix("ExecStart=").split()
        assert subprocess.run([*program, "--help"], capture_output=True, check=False).returncode == 0
    assert cli("service", "uninstall", "--root", str(root)).returncode == 0
    assert [path for path in root.rglob("*") if path.is_file()] == []
