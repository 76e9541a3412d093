"""One table of settings: key, default, unit, sentence. TOML → environment variable → flag; later wins.

The table is printed by `envtrail config show`, documented by `docs/settings.md`, checked by `config check`.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple, Union

from envtrail.errors import ConfigError, InputError

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

Value = Union[str, int, bool, list[str]]

SYSTEM_FILE = Path("/etc/envtrail/envtrail.toml")
SERVICE_DATA_DIR = Path("/var/lib/envtrail")
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
            "VIRTUAL_ENV",
            "CONDA_PREFIX",
            "CONDA_DEFAULT_ENV",
            "PIP_TARGET",
            "PIP_PREFIX",
            "PIP_USER",
            "PIP_ROOT",
            "PIP_PYTHON",
            "PIP_REQUIRE_VIRTUALENV",
            "PYTHONUSERBASE",
            "UV_PROJECT_ENVIRONMENT",
            "UV_SYSTEM_PYTHON",
            "UV_TARGET",
            "JUPYTERHUB_USER",
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
            "mcp-server",
            "mcp-proxy",
            "mcp-server-fetch",
            "mcp-server-git",
            "jupyter-mcp-server",
        ],
        "names",
        "Programs of AI agents: what runs below one is of the class `agent`.",
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

_BY_KEY = {setting.key: setting for setting in SETTINGS}


class Resolved(NamedTuple):
    """A value with the place it came from."""

    value: Value
    origin: str
    """`default`, `FILE`, `$VARIABLE` or `--flag`."""


class Config:
    """Settings in force, each with its origin."""

    def __init__(self, values: Mapping[str, Resolved]) -> None:
        self._values = dict(values)

    def __getitem__(self, key: str) -> Value:
        return self._values[key].value

    def origin(self, key: str) -> str:
        """Where the value of `key` comes from."""
        return self._values[key].origin

    def text(self, key: str) -> str:
        """A setting that is text."""
        return str(self._values[key].value)

    def number(self, key: str) -> int:
        """A setting that is a whole number."""
        value = self._values[key].value
        assert isinstance(value, int)  # noqa: S101 - the table's default decides the type
        return value

    def flag(self, key: str) -> bool:
        """A setting that is yes or no."""
        return bool(self._values[key].value)

    def names(self, key: str) -> list[str]:
        """A setting that is a list."""
        value = self._values[key].value
        assert isinstance(value, list)  # noqa: S101 - the table's default decides the type
        return value

    def replaced(self, origin: str, **values: Value) -> Config:
        """A copy with some values set; keys are written with `__` for the dot."""
        changed = {key.replace("__", "."): Resolved(value, origin) for key, value in values.items()}
        return Config({**self._values, **changed})

    @property
    def data_dir(self) -> Path:
        """The folder of the trail."""
        configured = self.text("data_dir")
        if configured:
            return Path(configured)
        return SERVICE_DATA_DIR if os.geteuid() == 0 else _user_data_dir()

    @property
    def node(self) -> str:
        """Name of this machine in the trail."""
        return self.text("node") or os.uname().nodename


def _user_data_dir() -> Path:
    return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "envtrail"


def load_config(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, Value] | None = None,
) -> Config:
    """Resolve every setting.

    Args:
        file: A TOML file that must exist; null: `/etc/envtrail/envtrail.toml` where there is one.
        environ: Environment variables; null: the process's own.
        flags: Values given on the command line, by key.

    Raises:
        ConfigError: all unknown keys and bad values at once.
        InputError: `file` cannot be read.
    """
    environ = os.environ if environ is None else environ
    values = {setting.key: Resolved(setting.default, "default") for setting in SETTINGS}
    faults: list[str] = []
    named = file or (Path(environ["ENVTRAIL_CONFIG"]) if environ.get("ENVTRAIL_CONFIG") else None)
    for path in [named] if named else [SYSTEM_FILE]:
        for key, value in _read_toml(path, required=named is not None).items():
            _take(values, faults, key, value, str(path))
    for setting in SETTINGS:
        if setting.variable in environ:
            _take(
                values,
                faults,
                setting.key,
                _from_text(setting, environ[setting.variable]),
                f"${setting.variable}",
            )
    for key, value in (flags or {}).items():
        _take(values, faults, key, value, f"--{key.split('.')[-1].replace('_', '-')}")
    if faults:
        raise ConfigError("; ".join(faults), hint="`envtrail config show` lists every setting with its default")
    return Config(values)


def _take(values: dict[str, Resolved], faults: list[str], key: str, value: object, origin: str) -> None:
    setting = _BY_KEY.get(key)
    if setting is None:
        faults.append(f"unknown setting `{key}` in {origin}")
    elif type(value) is not type(setting.default) or (
        isinstance(value, list) and not all(isinstance(item, str) for item in value)
    ):
        faults.append(f"`{key}` in {origin} must be {_type_name(setting.default)}, not {value!r}")
    elif isinstance(value, int) and value < 0:
        faults.append(f"`{key}` in {origin} must not be negative")
    else:
        values[key] = Resolved(value, origin)


def _type_name(value: Value) -> str:
    return {bool: "true or false", int: "a whole number", str: "text", list: "a list of texts"}[type(value)]


def _from_text(setting: Setting, text: str) -> object:
    match setting.default:
        case bool():
            return {"1": True, "true": True, "yes": True, "0": False, "false": False, "no": False}.get(text.lower(), text)
        case int():
            return int(text) if text.lstrip("-").isdigit() else text
        case list():
            return [part for part in text.split(":") if part]
        case _:
            return text


def _read_toml(path: Path, *, required: bool) -> dict[str, Any]:
    try:
        document = tomllib.loads(path.read_text())
    except FileNotFoundError:
        if not required:
            return {}
        raise InputError(f"no configuration file `{path}`") from None
    except PermissionError:
        if not required:
            return {}
        raise InputError(f"configuration file `{path}` cannot be read by this user") from None
    except (tomllib.TOMLDecodeError, UnicodeDecodeError) as fault:
        raise ConfigError(f"`{path}` is not TOML: {fault}") from None
    flat: dict[str, Any] = {}
    for key, value in document.items():
        if isinstance(value, dict):
            flat.update({f"{key}.{name}": inner for name, inner in value.items()})
        else:
            flat[key] = value
    return flat
