#!/usr/bin/env python3
"""A real search server on loopback, to try Envtrail with: fetched from Maven Central, pinned, run as nobody until Ctrl-C.

make opensearch        # or: make elasticsearch
"""

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "tests/support"))

from search_lab import RELEASES, SERVERS, SearchServer, why_no_server


def main() -> None:
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("product", choices=SERVERS)
    arguments.add_argument("--port", type=int, default=9200)
    arguments.add_argument("--data", type=Path, help="Folder that is kept; without it, one that is gone at the end.")
    chosen = arguments.parse_args()
    if why := why_no_server():
        sys.exit(f"error: {why}")
    release = RELEASES[chosen.product]
    signal.signal(signal.SIGTERM, signal.default_int_handler)  # ended like by Ctrl-C: the server ends too
    with tempfile.TemporaryDirectory(prefix=f"envtrail-{release.product}-", ignore_cleanup_errors=True) as folder:
        Path(folder).chmod(0o755)
        server = SearchServer(release, chosen.data or Path(folder), chosen.port)
        print(f"starting {release.product} {release.version} (fetched once: about 150 MB)", flush=True)
        try:
            server.start()
            print(
                f"{server.url} answers. In another terminal:\n"
                f"  envtrail elastic setup --url {server.url}\n"
                f"  envtrail elastic ship --url {server.url}\nCtrl-C ends it.",
                flush=True,
            )
            while server.process is not None and server.process.poll() is None:
                time.sleep(0.5)
        except KeyboardInterrupt:
            print()
        finally:
            server.stop()


if __name__ == "__main__":
    main()
