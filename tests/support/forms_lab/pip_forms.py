"""pip in all its spellings."""

from __future__ import annotations

from forms_lab.form import INSTALLED, Expected, Form, none, one

_MAIN = "import sys; from pip._internal.cli.main import main; sys.exit(main(['install', '$M']))"
_THERE = {"prepare": INSTALLED}
_PIP = INSTALLED.replace("$M", "pip")
_BREAK = "--break-system-packages --root-user-action=ignore"

SPELLINGS = (
    one("pip", "$E/bin/pip install $M"),
    one("pip on PATH", "PATH=$E/bin:$PATH; pip install $M"),
    one("pip3", "$E/bin/pip3 install $M"),
    one("pip3.11", "$E/bin/pip3.11 install $M"),
    one("python -m pip", "$E/bin/python -m pip install $M"),
    one("python -Im pip", "$E/bin/python -Im pip install $M"),
    one("python -X utf8 -m pip", "$E/bin/python3.11 -X utf8 -m pip install $M"),
    one("python path/to/pip", "$E/bin/python $E/lib/python3.11/site-packages/pip install $M"),
    one('python -c "import pip"', f'$E/bin/python -c "{_MAIN}"', via=("in-process",)),
    one("a script that imports pip", f"echo \"{_MAIN}\" > job.py\n$E/bin/python job.py", via=("in-process",)),
    one("a copied pip script", "cp $E/bin/pip fetch\n./fetch install $M"),
    one("a renamed interpreter", "$E/bin/worker -m pip install $M", form={"place": "bare", "prepare": f"cp /usr/bin/python3.11 $E/bin/worker\n{_PIP}"}),
    one("a spoofed argv[0]", "exec bash -c 'exec -a $E/bin/notes $E/bin/python -m pip install $M'"),
    one("a shell wrapper that execs", "printf '#!/bin/sh\\nexec %s \"$@\"\\n' $E/bin/pip > getit\nchmod +x getit\n./getit install $M"),
    one("a shell wrapper that waits", "printf '#!/bin/sh\\n%s \"$@\"\\nexit $?\\n' $E/bin/pip > getit\nchmod +x getit\n./getit install $M"),
    one("an alias", "alias getit='$E/bin/pip install'\ngetit $M"),
    one("below make", "printf 'all:\\n\\t%s install %s\\n' $E/bin/pip $M > Makefile\nmake -s"),
    one("below xargs", "echo $M | xargs $E/bin/pip install"),
    one("in a separate session", "setsid -w $E/bin/pip install $M"),
    one("in a subshell in the background", "( $E/bin/pip install $M & wait $! )"),
)  # fmt: skip

TARGETS = (
    one("pip --target", "$E/bin/pip install --target lib $M", prefix="$W/lib", environment_kind="target"),
    one("pip --prefix", "$E/bin/pip install --prefix tree $M", prefix="$W/tree", environment_kind="*"),
    one("PIP_TARGET", "PIP_TARGET=$W/lib $E/bin/pip install $M", prefix="$W/lib", environment_kind="target"),
    one("PIP_PREFIX", "PIP_PREFIX=$W/tree $E/bin/pip install $M", prefix="$W/tree", environment_kind="*"),
    one("pip.conf with a target", "printf '[install]\\ntarget = %s/lib\\n' $W > pip.conf\nPIP_CONFIG_FILE=pip.conf $E/bin/pip install $M",
        prefix="$W/lib", environment_kind="target"),
    one("pip.conf with an index", "printf '[global]\\nno-index = yes\\nfind-links = %s\\n' $SHELF > pip.conf\nunset PIP_NO_INDEX PIP_FIND_LINKS\n"
        "PIP_CONFIG_FILE=pip.conf $E/bin/pip install $M"),
    one("pip --python", "$OTHER/bin/pip --python $E/bin/python install $M", form={"place": "bare"}),
    one("PIP_PYTHON", "PIP_PYTHON=$E/bin/python $OTHER/bin/pip install $M", form={"place": "bare"}),
    one("pip --user", "$SYSTEM/bin/python3 -m pip install --user --break-system-packages $M", prefix="$HOME/.local", environment_kind="user",
        form={"place": "none"}),
    one("PIP_USER", "PIP_USER=1 $SYSTEM/bin/python3 -m pip install --break-system-packages $M", prefix="$HOME/.local", environment_kind="user",
        form={"place": "none"}),
    one("by root into a venv", "$E/bin/pip install --root-user-action=ignore $M", form={"as_root": True}),
    one("by root into the system", f"$E/bin/python3 -m pip install {_BREAK} $M", form={"as_root": True, "place": "system"}),
    one("by root out of the system", f"$E/bin/python3 -m pip uninstall -y {_BREAK} $M", kind="remove",
        form={"as_root": True, "place": "system", "prepare": f"$E/bin/python3 -m pip install -q {_BREAK} $M"}),
    one("by root, --target", "$E/bin/pip install --root-user-action=ignore --target lib $M", prefix="$W/lib", environment_kind="target",
        form={"as_root": True}),
    one("pip 23", "$E/bin/pip install $M", form={"place": "legacy"}),
)  # fmt: skip

