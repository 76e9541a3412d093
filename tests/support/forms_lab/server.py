"""Run one cell in a kernel that a real Jupyter Server started: `server.py CELL`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
import urllib.request
from pathlib import Path

from jupyter_client.blocking.client import BlockingKernelClient

runtime = Path.cwd() / "runtime"
options = [
    "--no-browser",
    "--ServerApp.port=0",
    "--ServerApp.ip=127.0.0.1",
    "--IdentityProvider.token=t",
    "--ServerApp.root_dir=.",
]
server = subprocess.Popen(
    [str(Path(sys.executable).parent / "jupyter-server"), *options],
    env={**os.environ, "JUPYTER_RUNTIME_DIR": str(runtime), "JUPYTER_PREFER_ENV_PATH": "1"},
)
try:
    deadline = time.monotonic() + 40
    while not (found := list(runtime.glob("jpserver-*.json"))) or not found[0].read_text():
        if server.poll() is not None or time.monotonic() > deadline:
            sys.exit("the server did not start")
        time.sleep(0.2)
    address = json.loads(found[0].read_text())["url"]
    request = urllib.request.Request(f"{address}api/kernels", data=b"{}", headers={"Authorization": "token t"})
    with urllib.request.urlopen(request) as answer:
        kernel = json.load(answer)["id"]
    client = BlockingKernelClient(connection_file=str(runtime / f"kernel-{kernel}.json"))
    client.load_connection_file()
    client.start_channels()
    client.wait_for_ready(timeout=40)
    reply = client.execute_interactive(sys.argv[1], timeout=60)
    client.stop_channels()
finally:
    server.terminate()
    server.wait(20)
sys.exit(reply["content"]["status"] != "ok")
