"""YAML as plain values with the place of each: whatever the bytes are, what is wrong with them is a fault and never an exception.

References:
    https://yaml.org/spec/1.1 (PyYAML's language)
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from types import UnionType
from typing import Any, Final, Union, get_args, get_origin

import msgspec
import yaml
from msgspec import Struct
from yaml.constructor import SafeConstructor
from yaml.reader import Reader, ReaderError

MOST_BYTES = 4 * 1024 * 1024
"""Of one file."""
_MOST_NODES = 100_000
"""Of one file: an alias of an alias of an alias is no policy."""
_DEEPEST = 50
"""Lists and mappings within each other."""
_LONGEST_NUMBER = 100
_MOST_CONTROLS = 20
_PREFIX = "tag:yaml.org,2002:"
_TAGS: dict[type[yaml.Node], frozenset[str]] = {
    yaml.ScalarNode: frozenset({"str", "int", "float", "bool", "null", "timestamp", "merge", "value"}),
    yaml.SequenceNode: frozenset({"seq"}),
    yaml.MappingNode: frozenset({"map"}),
}
_NO_TEXT = re.compile("[\x00\ud800-\udfff]")
_AT = re.compile(r" - at `\$(?P<path>[^`]*)`$")
_LANGUAGE = "look before it for a bracket, a quote or an indent"
_QUOTED = "in quotes it is text"
_UTF16 = (b"\xff\xfe", b"\xfe\xff")

Place = tuple[int, int]
"""Line and column, from 1."""


class Bad:
    """In place of a value that was reported as a fault."""


BAD: Final = Bad()


class Fault(Struct, frozen=True, kw_only=True):
    """What is wrong in a text, and where."""

    place: Place
    message: str
    hint: str = ""


class YamlDocument(Struct, frozen=True, kw_only=True):
    """One document of a text."""

    values: Any
    places: dict[str, Place]
    """`.rules[0].name` → where the value begins; `` → the document."""


class Documents(Struct, frozen=True, kw_only=True):
    """What a text holds, up to where it is no YAML, and every fault."""

    documents: list[YamlDocument]
    faults: list[Fault]
    text: str
    """Empty where the bytes are none."""


def read_bytes(file: Path) -> bytes:
    """What is in a regular file, no more of it than is read: nothing else is waited for.

    Raises:
        OSError: it cannot be read.
    """
    with open(file, "rb", opener=lambda name, flags: os.open(name, flags | os.O_NONBLOCK)) as opened:
        if not stat.S_ISREG(os.fstat(opened.fileno()).st_mode):
            raise OSError("it is no file")
        return opened.read(MOST_BYTES + 1)


def read_documents(content: bytes | str) -> Documents:
    """Every document of a text."""
    found = Documents(documents=[], faults=[], text="")
    if len(content) > MOST_BYTES:
        found.faults.append(Fault(place=(1, 1), message=f"more than {MOST_BYTES:,} bytes", hint="several files, one a purpose"))
        return found
    try:
        text = content if isinstance(content, str) else content.decode()
    except UnicodeDecodeError as fault:
        place = _place_in(fault.object[: fault.start].decode(errors="replace"))
        named = "UTF-16" if fault.object.startswith(_UTF16) else "no UTF-8"
        found.faults.append(Fault(place=place, message=f"this is {named}: {fault.reason}", hint="save the file as UTF-8"))
        return found
    if controls := _controls(text):
        found.faults.extend(controls)
        return found
    found = msgspec.structs.replace(found, text=text)
    _compose(text, found)
    return found


def faults_of(value: Any, kind: Any, path: str = "") -> Iterator[tuple[str, str | None]]:
    """Every fault of a value that is to become a type: where in it, and what (None: it was reported already).

    msgspec itself reports the first one and stops.
    """
    if value is BAD:
        yield path, None
        return
    struct = _struct_of(kind)
    if struct is not None and isinstance(value, dict):
        fields = {field.encode_name: field for field in msgspec.structs.fields(struct)}
        unknown = [name for name in value if name not in fields]
        yield from ((f"{path}.{name}", f"`{name}` is unknown here; {', '.join(fields)}") for name in unknown)
        for name, field in fields.items():
            if name in value:
                yield from faults_of(value[name], field.type, f"{path}.{name}")
            elif field.required:
                yield path, f"`{name}` is missing"
    elif get_origin(kind) is list and isinstance(value, list):
        for at, item in enumerate(value):
            yield from faults_of(item, get_args(kind)[0], f"{path}[{at}]")
    elif get_origin(kind) is dict and isinstance(value, dict):
        for name, item in value.items():
            yield from faults_of(item, get_args(kind)[1], f"{path}.{name}")
    else:
        try:
            msgspec.convert(value, kind)
        except msgspec.ValidationError as fault:
            said = str(fault)
            place = _AT.search(said)
            yield path + (place["path"] if place else ""), _AT.sub("", said)


def _struct_of(kind: Any) -> type[Struct] | None:
    """Of `When` and of `When | None` the struct."""
    kinds = get_args(kind) if get_origin(kind) in {Union, UnionType} else (kind,)
    return next((one for one in kinds if isinstance(one, type) and issubclass(one, Struct)), None)


def _controls(text: str) -> list[Fault]:
    """Characters that no YAML holds, reported one by one, so that each can be found."""
    found: list[Fault] = []
    for match in Reader.NON_PRINTABLE.finditer(text):
        place = _place_in(text[: match.start()])
        found.append(Fault(place=place, message=f"the character U+{ord(match[0]):04X} is no text", hint="take it out"))
        if len(found) == _MOST_CONTROLS:
            break
    return found


def _place_in(before: str) -> Place:
    """Of what follows some text."""
    return before.count("\n") + 1, len(before) - before.rfind("\n")


class _Loader(yaml.SafeLoader):
    """Composes no more than a policy needs, so that neither depth nor number ends the process."""

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self._nodes = self._depth = 0

    def compose_node(self, parent: yaml.Node | None, index: int) -> yaml.Node | None:
        self._nodes += 1
        self._depth += 1
        _bound(self._nodes, self._depth, self.peek_event().start_mark)  # type: ignore[no-untyped-call]
        node: yaml.Node | None = super().compose_node(parent, index)
        self._depth -= 1
        return node


def _bound(nodes: int, depth: int, mark: yaml.Mark) -> None:
    if nodes > _MOST_NODES:
        raise yaml.MarkedYAMLError(problem=f"more than {_MOST_NODES:,} values", problem_mark=mark)
    if depth > _DEEPEST:
        raise yaml.MarkedYAMLError(problem=f"more than {_DEEPEST} lists or mappings within each other", problem_mark=mark)


def _compose(text: str, found: Documents) -> None:
    """Document by document: those before a fault of the language are still read."""
    loader = _Loader(text)
    values = _Values(found.faults)
    try:
        while loader.check_node():
            node = loader.get_node()
            found.documents.append(values.document(node))
    except yaml.MarkedYAMLError as fault:
        mark = fault.problem_mark or fault.context_mark
        place = (mark.line + 1, mark.column + 1) if mark else (1, 1)
        found.faults.append(Fault(place=place, message=f"no YAML: {fault.problem or fault.context}", hint=_LANGUAGE))
    except (yaml.YAMLError, ReaderError, ValueError, OverflowError) as fault:
        # An escape like "\UFFFFFFFF" is no character, and PyYAML does not look.
        found.faults.append(Fault(place=(loader.line + 1, loader.column + 1), message=f"no YAML: {fault}", hint=_LANGUAGE))
    finally:
        loader.dispose()


class _Values:
    """Nodes as plain values.

    Args:
        faults: Receives what is wrong with one; the others are read on.
    """

    def __init__(self, faults: list[Fault]) -> None:
        self._faults = faults
        self._nodes = 0
        self._places: dict[str, Place] = {}

    def document(self, node: yaml.Node | None) -> YamlDocument:
        self._places = {"": (1, 1)}
        values = self._value(node, "", 1) if node is not None else None
        return YamlDocument(values=values, places=self._places)

    def _value(self, node: yaml.Node, path: str, depth: int) -> Any:
        # Once more: an alias is one node that stands in many places, or within itself.
        self._nodes += 1
        _bound(self._nodes, depth, node.start_mark)
        self._places[path] = _start(node)
        tag = node.tag.removeprefix(_PREFIX)
        if tag not in _TAGS[type(node)]:
            return self._bad(node, f"`{_shown(node.tag)}` is no tag that is read here", hint="leave the tag out")
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path, depth)
        if isinstance(node, yaml.SequenceNode):
            return [self._value(value, f"{path}[{at}]", depth + 1) for at, value in enumerate(node.value)]
        return self._scalar(node, tag)

    def _mapping(self, node: yaml.MappingNode, path: str, depth: int) -> dict[str, Any]:
        values: dict[str, Any] = {}
        merged: list[Any] = []
        for key, value in node.value:
            if not isinstance(key, yaml.ScalarNode) or _NO_TEXT.search(key.value):
                self._bad(key, "a key is a word")
                continue
            name = key.value
            if key.tag == f"{_PREFIX}merge":
                merged.append(self._value(value, f"{path}.{name}", depth + 1))
                continue
            if name in values:
                self._bad(key, f"`{name}` stands here twice", hint="keep one")
            values[name] = self._value(value, f"{path}.{name}", depth + 1)
        for base in merged:
            for one in base if isinstance(base, list) else [base]:
                values = (one | values) if isinstance(one, dict) else values
        return values

    def _scalar(self, node: yaml.Node, tag: str) -> Any:
        text = str(node.value)
        if tag in {"str", "merge", "value"}:
            return self._bad(node, "half a character, or a NUL, is no text") if _NO_TEXT.search(text) else text
        said = text if len(text) <= _LONGEST_NUMBER else f"{text[:20]}…"
        name = "day of the calendar" if tag == "timestamp" else tag
        if len(text) <= _LONGEST_NUMBER:
            try:
                return SafeConstructor().construct_object(node)
            except (yaml.YAMLError, ValueError, TypeError, LookupError, AttributeError, ArithmeticError):
                pass
        return self._bad(node, f"`{said}` is no {name}", hint=f"YYYY-MM-DD; {_QUOTED}" if tag == "timestamp" else _QUOTED)

    def _bad(self, node: yaml.Node, message: str, *, hint: str = "") -> Bad:
        self._faults.append(Fault(place=_start(node), message=message, hint=hint))
        return BAD


def _start(node: yaml.Node) -> Place:
    return node.start_mark.line + 1, node.start_mark.column + 1


def _shown(tag: str) -> str:
    return f"!!{tag.removeprefix(_PREFIX)}" if tag.startswith(_PREFIX) else tag
