"""Lay down a prefix from a channel with py-rattler: `bootstrap.py PREFIX CHANNEL SPEC...`."""

import asyncio
import os
import sys

import rattler


async def main(prefix: str, channel: str, specs: list[str]) -> None:
    virtual = rattler.VirtualPackage.detect()
    records = await rattler.solve(sources=[channel], specs=specs, platforms=["linux-64", "noarch"], virtual_packages=virtual)
    requested = [rattler.MatchSpec(spec)._match_spec for spec in specs]
    await rattler.install(
        records, target_prefix=prefix, cache_dir=prefix + ".cache", show_progress=False, requested_specs=requested
    )


asyncio.run(main(sys.argv[1], sys.argv[2], sys.argv[3:]))
sys.stdout.flush()
os._exit(0)  # py-rattler 0.28.0 may crash while the interpreter shuts down
