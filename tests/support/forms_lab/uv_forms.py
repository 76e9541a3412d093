"""uv and its relatives, and the makers of environments."""

from __future__ import annotations

from forms_lab.form import ANY_EXIT, INSTALLED, Expected, Form, none, one

_THERE = {"prepare": INSTALLED}
_WORK = {"place": "none"}
_SYNCED = {"place": "none", "prepare": "$TOOLS/uv add -q $M"}
_OWN = {"prefix": "$W/.venv", "environment_kind": "venv"}
_TOOL = {"prefix": "$HOME/.local/share/uv/tools/$M", "environment_kind": "venv"}
_PIPX = {"prefix": "$HOME/.local/share/pipx/venvs/$M", "environment_kind": "venv"}


def _upgraded(tool: str, prefix: str) -> Expected:
    return Expected(tool=tool, kind="update", prefix=prefix, environment_kind="venv", changes=("^$M",))


_OLD_TOOLS = "".join(
    f"$TOOLS/uv tool install -q ${name}\n$TOOLS/uv pip install -q --python tools/${name}/bin/python $M==0.9\n"
    for name in ("M", "N")
)

UV = (
    one("uv pip install --python", "$TOOLS/uv pip install --python $E/bin/python $M", "uv"),
    one("uv pip install, VIRTUAL_ENV", "VIRTUAL_ENV=$E $TOOLS/uv pip install $M", "uv"),
    one("uv pip install, UV_PYTHON", "UV_PYTHON=$E/bin/python $TOOLS/uv pip install $M", "uv"),
    one("uv pip install, uv.toml", "printf '[pip]\\npython = \"%s/bin/python\"\\n' $E > uv.toml\n$TOOLS/uv pip install $M", "uv"),
    one("uv pip install in a folder with .venv", "$TOOLS/uv pip install $M", "uv", **_OWN,
        form={"place": "none", "prepare": "$TOOLS/uv venv -q"}),
    one("uv pip install --target", "$TOOLS/uv pip install --python $E/bin/python --target lib $M", "uv", prefix="$W/lib", environment_kind="target"),
    one("uv pip install --prefix", "$TOOLS/uv pip install --python $E/bin/python --prefix tree $M", "uv", prefix="$W/tree", environment_kind="*"),
    one("python -m uv pip install", "$TOOLS/python -m uv pip install --python $E/bin/python $M", "uv"),
    one("uv with a spoofed argv[0]", "exec bash -c 'exec -a ls $TOOLS/uv pip install --python $E/bin/python $M'", "uv"),
    one("a renamed uv", "cp $TOOLS/uv $W/notes\n$W/notes pip install --python $E/bin/python $M", "uv"),
    one("uv pip uninstall", "$TOOLS/uv pip uninstall --python $E/bin/python $M", "uv", "remove", form=_THERE),
    one("uv pip sync", "printf '%s==1.0\\n' $M > wanted.txt\n$TOOLS/uv pip sync --python .venv/bin/python wanted.txt", "uv", "sync", **_OWN,
        form={"place": "none", "prepare": "$TOOLS/uv venv -q"}),
    one("uv pip install, no such package", "$TOOLS/uv pip install --python $E/bin/python $M-missing", "uv", outcome="failure", changes=(), exit_code=1,
        form={"left": None, "exit_code": 1}),
    one("uv add", "$TOOLS/uv add $M", "uv", **_OWN, form=_WORK),
    one("uv remove", "$TOOLS/uv remove $M", "uv", "remove", **_OWN, form=_SYNCED),
    one("uv sync", "$TOOLS/uv sync", "uv", "sync", **_OWN, form={"place": "none", "prepare": "$TOOLS/uv add -q --no-sync $M"}),
    one("uv lock", "$TOOLS/uv lock", "uv", "lock", changes=(), **_OWN, form={"place": "none", "left": None}),
    one("uv run that syncs", "$TOOLS/uv run python -c pass", "uv", "sync", **_OWN, form={"place": "none", "prepare": "$TOOLS/uv add -q --no-sync $M"}),
    one("uv run pip", "$TOOLS/uv run --no-project --python $E/bin/python $E/bin/python -m pip install $M"),
    one("uv tool install", "$TOOLS/uv tool install $M", "uv", **_TOOL, form=_WORK),
    one("uv tool uninstall", "$TOOLS/uv tool uninstall $M", "uv", "delete", **_TOOL, form={"place": "none", "prepare": "$TOOLS/uv tool install -q $M"}),
    Form(
        name="uv tool upgrade --all",
        script="UV_TOOL_DIR=$W/tools UV_TOOL_BIN_DIR=$W/bin $TOOLS/uv tool upgrade --all",
        expects=tuple(_upgraded("uv", f"$W/tools/${name}") for name in ("M", "N")),
        place="none",
        prepare="export UV_TOOL_DIR=$W/tools UV_TOOL_BIN_DIR=$W/bin\n" + _OLD_TOOLS,
        group=True,
    ),
    one("uvx", "$TOOLS/uvx $M", "uv", prefix="$HOME/.cache/uv/*", environment_kind="*", form=_WORK),
    one("uv venv", "$TOOLS/uv venv $W/$M", "uv", "create", prefix="$W/$M", environment_kind="venv", changes=(), form={"place": "none", "left": "f"}),
    none("uv pip list", "$TOOLS/uv pip list --python $E/bin/python"),
    none("uv pip install --dry-run", "$TOOLS/uv pip install --dry-run --python $E/bin/python $M"),
    none("uv run that changes nothing", "$TOOLS/uv run --no-project --python $E/bin/python python -c pass"),
    none("uv pip compile", "echo $M > wanted.in\n$TOOLS/uv pip compile -q --python $E/bin/python wanted.in -o got.txt"),
)  # fmt: skip

MAKERS = (
    one("python -m venv", "/usr/bin/python3 -m venv $W/$M", "venv", "create", prefix="$W/$M", environment_kind="venv", changes=("+pip", "…"),
        form={"place": "none", "left": "f"}),
    one("python -m venv --without-pip", "/usr/bin/python3 -m venv --without-pip $W/$M", "venv", "create", prefix="$W/$M", environment_kind="venv",
        changes=(), form={"place": "none", "left": "f"}),
    one("virtualenv", "$TOOLS/virtualenv -q --no-periodic-update $W/$M", "virtualenv", "create", prefix="$W/$M", environment_kind="venv",
        changes=("+pip", "…"), form={"place": "none", "left": "f"}),
    one("rm -r of an environment", "rm -r $W/$M", "rm", "delete", prefix="$W/$M", environment_kind="venv", changes=("…",), exit_code=ANY_EXIT,
        form={"place": "none", "prepare": "/usr/bin/python3 -m venv --without-pip $W/$M", "left": "-f"}),
    one("pipx install", "$TOOLS/pipx install $M", "pipx", **_PIPX, form=_WORK),
    one("pipx inject", "$TOOLS/pipx inject $M $N", "pipx", **_PIPX, changes=("+$N",), form={"place": "none", "prepare": "$TOOLS/pipx install -q $M"}),
    one("pipx uninstall", "$TOOLS/pipx uninstall $M", "pipx", "delete", **_PIPX, form={"place": "none", "prepare": "$TOOLS/pipx install -q $M"}),
    none("pipx list", "$TOOLS/pipx list", place="none"),
)  # fmt: skip
