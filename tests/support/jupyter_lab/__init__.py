"""A real Jupyter Server on the loopback, run by a test user, with a kernel in an environment of that user's own.

The packages are the forms' lab's (pinned by hashes, made once): nothing more is downloaded.
"""

from __future__ import annotations

import json
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audit_lab import become, wait_until
from forms_lab.lab import Lab

_TOKEN = "of-the-test"
_CELLS = Path(__file__).parent / "cells.py"


def give_kernel(lab: Lab, home: Path, prefix: Path, name: str) -> None:
    """Make an environment known to Jupyter as a kernel; it borrows the kernel's packages from the lab."""
    (packages,) = (lab.tools.parent / "lib").glob("python3*/site-packages")
    (own,) = (prefix / "lib").glob("python3*/site-packages")
    (own / "borrowed.pth").write_text(f"{packages}\n")
    folder = home / ".local/share/jupyter/kernels" / name
    folder.mkdir(parents=True)
    argv = [str(prefix / "bin/python"), "-m", "ipykernel_launcher", "-f", "{connection_file}"]
    (folder / "kernel.json").write_text(json.dumps({"argv": argv, "display_name": name, "language": "python"}))


def run_cells(lab: Lab, connection: Path, *cells: str) -> list[dict[str, str]]:
    """Status and output of each cell of a kernel, run one after the other."""
    wait_until(connection.exists, "the kernel's connection file")
    argv = [str(lab.tools / "python"), str(_CELLS), str(connection), *cells]
    done = subprocess.run(argv, text=True, capture_output=True, check=False)
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


class JupyterServer:
    """A server that answers."""

    def __init__(self, lab: Lab, home: Path, auid: int) -> None:
        self._lab = lab
        self._runtime = home / "runtime"
        options = ["--no-browser", "--ServerApp.port=0", "--ServerApp.ip=127.0.0.1", f"--IdentityProvider.token={_TOKEN}"]
        environment = {"PATH": "/usr/bin:/bin", "HOME": str(home), "LANG": "C.UTF-8", "JUPYTER_RUNTIME_DIR": str(self._runtime)}
        with (home / "server.log").open("wb") as log:
            self.process = subprocess.Popen(
                [str(lab.tools / "jupyter"), "server", *options],
                preexec_fn=become(auid),
                env=environment,
                cwd=home,
                stdout=log,
                stderr=log,
            )
        wait_until(self._address, "the server's start", timeout_s=60)

    def _address(self) -> str | None:
        if self.process.poll() is not None:
            raise AssertionError(f"the server ended with {self.process.returncode}")
        said = [path.read_text() for path in self._runtime.glob("jpserver-*.json")]
        return str(json.loads(said[0])["url"]) if said and said[0] else None

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"{self._address()}api/{path}",
            data=json.dumps(body).encode() if body is not None else None,
            headers={"Authorization": f"token {_TOKEN}"},
            method=method,
        )
        with urllib.request.urlopen(request, timeout=60) as answer:
            return json.loads(answer.read() or b"null")

    def start_kernel(self, name: str) -> str:
        """The id of a kernel that the server has started."""
        return str(self._ask("POST", "kernels", {"name": name})["id"])

    def stop_kernel(self, kernel: str) -> None:
        self._ask("DELETE", f"kernels/{kernel}")

    def run_cells(self, kernel: str, *cells: str) -> list[dict[str, str]]:
        """Status and output of each cell, run one after the other."""
        return run_cells(self._lab, self._runtime / f"kernel-{kernel}.json", *cells)

    def stop(self) -> None:
        """Request its end, as `systemctl stop` would; its kernels end with it."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(30)


@contextmanager
def running_server(lab: Lab, home: Path, auid: int) -> Iterator[JupyterServer]:
    """A server for the length of a test."""
    server = JupyterServer(lab, home, auid)
    try:
        yield server
    finally:
        server.stop()
