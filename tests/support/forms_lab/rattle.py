"""A conda environment by py-rattler: `rattle.py PREFIX CHANNEL SPEC`."""

from __future__ import annotations

import asyncio
import os
import sys

import rattler


async def main(prefix: str, channel: str, spec: str) -> None:
    records = await rattler.solve(sources=[channel], specs=[spec], platforms=["linux-64", "noarch"])
    await rattler.install(records, target_prefix=prefix, cache_dir=prefix + ".cache", show_progress=False)


asyncio.run(main(*sys.argv[1:]))
sys.stdout.flush()
os._exit(0)  # py-rattler 0.28.0 may crash while the interpreter shuts down
