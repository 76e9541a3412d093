"""Write a deterministic audit log of execve events, 7 records each, for the throughput benchmark.

    python bench/make_log.py FILE [EVENTS]

1,000 events a second of log time, four users, 12 % of the arguments hex-encoded, 1 % of the events with a long one.
"""

from __future__ import annotations

import random
import sys
from pathlib import Path

USERS = ((1001, "alice"), (1002, "bob"), (1003, "carol"), (998, "ci"))


def write_log(path: Path, events: int) -> None:
    chance = random.Random(20261123)
    with path.open("w") as out:
        for number in range(events):
            out.write(make_event(chance, number))


def make_event(chance: random.Random, number: int) -> str:
    stamp = f"msg=audit({1764000000 + number // 1000}.{number % 1000:03d}:{100 + number}):"
    uid, _ = USERS[number % len(USERS)]
    pid, ppid = 2000 + number % 30000, 1 + number % 7
    prefix = f"/opt/mc/envs/t{number % 23}"
    arguments = [f"{prefix}/bin/python3.10", f"{prefix}/bin/tool-{number % 41}", "--config", f"run-{number}.yaml"]
    arguments += [f"-o{i}={chance.randrange(10**8)}" for i in range(chance.randrange(0, 3))]
    if number % 100 == 0:
        arguments.append("x" * 3000)
    words = []
    for at, argument in enumerate(arguments):
        spaced = chance.random() < 0.12
        words.append(f"a{at}={(argument + ' spaced').encode().hex().upper()}" if spaced else f'a{at}="{argument}"')
    title = "\0".join(arguments)[:128].encode().hex().upper()
    return (
        f"type=SYSCALL {stamp} arch=c000003e syscall=59 success=yes exit=0 a0=55d0c8a0f2a0 a1=55d0c8a1{number % 65536:04x} a2=55d0c8a0e010 "
        f"a3=8 items=2 ppid={ppid} pid={pid} auid={uid} uid={uid} gid={uid} euid={uid} suid={uid} fsuid={uid} egid={uid} sgid={uid} fsgid={uid} "
        f'tty=pts{number % 9} ses={number % 90} comm="tool-{number % 41}" exe="{prefix}/bin/python3.10" subj=unconfined key="user_command_trace"\n'
        f"type=EXECVE {stamp} argc={len(arguments)} {' '.join(words)}\n"
        f'type=CWD {stamp} cwd="/home/u{uid}/projects"\n'
        f'type=PATH {stamp} item=0 name="{prefix}/bin/tool-{number % 41}" inode={100000 + number % 999} dev=fe:00 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL\n'
        f'type=PATH {stamp} item=1 name="/lib64/ld-linux-x86-64.so.2" inode=131 dev=fe:00 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL\n'
        f"type=PROCTITLE {stamp} proctitle={title}\n"
        f"type=EOE {stamp} \n"
    )


if __name__ == "__main__":
    write_log(Path(sys.argv[1]), int(sys.argv[2]) if len(sys.argv) > 2 else 200_000)
