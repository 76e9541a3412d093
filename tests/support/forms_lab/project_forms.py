"""Project managers, old build scripts, notebooks and libraries that install."""

from __future__ import annotations

from forms_lab.form import ANY_EXIT, Expected, Form, one

_OWN = {"prefix": "$W/.venv", "environment_kind": "venv"}
_WORK = {"place": "none"}
_HATCH = 'printf \'[project]\\nname = "work"\\nversion = "1"\\n[build-system]\\nrequires = ["hatchling"]\\nbuild-backend = "hatchling.build"\\n[tool.hatch.envs.default]\\nskip-install = true\\npath = ".hatch"\\ndependencies = ["%s"]\\n\' $M > pyproject.toml\n'
_PIPFILE = 'printf \'[[source]]\\nurl = "%s"\\nverify_ssl = false\\nname = "local"\\n\' $INDEX > Pipfile\n'
_LOCKED = {"changes": (), **_OWN}


def _project(tool: str, add: str, locked: str, lock: str, *, seeds: tuple[str, ...] = ()) -> tuple[Form, ...]:
    """What `poetry` and `pdm` have in common; `seeds` is what a new environment of theirs begins with."""
    run = f"$TOOLS/{tool}"
    made = {**_OWN, "changes": ("+$M", *seeds)}
    bare = {**_LOCKED, "changes": seeds}
    return (
        one(f"{tool} add", f"{run} add {add} $M", tool, **made, form=_WORK),
        one(
            f"{tool} remove",
            f"{run} remove {add} $M",
            tool,
            "remove",
            **_OWN,
            form={**_WORK, "prepare": f"{run} add -q {add} $M"},
        ),
        one(f"{tool} install", f"{run} install {add}", tool, **_OWN, form={**_WORK, "prepare": f"{run} add -q {locked} $M"}),
        one(f"{tool} lock", f"{run} lock", tool, "lock", **bare, form={**_WORK, "left": None}),
    )


PROJECTS = (
    *_project("poetry", "-n", "-n --lock", "lock", seeds=("+pip",)),
    *_project("pdm", "", "--no-sync", "lock"),
    one("hatch env create", "$TOOLS/hatch env create", "hatch", "create", prefix="$W/.hatch", environment_kind="venv", changes=("+$M", "…"),
        form={**_WORK, "prepare": _HATCH}),
    # A wrapper owns nothing: it made the environment in its own process, then let pip fill it.
    Form(name="hatch run that makes an environment", script="$TOOLS/hatch run python -c pass", place="none", prepare=_HATCH, left="+", expects=(
        Expected(tool="hatch", kind="sync", prefix="$W/.hatch", environment_kind="venv", changes=("…",)),
        Expected(tool="pip", kind="install", prefix="$W/.hatch", environment_kind="venv", changes=("+$M", "…")))),
    one("hatch env prune", "$TOOLS/hatch env prune", "hatch", "delete", prefix="$W/.hatch", environment_kind="venv", changes=("…",),
        form={**_WORK, "prepare": _HATCH + "$TOOLS/hatch -q env create"}),
    one("pipenv install", "$TOOLS/pipenv install $M", "pipenv", **_OWN, changes=("+$M", "…"), form={**_WORK, "prepare": _PIPFILE}),
    one("pipenv uninstall", "$TOOLS/pipenv uninstall $M", "pipenv", "remove", **_OWN,
        form={**_WORK, "prepare": _PIPFILE + "$TOOLS/pipenv install -q $M"}),
)  # fmt: skip

OLD = (
    one("setup.py install", "cd $PROJECT\n$E/bin/python setup.py -q install", "setup.py", form={"place": "legacy"}),
    one("setup.py develop", "cd $PROJECT\n$E/bin/python setup.py -q develop", "setup.py", form={"place": "legacy"}),
    one("easy_install", "$E/bin/easy_install -q --no-deps $SHELF/$M-1.0-py3-none-any.whl", "easy_install", form={"place": "legacy"}),
    one("python -m easy_install", "$E/bin/python -m easy_install -q --no-deps $SHELF/$M-1.0-py3-none-any.whl", "easy_install", form={"place": "legacy"}),
)  # fmt: skip

NOTEBOOKS = (
    one("%pip in a notebook", '$TOOLS/python $HERE/notebook.py $E/bin/python "%pip install $M"'),
    one("!pip in a notebook", 'PATH=$E/bin:$PATH $TOOLS/python $HERE/notebook.py $E/bin/python "!pip install $M"'),
    one("!pip below a Jupyter Server", '$TOOLS/python $HERE/server.py "!$E/bin/pip install $M"'),
    one("%conda in a notebook", "KERNEL_PACKAGES=$KERNEL310 $TOOLS/python $HERE/notebook.py $E/bin/python"
        ' "%conda install -y -q --override-channels -c $CHANNEL -c $CONDA_CHANNEL --no-deps $M"', "conda", form={"place": "conda"}),
    one("pip imported in a notebook", '$TOOLS/python $HERE/notebook.py $E/bin/python "import pip; pip.main([\'install\', \'$M\'])"', exit_code=ANY_EXIT,
        outcome="unknown", via=("in-process",)),
)  # fmt: skip
