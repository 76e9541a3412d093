"""Run one cell in a real kernel: `notebook.py PYTHON CELL`. The kernel's packages are the lab's (or KERNEL_PACKAGES'), its
environment is PYTHON's."""

from __future__ import annotations

import os
import sys

from jupyter_client.kernelspec import KernelSpec
from jupyter_client.manager import KernelManager

python, cell = sys.argv[1:]
manager = KernelManager()
manager._kernel_spec = KernelSpec(argv=[python, "-m", "ipykernel_launcher", "-f", "{connection_file}"], language="python")
own = os.environ.get("KERNEL_PACKAGES") or next(path for path in sys.path if path.endswith("/site-packages"))
manager.start_kernel(env={**os.environ, "KERNEL_PACKAGES": own, "PYTHONPATH": own})
client = manager.client()
client.start_channels()
client.wait_for_ready(timeout=60)
# A kernel's `%pip` must not find the lab's own pip.
client.execute_interactive("import os; os.environ.pop('PYTHONPATH', None)", timeout=60)
reply = client.execute_interactive(cell, timeout=120)
client.stop_channels()
manager.shutdown_kernel(now=False)
sys.exit(reply["content"]["status"] != "ok")
