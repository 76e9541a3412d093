"""Canaries: each rule is made to write, by a process that it speaks of, and its record is looked for.

A record proves a rule only when it is of the rule's kind (start, end, file), comes from the canary's own process through the rule's
entry (64-bit, 32-bit, io_uring), and has its key: other people's events on a busy machine prove nothing, nor does another rule's record.
"""

from __future__ import annotations

import errno
import os
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pyarrow as pa
from msgspec import Struct

from envtrail.core import Assembler, AuditSocket
from envtrail.errors import CannotRunError
from envtrail.model.proof import Proof
from envtrail.rules import calls
from envtrail.rules.machine import HERE
from envtrail.rules.plan import Plan
from envtrail.rules.rule import Rule

_WAIT_S = 2.0
_UNSET = 4294967295
_NOBODY = 65534


class _Canary(Struct, frozen=True):
    """What must make a rule write."""

    what: str
    act: Callable[[], object]
    """Done in a separate process; may exec and never return."""


def prove(plan: Plan) -> list[Proof]:
    """Send a canary through every rule of the plan and look for its record.

    Raises:
        CannotRunError: the kernel's records cannot be read.
    """
    try:
        socket = AuditSocket("multicast")
    except OSError as fault:
        raise CannotRunError(f"the kernel's records cannot be read: {fault.strerror}", hint="run as root") from None
    try:
        return [_prove_one(item.rule, socket) for item in plan.rules]
    finally:
        socket.close()


def _prove_one(rule: Rule, socket: AuditSocket) -> Proof:
    if rule.action == "never":
        return Proof(result="unknown", rule=rule.render(), how="it leaves events out")
    canary = _canary_of(rule)
    if canary is None:
        return Proof(result="unknown", rule=rule.render(), how="nothing harmless makes it write")
    socket.read(0)
    began = time.monotonic()
    try:
        pid = _send(canary, rule)
    except OSError as fault:
        return Proof(result="unknown", rule=rule.render(), how=f"{canary.what}: could not be sent: {fault.strerror}")
    assembler = Assembler(redact=False)
    while time.monotonic() < began + _WAIT_S:
        assembler.push(socket.read(200))
        assembler.flush()
        if _is_reported(assembler, rule, pid):
            took_ms = (time.monotonic() - began) * 1000
            return Proof(result="proven", rule=rule.render(), how=f"{canary.what}: seen after {took_ms:.0f} ms")
    return Proof(
        result="not proven", rule=rule.render(), how=f"{canary.what}: no record with key {rule.key} within {_WAIT_S:.0f} s"
    )


def _is_reported(assembler: Assembler, rule: Rule, pid: int) -> bool:
    arch = HERE.arches.get(_value(rule, "arch") or "")
    is_exec = "execve" in rule.syscalls or _value(rule, "perm") == "x"
    kind = "exit" if "exit_group" in rule.syscalls else "exec" if is_exec else "file"
    for event in pa.record_batch(assembler.drain().events()).to_pylist():
        if rule.filter == "io_uring":
            # The kernel's worker thread does it, under its own pid.
            is_own = event["type"] == "URINGOP"
        else:
            is_own = event["pid"] == pid and event["kind"] == kind and arch in {None, event["arch"]}
        if is_own and rule.key in (event["keys"] or ()):
            return True
    return False


def _canary_of(rule: Rule) -> _Canary | None:
    path, folder = _value(rule, "path"), _value(rule, "dir")
    exe = _value(rule, "exe")
    is_32 = _value(rule, "arch") not in {None, HERE.own}
    if is_32 and not calls.has_32():
        return None
    if rule.filter == "io_uring":
        return _in_folder(folder, calls.mkdir_through_io_uring, "through io_uring") if folder else None
    if exe is not None:
        return _end_of(exe, is_32=is_32)
    if path and "x" in (_value(rule, "perm") or ""):
        return _run([path, "--version"], is_32=is_32)
    if folder or path:
        if is_32:
            return _in_folder(folder or path, lambda name: _call_32("mkdir", os.fsencode(name), 0o700), "by a 32-bit call")
        return _in_folder(folder or path, os.mkdir, "")
    if "exit_group" in rule.syscalls:
        end: Callable[[], object] = (lambda: _call_32("exit_group", 0)) if is_32 else (lambda: os._exit(0))
        return _Canary("ended" + (" by a 32-bit call" if is_32 else ""), end)
    return _run(["/bin/true"], is_32=is_32)


def _call_32(name: str, *arguments: int | bytes | Sequence[bytes]) -> int:
    return calls.call_32(HERE.calls("b32")[name], *arguments)


def _run(argv: list[str], *, is_32: bool) -> _Canary:
    if not is_32:
        return _Canary(f"ran {' '.join(argv)}", lambda: os.execv(argv[0], argv))  # noqa: S606
    words = [os.fsencode(word) for word in argv]
    return _Canary(f"ran {' '.join(argv)} by a 32-bit call", lambda: _call_32("execve", words[0], words, []))


def _end_of(exe: str, *, is_32: bool) -> _Canary | None:
    if not is_32:
        return _run([exe, "--version"], is_32=False)
    if not os.path.basename(exe).startswith("python"):
        # Another program makes no 32-bit call on request.
        return None
    argv = [exe, "-I", calls.__file__]
    return _Canary(f"ended {exe} by a 32-bit call", lambda: os.execv(exe, argv))  # noqa: S606


def _in_folder(parent: str | None, make: Callable[[str], object], how: str) -> _Canary:
    # A name that nothing else has; made and removed at once.
    name = tempfile.mktemp(prefix=".envtrail-canary-", dir=parent)  # noqa: S306 - mkdir fails where the name is taken

    def act() -> None:
        make(name)
        os.rmdir(name)

    return _Canary(f"made and removed a folder in {parent} {how}".rstrip(), act)


def _send(canary: _Canary, rule: Rule) -> int:
    """Let a child of the rule's kind of person do it; gives its pid.

    Raises:
        OSError: it could not be done.
    """
    reader, writer = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        try:
            _become(rule)
            silence = os.open(os.devnull, os.O_RDWR)
            for descriptor in (0, 1, 2):
                os.dup2(silence, descriptor)
            canary.act()
        except OSError as fault:
            os.write(writer, bytes([min(fault.errno or errno.EIO, 255)]))
        finally:
            os._exit(0)
    os.close(writer)
    with os.fdopen(reader, "rb") as answer:
        fault_number = answer.read()
    os.waitpid(pid, 0)
    if fault_number:
        raise OSError(fault_number[0], os.strerror(fault_number[0]))
    return pid


def _become(rule: Rule) -> None:
    """The login uid and the uid that the rule requires; root's rights stay where it requires none."""
    auid = next((field for field in rule.fields if field.name == "auid" and field.operator in {"=", ">="}), None)
    login = 1000 if auid is None else _UNSET if auid.value == "unset" else int(auid.value)
    Path("/proc/self/loginuid").write_text(str(login))
    uid = next((field for field in rule.fields if field.name == "uid" and field.operator in {"=", ">="}), None)
    if uid is not None:
        os.setuid(max(int(uid.value), _NOBODY) if uid.operator == ">=" else int(uid.value))


def _value(rule: Rule, name: str) -> str | None:
    return next((field.value for field in rule.fields if field.name == name), None)
