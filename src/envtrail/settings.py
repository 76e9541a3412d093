"""The one table of settings: key, default, unit, sentence. It is what `config show` prints and `docs/settings.md` documents."""

from __future__ import annotations

from typing import NamedTuple, Union

Value = Union[str, int, bool, list[str]]

SOCKET_PATH = "/run/envtrail/envtrail.sock"


class Setting(NamedTuple):
    """One row of the table."""

    key: str
    """`section.name` as in TOML; the environment variable is `ENVTRAIL_SECTION_NAME`."""
    default: Value
    unit: str
    doc: str

    @property
    def variable(self) -> str:
        """The environment variable that sets it."""
        return "ENVTRAIL_" + self.key.replace(".", "_").upper()


SETTINGS: tuple[Setting, ...] = (
    Setting(
        "data_dir",
        "",
        "path",
        "Folder of the trail; empty: /var/lib/envtrail for root, the user's data folder otherwise.",
    ),
    Setting("node", "", "name", "Name of this machine in the trail; empty: its host name."),
    Setting("service.socket", SOCKET_PATH, "path", "Socket over which other users ask the service."),
    Setting("service.group", "envtrail", "group", "Members see everything, as root does."),
    Setting("capture.source", "auto", "name", "`auto`, `netlink`, `multicast`, `auditd_plugin` or `auditd_log`."),
    Setting(
        "capture.audit_log",
        "/var/log/audit/audit.log",
        "path",
        "Log of auditd, imported at the first start and followed by `auditd_log`.",
    ),
    Setting(
        "capture.process_connector",
        True,
        "",
        "Take forks, exit status and signals from the kernel's process connector.",
    ),
    Setting(
        "capture.file_watch",
        True,
        "",
        "Take changes of files below environments from fanotify (notification only: it blocks nobody).",
    ),
    Setting(
        "capture.event_timeout_ms",
        2000,
        "ms",
        "An event without its end record is let go after this long (auditd.conf end_of_event_timeout).",
    ),
    Setting("capture.receive_buffer_bytes", 16 * 1024 * 1024, "bytes", "Netlink receive buffer."),
    Setting(
        "capture.backlog_limit",
        8192,
        "records",
        "Kernel queue (`auditctl -b`); raised, never lowered; 0 leaves it alone.",
    ),
    Setting("rules.profile", "lean", "name", "`lean`, `full`, `classic` or `none`."),
    Setting(
        "rules.roots",
        [
            "/opt/conda",
            "/opt/miniconda3",
            "/opt/anaconda3",
            "/opt/mambaforge",
            "/opt/miniforge3",
            "/usr/local/miniconda3",
            "/home/*/miniconda3",
            "/home/*/anaconda3",
            "/home/*/mambaforge",
            "/home/*/miniforge3",
            "/home/*/.conda",
            "/root/miniconda3",
            "/root/anaconda3",
            "/root/miniforge3",
        ],
        "globs",
        "Where conda roots may be.",
    ),
    Setting(
        "rules.venv_roots",
        ["/home/*", "/root", "/opt", "/srv", "/data"],
        "globs",
        "Folders searched for virtual environments and conda roots, a few levels deep.",
    ),
    Setting("rules.search_depth", 4, "levels", "How deep below `venv_roots` virtual environments are looked for."),
    Setting(
        "rules.pythons",
        [
            "/usr/bin/python3*",
            "/usr/local/bin/python3*",
            "/home/*/.pyenv/versions/*/bin/python3*",
            "/root/.pyenv/versions/*/bin/python3*",
            "/home/*/.local/share/uv/python/*/bin/python3*",
            "/root/.local/share/uv/python/*/bin/python3*",
        ],
        "globs",
        "Interpreters to watch.",
    ),
    Setting(
        "rules.managers",
        [
            *(
                f"/usr/bin/{name}"
                for name in ["apt", "apt-get", "aptitude", "dpkg", "dnf", "dnf-3", "yum", "rpm", "zypper", "pacman", "apk"]
            ),
            "/usr/bin/uv",
            "/usr/local/bin/uv",
            "/home/*/.local/bin/uv",
            "/root/.local/bin/uv",
            "/usr/local/bin/micromamba",
            "/home/*/.local/bin/micromamba",
            "/usr/local/bin/pixi",
            "/home/*/.pixi/bin/pixi",
        ],
        "globs",
        "Native package managers to watch.",
    ),
    Setting(
        "rules.exclude_users",
        [],
        "names",
        "Accounts (automation) whose executions are not recorded; a kernel filter on auid or uid.",
    ),
    Setting(
        "rules.exclude_units",
        [],
        "names",
        "systemd units whose operations are not reported; decided by cgroup after capture.",
    ),
    Setting("rules.exclude_root", False, "", "Leave out root's use of the watched interpreters."),
    Setting(
        "rules.exclude_programs",
        [],
        "paths",
        "Programs whose executions are not recorded; a kernel filter on exe.",
    ),
    Setting("rules.people", True, "", "Trace what people run, beside the watched Pythons and managers."),
    Setting("rules.only_auids", [], "numbers", "Bound every rule to these login uids (tests, trials)."),
    Setting("rules.follow", True, "", "A running agent follows environments that appear, move or go."),
    Setting(
        "interpret.variables",
        [
            *["HOME", "XDG_DATA_HOME", "VIRTUAL_ENV", "CONDA_PREFIX", "CONDA_DEFAULT_ENV", "MAMBA_ROOT_PREFIX"],
            *["PIP_TARGET", "PIP_PREFIX", "PIP_USER", "PIP_ROOT", "PIP_PYTHON", "PIP_REQUIRE_VIRTUALENV", "PYTHONUSERBASE"],
            *["UV_PROJECT_ENVIRONMENT", "UV_SYSTEM_PYTHON", "UV_PYTHON", "UV_TARGET", "UV_TOOL_DIR", "PIPX_HOME"],
            *["POETRY_VIRTUALENVS_IN_PROJECT", "PDM_IGNORE_ACTIVE_VENV", "PIPENV_VENV_IN_PROJECT", "PIPENV_IGNORE_VIRTUALENVS"],
            *["PIPX_GLOBAL_HOME", "PIXI_HOME", "CONDA_ENVS_PATH", "CONDA_ENVS_DIRS"],
        ],
        "names",
        "Environment variables of a tool that are read from /proc and kept.",
    ),
    Setting(
        "interpret.ai_agents",
        [
            "claude",
            "codex",
            "cursor",
            "cursor-agent",
            "aider",
            "copilot",
            "gemini",
            "opencode",
            "goose",
            "windsurf",
            "amp",
            "cline",
            "openhands",
            "mcp-server*",
            "mcp_server*",
            "*mcp-server",
            "mcp-proxy",
        ],
        "names",
        "Programs of AI agents: what runs below one is of the class `agent`.",
    ),
    Setting(
        "interpret.person_variables",
        [
            "JUPYTERHUB_USER",
            *["GITHUB_ACTIONS", "GITHUB_RUN_ID", "GITHUB_REPOSITORY", "GITHUB_ACTOR"],
            *["GITLAB_CI", "CI_JOB_ID", "CI_PIPELINE_ID", "GITLAB_USER_LOGIN"],
            *["JENKINS_URL", "BUILD_TAG", "JOB_NAME", "BUILD_USER_ID"],
            *["BUILDKITE", "BUILDKITE_JOB_ID", "BUILDKITE_PIPELINE_SLUG", "BUILDKITE_BUILD_CREATOR"],
            *["CIRCLECI", "CIRCLE_WORKFLOW_JOB_ID", "CIRCLE_PIPELINE_ID", "CIRCLE_USERNAME"],
            *["TF_BUILD", "BUILD_BUILDID", "BUILD_DEFINITIONNAME", "BUILD_REQUESTEDFOR"],
        ],
        "names",
        "Environment variables that say for whom a hub's server or a CI job runs; kept as the others are.",
    ),
    Setting(
        "interpret.names_interval_s", 300, "s", "A name of a uid that was learnt longer ago is asked for again before it is used."
    ),
    Setting("interpret.environments_interval_s", 300, "s", "How often environments are looked for again."),
    Setting("store.write_interval_ms", 200, "ms", "Records reach the disk's cache at least this often."),
    Setting("store.sync_interval_ms", 5000, "ms", "fdatasync at least this often."),
    Setting(
        "store.segment_bytes",
        64 * 1024 * 1024,
        "bytes",
        "A segment is sealed when its records reach this size.",
    ),
    Setting("store.segment_age_s", 24 * 3600, "s", "A segment is sealed at this age."),
    Setting(
        "policy.path",
        "/etc/envtrail/policy.d",
        "",
        "Folder of the policy's YAML files, under version control; or one file.",
    ),
    Setting(
        "policy.git", "", "url", "Repository that `envtrail policy sync` takes the policy from (https, ssh or file); empty: none."
    ),
    Setting("policy.git_ref", "main", "branch", "Of the repository."),
    Setting("policy.git_folder", "", "path", "Folder in the repository; empty: its root."),
    Setting("policy.git_signed", False, "", "The commit must be signed by one of `policy.allowed_signers`."),
    Setting("office.days", ["mon-fri"], "days", "Days of work; what happens at other times is off hours."),
    Setting("office.hours", ["08:00-19:00"], "hours", "Hours of work."),
    Setting("office.zone", "", "zone", "IANA name of the time zone of the hours; empty: this machine's."),
    Setting("office.holidays", [], "dates", "Days without work, as `2026-12-25`."),
    Setting(
        "detect.path",
        "/etc/envtrail/sigma",
        "path",
        "Folder of your own Sigma rules, beside the pack that comes along.",
    ),
    Setting(
        "detect.interval_ms",
        1000,
        "ms",
        "How often the detections are asked of what came since; a finding is that old at the most.",
    ),
    Setting("detect.pack", True, "", "Use the pack of detections that comes along."),
    Setting(
        "notify.path",
        "/etc/envtrail/notify.toml",
        "path",
        "Channels over which people are told; it holds secrets, so only its owner may read it.",
    ),
    Setting("elastic.urls", [], "addresses", "Servers of one Elasticsearch or OpenSearch cluster; empty: nothing is shipped."),
    Setting(
        "elastic.namespace", "default", "name", "Last part of the data streams' names, as in `logs-envtrail.operation-default`."
    ),
    Setting("elastic.api_key_file", "", "path", "File with an API key of Elasticsearch, encoded; empty: none."),
    Setting("elastic.user", "", "name", "Account on the cluster, where there is no API key."),
    Setting("elastic.password_file", "", "path", "File with its password."),
    Setting("elastic.ca_file", "", "path", "Authority of the servers' certificates (PEM); empty: the system's."),
    Setting("elastic.client_cert", "", "path", "Certificate that we show (PEM); empty: none."),
    Setting("elastic.client_key", "", "path", "Its key (PEM)."),
    Setting(
        "elastic.streams",
        [
            *["operation", "change", "run", "finding", "gap", "event", "login"],
            *["request", "grant", "mute", "look", "environment", "package", "snapshot"],
        ],
        "names",
        "What is shipped; `event` is most of the volume.",
    ),
    Setting("elastic.retention_days", 400, "days", "How long the cluster keeps it (ILM or ISM); 0: for ever."),
    Setting("elastic.bulk_bytes", 5 * 1024 * 1024, "bytes", "Size of a bulk before it is compressed."),
    Setting("elastic.bulk_documents", 2000, "", "Documents in a bulk."),
    Setting(
        "elastic.file",
        "",
        "path",
        "File of JSON lines, for a shipper of your own; empty: none is written. It takes `elastic.streams` and `elastic.namespace` too.",
    ),
    Setting(
        "elastic.file_bytes", 64 * 1024 * 1024, "bytes", "It is renamed to `….1`, and a new one begun, before it grows beyond."
    ),
    Setting("elastic.file_count", 16, "files", "Renamed files that are kept; what is older is gone, read or not. 0: all."),
    Setting("elastic.file_group", "", "group", "Who may read it besides root; empty: nobody."),
    Setting(
        "web.account",
        "envtrail-web",
        "account",
        "As whom the page runs where it is not root: besides root, it alone may say who is before it.",
    ),
    Setting("web.admins", ["root"], "names", "Who is `admin` on the page: names, `@group`, `*` for everybody."),
    Setting("web.security", [], "names", "Who is `security`: triages findings, decides about requests."),
    Setting("web.auditors", [], "names", "Who is `auditor`: reads everything, changes nothing."),
    Setting("web.members", ["*"], "names", "Who may come in to see what is their own."),
    Setting("web.accounts", "/etc/envtrail/accounts.json", "path", "The page's own accounts (`envtrail account`)."),
    Setting("web.idle_s", 7200, "s", "A session in which nothing was opened for this long has ended."),
    Setting("web.pam", False, "", "The machine's accounts may come in: the agent asks PAM."),
    Setting("web.pam_service", "envtrail", "name", "File in /etc/pam.d."),
    Setting("web.oidc_issuer", "", "URL", "People may come in through this OpenID provider; empty: none."),
    Setting("web.oidc_client_id", "envtrail", "name", "Of this page at the provider."),
    Setting("web.oidc_client_secret_file", "", "path", "Its secret there, in a file of its own; empty: a public client."),
    Setting("web.oidc_name_claim", "preferred_username", "name", "Claim of the ID token that is the name."),
    Setting("web.oidc_groups_claim", "", "name", "Claim that lists groups (`@group` in the roles); empty: none."),
    Setting(
        "web.proxy_from",
        [],
        "addresses",
        "From these a reverse proxy says who somebody is, with the secret of `web.proxy_secret_file`; empty: from nobody.",
    ),
    Setting(
        "web.proxy_secret_file",
        "",
        "path",
        "What the proxy sends in `X-Envtrail-Proxy-Secret`, 32 characters or more: from its address any account there can connect.",
    ),
    Setting("web.proxy_user_header", "X-Forwarded-User", "name", "Header with the name."),
    Setting("web.proxy_groups_header", "", "name", "Header with groups, separated by commas; empty: none."),
    Setting(
        "web.separate_administrators",
        False,
        "",
        "The page's administrators have parts of the rights each: `admin` sees settings and health, `security` decides, `auditor` reads.",
    ),
    Setting(
        "policy.allowed_signers",
        "/etc/envtrail/allowed_signers",
        "path",
        "Who may sign approvals with which SSH key (ssh-keygen(1), ALLOWED SIGNERS).",
    ),
    Setting(
        "policy.index",
        "",
        "url",
        "Simple API of the index that is asked how old a version is (PEP 700), as `https://pypi.org/simple`; empty: nobody is asked.",
    ),
    Setting("policy.interval_s", 5, "s", "How often the policy's files are looked at for changes."),
    Setting(
        "advisories.path",
        "",
        "",
        "An export of OSV for `envtrail impact`: a folder of JSON files, or PyPI's all.zip. Nothing is fetched.",
    ),
    Setting(
        "store.retention_days",
        400,
        "days",
        "Sealed segments older than this are dropped (China's Cybersecurity Law asks six months, PCI DSS twelve).",
    ),
    Setting(
        "store.retention_bytes",
        0,
        "bytes",
        "Oldest sealed segments are dropped above this size on disk; 0: no limit.",
    ),
    Setting(
        "store.min_free_bytes",
        256 * 1024 * 1024,
        "bytes",
        "Below this the trail stops growing and the loss ledger says so.",
    ),
)
