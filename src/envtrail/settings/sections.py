"""The one table of settings. A row is `name: Annotated[type, kind, sentence] = default`; a class is a section of the TOML file.

`config show`, `config example`, `docs/settings.md`, the environment variables and the checks are made from it, and mypy knows each
setting's type where it is read (`config.rules.profile`).
"""

from datetime import date
from pathlib import Path
from typing import Annotated, Literal

from msgspec import Struct

from envtrail.settings import words
from envtrail.settings.kinds import Choice, Flag, Many, Maybe, Whole, Word

Profile = Literal["lean", "full", "classic", "none"]
CaptureSource = Literal["auto", "netlink", "multicast", "auditd_plugin", "auditd_log"]
Stream = Literal[
    "operation", "change", "run", "finding", "gap", "event", "login", "request", "grant", "mute", "look",
    "environment", "package", "snapshot",
]  # fmt: skip
"""Kinds of documents."""

_FLAG = Flag()
_PATH = Word(words.absolute_path, "an absolute path", "path")
_MAYBE_PATH = Maybe(_PATH)
_PATTERNS = Many(Word(words.path_pattern, "an absolute path, or a pattern of some (`*`)", "glob"), "globs")
_VARIABLES = Many(Word(words.variable, "the name of an environment variable", "name"), "names")
_ACCOUNT = Word(words.account, "the name of an account", "account")
_ROLE = Many(Word(words.role_member, "a name, `@group`, or `*` for everybody", "name"), "names")
_TEXT = Word(words.any_text, "text", "name")
_DAY_S, _DAY_MS = 86_400, 86_400_000
_CENTURY_DAYS = 36_500
_KIB, _MIB, _EIB = 1 << 10, 1 << 20, 1 << 60


class SettingsSection(Struct, frozen=True, kw_only=True):
    """What stands below a `[name]`."""


# fmt: off
class ServiceSettings(SettingsSection, frozen=True, kw_only=True):
    """The socket over which the running service answers."""

    socket: Annotated[Path, Word(words.socket_path, "an absolute path of 107 bytes at the most", "path"), "Socket over which other users query the service."] = Path("/run/envtrail/envtrail.sock")
    group: Annotated[str, Word(words.account, "the name of a group", "group"), "Members see everything, as root does."] = "envtrail"


class CaptureSettings(SettingsSection, frozen=True, kw_only=True):
    """Where the kernel's records come from."""

    source: Annotated[CaptureSource, Choice(CaptureSource), "`auto`: `netlink` where no audit daemon runs, else `multicast` beside it."] = "auto"
    audit_log: Annotated[Path, _PATH, "Log of auditd, imported at the first start and followed by `auditd_log`."] = Path("/var/log/audit/audit.log")
    process_connector: Annotated[bool, _FLAG, "Take forks, exit status and signals from the kernel's process connector."] = True
    file_watch: Annotated[bool, _FLAG, "Take changes of files below environments from fanotify (notification only: it blocks nobody)."] = True
    event_timeout_ms: Annotated[int, Whole(10, 600_000, "ms"), "An event without its end record is let go after this long (auditd.conf end_of_event_timeout)."] = 2000
    receive_buffer_bytes: Annotated[int, Whole(4 * _KIB, 1 << 30, "bytes"), "Netlink receive buffer, of each socket."] = 16 * _MIB
    backlog_limit: Annotated[int, Whole(0, _MIB, "records"), "Kernel queue (`auditctl -b`); raised, never lowered; 0 leaves it alone."] = 8192


