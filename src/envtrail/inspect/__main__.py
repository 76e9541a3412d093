"""`python -m envtrail.inspect DESCRIPTOR`: the inspector's process; started by its client."""

from __future__ import annotations

import sys

from envtrail.inspect.server import serve

if __name__ == "__main__":
    serve(int(sys.argv[1]))