SOURCES = (
    one("pip -r", "echo $M > wanted.txt\n$E/bin/pip install -r wanted.txt"),
    one("pip with a wheel's path", "$E/bin/pip install $SHELF/$M-1.0-py3-none-any.whl"),
    one("pip with a dependency", "$E/bin/pip install $N", changes=("+$M", "+$N")),
    one("pip -e", "$E/bin/pip install -e $PROJECT"),
    one("pip -e without isolation", "$E/bin/pip install --no-build-isolation -e $PROJECT"),
    one("pip from a folder", "$E/bin/pip install $PROJECT"),
    one("pip from an sdist", "$E/bin/pip install --no-binary $M $M"),
    one("pip upgrade", "$E/bin/pip install -U $M", changes=("^$M",), form={"prepare": f"{INSTALLED}==0.9"}),
    one("pip, already there", "$E/bin/pip install $M", changes=(), form=_THERE),
    one("pip uninstall", "$E/bin/pip uninstall -y $M", kind="remove", form=_THERE),
    one("python -m pip uninstall", "$E/bin/python -m pip uninstall -y $M", kind="remove", form=_THERE),
    one("pip, no such package", "$E/bin/pip install $M-missing", outcome="failure", changes=(), exit_code=1, form={"left": None, "exit_code": 1}),
    one("pip, killed", "$E/bin/pip install --no-build-isolation $SLOW & p=$!\nsleep 3\nkill -9 $p\nwait $p || exit $?", outcome="killed", changes=(),
        exit_code=None, form={"left": None, "exit_code": 137}),
    Form(name="two at once in one environment", script="$E/bin/pip install $M & p=$!\n$E/bin/pip install --no-deps $N\nwait $p", shared=True,
         expects=(Expected(tool="pip", kind="install"), Expected(tool="pip", kind="install", changes=("+$N",)))),
    one("ensurepip", "$E/bin/python -m ensurepip", "ensurepip", changes=("+pip", "…"), form={"place": "bare", "left": None}),
)  # fmt: skip

NOTHING = (
    none("pip list", "$E/bin/pip list"),
    none("pip freeze", "$E/bin/pip freeze"),
    none("pip check", "$E/bin/pip check"),
    none("pip download", "$E/bin/pip download -d got $M"),
    none("pip install --dry-run", "$E/bin/pip install --dry-run $M"),
    none("pip wheel", "$E/bin/pip wheel -w got $PROJECT"),
    none("pip install --help", "$E/bin/pip install --help"),
    none("python -m build", "$TOOLS/python -m build --no-isolation -o got $PROJECT"),
    none("an import that writes __pycache__", '$E/bin/python -c "import $M"', left="+", prepare=INSTALLED),
    none("compileall", "$E/bin/python -m compileall -q $E/lib/python3.11/site-packages/$M.py", left="+", prepare=INSTALLED),
    none("reading a package's files", "cat $E/lib/python3.11/site-packages/$M.py", left="+", prepare=INSTALLED),
)
