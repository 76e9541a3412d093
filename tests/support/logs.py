"""Records as the kernel writes them."""

from __future__ import annotations


def pip_log(argv: list[str], *, pid: int = 100, serial: int = 10, code: int = 0) -> str:
    """The records of one pip, as the kernel writes them."""

    def word(text: str) -> str:
        raw = text.encode()
        return (
            f'"{text}"'
            if text and all(0x21 <= byte <= 0x7E and byte != 0x22 for byte in raw)
            else raw.hex().upper()
            if text
            else '""'
        )

    stamp, end = f"msg=audit({1764000000 + serial}.100:{serial})", f"msg=audit({1764000003 + serial}.100:{serial + 1})"
    words = ["/v/bin/python", "/v/bin/pip", *argv]
    who = f'ppid=1 pid={pid} auid=1001 uid=1001 gid=1001 euid=1001 ses=3 tty=pts0 comm="pip" exe="/usr/bin/python3.11" key="python_script_exec"'
    return (
        f'type=SYSCALL {stamp}: arch=c000003e syscall=59 success=yes exit=0 items=1 {who}\x1dAUID="alice" UID="alice"\n'
        f"type=EXECVE {stamp}: argc={len(words)} {' '.join(f'a{at}={word(text)}' for at, text in enumerate(words))}\n"
        f'type=CWD {stamp}: cwd="/home/alice"\ntype=PATH {stamp}: item=0 name="/v/bin/pip" inode=1 mode=0100755 ouid=0 nametype=NORMAL\n'
        f"type=PROCTITLE {stamp}: proctitle=78\n"
        f"type=SYSCALL {end}: arch=c000003e syscall=231 success=yes exit=0 a0={code:x} items=0 {who}\ntype=PROCTITLE {end}: proctitle=78\n"
    )
