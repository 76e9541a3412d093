"""Changes without a package tool: each names its process, program, person and files."""

from __future__ import annotations

from forms_lab.form import INSTALLED, Form, tamper

_SITE = "$E/lib/python3.11/site-packages"
_THERE = {"prepare": INSTALLED, "left": "+"}
_UNPACKED = "mkdir payload\nunzip -q -d payload $SHELF/$M-1.0-py3-none-any.whl\n"
_MODULE = f"{_SITE}/$M.py"
_ADDED = {"changes": ("+$M",)}


def _brought(name: str, prepare: str, script: str, program: str, **form: object) -> Form:
    """A whole package brought in by hand: module and metadata."""
    return tamper(name, script, program, _MODULE, **_ADDED, form={"prepare": prepare, "left": "+", **form})


FORMS = (
    _brought("cp of a package", _UNPACKED, f"cp -r payload/. {_SITE}/", "cp"),
    _brought("tar", _UNPACKED + "tar -cf payload.tar -C payload .", f"tar -xf payload.tar -C {_SITE}", "tar"),
    _brought("unzip of a wheel", "", f"unzip -q -d {_SITE} $SHELF/$M-1.0-py3-none-any.whl", "unzip"),
    _brought("python -m zipfile of a wheel", "", f"/usr/bin/python3 -m zipfile -e $SHELF/$M-1.0-py3-none-any.whl {_SITE}", "python3|python3.11|zipfile"),
    _brought("mv of a package", _UNPACKED, f"mv payload/* {_SITE}/", "mv"),
    _brought("cp by root", _UNPACKED, f"cp -r payload/. {_SITE}/", "cp", as_root=True),
    tamper("git clone", f"git clone -q repository {_SITE}/$M", "git", f"{_SITE}/$M/__init__.py",
           form={"prepare": "git init -q repository\ncd repository\necho > __init__.py\ngit add .\n"
                 "git -c user.name=x -c user.email=x@y commit -qm x"}),
    tamper("an edited module (sed)", f"sed -i s/1.0/6.6/ {_MODULE}", "sed", _MODULE, form=_THERE),
    tamper("an edited module (shell)", f"echo 'import os' >> {_MODULE}", "sh|dash", _MODULE, form=_THERE),
    tamper("a module written by a script", f"echo \"open('{_MODULE}', 'w').write('')\" > job.py\n/usr/bin/python3 job.py", "python3|python3.11|job.py", _MODULE, form=_THERE),
    tamper("a .pth drop", f"echo 'import os' > payload.pth\ncp payload.pth {_SITE}/$M.pth", "cp", f"{_SITE}/$M.pth"),
    tamper("a replaced console script", "echo '#!/bin/sh' > evil\nchmod +x evil\ncp evil $E/bin/$M", "cp", "$E/bin/$M", form=_THERE),
    tamper("a replaced interpreter", "cp /usr/bin/python3.11 $M.py\nmv $M.py $E/bin/python3.11", "mv", "$E/bin/python3.11", form={"left": None, "place": "bare"}),
    tamper("rm of a package", f"rm -r {_SITE}/$M.py {_SITE}/$M-1.0.dist-info", "rm", _MODULE, changes=("-$M",), form={**_THERE, "left": "f"}),
    tamper("ln -s into the environment", f"echo > other.py\nln -s $W/other.py {_SITE}/$M.py", "ln", _MODULE),
)  # fmt: skip
