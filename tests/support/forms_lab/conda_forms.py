"""conda, what runs below it, and the library that writes like it."""

from __future__ import annotations

from forms_lab.form import none, one

_HERE = {"place": "conda"}
_WORK = {"place": "none"}
_CHANNEL = "--override-channels -c $CHANNEL -c $CONDA_CHANNEL"
_CREATE = f"$CONDA create -y -q -p $W/$M {_CHANNEL}"
_THERE = {"place": "conda", "prepare": f"$CONDA install -y -q -p $E {_CHANNEL} --no-deps $M=1.0"}
_NEW = {"prefix": "$W/$M", "environment_kind": "conda"}
_FILE = "printf 'channels: [%s, %s]\\ndependencies:\\n- %s\\n' $CHANNEL $CONDA_CHANNEL $M > env.yml\n"

FORMS = (
    one("pip of a conda environment", "$E/bin/pip install $M", form=_HERE),
    one("python -m pip of a conda environment", "$E/bin/python -m pip install $M", form=_HERE),
    one("conda run pip", "$CONDA run -p $E pip install $M", form=_HERE),
    one("uv pip install, CONDA_PREFIX", "CONDA_PREFIX=$E $TOOLS/uv pip install $M", "uv", form=_HERE),
    one("conda install", f"$CONDA install -y -q -p $E {_CHANNEL} --no-deps $M", "conda", form=_HERE),
    one("conda remove", "$CONDA remove -y -q -p $E --force $M", "conda", "remove", form=_THERE),
    one("conda create", f"{_CREATE} $M", "conda", "create", **_NEW, form=_WORK),
    one("conda env create", f"{_FILE}$CONDA env create -q -p $W/$M -f env.yml", "conda", "create", **_NEW, form=_WORK),
    one("conda env remove", "$CONDA env remove -y -q -p $W/$M", "conda", "delete", **_NEW, changes=("…",),
        form={**_WORK, "prepare": f"{_CREATE} $M"}),
    one("conda, no such package", f"$CONDA install -y -q -p $E {_CHANNEL} $M-missing", "conda", outcome="failure", changes=(), exit_code=1,
        form={"place": "conda", "exit_code": 1, "left": None}),
    one("py-rattler", "$TOOLS/python $HERE/rattle.py $W/$M $CHANNEL $M", "rattler", "create", **_NEW, form=_WORK),
    none("conda list", "$CONDA list -p $E", place="conda"),
    none("conda install --dry-run", f"$CONDA install -y -q --dry-run -p $E {_CHANNEL} --no-deps $M", place="conda"),
)  # fmt: skip
