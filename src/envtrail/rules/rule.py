"""An audit rule as a value: its text (auditctl's syntax) and its bytes (the kernel's), each from the other.

References:
    auditctl(8); include/uapi/linux/audit.h (`struct audit_rule_data`, field and list numbers)
"""

from __future__ import annotations

import os
import pwd
import shlex
import struct
from collections.abc import Sequence
from functools import lru_cache

from msgspec import Struct

from envtrail.errors import UsageError
from envtrail.rules.machine import HERE, IO_URING, MASK_BITS, Machine

MAX_KEY_BYTES = 31
MAX_FIELDS = 64
_UNSET = 4294967295
_LISTS = {"user": 0, "task": 1, "exit": 4, "exclude": 5, "filesystem": 6, "io_uring": 7}
_ACTIONS = {"never": 0, "always": 2}
_OPERATORS = {
    "=": 0x40000000,
    "!=": 0x30000000,
    ">": 0x20000000,
    ">=": 0x60000000,
    "<": 0x10000000,
    "<=": 0x50000000,
    "&": 0x08000000,
    "&=": 0x48000000,
}
_FIELDS = {
    "pid": 0, "uid": 1, "euid": 2, "suid": 3, "fsuid": 4, "gid": 5, "egid": 6, "sgid": 7, "fsgid": 8, "auid": 9,
    "pers": 10, "arch": 11, "msgtype": 12, "ppid": 18, "sessionid": 25, "devmajor": 100, "devminor": 101, "inode": 102, "exit": 103,
    "success": 104, "path": 105, "perm": 106, "dir": 107, "filetype": 108, "obj_uid": 109, "obj_gid": 110,
    "exe": 112, "a0": 200, "a1": 201, "a2": 202, "a3": 203, "key": 210,
}  # fmt: skip
_TEXT_FIELDS = frozenset({"path", "dir", "exe", "key"})
_PERMISSIONS = {"x": 1, "w": 2, "r": 4, "a": 8}
_HEADER = struct.Struct("=3I64I64I64I64II")


class Field(Struct, frozen=True, order=True):
    """One condition."""

    name: str
    operator: str
    value: str

    def __str__(self) -> str:
        return f"{self.name}{self.operator}{self.value}"