class RulesSettings(SettingsSection, frozen=True, kw_only=True):
    """Which audit rules are loaded, and where environments are."""

    profile: Annotated[Profile, Choice(Profile), "How much is watched (docs/rules.md)."] = "lean"
    roots: Annotated[tuple[str, ...], _PATTERNS, "Where conda roots may be."] = (
        *(f"/opt/{name}" for name in ("conda", "miniconda3", "anaconda3", "mambaforge", "miniforge3")),
        "/usr/local/miniconda3",
        *(f"/home/*/{name}" for name in ("miniconda3", "anaconda3", "mambaforge", "miniforge3", ".conda")),
        *(f"/root/{name}" for name in ("miniconda3", "anaconda3", "miniforge3")),
    )
    venv_roots: Annotated[tuple[str, ...], _PATTERNS, "Folders searched for virtual environments and conda roots, a few levels deep."] = ("/home/*", "/root", "/opt", "/srv", "/data")
    search_depth: Annotated[int, Whole(0, 32, "levels"), "How deep below `venv_roots` virtual environments are looked for."] = 4
    pythons: Annotated[tuple[str, ...], _PATTERNS, "Interpreters to watch."] = (
        "/usr/bin/python3*",
        "/usr/local/bin/python3*",
        *(f"{home}/{below}" for below in (".pyenv/versions/*/bin/python3*", ".local/share/uv/python/*/bin/python3*") for home in ("/home/*", "/root")),
    )
    managers: Annotated[tuple[str, ...], _PATTERNS, "Native package managers to watch."] = (
        *(f"/usr/bin/{name}" for name in ("apt", "apt-get", "aptitude", "dpkg", "dnf", "dnf-3", "yum", "rpm", "zypper", "pacman", "apk", "uv")),
        "/usr/local/bin/uv", "/home/*/.local/bin/uv", "/root/.local/bin/uv",
        "/usr/local/bin/micromamba", "/home/*/.local/bin/micromamba",
        "/usr/local/bin/pixi", "/home/*/.pixi/bin/pixi",
    )
    exclude_users: Annotated[tuple[str, ...], Many(_ACCOUNT, "names"), "Accounts (automation) whose executions are not recorded; a kernel filter on auid or uid."] = ()
    exclude_units: Annotated[tuple[str, ...], Many(Word(words.unit, "the whole name of a unit, as `cron.service`", "unit"), "units"), "systemd units whose operations are not reported; decided by cgroup after capture."] = ()
    exclude_root: Annotated[bool, _FLAG, "Leave out root's use of the watched interpreters."] = False
    exclude_programs: Annotated[tuple[str, ...], Many(Word(words.program_path, "an absolute path", "path"), "paths"), "Programs whose executions are not recorded; a kernel filter on exe."] = ()
    people: Annotated[bool, _FLAG, "Trace what people run, beside the watched Pythons and managers."] = True
    only_auids: Annotated[tuple[int, ...], Many(Whole(0, (1 << 32) - 2, "uid"), "numbers"), "Bound every rule to these login uids (tests, trials)."] = ()
    follow: Annotated[bool, _FLAG, "A running agent follows environments that appear, move or go."] = True


class InterpretSettings(SettingsSection, frozen=True, kw_only=True):
    """What is made of the records."""

    variables: Annotated[tuple[str, ...], _VARIABLES, "Environment variables of a tool that are read from /proc and kept."] = (
        "HOME", "XDG_DATA_HOME", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "MAMBA_ROOT_PREFIX",
        "PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT", "PIP_PYTHON", "PIP_REQUIRE_VIRTUALENV", "PYTHONUSERBASE",
        "UV_PROJECT_ENVIRONMENT", "UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_TARGET", "UV_TOOL_DIR", "PIPX_HOME",
        "POETRY_VIRTUALENVS_IN_PROJECT", "PDM_IGNORE_ACTIVE_VENV", "PIPENV_VENV_IN_PROJECT", "PIPENV_IGNORE_VIRTUALENVS",
        "PIPX_GLOBAL_HOME", "PIXI_HOME", "CONDA_ENVS_PATH", "CONDA_ENVS_DIRS",
        "PIP_INDEX_URL", "PIP_EXTRA_INDEX_URL", "PIP_FIND_LINKS", "PIP_CONFIG_FILE", "UV_INDEX", "UV_DEFAULT_INDEX",
        "UV_INDEX_URL", "UV_EXTRA_INDEX_URL", "UV_FIND_LINKS", "UV_CONFIG_FILE", "CONDARC", "CONDA_CHANNELS",
    )
    ai_agents: Annotated[tuple[str, ...], Many(Word(words.program_pattern, "the name of a program, or a pattern of some (`*`)", "glob"), "globs"), "Programs of AI agents: what runs below one is of the class `agent`."] = (
        "claude", "codex", "cursor", "cursor-agent", "aider", "copilot", "gemini", "opencode", "goose", "windsurf", "amp", "cline", "openhands",
        "mcp-server*", "mcp_server*", "*mcp-server", "mcp-proxy",
    )
    person_variables: Annotated[tuple[str, ...], _VARIABLES, "Environment variables that say for whom a hub's server or a CI job runs; kept as the others are."] = (
        "JUPYTERHUB_USER",
        "GITHUB_ACTIONS", "GITHUB_RUN_ID", "GITHUB_REPOSITORY", "GITHUB_ACTOR",
        "GITLAB_CI", "CI_JOB_ID", "CI_PIPELINE_ID", "GITLAB_USER_LOGIN",
        "JENKINS_URL", "BUILD_TAG", "JOB_NAME", "BUILD_USER_ID",
        "BUILDKITE", "BUILDKITE_JOB_ID", "BUILDKITE_PIPELINE_SLUG", "BUILDKITE_BUILD_CREATOR",
        "CIRCLECI", "CIRCLE_WORKFLOW_JOB_ID", "CIRCLE_PIPELINE_ID", "CIRCLE_USERNAME",
        "TF_BUILD", "BUILD_BUILDID", "BUILD_DEFINITIONNAME", "BUILD_REQUESTEDFOR",
    )
    files_hold_ms: Annotated[int, Whole(10, 60_000, "ms"), "Changes of files are held this long, until the records have come that may explain them: fanotify is quicker."] = 1000
    files_rest_ms: Annotated[int, Whole(10, 60_000, "ms"), "A change of files by hand has ended when nothing more was changed for this long."] = 2000
    names_interval_s: Annotated[int, Whole(1, _DAY_S, "s"), "A name of a uid that was learnt longer ago is looked up again before it is used."] = 300
    environments_interval_s: Annotated[int, Whole(1, _DAY_S, "s"), "How often environments are looked for again."] = 300


