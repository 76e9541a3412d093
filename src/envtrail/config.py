"""Settings in force, each with its origin: TOML → environment variable → flag; later wins. The table is `settings/sections.py`."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

from envtrail.errors import ConfigError, InputError, SettingFault
from envtrail.settings import NEEDS, NOT_SETTINGS, PREFIX, SECTIONS, SETTINGS, Settings
from envtrail.settings.kinds import Refused, did_you_mean, nearest, shown

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

SYSTEM_FILE = Path("/etc/envtrail/envtrail.toml")
SERVICE_DATA_DIR = Path("/var/lib/envtrail")

_BY_KEY = {setting.key: setting for setting in SETTINGS}
_BY_VARIABLE = {setting.variable: setting for setting in SETTINGS}
_KUBERNETES = r"[A-Z0-9_]+_(SERVICE_HOST|SERVICE_PORT[A-Z0-9_]*|PORT(_[0-9]+_(TCP|UDP|SCTP)(_(PROTO|PORT|ADDR))?)?)"
"""A pod is given these of each service beside it, and one may be called `envtrail`."""
_TOML_PLACE = r"(?s)(?P<what>.*) \(at (?:line (?P<line>\d+), column (?P<column>\d+)|end of document)\)"


class Config(Settings, frozen=True, kw_only=True):
    """The settings in force: `config.rules.profile`."""

    origins: dict[str, str]
    """Where each value comes from that is not the default: a file, `$VARIABLE` or `--flag`."""

    def origin(self, key: str) -> str:
        """Where the value of `key` comes from; `default` where nobody set it."""
        return self.origins.get(_BY_KEY[key].key, "default")

    def variables(self) -> dict[str, str]:
        """What is not the default, as environment variables, for a process that is started."""
        return {
            setting.variable: setting.kind.write_text(setting.value_in(self))
            for setting in SETTINGS
            if setting.key in self.origins
        }

    def replaced(self, origin: str, values: Mapping[str, object]) -> Config:
        """A copy with some values set, by key.

        Raises:
            ConfigError: every fault of them.
        """
        reading = _Reading(self)
        for key, value in values.items():
            reading.take(key, value, origin)
        return reading.config()


def load_config(
    *,
    file: Path | None = None,
    environ: Mapping[str, str] | None = None,
    flags: Mapping[str, object] | None = None,
) -> Config:
    """Resolve every setting.

    Args:
        file: A TOML file that must exist; None: `/etc/envtrail/envtrail.toml` where there is one.
        environ: Environment variables; None: the process's own.
        flags: Values given on the command line, by key.

    Raises:
        ConfigError: all unknown keys and bad values at once.
        InputError: `file` cannot be read.
    """
    environ = os.environ if environ is None else environ
    reading = _Reading(None)
    named = file or (Path(environ["ENVTRAIL_CONFIG"]) if environ.get("ENVTRAIL_CONFIG") else None)
    _take_file(reading, named or SYSTEM_FILE, is_named=named is not None)
    _take_variables(reading, environ)
    for key, value in (flags or {}).items():
        reading.take(key, value, f"--{key.rpartition('.')[2].replace('_', '-')}")
    return reading.config()


class _Reading:
    """Values and faults on their way to settings."""

    def __init__(self, before: Config | None) -> None:
        self.faults: list[SettingFault] = []
        self._values = {setting.key: setting.default if before is None else setting.value_in(before) for setting in SETTINGS}
        self._origins = {} if before is None else dict(before.origins)

    def take(
        self,
        key: str,
        value: Any,
        origin: str,
        *,
        place: Callable[[], str] | None = None,
        read: Callable[[Any], object] | None = None,
    ) -> None:
        """Take a value, or note its fault.

        Args:
            key: Of the setting.
            value: As `read` takes it.
            origin: Where it comes from.
            place: Gives where in the origin it stands, for a fault; None: the origin says it.
            read: Gives what it means; None: as of TOML.
        """
        setting = _BY_KEY.get(key)
        if setting is None:
            self.refuse(origin, key, f"is not a setting{did_you_mean(key, _BY_KEY)}")
            return
        try:
            self._values[key] = (read or setting.kind.read)(value)
        except Refused as fault:
            self.refuse(place() if place else origin, key, str(fault))
            return
        if value != "" or setting.default is not None or key in self._origins:  # Else it is as if nobody had set it.
            self._origins[key] = origin

    def refuse(self, place: str, key: str, what: str) -> None:
        """Note a fault."""
        self.faults.append(SettingFault(place=place, key=key and shown(key).strip("`"), message=what))

    def config(self) -> Config:
        """The settings.

        Raises:
            ConfigError: there are faults.
        """
        for key, needed in NEEDS.items():
            if self._values[key] is not None and self._values[needed] is None:
                self.refuse(self._origins[key], key, f"has no effect without `{needed}`")
        if self.faults:
            lines = [str(fault) for fault in self.faults]
            raise ConfigError(
                lines[0] if len(lines) == 1 else "\n".join([f"{len(lines)} faults in the settings", *lines]),
                hint="`envtrail config example` lists every setting, its default and what it may be",
                faults=self.faults,
            )
        values = self._values
        values["data_dir"] = values["data_dir"] or (SERVICE_DATA_DIR if os.geteuid() == 0 or _is_agent() else _user_data_dir())
        values["node"] = values["node"] or os.uname().nodename
        sections = {
            name: section(**{field: values[f"{name}.{field}"] for field in section.__struct_fields__})
            for name, section in SECTIONS.items()
        }
        return Config(data_dir=values["data_dir"], node=values["node"], origins=self._origins, **sections)  # type: ignore[arg-type]


def _is_agent() -> bool:
    """Whether this process has the account that keeps the state of the service's trail."""
    try:
        return (SERVICE_DATA_DIR / "state").stat().st_uid == os.geteuid()
    except OSError:
        return False


