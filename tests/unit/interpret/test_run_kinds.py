"""What each command line runs: kind, program, prefix."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtrail.interpret.run_kinds import shape_of
from envtrail.interpret.tool import Invocation

PYTHON = "/usr/bin/python3.11"
V = "/v/bin/python"
Row = tuple[str, str, str | None]

SCRIPTS = (
    (f"{V} train.py", ("script", "/w/train.py", "/v")),
    (f"{V} ./train.py --epochs 3", ("script", "/w/train.py", "/v")),
    (f"{V} /data/train.py", ("script", "/data/train.py", "/v")),
    (f"{V} ../x/../train.py", ("script", "/train.py", "/v")),
    (f"{V} train", ("script", "/w/train", "/v")),
    (f"{V} train -m slow", ("script", "/w/train", "/v")),
    (f"{V} train.py -c x", ("script", "/w/train.py", "/v")),
    (f"{V} -u train.py", ("script", "/w/train.py", "/v")),
    (f"{V} -uB -OO train.py", ("script", "/w/train.py", "/v")),
    (f"{V} -W ignore train.py", ("script", "/w/train.py", "/v")),
    (f"{V} -Wignore train.py", ("script", "/w/train.py", "/v")),
    (f"{V} -X utf8 -X dev train.py", ("script", "/w/train.py", "/v")),
    (f"{V} -IX utf8 train.py", ("script", "/w/train.py", "/v")),
    (f"{V} --check-hash-based-pycs always train.py", ("script", "/w/train.py", "/v")),
    (f"{V} app.pyz", ("script", "/w/app.pyz", "/v")),
    (f"{V} folder/", ("script", "/w/folder", "/v")),
    (f"{V} /v/bin/tool.py", ("script", "/v/bin/tool.py", "/v")),
    (f"{V} /other/bin/black", ("script", "/other/bin/black", "/v")),
    (f"{V} /usr/bin/lsb_release -a", ("script", "/usr/bin/lsb_release", "/v")),
    (f"{V} /usr/lib/x/run.py", ("script", "/usr/lib/x/run.py", "/v")),
    ("/v/bin/python3.12 train.py", ("script", "/w/train.py", "/v")),
    ("/v/bin/pypy3 train.py", ("script", "/w/train.py", "/v")),
    ("/usr/bin/python3 train.py", ("script", "/w/train.py", "/usr")),
    ("/usr/bin/python3 /usr/local/bin/nightly", ("script", "/usr/local/bin/nightly", "/usr")),
    ("/usr/bin/python3 /home/a/usr/share/x", ("script", "/home/a/usr/share/x", "/usr")),
    ("/opt/conda/envs/ml/bin/python x.py", ("script", "/w/x.py", "/opt/conda/envs/ml")),
    (f"{V} /v/bin/ipython ok.py --epochs 3", ("script", "/w/ok.py", "/v")),
    (f"{V} /v/bin/ipython3 -i --no-banner ok.ipy", ("script", "/w/ok.ipy", "/v")),
    (f"{V} -m IPython /data/ok.py", ("script", "/data/ok.py", "/v")),
    (f"{V} launch.py accelerate launch", ("script", "/w/launch.py", "/v")),
    (f"{V} multiprocessing.py", ("script", "/w/multiprocessing.py", "/v")),
)
MODULES = (
    (f"{V} -m pkg", ("module", "pkg", "/v")),
    (f"{V} -mpkg", ("module", "pkg", "/v")),
    (f"{V} -Im pkg.sub --flag", ("module", "pkg.sub", "/v")),
    (f"{V} -W ignore -m pkg", ("module", "pkg", "/v")),
    (f"{V} -X dev -um pkg", ("module", "pkg", "/v")),
    (f"{V} -m http.server 8000", ("module", "http.server", "/v")),
    (f"{V} -m pkg.py", ("module", "pkg.py", "/v")),
    (f"{V} -m pytest -m slow", ("module", "pytest", "/v")),
    (f"{V} -m ipykernel install --user", ("module", "ipykernel", "/v")),
    (f"{V} -m accelerate test", ("module", "accelerate", "/v")),
    (f"{V} -m IPython", ("module", "IPython", "/v")),
)
CONSOLES = tuple(
    (f"{V} /v/bin/{command}", ("console", f"/v/bin/{command.split()[0]}", "/v"))
    for command in (
        "black .",
        "pytest -m slow",
        "gunicorn app:x",
        "ipython",
        "streamlit run app.py",
        "accelerate config",
        "mypy -p x",
    )
)
LAUNCHERS = (
    (f"{V} /v/bin/torchrun --nproc 2 train.py", ("launcher", "/v/bin/torchrun", "/v")),
    (f"{V} -m torch.distributed.run train.py", ("launcher", "torch.distributed.run", "/v")),
    (f"{V} -m torch.distributed.launch train.py", ("launcher", "torch.distributed.launch", "/v")),
    (f"{V} /v/bin/accelerate launch train.py", ("launcher", "/v/bin/accelerate", "/v")),
    (f"{V} -m accelerate.commands.launch train.py", ("launcher", "accelerate.commands.launch", "/v")),
    (f"{V} /v/bin/deepspeed train.py", ("launcher", "/v/bin/deepspeed", "/v")),
    (f"{V} -u -m deepspeed.launcher.launch train.py", ("launcher", "deepspeed.launcher.launch", "/v")),
    (f"{V} /v/bin/horovodrun -np 2 python train.py", ("launcher", "/v/bin/horovodrun", "/v")),
)
SYSTEM = tuple(
    (f"/usr/bin/python3 {path}", ("system", path, "/usr"))
    for path in (
        "/usr/bin/lsb_release",
        "/usr/share/unattended-upgrades/unattended-upgrade-shutdown",
        "/usr/lib/update-notifier/apt-check",
        "/usr/bin/apt-listchanges",
        "/usr/bin/py3compile",
        "/usr/sbin/x-daemon",
    )
)
JUPYTER = (
    (f"{V} /v/bin/jupyter lab", ("jupyter", "/v/bin/jupyter", "/v")),
    (f"{V} /v/bin/jupyter-lab --no-browser", ("jupyter", "/v/bin/jupyter-lab", "/v")),
    (f"{V} /v/bin/jupyter-notebook", ("jupyter", "/v/bin/jupyter-notebook", "/v")),
    (f"{V} /v/bin/jupyter-server", ("jupyter", "/v/bin/jupyter-server", "/v")),
    (f"{V} /v/bin/jupyterhub-singleuser", ("jupyter", "/v/bin/jupyterhub-singleuser", "/v")),
    (f"{V} -m ipykernel_launcher -f /r/kernel-1.json", ("kernel", "ipykernel_launcher", "/v")),
    (f"{V} -Xfrozen_modules=off -m ipykernel_launcher -f x", ("kernel", "ipykernel_launcher", "/v")),
    (f"{V} /v/lib/python3.11/site-packages/ipykernel_launcher.py -f x", ("kernel", "/v/lib/python3.11/site-packages/ipykernel_launcher.py", "/v")),
)  # fmt: skip
BY_NAME = (
    (f"{V} -m jupyterlab", ("jupyter", "jupyterlab", "/v")),
    (f"{V} -m notebook", ("jupyter", "notebook", "/v")),
    (f"{V} -m jupyter_server", ("jupyter", "jupyter_server", "/v")),
    (f"{V} -m ipykernel -f x", ("kernel", "ipykernel", "/v")),
)
NO_RUNS = tuple(
    (f"{V} {words}".rstrip(), None)
    for words in (
        "",
        "-i",
        "-V",
        "--version",
        "-",
        "- x.py",
        "-c pass",
        "-cpass x.py",
        "-Ic pass -m pkg",
        "-c from multiprocessing.spawn --multiprocessing-fork",
        "-m",
        "-m multiprocessing.spawn",
        "-m multiprocessing.resource_tracker",
        "-m joblib.externals.loky.backend.popen_loky_posix --pipe 3",
    )
)
ROWS: list[tuple[str, str, Row | None]] = [
    *((command, "python", row) for command, row in (*SCRIPTS, *MODULES, *CONSOLES, *LAUNCHERS, *SYSTEM, *BY_NAME)),
    *((command, "jupyter", row) for command, row in JUPYTER),
    *((command, "python", None) for command, _ in NO_RUNS),
]


def shape(
    command: str, hint: str = "python", *, path: str | None = None, exe: str = PYTHON, cwd: str | None = "/w"
) -> Row | None:
    argv = command.split()
    found = shape_of(Invocation(exe=exe, argv=argv, path=path or argv[0], cwd=cwd, uid=1), hint)
    return (found.kind, found.program, found.prefix) if found else None


@pytest.mark.parametrize(("command", "hint", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_forms(command: str, hint: str, expected: Row | None) -> None:
    assert shape(command, hint) == expected


def test_the_table_has_every_kind() -> None:
    assert len(ROWS) >= 80
    kinds = {row[0] for _, _, row in ROWS if row}
    assert kinds == {"script", "module", "console", "jupyter", "kernel", "launcher", "system"}


@pytest.mark.parametrize(
    ("command", "path", "exe", "expected"),
    [
        # By its shebang, the script's own path is executed: `/v/bin/black` from anywhere.
        ("/v/bin/python /v/bin/black .", "/v/bin/black", PYTHON, ("console", "/v/bin/black", "/v")),
        # A link in `~/.local/bin` (pipx), or a script of one's own in `~/bin`: the environment is the interpreter's.
        ("/v/bin/python /home/a/.local/bin/black .", "/home/a/.local/bin/black", PYTHON, ("script", "/home/a/.local/bin/black", "/v")),
        ("/v/bin/python /home/a/bin/train", "/home/a/bin/train", PYTHON, ("script", "/home/a/bin/train", "/v")),
        # As typed on a PATH, the first word says nothing.
        ("python train.py", "/v/bin/python", PYTHON, ("script", "/w/train.py", "/v")),
        # A spoofed first word changes nothing.
        ("ls train.py", "/v/bin/python", PYTHON, ("script", "/w/train.py", "/v")),
        ("train.py", "/v/bin/python", PYTHON, None),
        # Nothing that is not a Python is a run.
        ("/bin/sh train.py", "/bin/sh", "/usr/bin/dash", None),
    ],
)  # fmt: skip
def test_what_was_executed_decides(command: str, path: str, exe: str, expected: Row | None) -> None:
    assert shape(command, path=path, exe=exe) == expected


def test_a_script_in_an_unknown_folder_has_no_path() -> None:
    found = shape_of(Invocation(exe=PYTHON, argv=[V, "train-2.py"], path=V, cwd=None, uid=1), "python")
    assert found is not None
    assert (found.program, found.script) == ("train-2.py", None)


_WORD = st.sampled_from(
    ["-m", "-c", "-", "--", "-W", "-Xm", "train.py", "/v/bin/python", "", "/", "ipykernel", "accelerate", "launch"]
)


@given(argv=st.lists(_WORD | st.text(max_size=6), max_size=8), exe=_WORD, path=st.none() | _WORD, cwd=st.none() | st.just("/w"))
def test_no_command_line_raises(argv: list[str], exe: str, path: str | None, cwd: str | None) -> None:
    found = shape_of(Invocation(exe=exe, argv=argv, path=path, cwd=cwd, uid=None), "python")
    assert found is None or (found.program and (found.script is None or found.script.startswith("/")))