class StorageSettings(SettingsSection, frozen=True, kw_only=True):
    """How the trail is written and how long it is kept."""

    write_interval_ms: Annotated[int, Whole(10, 60_000, "ms"), "Records reach the disk's cache at least this often."] = 200
    sync_interval_ms: Annotated[int, Whole(10, 3_600_000, "ms"), "fdatasync at least this often."] = 5000
    segment_bytes: Annotated[int, Whole(64 * _KIB, 1 << 30, "bytes"), "A segment is sealed when its records reach this size."] = 64 * _MIB
    segment_age_s: Annotated[int, Whole(1, 31 * _DAY_S, "s"), "A segment is sealed at this age."] = _DAY_S
    retention_days: Annotated[int, Whole(1, _CENTURY_DAYS, "days"), "Sealed segments older than this are dropped (China's Cybersecurity Law requires six months, PCI DSS twelve)."] = 400
    retention_bytes: Annotated[int, Whole(0, _EIB, "bytes"), "Oldest sealed segments are dropped above this size on disk; 0: no limit."] = 0
    min_free_bytes: Annotated[int, Whole(0, _EIB, "bytes"), "Below this the trail stops growing and the loss ledger says so."] = 256 * _MIB


class PolicySettings(SettingsSection, frozen=True, kw_only=True):
    """Who may change what."""

    path: Annotated[Path, _PATH, "Folder of the policy's YAML files, under version control; or one file."] = Path("/etc/envtrail/policy.d")
    sources: Annotated[tuple[str, ...], Many(Word(words.any_text, "an index, a channel, or an address, as `https://pypi.org/simple`", "source"), "sources", ","), "The machine's own indexes and channels, as its configuration names them: a grant that names no source is for packages of these."] = ("https://pypi.org/simple", "conda-forge", "defaults")
    interval_s: Annotated[int, Whole(1, _DAY_S, "s"), "How often the policy's files are looked at for changes."] = 5
    allowed_signers: Annotated[Path, _PATH, "Who may sign approvals with which SSH key (ssh-keygen(1), ALLOWED SIGNERS)."] = Path("/etc/envtrail/allowed_signers")
    index: Annotated[str | None, Maybe(Word(words.index, "an http or https address, as `https://pypi.org/simple`", "url")), "Simple API of the index that is queried for the age of a version (PEP 700); empty: none is queried."] = None
    git: Annotated[str | None, Maybe(Word(words.repository, "an address of git (https, ssh or file), as `https://git.example/policy.git`", "url")), "Repository that `envtrail policy sync` takes the policy from; empty: none."] = None
    git_ref: Annotated[str, Word(words.branch, "the name of a branch, as `main`", "branch"), "Of the repository."] = "main"
    git_folder: Annotated[str | None, Maybe(Word(words.relative_folder, "a folder in the repository, without `.` and `..`", "path")), "Folder in the repository; empty: its root."] = None
    git_signed: Annotated[bool, _FLAG, "The commit must be signed by one of `policy.allowed_signers`."] = False