def _user_data_dir() -> Path:
    try:
        return Path(os.environ.get("XDG_DATA_HOME") or Path.home() / ".local/share") / "envtrail"
    except RuntimeError:
        raise ConfigError("this user has no home to keep a trail in", hint="--data-dir, or $ENVTRAIL_DATA_DIR") from None


def _take_variables(reading: _Reading, environ: Mapping[str, str]) -> None:
    for name in sorted(name for name in environ if name.upper().startswith(PREFIX)):
        setting = _BY_VARIABLE.get(name)
        if setting is not None:
            reading.take(setting.key, environ[name], f"${name}", read=setting.kind.read_text)
        elif name in NOT_SETTINGS or re.fullmatch(_KUBERNETES, name):
            continue
        elif name.startswith(PREFIX) or name.upper() in _BY_VARIABLE:
            found = nearest(name, [*_BY_VARIABLE, *NOT_SETTINGS])
            reading.refuse(
                f"${shown(name).strip('`')}",
                "",
                f"this variable is not a setting{(found and f'; did you mean `{found}`?') or ''}",
            )


def _take_file(reading: _Reading, path: Path, *, is_named: bool) -> None:
    try:
        text = path.read_bytes().decode()
        document = tomllib.loads(text)
    except (FileNotFoundError, PermissionError) as fault:
        # The agent does not do without the settings of the recorder.
        if not is_named and not (isinstance(fault, PermissionError) and _is_agent()):
            return
        problem = "there is no" if isinstance(fault, FileNotFoundError) else "this user may not read the"
        raise InputError(f"{problem} configuration file `{path}`", hint="--config, or $ENVTRAIL_CONFIG, names it") from None
    except OSError as fault:
        raise InputError(f"configuration file `{path}` cannot be read: {fault.strerror}") from None
    except RecursionError:
        reading.refuse(str(path), "", "it is not TOML: nested too deep")
    except ValueError as fault:  # of TOML, of UTF-8, of a number with thousands of digits, of a path with a NUL
        found = re.fullmatch(_TOML_PLACE, str(fault))
        place = f"{path}:{found['line']}:{found['column']}" if found and found["line"] else str(path)
        reading.refuse(place, "", f"it is not TOML: {found['what'] if found else fault}")
    else:
        _take_document(reading, path, document, text)


def _take_document(reading: _Reading, path: Path, document: Mapping[str, Any], text: str) -> None:
    places: dict[tuple[str, ...], tuple[int, int]] = {}

    def place(*key: str) -> str:
        if not places:
            from envtrail.settings.places import places_of

            places.update(places_of(text))
        line, column = places.get(key, (0, 0))
        return f"{path}:{line}:{column}" if line else str(path)

    for name, value in document.items():
        if name in SECTIONS and isinstance(value, dict):
            for inner, of_inner in value.items():
                if f"{name}.{inner}" in _BY_KEY:
                    reading.take(f"{name}.{inner}", of_inner, str(path), place=partial(place, name, inner))
                else:
                    reading.refuse(place(name, inner), f"{name}.{inner}", _unknown(inner, of_inner, name))
        elif name in SECTIONS:
            reading.refuse(place(name), name, f"must be a section, `[{name}]`, not {shown(value)}")
        elif name in _BY_KEY and "." not in name:
            reading.take(name, value, str(path), place=partial(place, name))
        else:
            reading.refuse(place(name), name, _unknown(name, value, ""))


def _unknown(name: str, value: object, section: str) -> str:
    """What is said of a key that is none, with the nearest that is one."""
    if isinstance(value, dict):
        if section:
            return "is not a setting: sections are not nested"
        return f"is not a section{_did_you_mean_section(name)}"
    if not section and name in _BY_KEY:
        return f"is not a setting when it is quoted; write `{name.partition('.')[2]}` below `[{name.partition('.')[0]}]`"
    beside = [key.partition(".")[2] for key in _BY_KEY if section and key.startswith(f"{section}.")]
    elsewhere = [key for key in _BY_KEY if key.rpartition(".")[2] == name]
    if elsewhere:
        return f"is not a setting; did you mean {' or '.join(f'`{key}`' for key in elsewhere)}?"
    return f"is not a setting{did_you_mean(name, beside or _BY_KEY)}"


def _did_you_mean_section(name: str) -> str:
    found = nearest(name, SECTIONS)
    return f"; did you mean `[{found}]`?" if found else f"; there are {', '.join(SECTIONS)}"
