"""Run cells in a kernel that runs already: `cells.py CONNECTION_FILE CELL…`; a line of JSON for each. Run by the lab's Python."""

from __future__ import annotations

import json
import sys

from jupyter_client.blocking.client import BlockingKernelClient

client = BlockingKernelClient(connection_file=sys.argv[1])
client.load_connection_file()
client.start_channels()
client.wait_for_ready(timeout=60)
for cell in sys.argv[2:]:
    heard: list[str] = []

    def hear(message: dict[str, dict[str, str]], heard: list[str] = heard) -> None:
        heard.append(message["content"].get("text", ""))

    reply = client.execute_interactive(cell, timeout=120, output_hook=hear)
    print(json.dumps({"status": reply["content"]["status"], "output": "".join(heard)}))
client.stop_channels()
