"""Mutations of real bytes, for as long as `ENVTRAIL_FUZZ_SECONDS` says (2 by default for each target)."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

_SEEDS = (
    b'"',
    b"\\",
    b"\n",
    b"\0",
    b"\xff\xfe",
    b"{",
    b"}",
    b"[" * 200,
    b",",
    b":",
    b"../",
    b"-1",
    b"1e999",
    b"9" * 30,
    b"null",
    b'"\\ud800"',
)


def rounds() -> Iterator[random.Random]:
    """A source of chance for each round; what fails is said with the seed, and `ENVTRAIL_FUZZ_SEED` repeats it."""
    until_s = time.monotonic() + float(os.environ.get("ENVTRAIL_FUZZ_SECONDS", "2"))
    given = os.environ.get("ENVTRAIL_FUZZ_SEED")
    while time.monotonic() < until_s:
        seed = int(given) if given else random.SystemRandom().getrandbits(48)
        try:
            yield random.Random(seed)
        except GeneratorExit:
            print(f"ENVTRAIL_FUZZ_SEED={seed}")
            raise
        if given:
            return


def mutated(chance: random.Random, text: bytes) -> bytes:
    """The same with up to eight mutations."""
    found = bytearray(text)
    for _ in range(chance.randint(1, 8)):
        at = chance.randint(0, len(found))
        end = min(len(found), at + chance.randint(0, 40))
        match chance.randrange(5):
            case 0:
                found[at:end] = chance.randbytes(end - at)
            case 1:
                del found[at:end]
            case 2:
                found[at:at] = found[at:end] * chance.choice((1, 2, 100))
            case 3:
                found[at:at] = chance.choice(_SEEDS)
            case _:
                to = chance.randint(0, len(found))
                found[to:to] = found[at:end]
    return bytes(found)
