"""`make mutants MODULES=envtrail-core`: the same for the Rust core, with cargo-mutants.

The tree is copied to a temporary folder and changed there; what was built stays in `target/mutants`, and the texts of the failures in
`mutants/mutants.out`.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import subprocess
import sys
from pathlib import Path

VERSION = "27.1.0"
ROOT = Path(__file__).resolve().parents[1]
TOOL = ROOT / ".cache/cargo-mutants"
OUT = ROOT / "mutants/mutants.out"
CRATE = "envtrail-core"
SLOW = [
    "overlooked",
    "was_read_before",
    "by_order_and_by_name",
    "no_long_time",
    "whoever_writes",
    "mutated_lines",
    "marked_spans",
]
"""Parts of the names of tests that take most of the time: they see only what the others have not noticed."""


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("--sample", type=int, default=0, help="so many (0: all)")
    options.add_argument("--seed", type=int, default=0, help="0: a new one")
    chosen = options.parse_args()
    seed = chosen.seed or random.SystemRandom().randrange(1, 100_000)

    subprocess.run(["cargo", "install", "-q", "cargo-mutants", "--version", VERSION, "--locked", "--root", TOOL], check=True)
    command = [TOOL / "bin/cargo-mutants", "mutants", "--package", CRATE]
    listed = subprocess.run([*command, "--list", "--json"], check=True, cwd=ROOT, capture_output=True)
    names = [mutant["name"] for mutant in json.loads(listed.stdout)]
    picked = random.Random(seed).sample(names, min(chosen.sample or len(names), len(names)))

    # What was noticed before is passed over; a pattern (`--re`) would let the deletions of fields through (cargo-mutants issue 632).
    shutil.rmtree(OUT, ignore_errors=True)
    OUT.mkdir(parents=True)
    (OUT / "caught.txt").write_text("".join(f"{name}\n" for name in sorted(set(names) - set(picked))))
    command += [
        "--iterate",
        "--profile=mutants",
        "--minimum-test-timeout=60",
        f"--output={OUT.parent}",
        "--no-times",
        "--colors=never",
    ]
    environment = {**os.environ, "CARGO_TARGET_DIR": str(ROOT / "target")}
    alive, not_built = picked, []
    for words in (["--", "--", *(f"--skip={part}" for part in SLOW)], []):
        if alive:
            code = subprocess.run([*command, *words], cwd=ROOT, env=environment).returncode
            if code not in {0, 2, 3}:  # all are noticed, some are not, some ran into the time limit
                return code
            alive = (OUT / "missed.txt").read_text().splitlines()
            not_built += (OUT / "unviable.txt").read_text().splitlines()
    tried = len(picked) - len(not_built)
    print(*sorted(alive), sep="\n")
    print(f"{CRATE}: seed {seed}, {tried} tried, {tried - len(alive)} noticed, {len(alive)} not noticed")
    return 0


if __name__ == "__main__":
    sys.exit(main())