class Rule(Struct, frozen=True, kw_only=True):
    """One rule of the kernel.

    Raises:
        UsageError: on `render` and `to_bytes`, for what the kernel would refuse or what would harm the host.
    """

    filter: str
    """`exit`, `io_uring`, `exclude`, …"""
    action: str
    """`always` or `never`."""
    syscalls: tuple[str, ...] = ()
    """Names, or numbers as text; empty means all."""
    fields: tuple[Field, ...] = ()
    key: str | None = None

    def render(self) -> str:
        """The rule as a shell takes it behind `auditctl`."""
        return shlex.join(self.words())

    def words(self) -> list[str]:
        """The rule as auditctl takes it; a rules file holds these words with spaces between and knows no quotes."""
        words = ["-a", f"{self.action},{self.filter}"]
        arch = [field for field in self.fields if field.name == "arch"]
        for field in arch:
            words += ["-F", str(field)]
        if self.syscalls:
            words += ["-S", ",".join(self.syscalls)]
        for field in self.fields:
            if field.name != "arch":
                words += ["-F", str(field)]
        if self.key:
            words += ["-F", f"key={self.key}"]
        return words

    def to_bytes(self, machine: Machine = HERE) -> bytes:
        """The rule as `struct audit_rule_data` of a machine."""
        self.check()
        mask = [0] * 64
        if self.syscalls:
            for number in self._numbers(machine):
                mask[number // 32] |= 1 << number % 32
        elif self.filter in {"exit", "io_uring"}:
            mask = [0xFFFFFFFF] * 64
        fields = [*self.fields, *([Field("key", "=", self.key)] if self.key else [])]
        numbers, values, flags, texts = [0] * 64, [0] * 64, [0] * 64, b""
        for at, field in enumerate(fields):
            numbers[at] = _FIELDS[field.name]
            flags[at] = _OPERATORS[field.operator]
            if field.name in _TEXT_FIELDS:
                text = os.fsencode(field.value)
                values[at] = len(text)
                texts += text
            else:
                values[at] = machine.number_of(field.value) if field.name == "arch" else _value(field)
        head = _HEADER.pack(_LISTS[self.filter], _ACTIONS[self.action], len(fields), *mask, *numbers, *values, *flags, len(texts))
        return head + texts

    def check(self) -> None:
        """Refuse what the kernel refuses, and what slows a host down."""
        if self.key and len(os.fsencode(self.key)) > MAX_KEY_BYTES:
            raise UsageError(f"rule key `{self.key}` is longer than {MAX_KEY_BYTES} bytes")
        if len(self.fields) + bool(self.key) > MAX_FIELDS:
            raise UsageError(f"a rule has at most {MAX_FIELDS} fields, this one {len(self.fields)}")
        for field in self.fields:
            if field.name not in _FIELDS or field.operator not in _OPERATORS:
                raise UsageError(f"unknown rule field `{field}`")
            if field.name in {"path", "dir"} and (not field.value.startswith("/") or field.value.count("/") == 1):
                raise UsageError(f"`{field}`: an absolute path below a top-level folder is needed")
            if field.name in _TEXT_FIELDS and any(letter in field.value for letter in "*?"):
                raise UsageError(f"`{field}`: the kernel knows no wildcards")
        if sum(field.name == "exe" for field in self.fields) > 1:
            raise UsageError("a rule names at most one exe")

    def _numbers(self, machine: Machine) -> list[int]:
        table = _calls_of(machine, self.filter, self.fields)
        unknown = [name for name in self.syscalls if name not in table and not (name.isdecimal() and int(name) < MASK_BITS)]
        if unknown:
            raise UsageError(f"`-S {','.join(unknown)}`: this machine has no such system call")
        return [table[name] if name in table else int(name) for name in self.syscalls]


def parse_rule(line: str) -> Rule:
    """Read a rule as auditctl spells it (`-a`/`-A` form, and `-w` watches, which become their modern form).

    Raises:
        UsageError: it is no rule.
    """
    words = iter(shlex.split(line))
    rule_filter = action = ""
    syscalls: list[str] = []
    fields: list[Field] = []
    key: str | None = None
    for word in words:
        value = next(words, "")
        match word:
            case "-a" | "-A":
                parts = value.split(",")
                action = next((part for part in parts if part in _ACTIONS), "")
                rule_filter = next((part for part in parts if part in _LISTS), "")
            case "-S":
                syscalls += [name for name in value.split(",") if name != "all"]
            case "-F" if value.startswith("key="):
                key = value.removeprefix("key=")
            case "-F":
                fields.append(_parse_field(value))
            case "-k":
                key = value
            case "-w":
                action, rule_filter = "always", "exit"
                fields.append(Field("dir" if value.endswith("/") else "path", "=", value.rstrip("/")))
            case "-p":
                fields.append(Field("perm", "=", value))
            case _:
                raise UsageError(f"`{word}` in rule `{line}` is not known")
    if not action or not rule_filter:
        raise UsageError(f"`{line}` is no audit rule")
    return Rule(filter=rule_filter, action=action, syscalls=tuple(syscalls), fields=tuple(fields), key=key)


def _calls_of(machine: Machine, rule_filter: str, fields: Sequence[Field]) -> dict[str, int]:
    if rule_filter == "io_uring":
        return IO_URING
    return machine.calls(next((field.value for field in fields if field.name == "arch"), None))


@lru_cache(maxsize=4096)
def rule_from_bytes(data: bytes, machine: Machine = HERE) -> Rule:
    """A kernel's bytes as a rule; what has no name here stays a number."""
    words = _HEADER.unpack_from(data)
    count = words[2]
    mask, numbers, values, flags = words[3:67], words[67:131], words[131:195], words[195:259]
    texts = data[_HEADER.size :]
    names = {number: name for name, number in _FIELDS.items()}
    operators = {number: text for text, number in _OPERATORS.items()}
    fields: list[Field] = []
    key: str | None = None
    for number, value, flag in zip(numbers[:count], values[:count], flags[:count], strict=True):
        name = names.get(number, str(number))
        if name in _TEXT_FIELDS:
            text, texts = os.fsdecode(texts[:value]), texts[value:]
            if name == "key":
                key = text
                continue
        else:
            text = machine.text_of(value) if name == "arch" else _value_text(name, value)
        fields.append(Field(name, operators.get(flag, "="), text))
    rule_filter = next((name for name, number in _LISTS.items() if number == words[0] & 0x0F), str(words[0]))
    table = {number: name for name, number in _calls_of(machine, rule_filter, fields).items()}
    set_bits = [bit for bit in range(MASK_BITS) if mask[bit // 32] >> bit % 32 & 1]
    syscalls = () if len(set_bits) > 1024 else tuple(table.get(bit, str(bit)) for bit in set_bits)
    action = next((name for name, number in _ACTIONS.items() if number == words[1]), str(words[1]))
    return Rule(filter=rule_filter, action=action, syscalls=syscalls, fields=tuple(fields), key=key)


def _parse_field(text: str) -> Field:
    for operator in sorted(_OPERATORS, key=len, reverse=True):
        name, found, value = text.partition(operator)
        if found and name in _FIELDS:
            return Field(name, operator, value)
    raise UsageError(f"`-F {text}` is not known")


def _value(field: Field) -> int:
    if field.name == "perm":
        return sum(_PERMISSIONS[letter] for letter in field.value)
    if field.value in {"unset", "-1"}:
        return _UNSET
    if field.value.lstrip("-").isdigit():
        return int(field.value) & 0xFFFFFFFF
    try:
        return pwd.getpwnam(field.value).pw_uid
    except KeyError:
        raise UsageError(f"`{field}`: no such account") from None


def _value_text(name: str, value: int) -> str:
    if name == "perm":
        return "".join(letter for letter in "rwxa" if value & _PERMISSIONS[letter])
    if value == _UNSET and name in {"auid", "sessionid"}:
        return "unset"
    return str(value)
