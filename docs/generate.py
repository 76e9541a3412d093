"""Write the reference pages from the code: `generate.py`, or `generate.py --check` (exit 1 when one is not current)."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import click

from envtrail import errors
from envtrail.cli.main import COMMANDS, cli
from envtrail.model.schema import EVENT_COLUMNS
from envtrail.settings import NOT_SETTINGS, SECTIONS, SETTINGS, Settings

FOLDER = Path(__file__).parent


def commands() -> Iterator[str]:
    yield "# Commands\n\nWritten by `docs/generate.py` from the commands themselves.\n"
    context = click.Context(cli, info_name="envtrail", terminal_width=100, max_content_width=100)
    yield f"```\n{cli.get_help(context)}\n```\n"
    for section in COMMANDS.values():
        for name in section:
            command = cli.get_command(context, name)
            if command is not None:
                yield from _help(context, name, command)


def _help(parent: click.Context, name: str, command: click.Command) -> Iterator[str]:
    context = click.Context(command, info_name=name, parent=parent, terminal_width=100, max_content_width=100)
    yield f"## {context.command_path}\n\n```\n{command.get_help(context)}\n```\n"
    if isinstance(command, click.Group):
        for inner_name in command.list_commands(context):
            inner = command.get_command(context, inner_name)
            if inner is not None and not inner.hidden:
                yield from _help(context, inner_name, inner)


def settings() -> Iterator[str]:
    yield "# Settings\n\nWritten by `docs/generate.py` from the one table in `settings/sections.py`. TOML file, then environment variable, then flag; the later wins."
    yield "A list in a variable is separated by colons, one of hours or addresses by commas; or it is a JSON array of texts. `a.b` is `b` below `[a]`"
    yield "in the file, and `ENVTRAIL_A_B`. `envtrail config example` prints a file with all of them, `envtrail config check FILE` names every fault"
    yield "of one, with its place. A variable that begins with `ENVTRAIL_` and is not a setting is a fault; not settings are"
    yield f"{', '.join(f'`{name}`' for name in sorted(NOT_SETTINGS))}, and what Kubernetes sets for a service of that name."
    for section, first in {"": Settings, **SECTIONS}.items():
        yield f"\n## {section or 'Top level'}\n\n{first.__doc__}\n\n| setting | default | may be | what |\n| --- | --- | --- | --- |"
        for setting in SETTINGS:
            if setting.key.rpartition(".")[0] == section:
                written = setting.written_default
                default = ", ".join(map(str, written)) if isinstance(written, list) else setting.kind.write_text(setting.default)
                allowed = setting.kind.allowed
                yield f"| `{setting.key}` | {f'`{default}`' if default else ''} | {allowed} | {setting.doc} |"


def events() -> Iterator[str]:
    yield "# Columns of an event\n\nWritten by `docs/generate.py` from the one table in `model/schema.py`. The types are Arrow's.\n"
    yield "| column | type | what |\n| --- | --- | --- |"
    for column in EVENT_COLUMNS:
        yield f"| `{column.name}` | `{column.arrow}` | {column.doc} |"


def faults() -> Iterator[str]:
    yield "# Errors and exit codes\n\nWritten by `docs/generate.py` from `errors.py`.\n"
    yield "| id | exit code | when |\n| --- | --- | --- |"
    kinds = [kind for kind in vars(errors).values() if isinstance(kind, type) and issubclass(kind, errors.EnvtrailError)]
    for kind in kinds:
        yield f"| `{kind.id}` | {int(kind.exit_code)} | {(kind.__doc__ or '').splitlines()[0]} |"
    yield "\n| exit code | name |\n| --- | --- |"
    yield from (f"| {int(code)} | {code.name.lower().replace('_', ' ')} |" for code in errors.ExitCode)


def pack() -> Iterator[str]:
    from envtrail.detect.detection import PACK
    from envtrail.detect.fields import SOURCES
    from envtrail.detect.load import load_detections

    loaded = load_detections([PACK])
    counted = {name for item in loaded.detections if item.correlation for name in item.correlation.rules}
    yield "# The pack, and what a rule can query\n"
    yield "Written by `docs/generate.py` from the rules in `src/envtrail/detect/pack` and the table in `detect/fields.py`.\n"
    yield "| detection | level | table | what | ATT&CK |\n| --- | --- | --- | --- | --- |"
    for item in loaded.detections:
        if item.id not in counted:
            tags = ", ".join(tag.removeprefix("attack.").upper() for tag in item.tags)
            what = f"{item.description} Known false positives: {'; '.join(item.falsepositives)}."
            yield f"| `{item.id}` | {item.level.value} | {item.table} | {what} | {tags} |"
    yield "\n## Log sources and fields\n"
    for (product, category, service), source in SOURCES.items():
        parts = (("product", product), ("category", category), ("service", service))
        named = ", ".join(f"`{part}: {value}`" for part, value in parts if value)
        more = ", `a0` … `a999` (of EXECVE)" if service == "auditd" else ""
        refused = f". Refused: {', '.join(f'`{name}`' for name in source.refused)}" if source.refused else ""
        yield f"- {named}: {', '.join(f'`{name}`' for name in source.fields)}{more}{refused}"


def redaction() -> Iterator[str]:
    from envtrail.core import redaction_tables

    yield "# What is redacted\n"
    yield "Written by `docs/generate.py` from the tables of the core (`crates/envtrail-core/src/redact`).\n"
    yield "Before anything is written, the value of a secret is replaced by `<redacted:KIND>`, and counted by kind (`envtrail status`). The value alone goes:"
    yield "the program, its options, the name of the variable and the rest of the command stay, and so does a value that could be run: a call, several"
    yield "lines, commands, a literal of more than 512 bytes. What names a secret without being it stays too: `$TOKEN`, the name of a file, `<token>`.\n"
    yield "Looked at are the arguments of an exec, PROCTITLE (at an exec that of the image before), the command of sudo, folders and paths, the arguments and"
    yield "variables that `/proc` gives, the history of conda, documents of Auditbeat, and the messages of notifications. An argument that is a command"
    yield "(`sh -c`, `ssh host`) is read as one, a program (`python -c`) by its literals. The folder of an environment is its identity and kept as it is.\n"
    yield "The corpus in `tests/data/secrets` holds what must go and what must stay.\n"
    yield "| kind | what |\n| --- | --- |"
    kinds = {
        "url-credential": "user and password of an address, a secret parameter of its query, the token in the path of a web hook or a channel",
        "option-value": "the value of an option",
        "argument": "an argument that is no option's",
        "env-value": "what is assigned to a name: a variable, `os.environ['X_TOKEN'] = '…'`, `password='…'`",
        "field": "a member of a document, a form or a connection string",
        "header": "the value of a header of HTTP, cookies",
        "token": "a token that is known by how it begins",
        "private-key": "a private key in PEM",
        "keystrokes": "all that was typed, where `pam_tty_audit` records it (TTY, USER_TTY)",
    }
    yield from (f"| `{kind}` | {what} |" for kind, what in kinds.items())
    for section, lines in redaction_tables():
        yield f"\n## {section.capitalize()}\n"
        yield from (f"- `{line}`" for line in lines)


PAGES = {
    "cli.md": commands,
    "settings.md": settings,
    "events.md": events,
    "errors.md": faults,
    "pack.md": pack,
    "redaction.md": redaction,
}


def main() -> int:
    stale = []
    for name, write in PAGES.items():
        text = "\n".join(write()).rstrip() + "\n"
        path = FOLDER / name
        if not path.exists() or path.read_text() != text:
            stale.append(name)
            if "--check" not in sys.argv:
                path.write_text(text)
    if stale and "--check" in sys.argv:
        print("not current: " + ", ".join(stale) + "; run `make docs`")
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