class OfficeSettings(SettingsSection, frozen=True, kw_only=True):
    """Hours of work: what happens at other times is off hours."""

    days: Annotated[tuple[str, ...], Many(Word(words.days, "one of `mon`, `tue`, `wed`, `thu`, `fri`, `sat`, `sun`, or a span like `mon-fri`", "day"), "days"), "Days of work; empty: every day."] = ("mon-fri",)
    hours: Annotated[tuple[str, ...], Many(Word(words.hours, "a span of hours like `09:00-18:00`", "hours"), "hours", ","), "Hours of work; `22:00-06:00` goes over midnight; empty: all day."] = ("08:00-19:00",)
    zone: Annotated[str | None, Maybe(Word(words.zone, "a time zone of this machine, as `Europe/Berlin`", "zone")), "IANA name of the time zone of the hours; empty: this machine's."] = None
    holidays: Annotated[tuple[date, ...], Many(Word(words.day, "a date like `2026-12-25`", "date"), "dates"), "Days without work."] = ()


class DetectSettings(SettingsSection, frozen=True, kw_only=True):
    """Sigma rules."""

    path: Annotated[Path, _PATH, "Folder of your own Sigma rules, beside the pack that comes along."] = Path("/etc/envtrail/sigma")
    interval_ms: Annotated[int, Whole(10, 3_600_000, "ms"), "How often the detections are run on what is new; a finding is that old at the most."] = 1000
    pack: Annotated[bool, _FLAG, "Use the pack of detections that comes along."] = True


class NotifySettings(SettingsSection, frozen=True, kw_only=True):
    """Who is notified."""

    path: Annotated[Path, _PATH, "Channels over which people are notified; it holds secrets, so only its owner may read it."] = Path("/etc/envtrail/notify.toml")


class ElasticSettings(SettingsSection, frozen=True, kw_only=True):
    """Elasticsearch or OpenSearch, and the file of JSON lines."""

    urls: Annotated[tuple[str, ...], Many(Word(words.search_server, "an http or https address, as `https://es.example:9200`", "address"), "addresses", ","), "Servers of one Elasticsearch or OpenSearch cluster; empty: nothing is shipped."] = ()
    namespace: Annotated[str, Word(words.namespace, "lower-case letters, digits, `_`, `.`, or `*` and `?` to read several", "name"), "Last part of the data streams' names, as in `logs-envtrail.operation-default`."] = "default"
    api_key_file: Annotated[Path | None, _MAYBE_PATH, "File with an API key of Elasticsearch, encoded; empty: none."] = None
    user: Annotated[str | None, Maybe(_TEXT), "Account on the cluster, where there is no API key."] = None
    password_file: Annotated[Path | None, _MAYBE_PATH, "File with its password."] = None
    ca_file: Annotated[Path | None, _MAYBE_PATH, "Authority of the servers' certificates (PEM); empty: the system's."] = None
    client_cert: Annotated[Path | None, _MAYBE_PATH, "Certificate that we show (PEM); empty: none."] = None
    client_key: Annotated[Path | None, _MAYBE_PATH, "Its key (PEM)."] = None
    streams: Annotated[tuple[Stream, ...], Many(Choice(Stream), "names"), "What is shipped; `event` is most of the volume."] = ("operation", "change", "run", "finding", "gap", "event", "login", "request", "grant", "mute", "look", "environment", "package", "snapshot")
    retention_days: Annotated[int, Whole(0, _CENTURY_DAYS, "days"), "How long the cluster keeps it (ILM or ISM); 0: for ever."] = 400
    bulk_bytes: Annotated[int, Whole(_KIB, 100 * _MIB, "bytes"), "Size of a bulk before it is compressed; a server takes no more than its http.max_content_length (100 MiB)."] = 5 * _MIB
    bulk_documents: Annotated[int, Whole(1, 10_000, "documents"), "Documents in a bulk."] = 2000
    file: Annotated[Path | None, _MAYBE_PATH, "File of JSON lines, for a shipper of your own; empty: none is written. It takes `elastic.streams` and `elastic.namespace` too."] = None
    file_bytes: Annotated[int, Whole(_KIB, _EIB, "bytes"), "It is renamed to `….1`, and a new one begun, before it grows beyond."] = 64 * _MIB
    file_count: Annotated[int, Whole(0, 10_000, "files"), "Renamed files that are kept; what is older is gone, read or not. 0: all."] = 16
    file_group: Annotated[str | None, Maybe(Word(words.account, "the name of a group", "group")), "Who may read it besides root; empty: nobody."] = None


