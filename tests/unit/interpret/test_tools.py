"""What each tool makes of a command line."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from envtrail.interpret.tool import Invocation
from envtrail.interpret.tools import TOOLS

PYTHON = "/usr/bin/python3.11"
Row = tuple[object, ...]


def read(command: str, path: str | None = None, exe: str = PYTHON, **variables: str) -> Row | None:
    invocation = Invocation(exe=exe, argv=command.split(), path=path, cwd="/w", uid=1, home="/home/a", variables=variables)
    found = [intention for tool in TOOLS if (intention := tool.read(invocation)) is not None]
    assert len(found) <= 1
    return (found[0].tool, found[0].kind.value, found[0].prefix, found[0].names) if found else None


def _pip(*words: str, prefix: str | None = "/v", names: list[str] | None = None, kind: str = "install") -> tuple[str, Row]:
    return f"/v/bin/python /v/bin/pip {' '.join(words)}", ("pip", kind, prefix, ["six"] if names is None else names)


PIP = (
    _pip("install six"),
    _pip("install -q six==1.16 -r x"),
    _pip("install -U --pre six"),
    _pip("install six[extra]>=1"),
    _pip("install --no-index --find-links=/w six"),
    _pip("install -i http://x/simple six"),
    _pip("install --break-system-packages six"),
    _pip("install -c c.txt six"),
    _pip("--proxy http://x install six"),
    _pip("install /w/six-1.0-py3-none-any.whl", names=["six"]),
    _pip("install -e .", names=[]),
    _pip("install -r requirements.txt", names=[]),
    _pip("install six Flask_Thing", names=["six", "flask-thing"]),
    _pip("install -t lib six", prefix="/w/lib"),
    _pip("install --target=/x/lib six", prefix="/x/lib"),
    _pip("install --prefix tree six", prefix="/w/tree"),
    _pip("install --root /mnt six", prefix="/mnt/v"),
    _pip("install --root=/mnt --prefix /usr six", prefix="/mnt/usr"),
    _pip("install --source /w/src --log-file x six"),
    _pip("install --user six", prefix="/home/a/.local"),
    _pip("--python /e/bin/python install six", prefix="/e"),
    _pip("--python /e install six", prefix="/e"),
    _pip("uninstall -y six", kind="remove"),
    ("/v/bin/python /v/bin/pip3.12 install six", ("pip", "install", "/v", ["six"])),
    ("/v/bin/python -m pip install six", ("pip", "install", "/v", ["six"])),
    ("/v/bin/python -Im pip install six", ("pip", "install", "/v", ["six"])),
    ("/v/bin/python -W ignore -m pip install six", ("pip", "install", "/v", ["six"])),
    ("/v/bin/python -X utf8 -m pip install six", ("pip", "install", "/v", ["six"])),
    ("/v/bin/python /v/lib/python3.11/site-packages/pip install six", ("pip", "install", "/v", ["six"])),
    ("/v/bin/python /v/lib/python3.11/site-packages/pip/__main__.py install six", ("pip", "install", "/v", ["six"])),
    ("/v/bin/python3.13t -m pip install six", ("pip", "install", "/v", ["six"])),
    ("/v/bin/python --check-hash-based-pycs default -m pip install six", ("pip", "install", "/v", ["six"])),
    ("/v/bin/python -P -sm pip install six", ("pip", "install", "/v", ["six"])),
    ("/v/bin/python -m pip --python /tmp/build-env-ab12/bin/python install setuptools", None),
    ("/v/bin/python get-pip.py", ("pip", "install", "/v", ["pip"])),
    ("/v/bin/python pip.pyz install six", ("pip", "install", "/v", ["six"])),
    *(
        (f"/v/bin/python /v/bin/pip {words}", None)
        for words in (
            "list", "freeze", "check", "show six", "download six", "wheel .", "cache purge", "config set a b", "index versions six", "hash x",
            "debug", "inspect", "install --dry-run six", "install --help", "--version", "", "search six",
        )
    ),
    ("/v/bin/python /v/lib/pip/__pip-runner__.py install --prefix /tmp/pip-build-env-ab12/overlay setuptools", None),
)  # fmt: skip

CONDA = tuple(
    (f"/o/bin/python /o/bin/conda {words}", expected)
    for words, expected in (
        ("install -y -n ml six=1.16 conda-forge::numpy", ("conda", "install", "/o/envs/ml", ["six", "numpy"])),
        ("install -p /x/y six", ("conda", "install", "/x/y", ["six"])),
        ("install six", ("conda", "install", "/o", ["six"])),
        ("install -n base six", ("conda", "install", "/o", ["six"])),
        ("install --revision 2 -n ml", ("conda", "install", "/o/envs/ml", [])),
        ("create -p /x/y python=3.10", ("conda", "create", "/x/y", ["python"])),
        ("create -n new --clone ml", ("conda", "create", "/o/envs/new", [])),
        ("remove -n ml six", ("conda", "remove", "/o/envs/ml", ["six"])),
        ("uninstall -n ml six", ("conda", "remove", "/o/envs/ml", ["six"])),
        ("remove -n ml --all", ("conda", "delete", "/o/envs/ml", [])),
        ("update -n ml --all", ("conda", "update", "/o/envs/ml", [])),
        ("upgrade six", ("conda", "update", "/o", ["six"])),
        ("env create -f e.yml", ("conda", "create", None, [])),
        ("env create -p /x/y -f e.yml", ("conda", "create", "/x/y", [])),
        ("env update -n ml -f e.yml", ("conda", "update", "/o/envs/ml", [])),
        ("env remove -n ml", ("conda", "delete", "/o/envs/ml", [])),
        ("rename -n ml better", ("conda", "move", "/o/envs/ml", [])),
        ("rename -p /x/old /x/new", ("conda", "move", "/x/old", [])),
        ("create -n new six numpy=1.26", ("conda", "create", "/o/envs/new", ["six", "numpy"])),
        ("install -n /x/y six", ("conda", "install", "/x/y", ["six"])),
        ("develop -n ml .", ("conda", "install", "/o/envs/ml", [])),
        ("install --shortcuts-only six -n ml numpy", ("conda", "install", "/o/envs/ml", ["numpy"])),
        ("run -n ml pip install six", None),
        ("list -n ml", None),
        ("search six", None),
        ("clean -a", None),
        ("config --add channels x", None),
        ("info", None),
        ("install --dry-run six", None),
        ("install -d six", None),
        ("env list", None),
        ("env export", None),
        ("shell.posix activate ml", None),
        ("--version", None),
    )
)

UV = tuple(
    (f"uv {words}", expected)
    for words, expected in (
        ("pip install --python /e/bin/python six", ("uv", "install", "/e", ["six"])),
        ("pip install -p /e six", ("uv", "install", "/e", ["six"])),
        ("pip install six", ("uv", "install", "/w/.venv", ["six"])),
        ("pip install --system six", ("uv", "install", None, ["six"])),
        ("pip install --target lib six", ("uv", "install", "/w/lib", ["six"])),
        ("pip install --prefix tree six", ("uv", "install", "/w/tree", ["six"])),
        ("pip uninstall six", ("uv", "remove", "/w/.venv", ["six"])),
        ("pip sync requirements.txt", ("uv", "sync", "/w/.venv", [])),
        ("venv", ("uv", "create", "/w/.venv", [])),
        ("venv --seed -p 3.12 /x/new", ("uv", "create", "/x/new", [])),
        ("venv -c /x/new", ("uv", "create", "/x/new", [])),
        ("--directory sub venv", ("uv", "create", "/w/sub/.venv", [])),
        ("--directory sub pip install six", ("uv", "install", "/w/sub/.venv", ["six"])),
        ("sync --directory sub --project ../other", ("uv", "sync", "/w/other/.venv", [])),
        ("pip install --cert x.pem six", ("uv", "install", "/w/.venv", ["six"])),
        ("tool install ruff@latest", ("uv", "install", "/home/a/.local/share/uv/tools/ruff", ["ruff"])),
        ("tool upgrade --all", ("uv", "update", None, [])),
        ("add --frozen six", None),
        ("remove --frozen six", None),
        ("add --script x.py six", None),
        ("sync --script x.py", None),
        ("add six", ("uv", "install", "/w/.venv", ["six"])),
        ("add --project sub six", ("uv", "install", "/w/sub/.venv", ["six"])),
        ("remove six", ("uv", "remove", "/w/.venv", ["six"])),
        ("sync --frozen", ("uv", "sync", "/w/.venv", [])),
        ("lock", ("uv", "lock", "/w/.venv", [])),
        ("tool install ruff", ("uv", "install", "/home/a/.local/share/uv/tools/ruff", ["ruff"])),
        ("tool upgrade ruff", ("uv", "update", "/home/a/.local/share/uv/tools/ruff", [])),
        ("tool uninstall ruff", ("uv", "delete", "/home/a/.local/share/uv/tools/ruff", [])),
        ("--quiet pip --offline install six", ("uv", "install", "/w/.venv", ["six"])),
        ("run train.py", None),
        ("run pip install x", None),
        ("tool run ruff", None),
        ("pip list", None),
        ("pip compile in.txt", None),
        ("pip install --dry-run six", None),
        ("add --no-sync six", None),
        ("lock --check", None),
        ("python install 3.12", None),
        ("cache clean", None),
        ("--help", None),
    )
)

PROJECTS = (
    ("poetry add six", "poetry", ("poetry", "install", None, ["six"])),
    ("poetry install --no-root", "poetry", ("poetry", "install", None, [])),
    ("poetry remove six", "poetry", ("poetry", "remove", None, ["six"])),
    ("poetry update", "poetry", ("poetry", "update", None, [])),
    ("poetry sync", "poetry", ("poetry", "sync", None, [])),
    ("poetry lock", "poetry", ("poetry", "lock", None, [])),
    ("poetry env remove --all", "poetry", ("poetry", "delete", None, [])),
    ("poetry add --dry-run six", "poetry", None),
    ("poetry show", "poetry", None),
    ("poetry run python x.py", "poetry", None),
    ("poetry config virtualenvs.in-project true", "poetry", None),
    ("poetry -C sub add six", "poetry", ("poetry", "install", None, ["six"])),
    ("poetry self add poetry-plugin-export", "poetry", ("poetry", "install", "/t", ["poetry-plugin-export"])),
    ("poetry self show", "poetry", None),
    ("poetry env use 3.12", "poetry", ("poetry", "create", None, [])),
    ("pdm self add pdm-bump", "pdm", ("pdm", "install", "/t", ["pdm-bump"])),
    ("pdm venv create -n x 3.12", "pdm", ("pdm", "create", None, [])),
    ("pdm venv list", "pdm", None),
    ("pdm add --frozen-lockfile six", "pdm", ("pdm", "install", "/w/.venv", ["six"])),
    ("pdm update --no-sync", "pdm", ("pdm", "update", "/w/.venv", [])),
    ("pdm add six", "pdm", ("pdm", "install", "/w/.venv", ["six"])),
    ("pdm add -p sub six", "pdm", ("pdm", "install", "/w/sub/.venv", ["six"])),
    ("pdm install", "pdm", ("pdm", "install", "/w/.venv", [])),
    ("pdm remove six", "pdm", ("pdm", "remove", "/w/.venv", ["six"])),
    ("pdm sync", "pdm", ("pdm", "sync", "/w/.venv", [])),
    ("pdm lock", "pdm", ("pdm", "lock", "/w/.venv", [])),
    ("pdm run x", "pdm", None),
    ("pdm list", "pdm", None),
    ("pipenv install six", "pipenv", ("pipenv", "install", None, ["six"])),
    ("pipenv uninstall six", "pipenv", ("pipenv", "remove", None, ["six"])),
    ("pipenv sync", "pipenv", ("pipenv", "sync", None, [])),
    ("pipenv lock", "pipenv", ("pipenv", "lock", None, [])),
    ("pipenv --rm", "pipenv", ("pipenv", "delete", None, [])),
    ("pipenv --python 3.11", "pipenv", ("pipenv", "create", None, [])),
    ("pipenv --venv", "pipenv", None),
    ("pipenv graph", "pipenv", None),
    ("pipenv run x", "pipenv", None),
    ("hatch env create", "hatch", ("hatch", "create", None, [])),
    ("hatch env prune", "hatch", ("hatch", "delete", None, [])),
    ("hatch run x", "hatch", None),
    ("hatch build", "hatch", None),
    ("pixi add six", "pixi", ("pixi", "install", "/w/.pixi/envs/default", ["six"])),
    ("pixi install", "pixi", ("pixi", "sync", "/w/.pixi/envs/default", [])),
    ("pixi install -e test", "pixi", ("pixi", "sync", "/w/.pixi/envs/test", [])),
    ("pixi remove six", "pixi", ("pixi", "remove", "/w/.pixi/envs/default", ["six"])),
    ("pixi add six=1.16 conda-forge::numpy", "pixi", ("pixi", "install", "/w/.pixi/envs/default", ["six", "numpy"])),
    ("pixi add --manifest-path /p/pixi.toml six", "pixi", ("pixi", "install", "/p/.pixi/envs/default", ["six"])),
    ("pixi global install ripgrep", "pixi", ("pixi", "install", "/home/a/.pixi/envs/ripgrep", ["ripgrep"])),
    ("pixi global install -e tools ripgrep", "pixi", ("pixi", "install", "/home/a/.pixi/envs/tools", ["ripgrep"])),
    ("pixi global uninstall ripgrep", "pixi", ("pixi", "delete", "/home/a/.pixi/envs/ripgrep", [])),
    ("pixi global list", "pixi", None),
    ("pixi shell", "pixi", None),
    ("pixi run x", "pixi", None),
    ("pixi list", "pixi", None),
    ("pipx install ruff", "pipx", ("pipx", "install", "/home/a/.local/share/pipx/venvs/ruff", ["ruff"])),
    ("pipx install --suffix _2 ruff", "pipx", ("pipx", "install", "/home/a/.local/share/pipx/venvs/ruff_2", ["ruff"])),
    ("pipx inject ruff six", "pipx", ("pipx", "install", "/home/a/.local/share/pipx/venvs/ruff", ["six"])),
    ("pipx upgrade ruff", "pipx", ("pipx", "update", "/home/a/.local/share/pipx/venvs/ruff", [])),
    ("pipx uninstall ruff", "pipx", ("pipx", "delete", "/home/a/.local/share/pipx/venvs/ruff", [])),
    ("pipx run ruff", "pipx", None),
    ("pipx list", "pipx", None),
)

NATIVE = (
    (
        "micromamba create -n ml python",
        "/x/bin/micromamba",
        {"MAMBA_ROOT_PREFIX": "/m"},
        ("micromamba", "create", "/m/envs/ml", ["python"]),
    ),
    ("micromamba install -r /m -n ml six", "/x/bin/micromamba", {}, ("micromamba", "install", "/m/envs/ml", ["six"])),
    ("micromamba install -p /e six", "/x/bin/micromamba", {}, ("micromamba", "install", "/e", ["six"])),
    ("micromamba env remove -p /e", "/x/bin/micromamba", {}, ("micromamba", "delete", "/e", [])),
    ("micromamba run -p /e x", "/x/bin/micromamba", {}, None),
    ("mamba install -p /e six", "/x/bin/mamba", {}, ("mamba", "install", "/e", ["six"])),
    ("ls install -p /e six", "/x/bin/micromamba", {}, ("micromamba", "install", "/e", ["six"])),
    ("ls pip install -p /e six", "/x/bin/uv", {}, ("uv", "install", "/e", ["six"])),
    ("apt-get install -y python3-six", "/usr/bin/apt-get", {}, ("apt-get", "install", "/usr", [])),
    ("apt remove python3-six", "/usr/bin/apt", {}, ("apt", "remove", "/usr", [])),
    ("apt-get -s install python3-six", "/usr/bin/apt-get", {}, None),
    ("apt-get update", "/usr/bin/apt-get", {}, None),
    ("apt list", "/usr/bin/apt", {}, None),
    ("dpkg -i x.deb", "/usr/bin/dpkg", {}, ("dpkg", "install", "/usr", [])),
    ("ls install python3-six", "/usr/bin/apt-get", {}, ("apt-get", "install", "/usr", [])),
    ("apt update", "/usr/bin/apt", {}, None),
    ("dnf update", "/usr/bin/dnf", {}, ("dnf", "update", "/usr", [])),
    ("zypper in python3-six", "/usr/bin/zypper", {}, ("zypper", "install", "/usr", [])),
    ("rpm -qi python3-six", "/usr/bin/rpm", {}, None),
    ("pacman -Ss six", "/usr/bin/pacman", {}, None),
    ("pacman -Syu", "/usr/bin/pacman", {}, ("pacman", "install", "/usr", [])),
    ("_conda install --offline --file /o/pkgs/env.txt -yp /o", "/o/_conda", {}, ("conda", "install", "/o", [])),
    ("micromamba install -n x six", "/usr/local/bin/micromamba", {}, ("micromamba", "install", None, ["six"])),
    ("dpkg -l", "/usr/bin/dpkg", {}, None),
    ("dnf install -y python3-six", "/usr/bin/dnf", {}, ("dnf", "install", "/usr", [])),
    ("rpm -Uvh x.rpm", "/usr/bin/rpm", {}, ("rpm", "update", "/usr", [])),
    ("rpm -qa", "/usr/bin/rpm", {}, None),
    ("zypper install python3-six", "/usr/bin/zypper", {}, ("zypper", "install", "/usr", [])),
    ("pacman -S python-six", "/usr/bin/pacman", {}, ("pacman", "install", "/usr", [])),
    ("apk add py3-six", "/sbin/apk", {}, ("apk", "install", "/usr", [])),
)

OLD = (
    ("/v/bin/python -m venv --prompt p env", ("venv", "create", "/w/env", [])),
    ("/v/bin/python -m venv --help", None),
    ("/v/bin/python /v/bin/virtualenv -p python3.12 env", ("virtualenv", "create", "/w/env", [])),
    ("/v/bin/python -m ensurepip --upgrade", ("ensurepip", "install", "/v", ["pip"])),
    ("/v/bin/python -m ensurepip --user", ("ensurepip", "install", "/home/a/.local", ["pip"])),
    ("/v/bin/python setup.py install", ("setup.py", "install", "/v", [])),
    ("/v/bin/python setup.py -q develop --user", ("setup.py", "install", "/home/a/.local", [])),
    ("/v/bin/python setup.py install --prefix /x", ("setup.py", "install", "/x", [])),
    ("/v/bin/python setup.py build", None),
    ("/v/bin/python setup.py --version", None),
    ("/v/bin/python /v/bin/easy_install six", ("easy_install", "install", "/v", ["six"])),
    ("/v/bin/python -m easy_install six", ("easy_install", "install", "/v", ["six"])),
    ("/v/bin/python /v/bin/easy_install -mxN six", ("easy_install", "install", "/v", ["six"])),
    ("/v/bin/python setup.py develop --uninstall", ("setup.py", "remove", "/v", [])),
    ("/v/bin/python -m build", None),
    ("/v/bin/python train.py pip install six", None),
    ("/v/bin/python -c pass pip install six", None),
    ("/v/bin/python -m http.server install", None),
)

OWN = (
    ("/v/bin/python /v/bin/envtrail env restore ml-exp --at monday --run --to /w/again", ("envtrail", "create", "/w/again", [])),
    (
        "/v/bin/python -m envtrail --data-dir /d env restore ml-exp --at=01KB^ --to again --run",
        ("envtrail", "create", "/w/again", []),
    ),
    ("/v/bin/python /v/bin/envtrail env restore ml-exp --at monday", None),
    ("/v/bin/python /v/bin/envtrail env restore ml-exp --at monday --run --to /w/again --dry-run", None),
    ("/v/bin/python /v/bin/envtrail log --env restore", None),
)
ROWS = [
    *((command, None, PYTHON, {}, expected) for command, expected in (*PIP, *CONDA, *OLD, *OWN)),
    *((command, "/x/uv", "/x/uv", {}, expected) for command, expected in UV),
    *((f"/t/bin/python /t/bin/{command}", None, PYTHON, {}, expected) for command, _, expected in PROJECTS),
    *((command, exe, exe, variables, expected) for command, exe, variables, expected in NATIVE),
]


@pytest.mark.parametrize(("command", "path", "exe", "variables", "expected"), ROWS, ids=[row[0] for row in ROWS])
def test_forms(command: str, path: str | None, exe: str, variables: dict[str, str], expected: Row | None) -> None:
    path = path or command.split(maxsplit=1)[0]
    if exe != PYTHON and not path.startswith("/"):
        path = exe
    assert read(command, path, exe, **variables) == expected


def test_every_tool_has_rows_of_both_kinds() -> None:
    assert len(ROWS) >= 220
    reported = {expected[0] for *_, expected in ROWS if expected}
    names = {program for tool in TOOLS for program in tool.programs}
    assert {tool.name for tool in TOOLS if not reported.intersection(tool.programs)} == set()
    assert reported <= names
    assert sum(expected is None for *_, expected in ROWS) >= 60


@pytest.mark.parametrize(
    ("command", "exe", "variables", "prefix"),
    [
        ("/v/bin/python /v/bin/pip install six", PYTHON, {"PIP_TARGET": "lib"}, "/w/lib"),
        ("/v/bin/python /v/bin/pip install six", PYTHON, {"PIP_PREFIX": "/x"}, "/x"),
        ("/v/bin/python /v/bin/pip install six", PYTHON, {"PIP_USER": "1", "HOME": "/h"}, "/h/.local"),
        ("/v/bin/python /v/bin/pip install six", PYTHON, {"PIP_USER": "yes", "PYTHONUSERBASE": "/u"}, "/u"),
        ("/v/bin/python /v/bin/pip install six", PYTHON, {"PIP_USER": "0"}, "/v"),
        ("/v/bin/python /v/bin/pip install six", PYTHON, {"PIP_PYTHON": "/e/bin/python3"}, "/e"),
        ("/v/bin/python /v/bin/pip install -t /t six", PYTHON, {"PIP_TARGET": "lib"}, "/t"),
        ("uv pip install six", "/x/uv", {"VIRTUAL_ENV": "/h/v"}, "/h/v"),
        ("uv pip install six", "/x/uv", {"CONDA_PREFIX": "/c"}, "/c"),
        ("uv pip install six", "/x/uv", {"VIRTUAL_ENV": "/h/v", "CONDA_PREFIX": "/c"}, "/h/v"),
        ("uv pip install --python /e/bin/python six", "/x/uv", {"VIRTUAL_ENV": "/h/v"}, "/e"),
        ("uv pip install six", "/x/uv", {"UV_PYTHON": "/e/bin/python"}, "/e"),
        ("uv pip install six", "/x/uv", {"UV_TARGET": "lib"}, "/w/lib"),
        ("uv pip install six", "/x/uv", {"UV_SYSTEM_PYTHON": "1", "VIRTUAL_ENV": "/h/v"}, None),
        ("uv pip install six", "/x/uv", {"UV_SYSTEM_PYTHON": "0", "VIRTUAL_ENV": "/h/v"}, "/h/v"),
        ("uv pip install six", "/x/uv", {"CONDA_PREFIX": "/c", "CONDA_DEFAULT_ENV": "base"}, "/w/.venv"),
        ("uv sync --active", "/x/uv", {"VIRTUAL_ENV": "/h/v"}, "/h/v"),
        ("uv sync", "/x/uv", {"VIRTUAL_ENV": "/h/v"}, "/w/.venv"),
        ("uv venv", "/x/uv", {"UV_PROJECT_ENVIRONMENT": "/e"}, "/e"),
        ("uv add six", "/x/uv", {"CONDA_PREFIX": "/c"}, "/w/.venv"),
        ("uv add six", "/x/uv", {"UV_PROJECT_ENVIRONMENT": "/e"}, "/e"),
        ("uv tool install ruff", "/x/uv", {"UV_TOOL_DIR": "/tools"}, "/tools/ruff"),
        ("uv tool install ruff", "/x/uv", {"XDG_DATA_HOME": "/data"}, "/data/uv/tools/ruff"),
        ("/t/bin/python /t/bin/pipx install ruff", PYTHON, {"PIPX_HOME": "/p"}, "/p/venvs/ruff"),
        ("/t/bin/python /t/bin/poetry add six", PYTHON, {"POETRY_VIRTUALENVS_IN_PROJECT": "true"}, "/w/.venv"),
        ("/t/bin/python /t/bin/pipenv install six", PYTHON, {"PIPENV_VENV_IN_PROJECT": "1"}, "/w/.venv"),
        ("/t/bin/python /t/bin/pipx install ruff --global", PYTHON, {"PIPX_HOME": "/p"}, "/opt/pipx/venvs/ruff"),
        ("/t/bin/python /t/bin/pipx install ruff --global", PYTHON, {"PIPX_GLOBAL_HOME": "/g"}, "/g/venvs/ruff"),
        ("/t/bin/python /t/bin/pipx upgrade-shared", PYTHON, {"PIPX_HOME": "/p"}, "/p/shared"),
        ("/t/bin/python /t/bin/pipx upgrade-all", PYTHON, {"PIPX_HOME": "/p"}, None),
        ("/t/bin/python /t/bin/poetry add six", PYTHON, {"VIRTUAL_ENV": "/h/v"}, "/h/v"),
        ("/t/bin/python /t/bin/poetry add six", PYTHON, {"CONDA_PREFIX": "/c", "CONDA_DEFAULT_ENV": "base"}, None),
        ("/t/bin/python /t/bin/poetry env remove --all", PYTHON, {"VIRTUAL_ENV": "/h/v"}, None),
        ("/t/bin/python /t/bin/pdm add six", PYTHON, {"VIRTUAL_ENV": "/h/v"}, "/h/v"),
        ("/t/bin/python /t/bin/pdm add six", PYTHON, {"VIRTUAL_ENV": "/h/v", "PDM_IGNORE_ACTIVE_VENV": "1"}, "/w/.venv"),
        ("/t/bin/python /t/bin/pipenv sync", PYTHON, {"VIRTUAL_ENV": "/h/v"}, "/h/v"),
        ("/t/bin/python /t/bin/pipenv sync", PYTHON, {"VIRTUAL_ENV": "/h/v", "PIPENV_IGNORE_VIRTUALENVS": "1"}, None),
        ("/t/bin/python /t/bin/hatch env create", PYTHON, {"VIRTUAL_ENV": "/h/v"}, None),
        ("pixi global install ripgrep", "/x/pixi", {"PIXI_HOME": "/p"}, "/p/envs/ripgrep"),
        ("micromamba install -n x six", "/x/micromamba", {"MAMBA_ROOT_PREFIX": "/m"}, "/m/envs/x"),
        ("/o/bin/python /o/bin/conda create -n x", PYTHON, {"CONDA_ENVS_PATH": "/e:/f"}, "/e/x"),
        ("/o/bin/python /o/bin/conda install six", PYTHON, {"CONDA_PREFIX": "/o/envs/ml"}, "/o/envs/ml"),
    ],
)
def test_variables_decide_where_the_words_do_not(command: str, exe: str, variables: dict[str, str], prefix: str | None) -> None:
    found = read(command, command.split(maxsplit=1)[0] if exe == PYTHON else exe, exe, **variables)
    assert found is not None
    assert found[2] == prefix


_WORD = st.sampled_from(
    [
        "pip",
        "install",
        "-m",
        "-",
        "--",
        "-t",
        "--prefix=",
        "uv",
        "conda",
        "env",
        "-n",
        "/x/bin/python",
        "",
        "=",
        "ü",
        "add",
        "run",
    ]
)


@given(argv=st.lists(_WORD | st.text(max_size=6), max_size=8), exe=_WORD, path=st.none() | _WORD, cwd=st.none() | st.just("/w"))
def test_no_command_line_raises(argv: list[str], exe: str, path: str | None, cwd: str | None) -> None:
    invocation = Invocation(exe=exe, argv=argv, path=path, cwd=cwd, uid=None)
    for tool in TOOLS:
        tool.read(invocation)
