"""Settings: what they cannot be is refused when they are loaded, all of it at once; and what one process has in force, another has too."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from envtrail.config import Config, load_config
from envtrail.documents.base import site_of
from envtrail.errors import ConfigError, InputError
from envtrail.settings import NOT_SETTINGS, SECTIONS, SETTINGS
from envtrail.settings.places import places_of
from envtrail.ship.client import connection_of

ROOT = Path(__file__).parents[2]


def faults_of(file: Path | None = None, environ: dict[str, str] | None = None, **flags: object) -> list[str]:
    """What is said of settings that are at fault."""
    with pytest.raises(ConfigError) as raised:
        load_config(file=file, environ=environ or {}, flags=flags)
    return [str(fault) for fault in raised.value.faults]


def values_of(config: Config) -> list[object]:
    return [setting.value_in(config) for setting in SETTINGS]


def test_a_child_has_the_settings_of_its_parent() -> None:
    flags = {
        "node": "gpu1",
        "elastic.urls": ["https://one:9200", "https://[::1]:9200"],
        "office.hours": ["08:00-12:00", "13:00-18:00"],
        "office.holidays": ["2026-12-25"],
        "rules.roots": ["/opt/conda", "/srv/with:colon"],
        "rules.only_auids": [1000, 1001],
        "web.pam": True,
        "web.account": "",
        "store.retention_days": 7,
    }
    parent = load_config(environ={}, flags=flags)
    child = load_config(environ=parent.variables())
    assert values_of(child) == values_of(parent)
    assert set(parent.variables()) == {setting.variable for setting in SETTINGS if setting.key in flags}


def test_every_default_is_what_its_kind_allows() -> None:
    assert len(SETTINGS) > 80
    for setting in SETTINGS:
        assert setting.kind.read(setting.written_default) == setting.default, setting.key
        assert setting.kind.read_text(setting.kind.write_text(setting.default)) == setting.default, setting.key
        assert setting.doc.endswith("."), setting.key
    assert len({setting.variable for setting in SETTINGS}) == len(SETTINGS)


def test_all_faults_are_told_at_once_each_with_its_place(tmp_path: Path) -> None:
    file = tmp_path / "e.toml"
    file.write_text('node = "a b"\n\n[rules]\nprofile = "leanx"\n  roots = [\n  "/a", "b" ]\n')
    reported = faults_of(file, {"ENVTRAIL_STORE_RETENTION_DAYS": "0"}, **{"web.idle_s": "1"})
    assert reported == [
        f"{file}:1:1: `node` must be a host name, not `a b`",
        f"{file}:4:1: `rules.profile` must be `lean`, `full`, `classic` or `none`, not `leanx`; did you mean `lean`?",
        f"{file}:5:3: `rules.roots` entry 2 must be an absolute path, or a pattern of some (`*`), not `b`",
        "$ENVTRAIL_STORE_RETENTION_DAYS: `store.retention_days` must be a whole number from 1 to 36_500 (days), not `0`",
        "--idle-s: `web.idle_s` must be a whole number from 1 to 86_400 (s), not `1`",
    ]


@pytest.mark.parametrize(
    ("text", "reported"),
    [
        ("rules = 3", "`rules` must be a section, `[rules]`, not `3`"),
        ("[[rules]]", "`rules` must be a section, `[rules]`, not a list"),
        ("[Rules]", "`Rules` is not a section; did you mean `[rules]`?"),
        ("[rules.lean]", "`rules.lean` is not a setting: sections are not nested"),
        ("[rules.profile]", "`rules.profile` must be `lean`, `full`, `classic` or `none`, not a section"),
        ('rules = { profil = "lean" }', "`rules.profil` is not a setting; did you mean `profile`?"),
        ('profile = "lean"', "`profile` is not a setting; did you mean `rules.profile`?"),
        ('[rules]\nsource = "auto"', "`rules.source` is not a setting; did you mean `capture.source`?"),
        ('"rules.profile" = "lean"', "`rules.profile` is not a setting when it is quoted; write `profile` below `[rules]`"),
        ("data_dir = 2026-01-02", "`data_dir` must be an absolute path, not `2026-01-02`"),
        ("[zzz]\na = 1", "`zzz` is not a section; there are service, capture"),
        ("x = \n", "it is not TOML: Invalid value"),
        ("a = 1\na = 2", "it is not TOML: Cannot overwrite a value"),
        ("a = " + "[" * 9999, "it is not TOML"),
        ("a = " + "1" * 9999, "it is not TOML"),
    ],
)
def test_a_file_that_is_built_otherwise_says_so(tmp_path: Path, text: str, reported: str) -> None:
    file = tmp_path / "e.toml"
    file.write_text(text)
    said = " ".join(faults_of(file))
    assert said.startswith(f"{file}")
    assert reported in said


@pytest.mark.parametrize(
    ("key", "value", "reported"),
    [
        ("node", "gpu1\n", "it holds a character that cannot be seen"),
        ("data_dir", "trail", "must be an absolute path, not `trail`"),
        ("data_dir", "~/trail", "`~` is not expanded"),
        ("service.socket", "/" + "s" * 107, "it is longer than 107 bytes"),
        ("capture.source", "netlnik", "did you mean `netlink`?"),
        ("capture.receive_buffer_bytes", 1 << 31, "from 4_096 to 1_073_741_824 (bytes)"),
        ("rules.people", "true", "must be `true` or `false`, not `true`"),
        ("rules.people", 1, "must be `true` or `false`, not `1`"),
        ("rules.search_depth", True, "not `true`"),
        ("rules.roots", "/opt/conda", 'a single entry is written `["…"]`'),
        ("rules.roots", ["/opt", "/opt"], "entry 2 must not repeat entry 1, `/opt`"),
        ("rules.roots", [""], "entry 1 must be an absolute path, or a pattern of some (`*`), not empty"),
        ("rules.exclude_programs", ["/opt/*"], "the kernel compares whole paths, no patterns"),
        ("rules.exclude_units", ["cron"], "did you mean `cron.service`?"),
        ("rules.exclude_users", ["-x"], "the name of an account"),
        ("rules.only_auids", [4294967295], "from 0 to 4_294_967_294 (uid)"),
        ("interpret.variables", ["PIP-TARGET"], "the name of an environment variable"),
        ("interpret.ai_agents", ["/usr/bin/claude"], "a name has no folder"),
        ("store.retention_days", 0, "from 1 to 36_500 (days)"),
        ("store.retention_bytes", -1, "from 0 to"),
        ("office.days", ["moon"], "a span like `mon-fri`"),
        ("office.hours", ["09:00-25:00"], "a span of hours like `09:00-18:00`"),
        ("office.hours", ["09:00-24:30"], "a span of hours like `09:00-18:00`"),
        ("office.zone", "Europe/Berln", "did you mean `Europe/Berlin`?"),
        ("office.holidays", ["2026-02-30"], "a date like `2026-12-25`"),
        ("elastic.urls", ["es.example:9200"], "an http or https address"),
        ("elastic.urls", ["https://es.example:99999"], "Port out of range"),
        ("elastic.urls", ["https://es.example?x"], "it ends with its path"),
        ("elastic.urls", ["https://"], "it names no host"),
        ("elastic.urls", ["https://[::1"], "Invalid IPv6 URL"),
        ("elastic.urls", ["http://es.example:9200"], "everything would be readable on the network"),
        ("elastic.urls", ["https://me:secret@es.example:9200"], "it holds a secret"),
        ("elastic.namespace", "GPU-1", "lower-case letters"),
        ("elastic.streams", ["operations"], "did you mean `operation`?"),
        ("elastic.bulk_documents", 0, "from 1 to 10_000 (documents)"),
        ("elastic.file", "relative", "must be an absolute path"),
        ("policy.git", "ftp://git.example/x", "an address of git"),
        ("policy.git", "https://token:secret@git.example/x", "it holds a secret"),
        ("policy.git_ref", "a..b", "the name of a branch"),
        ("policy.git_folder", "../x", "a folder in the repository"),
        ("policy.index", "pypi.org/simple", "an http or https address"),
        ("web.oidc_issuer", "http://sso.example", "plain http is for providers on this machine alone"),
        ("web.proxy_from", ["10.0.0.0/8"], "must be an IP address"),
        ("web.proxy_user_header", "X User", "the name of a header"),
        ("web.pam_service", "../envtrail", "the name of a file"),
        ("web.admins", ["@"], "a name, `@group`"),
        ("elastic.client_key", "/x", "has no effect without `elastic.client_cert`"),
        ("elastic.password_file", "/x", "has no effect without `elastic.user`"),
    ],
)
def test_what_a_setting_cannot_be_is_refused(key: str, value: object, reported: str) -> None:
    (said,) = faults_of(**{key: value})
    assert reported in said
    assert f"`{key}`" in said
    assert "secret@" not in said


@pytest.mark.parametrize(
    ("key", "value", "given"),
    [
        ("office.hours", ["00:00-24:00", "22:00-06:00"], ("00:00-24:00", "22:00-06:00")),
        ("elastic.urls", ["http://127.0.0.1:9200/", "http://[::1]:9200", "https://es/x/"], ("http://127.0.0.1:9200", "http://[::1]:9200", "https://es/x")),
        ("policy.git", "git@git.example:policy.git", "git@git.example:policy.git"),
        ("policy.git", "ssh://git@git.example/policy.git", "ssh://git@git.example/policy.git"),
        ("policy.git_folder", "/machines/gpu/", "machines/gpu"),
        ("web.proxy_from", ["0:0:0:0:0:0:0:1"], ("::1",)),
        ("web.admins", ["DOMAIN\\ada", "@Domain Users", "ada@example.org", "*"], ("DOMAIN\\ada", "@Domain Users", "ada@example.org", "*")),
        ("elastic.namespace", "gpu*", "gpu*"),
        ("elastic.file", "", None),
        ("rules.roots", [], ()),
    ],
)  # fmt: skip
def test_what_a_setting_may_be_is_taken(key: str, value: object, given: object) -> None:
    config = load_config(environ={}, flags={key: value})
    (setting,) = (setting for setting in SETTINGS if setting.key == key)
    assert setting.value_in(config) == given


@pytest.mark.parametrize(
    ("name", "text", "reported"),
    [
        ("ENVTRAIL_RULES_PROFIL", "lean", "this variable is not a setting; did you mean `ENVTRAIL_RULES_PROFILE`?"),
        ("ENVTRAIL_CONFIGS", "/x", "did you mean `ENVTRAIL_CONFIG`?"),
        ("Envtrail_Node", "x", "did you mean `ENVTRAIL_NODE`?"),
        ("ENVTRAIL_RULES_ROOTS", "/a::/b", "entry 2 must be an absolute path, or a pattern of some (`*`), not empty"),
        ("ENVTRAIL_RULES_ROOTS", '["/a"', "it begins as a JSON array and is none"),
        ("ENVTRAIL_RULES_SEARCH_DEPTH", "4.5", "a whole number"),
        ("ENVTRAIL_RULES_SEARCH_DEPTH", "", "a whole number from 0 to 32 (levels), not empty"),
        ("ENVTRAIL_WEB_PAM", "ja", "must be `true` or `false`, not `ja`"),
        ("ENVTRAIL_NODE", "gpu\udcff", "is no UTF-8"),
    ],
)
def test_a_variable_that_sets_nothing_is_a_fault(name: str, text: str, reported: str) -> None:
    (said,) = faults_of(environ={name: text})
    assert said.startswith(f"${name}: ")
    assert reported in said


def test_variables_that_are_no_settings_are_passed_over() -> None:
    kubernetes = ["ENVTRAIL_SERVICE_HOST", "ENVTRAIL_WEB_SERVICE_PORT_HTTP", "ENVTRAIL_PORT", "ENVTRAIL_PORT_8765_TCP_ADDR"]
    assert load_config(environ=dict.fromkeys([*NOT_SETTINGS - {"ENVTRAIL_CONFIG"}, *kubernetes, "PATH"], "x")).origins == {}


def test_every_variable_that_the_project_names_is_a_setting_or_is_listed() -> None:
    """No test, no document and no unit sets one that would be refused."""
    named = subprocess.run(
        ["git", "grep", "-hoE", r"\bENVTRAIL_[A-Z0-9_]*[A-Z0-9]\b"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    if named.returncode:
        pytest.skip("no repository")
    invented = {"ENVTRAIL_RULES_PROFIL", "ENVTRAIL_CONFIGS", "ENVTRAIL_SECTION_NAME", "ENVTRAIL_A_B"}
    here = {name for name in re.findall(r"ENVTRAIL_\w+", Path(__file__).read_text()) if "SERVICE_" in name or "PORT" in name}
    found = set(named.stdout.split()) - {setting.variable for setting in SETTINGS} - NOT_SETTINGS - invented - here
    assert found == set()
    assert len(named.stdout.split()) > 100


def test_a_file_that_is_named_must_be_there_and_the_systems_need_not(tmp_path: Path) -> None:
    for file in (tmp_path / "none", tmp_path, Path("/etc/passwd/x")):
        with pytest.raises(InputError, match=re.escape(str(file))):
            load_config(file=file, environ={})
    assert load_config(environ={}).origin("node") == "default"


def test_an_empty_value_is_the_default_where_that_is_nothing(tmp_path: Path) -> None:
    file = tmp_path / "e.toml"
    file.write_text(f'data_dir = "{tmp_path}"\n[elastic]\nfile = "/x"\n')
    config = load_config(file=file, environ={"ENVTRAIL_ELASTIC_FILE": "", "ENVTRAIL_OFFICE_ZONE": ""})
    assert (config.data_dir, config.elastic.file, config.office.zone) == (tmp_path, None, None)
    assert config.origins == {"data_dir": str(file), "elastic.file": "$ENVTRAIL_ELASTIC_FILE"}


def test_a_replaced_value_is_checked_too() -> None:
    config = load_config(environ={}, flags={"node": "n"})
    changed = config.replaced("--profile", {"rules.profile": "full"})
    assert (changed.rules.profile, changed.origin("rules.profile"), changed.node) == ("full", "--profile", "n")
    assert config.rules.profile == "lean"
    with pytest.raises(ConfigError, match=r"--profile: `rules\.profile` must be"):
        config.replaced("--profile", {"rules.profile": "lavish"})


def test_a_place_is_found_in_every_form_of_toml() -> None:
    text = '\n# x = 1\nnode = """\n[rules]\nprofile = 1\n"""\n[ rules ] # c\n"pro\\u0066ile" = \'#\'\npythons = [ # [x]\n  "]", { a = 1 },\n]\nroots = []\n[web]\n  a.b = 1\n  c = { d = { e = [1, 2], f = 2 }, g = 3 }\n'
    assert places_of(text) == {
        ("node",): (3, 1),
        ("rules",): (7, 1),
        ("rules", "profile"): (8, 1),
        ("rules", "pythons"): (9, 1),
        ("rules", "pythons", "a"): (10, 10),
        ("rules", "roots"): (12, 1),
        ("web",): (13, 1),
        ("web", "a"): (14, 3),
        ("web", "a", "b"): (14, 3),
        ("web", "c"): (15, 3),
        ("web", "c", "d"): (15, 9),
        ("web", "c", "d", "e"): (15, 15),
        ("web", "c", "d", "f"): (15, 27),
        ("web", "c", "g"): (15, 36),
    }


def test_help_does_not_pay_for_the_settings() -> None:
    code = "import sys; from envtrail.cli.main import run; run(['--help']); sys.exit('envtrail.settings' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False, capture_output=True).returncode == 0


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        ({}, "no search server is named"),
        ({"elastic.urls": ["https://es.example"], "elastic.api_key_file": "/not/there"}, "cannot be read"),
    ],
)
def test_a_cluster_that_cannot_be_queried_is_not_queried(settings: dict[str, list[str] | str], said: str) -> None:
    with pytest.raises(ConfigError, match=said):
        connection_of(load_config(environ={}, flags=settings))


def test_secrets_are_read_from_their_files(tmp_path: Path) -> None:
    (tmp_path / "password").write_text("s3cret\n")
    flags = {
        "elastic.urls": ["http://127.0.0.1:9200/"],
        "elastic.user": "me",
        "elastic.password_file": str(tmp_path / "password"),
    }
    connection = connection_of(load_config(environ={}, flags=flags))
    assert (connection.urls, connection.user, connection.password) == (["http://127.0.0.1:9200"], "me", "s3cret")


def test_the_files_that_the_documentation_shows_are_sound(tmp_path: Path) -> None:
    shown = [
        block
        for page in (ROOT / "docs").glob("*.md")
        for block in re.findall(r"^```toml\n(.*?)^```", page.read_text(), re.MULTILINE | re.DOTALL)
        if re.search(rf"^\[({'|'.join(SECTIONS)})\]", block, re.MULTILINE)
    ]
    assert len(shown) >= 5
    for block in shown:
        (tmp_path / "e.toml").write_text(block)
        load_config(file=tmp_path / "e.toml", environ={})


def test_what_is_written_goes_to_one_namespace() -> None:
    config = load_config(environ={}, flags={"elastic.namespace": "gpu*"})
    with pytest.raises(ConfigError, match="matches several"):
        site_of(config)
    assert site_of(config.replaced("-", {"elastic.namespace": "gpu1"})).namespace == "gpu1"


def test_every_section_is_written_in_the_table_once() -> None:
    assert {setting.key.partition(".")[0] for setting in SETTINGS if "." in setting.key} == set(SECTIONS)
