"""Settings in force, each with its origin: TOML → environment variable → flag; later wins. The table is `settings.py`."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from envtrail.errors import ConfigError, InputError
from envtrail.settings import SETTINGS, Setting, Value

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SYSTEM_FILE = Path("/etc/envtrail/envtrail.toml")
SERVICE_DATA_DIR = Path("/var/lib/envtrail")

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

    def value(self, key: str) -> Value:
        """A setting, whatever it is."""
        return self._values[key].value

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

    def variables(self) -> dict[str, str]:
        """What is not the default, as environment variables, for a process that is started."""
        return {
            setting.variable: _as_text(setting, self.value(setting.key))
            for setting in SETTINGS
            if self.origin(setting.key) != "default"
        }

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
            return [part for part in text.split(_separator(setting)) if part]
        case _:
            return text


def _as_text(setting: Setting, value: Value) -> str:
    return _separator(setting).join(value) if isinstance(value, list) else str(value)


def _separator(setting: Setting) -> str:
    """Hours and addresses have colons of their own."""
    return "," if setting.unit in {"hours", "addresses"} else ":"


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
