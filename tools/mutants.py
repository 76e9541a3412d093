"""`make mutants`: change one thing at a time, and count what no fast test notices.

All mutants are too many for a laptop: of each pattern a random sample is tried (its seed is printed), without those that change nothing but the
case of letters in a text: SQL reads the same then. What mutmut generated, and which test calls which function, is kept in `mutants/`: the
first run takes as long as the tests, the next ones the time of the mutants.
"""

from __future__ import annotations

import argparse
import fnmatch
import os
import random
import sys
from collections.abc import Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from mutmut import __main__ as mutmut
from mutmut.mutation.diff_apply import get_diff_for_mutant
from mutmut.runners import harness
from mutmut.workers import isolation

MUTANTS = Path("mutants").absolute()
CALLED = MUTANTS / "called"
IN_PROGRAMS = f'''"""Reports which functions a program calls that a test starts."""
import os
if os.environ.get("MUTANT_UNDER_TEST") == "stats":
    from mutmut.mutation import trampoline
    known = set()
    def record(name, caller=None):
        if name not in known:
            known.add(name)
            try:
                with open("{CALLED}", "a") as file:
                    file.write(name + "\\n")
            except OSError:
                pass
    trampoline.record_trampoline_hit = record
'''
NOT_NOTICED = {"survived", "no tests", "not checked"}


class _Noted:
    """A pytest plugin: what a test's programs called, the test called; a test that fails here finds no mutant."""

    def __init__(self) -> None:
        self.failed: set[str] = set()

    def pytest_runtest_teardown(self) -> None:
        if CALLED.exists():
            mutmut.state()._stats.update(CALLED.read_text().split())  # noqa: SLF001 - mutmut has no other way in
            CALLED.unlink()

    def pytest_runtest_logreport(self, report: Any) -> None:
        if report.failed:
            self.failed.add(report.nodeid)


def _execute(self: harness.PytestRunner, params: list[str], **words: Any) -> int:
    """Without mutants all tests run, and those that fail are left out."""
    if "-x" not in params or not words.get("plugins"):
        return _plain(self, params, **words)
    noted = _Noted()
    # The first of the plugins is called last: mutmut's own reads what this one has added.
    code = _plain(self, [word for word in params if word != "-x"], plugins=[*words["plugins"], noted])
    if code == 1:
        for tests in mutmut.state().tests_by_mangled_function_name.values():
            tests -= noted.failed
        print(f"left out, as they fail without a mutant: {sorted(noted.failed)}", file=sys.__stderr__)
    return 0 if code == 1 else code


_plain = harness.PytestRunner.execute_pytest


def main() -> int:
    options = argparse.ArgumentParser(description=__doc__)
    options.add_argument("patterns", nargs="+", help="such as envtrail.policy.*")
    options.add_argument("--sample", type=int, default=0, help="so many of each pattern (0: all)")
    options.add_argument("--seed", type=int, default=0, help="0: a new one")
    options.add_argument("--children", type=int, default=os.cpu_count())
    options.add_argument("--names", type=Path, help="only those that this file names")
    chosen = options.parse_args()
    seed = chosen.seed or random.SystemRandom().randrange(1, 100_000)

    os.environ["PYTHONPATH"] = str(MUTANTS / "src")
    harness.PytestRunner.execute_pytest = _execute  # type: ignore[method-assign]
    # The tests have just passed, or are left out.
    isolation.ForkRunner.run_clean_tests = lambda *_, **__: 0  # type: ignore[method-assign]
    mutmut.set_mutant_under_test("mutant_generation")
    MUTANTS.mkdir(exist_ok=True)
    with mutmut.CatchOutput(spinner_title="Generating mutants"):
        for built in MUTANTS.glob("src/envtrail/core/*.so"):
            built.unlink()
        mutmut.copy_src_dir()
        mutmut.create_mutants(chosen.children)
    (MUTANTS / "src/sitecustomize.py").write_text(IN_PROGRAMS)
    known = set(_results())
    if chosen.names:
        known &= set(chosen.names.read_text().split())
    picked = {}
    for pattern in chosen.patterns:
        fitting = sorted(fnmatch.filter(known, pattern))
        random.Random(seed).shuffle(fitting)
        picked[pattern] = list(islice((name for name in fitting if not _is_case_alone(name)), chosen.sample or None))
    mutmut._run([name for names in picked.values() for name in names], chosen.children)  # noqa: SLF001 - as above

    results = _results()
    for pattern, names in picked.items():
        alive = sorted(name for name in names if mutmut.status_by_exit_code[results[name]] in NOT_NOTICED)
        print(*alive, sep="\n")
        print(f"{pattern}: seed {seed}, {len(names)} tried, {len(names) - len(alive)} noticed, {len(alive)} not noticed")
    return 0


def _is_case_alone(name: str) -> bool:
    lines = [line for line in get_diff_for_mutant(name).lower().splitlines() if not line.startswith(("---", "+++"))]
    before, after = ([line[1:] for line in lines if line.startswith(sign)] for sign in "-+")
    return before == after


def _results() -> dict[str, int | None]:
    return {name: code for data in _data() for name, code in data.exit_code_by_key.items()}


def _data() -> Iterator[mutmut.SourceFileMutationData]:
    for path in mutmut.walk_mutatable_files():
        data = mutmut.SourceFileMutationData(path=path)
        data.load()
        yield data


if __name__ == "__main__":
    sys.exit(main())