class WebSettings(SettingsSection, frozen=True, kw_only=True):
    """The web UI."""

    account: Annotated[str | None, Maybe(_ACCOUNT), "The account that the web UI runs as where it is not root: besides root, it alone may name the signed-in user; empty: root alone."] = "envtrail-web"
    admins: Annotated[tuple[str, ...], _ROLE, "Who is `admin` in the web UI: names, `@group`, `*` for everybody."] = ("root",)
    security: Annotated[tuple[str, ...], _ROLE, "Who is `security`: triages findings, decides about requests."] = ()
    auditors: Annotated[tuple[str, ...], _ROLE, "Who is `auditor`: reads everything, changes nothing."] = ()
    members: Annotated[tuple[str, ...], _ROLE, "Who may sign in and see their own data."] = ("*",)
    accounts: Annotated[Path, _PATH, "The web UI's own accounts (`envtrail account`)."] = Path("/etc/envtrail/accounts.json")
    idle_s: Annotated[int, Whole(1, _DAY_S, "s"), "A session in which nothing was opened for this long has ended; each ends after twelve hours."] = 7200
    pam: Annotated[bool, _FLAG, "The machine's accounts may sign in: the agent checks passwords with PAM."] = False
    pam_service: Annotated[str, Word(words.file_name, "the name of a file", "name"), "File in /etc/pam.d."] = "envtrail"
    oidc_issuer: Annotated[str | None, Maybe(Word(words.issuer, "an https address", "url")), "People may sign in through this OpenID provider; empty: none."] = None
    oidc_client_id: Annotated[str, _TEXT, "Of the web UI at the provider."] = "envtrail"
    oidc_client_secret_file: Annotated[Path | None, _MAYBE_PATH, "Its secret there, in a separate file; empty: a public client."] = None
    oidc_name_claim: Annotated[str, _TEXT, "Claim of the ID token that is the name."] = "preferred_username"
    oidc_groups_claim: Annotated[str | None, Maybe(_TEXT), "Claim that lists groups (`@group` in the roles); empty: none."] = None
    proxy_from: Annotated[tuple[str, ...], Many(Word(words.ip_address, "an IP address", "address"), "addresses", ","), "From these a reverse proxy says who somebody is, with the secret of `web.proxy_secret_file`; empty: from nobody."] = ()
    proxy_secret_file: Annotated[Path | None, _MAYBE_PATH, "What the proxy sends in `X-Envtrail-Proxy-Secret`, 32 characters or more: from its address any account there can connect."] = None
    proxy_user_header: Annotated[str, Word(words.header, "the name of a header", "name"), "Header with the name."] = "X-Forwarded-User"
    proxy_groups_header: Annotated[str | None, Maybe(Word(words.header, "the name of a header", "name")), "Header with groups, separated by commas; empty: none."] = None
    separate_administrators: Annotated[bool, _FLAG, "The web UI's administrators have a part of the rights each: `admin` sees settings and health, `security` decides, `auditor` reads."] = False


class AdvisoriesSettings(SettingsSection, frozen=True, kw_only=True):
    """Known vulnerable and malicious versions."""

    path: Annotated[Path | None, _MAYBE_PATH, "An export of OSV for `envtrail impact`: a folder of JSON files, or PyPI's all.zip. Nothing is fetched."] = None


class Settings(Struct, frozen=True, kw_only=True):
    """All settings; of the two at the top level the machine gives the default."""

    data_dir: Annotated[Path, _MAYBE_PATH, "Folder of the trail; empty: /var/lib/envtrail for root and the service's agent, the user's data folder otherwise."]
    node: Annotated[str, Maybe(Word(words.host_name, "a host name", "name")), "Name of this machine in the trail; empty: its host name."]
    service: ServiceSettings = ServiceSettings()
    capture: CaptureSettings = CaptureSettings()
    rules: RulesSettings = RulesSettings()
    interpret: InterpretSettings = InterpretSettings()
    store: StorageSettings = StorageSettings()
    policy: PolicySettings = PolicySettings()
    office: OfficeSettings = OfficeSettings()
    detect: DetectSettings = DetectSettings()
    notify: NotifySettings = NotifySettings()
    elastic: ElasticSettings = ElasticSettings()
    web: WebSettings = WebSettings()
    advisories: AdvisoriesSettings = AdvisoriesSettings()
# fmt: on
