"""What a row installs: its own wheels, source project and conda package, and the shelf, index and channel that hold them."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import threading
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

from wheels import make_wheel

_BUILD = '[build-system]\nrequires = ["setuptools"]\nbuild-backend = "setuptools.build_meta"\n'


class Materials:
    """Folders that every row reads and none writes."""

    def __init__(self, folder: Path) -> None:
        self.shelf = folder / "shelf"
        self.projects = folder / "projects"
        self.channel = folder / "channel"
        self.slow = folder / "slow"
        self._index = folder / "index"
        self._server: ThreadingHTTPServer | None = None

    def make(self, markers: list[str], starters: list[Path]) -> None:
        """Make everything; `starters` are the shelves of what environments and builds need."""
        self.shelf.mkdir(parents=True)
        for wheel in (path for shelf in starters for path in shelf.glob("*.whl")):
            (self.shelf / wheel.name).symlink_to(wheel)
        for marker in markers:
            program = {f"{marker}x": f"{marker}x:main"}
            make_wheel(self.shelf, f"{marker}x", "0.9", scripts=program)
            make_wheel(self.shelf, f"{marker}x", "1.0", scripts=program)
            make_wheel(self.shelf, f"{marker}y", "1.0", requires=[f"{marker}x"], scripts={f"{marker}y": f"{marker}y:main"})
            self._make_project(f"{marker}x")
        self.slow.mkdir()
        (self.slow / "setup.py").write_text("import time; time.sleep(60)\n")
        self._make_channel(markers)
        for wheel in self.shelf.glob("*.whl"):
            page = self._index / wheel.name.split("-")[0].replace("_", "-").lower()
            page.mkdir(parents=True, exist_ok=True)
            (page / wheel.name).symlink_to(wheel.resolve())

    def serve(self) -> str:
        """Offer the shelf as an index (PEP 503: a folder's listing is a page of links); the address."""
        handler = partial(_Quiet, directory=str(self._index))
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_port}/"

    def close(self) -> None:
        """End the index."""
        if self._server:
            self._server.shutdown()
            self._server.server_close()

    def _make_project(self, name: str) -> None:
        folder = self.projects / name
        folder.mkdir(parents=True)
        files = {
            "setup.py": f"from setuptools import setup\nsetup(name='{name}', version='1.0', py_modules=['{name}'])\n",
            "pyproject.toml": _BUILD,
            f"{name}.py": "version = '1.0'\n",
        }
        for path, text in files.items():
            (folder / path).write_text(text)
        with tarfile.open(self.shelf / f"{name}-1.0.tar.gz", "w:gz") as archive:
            for path, text in {**files, "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1.0\n"}.items():
                _add(archive, f"{name}-1.0/{path}", text)

    def _make_channel(self, markers: list[str]) -> None:
        folder = self.channel / "noarch"
        folder.mkdir(parents=True)
        index = dict(_conda_package(folder, f"{marker}x") for marker in markers)
        (folder / "repodata.json").write_text(json.dumps({"info": {"subdir": "noarch"}, "packages": index, "packages.conda": {}}))
        other = self.channel / "linux-64"
        other.mkdir()
        (other / "repodata.json").write_text(json.dumps({"info": {"subdir": "linux-64"}, "packages": {}, "packages.conda": {}}))


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


def _conda_package(folder: Path, name: str) -> tuple[str, dict[str, object]]:
    """A `noarch: generic` package with one file; its name and its row of `repodata.json`."""
    text = "version = '1.0'\n"
    inner = f"share/{name}.txt"
    index: dict[str, object] = {
        "name": name, "version": "1.0", "build": "0", "build_number": 0, "depends": [], "noarch": "generic", "subdir": "noarch",
        "arch": None, "platform": None, "timestamp": 1700000000000,
    }  # fmt: skip
    row = {
        "_path": inner,
        "path_type": "hardlink",
        "sha256": hashlib.sha256(text.encode()).hexdigest(),
        "size_in_bytes": len(text),
    }
    path = folder / f"{name}-1.0-0.tar.bz2"
    with tarfile.open(path, "w:bz2") as archive:
        _add(archive, inner, text)
        _add(archive, "info/index.json", json.dumps(index))
        _add(archive, "info/paths.json", json.dumps({"paths": [row], "paths_version": 1}))
        _add(archive, "info/files", f"{inner}\n")
    data = path.read_bytes()
    sums = {"md5": hashlib.md5(data).hexdigest(), "sha256": hashlib.sha256(data).hexdigest(), "size": len(data)}
    return path.name, {**index, **sums}


def _add(archive: tarfile.TarFile, name: str, text: str) -> None:
    item = tarfile.TarInfo(name)
    item.size = len(text.encode())
    archive.addfile(item, io.BytesIO(text.encode()))
