"""A real JupyterHub on the loopback: its own proxy, a local spawner, a single-user server for each person.

The hub sees accounts of its own (a mount namespace with its own `/etc/passwd`): the machine's are not touched.
"""

from __future__ import annotations

import json
import subprocess
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from audit_lab import wait_until
from forms_lab.lab import Lab
from ports import free_port

from jupyter_lab import run_cells

PRIVATE_ACCOUNTS = ["unshare", "--mount", "/bin/sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"']
_TOKEN = "of-the-test-of-the-hub"
_CONFIG = """
c = get_config()
c.JupyterHub.bind_url = "http://127.0.0.1:{port}"
c.JupyterHub.hub_port = {hub_port}
c.JupyterHub.db_url = "sqlite://"
c.JupyterHub.authenticator_class = "dummy"
c.JupyterHub.spawner_class = "{spawner}"
c.JupyterHub.services = [{{"name": "test", "api_token": "{token}"}}]
c.JupyterHub.load_roles = [{{"name": "test", "services": ["test"], "scopes": ["admin:users", "admin:servers", "access:servers"]}}]
c.ConfigurableHTTPProxy.command = ["{node}", "{proxy}"]
c.ConfigurableHTTPProxy.api_url = "http://127.0.0.1:{proxy_port}"
c.Authenticator.allow_all = True
c.Spawner.cmd = ["{tools}/jupyterhub-singleuser"]
c.Spawner.http_timeout = 90
c.Spawner.start_timeout = 90
c.SimpleLocalProcessSpawner.home_dir_template = "{homes}/{{username}}"
"""


class Hub:
    """A hub that answers."""

    def __init__(
        self, lab: Lab, folder: Path, *, spawner: str, passwd: Path, enter: Callable[[], None], through: Sequence[str]
    ) -> None:
        self._lab = lab
        self._homes = folder / "homes"
        self._port, hub_port, proxy_port = (free_port() for _ in range(3))
        config = folder / "jupyterhub_config.py"
        config.write_text(
            _CONFIG.format(
                port=self._port,
                hub_port=hub_port,
                proxy_port=proxy_port,
                spawner=spawner,
                token=_TOKEN,
                node=lab.node,
                proxy=lab.proxy / "node_modules/configurable-http-proxy/bin/configurable-http-proxy",
                tools=lab.tools,
                homes=self._homes,
            )
        )
        work = folder / "hub"
        work.mkdir(mode=0o777)
        work.chmod(0o777)
        self.log = folder / "hub.log"
        with self.log.open("wb") as log:
            # The namespace is made by root, in the session; `through` then enters the account of the hub.
            self.process = subprocess.Popen(
                [*PRIVATE_ACCOUNTS, str(passwd), *through, str(lab.tools / "jupyterhub"), "-f", str(config)],
                preexec_fn=enter,
                cwd=work,
                env={"PATH": f"{lab.tools}:/usr/bin:/bin", "HOME": str(work), "LANG": "C.UTF-8"},
                stdout=log,
                stderr=log,
            )
        wait_until(self._is_up, "the hub's start", timeout_s=90)

    def start_server(self, user: str) -> None:
        """What a login in the browser does: a single-user server is spawned for the person."""
        self._ask("POST", f"hub/api/users/{user}")
        self._ask("POST", f"hub/api/users/{user}/server")
        wait_until(
            lambda: self._ask("GET", f"hub/api/users/{user}")["servers"].get("", {}).get("ready"),
            f"{user}'s server",
            timeout_s=90,
        )

    def run_cells(self, user: str, kernel: str, *cells: str) -> list[dict[str, str]]:
        """Start a kernel on a person's server, run cells in it, and end it."""
        started = self._ask("POST", f"user/{user}/api/kernels", {"name": kernel})["id"]
        runtime = self._homes / user / ".local/share/jupyter/runtime"
        done = run_cells(self._lab, runtime / f"kernel-{started}.json", *cells)
        self._ask("DELETE", f"user/{user}/api/kernels/{started}")
        return done

    def stop_server(self, user: str) -> None:
        self._ask("DELETE", f"hub/api/users/{user}/server")

    def stop(self) -> None:
        """End the hub; its proxy and servers end with it."""
        if self.process.poll() is None:
            self.process.terminate()
            self.process.wait(60)

    def _is_up(self) -> bool:
        if self.process.poll() is not None:
            raise AssertionError(f"the hub ended with {self.process.returncode}: {self.log.read_text()[-3000:]}")
        try:
            return bool(self._ask("GET", "hub/api/")["version"])
        except (OSError, ValueError, AssertionError):
            # The proxy is there before the hub's own routes are.
            return False

    def _ask(self, method: str, path: str, body: object = None) -> Any:
        request = urllib.request.Request(
            f"http://127.0.0.1:{self._port}/{path}",
            data=json.dumps(body).encode() if body is not None else b"" if method == "POST" else None,
            headers={"Authorization": f"token {_TOKEN}"},
            method=method,
        )
        try:
            with urllib.request.urlopen(request, timeout=60) as answer:
                return json.loads(answer.read() or b"null")
        except urllib.error.HTTPError as fault:
            if not self._is_up_once():
                raise
            raise AssertionError(f"{method} {path}: {fault.code} {fault.read()[:500]!r}") from None

    def _is_up_once(self) -> bool:
        return b"JupyterHub is now running" in self.log.read_bytes()


@contextmanager
def running_hub(lab: Lab, folder: Path, **options: Any) -> Iterator[Hub]:
    """A hub for the length of a test."""
    hub = Hub(lab, folder, **options)
    try:
        yield hub
    finally:
        hub.stop()
