"""What a rule needs: no event that it matches is passed over, and most others are."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import msgspec
import pyarrow as pa
import pytest
import yaml
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from envtrail.core import Assembler
from envtrail.detect.detection import PACK, LoadedDetections
from envtrail.detect.load import load_detections
from envtrail.detect.tables import in_segment
from envtrail.detect.watch import Watch

EMPTY = '""'
WORDS = ["curl", "WGET", "python3.11", "sh", "-s", "-o", "| sh", "auditctl", "-D", "-e", "0", "jupyter", "socket connect dup2"]
ODD = ["wget\u212a", "K\u0131ll", "kill", "KILL", "x" * 40, "", "-", "--ip=*", "/usr/bin/rm", "/var/log/audit", "pip download a"]
RULES: list[dict[str, Any]] = [
    {"sel": {"CommandLine|contains": ["kill", "curl -o"]}},
    {"sel": {"CommandLine|contains|all": ["curl", "-s"]}, "shell": {"Image|endswith": "/sh"}, "condition": "sel and not shell"},
    {"sel": {"CommandLine|re": r"(kill|cu?rl)\s-[so]"}},
    {"sel": {"CommandLine|re|i": r"wget.*x{3}"}},
    {"sel": {"Image|startswith": "/usr/bin/p"}, "who": {"User": "1001"}, "condition": "sel and who"},
    {"sel": {"CommandLine": "*-?*"}},
    {"keywords": ["jupyter", "audit"], "condition": "keywords"},
    {"sel": {"CurrentDirectory|contains": "home/U1"}, "more": {"CommandLine|contains": "kill"}, "condition": "sel or more"},
    {"sel": {"ParentImage|endswith": "/sh"}},
    {"sel": {"CommandLine|cased": "*KILL*"}},
]


def rule(at: int, detection: dict[str, Any]) -> dict[str, Any]:
    return {
        "title": f"t{at}",
        "id": f"7d0f0f2e-9f3b-4d0a-9f0a-0000000000{at:02}",
        "logsource": {"product": "linux", "category": "process_creation"},
        "detection": {"condition": "sel", **detection},
    }


def events_of(commands: list[tuple[str, list[str]]]) -> pa.Table:
    """An exec of each program with its arguments."""
    lines = []
    for at, (exe, argv) in enumerate(commands):
        stamp = f"msg=audit(1764000000.{at:03}:{at + 1}):"
        words = " ".join(f"a{place}={word.encode().hex() or EMPTY}" for place, word in enumerate(argv))
        lines += [
            (
                f"type=SYSCALL {stamp} arch=c000003e syscall=59 success=yes exit=0 items=0 ppid=1 pid={at + 100} auid=1001 uid=1001 "
                f'gid=1001 euid=1001 ses=3 comm="x" exe="{exe}" key="user_command_trace"'
            ),
            f"type=EXECVE {stamp} argc={len(argv)} {words}",
            f'type=CWD {stamp} cwd="/home/u1"',
            f"type=EOE {stamp} ",
        ]
    assembler = Assembler()
    assembler.push(("\n".join(lines) + "\n").encode())
    return in_segment(pa.record_batch(assembler.drain().events()), 1)


@pytest.fixture(scope="module")
def loaded(tmp_path_factory: pytest.TempPathFactory) -> LoadedDetections:
    folder = tmp_path_factory.mktemp("rules")
    (folder / "r.yml").write_text("\n---\n".join(yaml.safe_dump(rule(at, item)) for at, item in enumerate(RULES)))
    found = load_detections([PACK, folder])
    assert found.refused == []
    return found


def hits(watch: Watch, rows: pa.Table) -> list[tuple[str, int]]:
    return sorted((hit.detection, hit.row["serial"]) for hit in watch.evaluate("events", rows))


class TestPrefilter:
    def test_finds_what_is_found_without_it(self, loaded: LoadedDetections) -> None:
        whole = [msgspec.structs.replace(item, needed=None) for item in loaded.detections]
        # Each by itself: together, one rule's texts hide that another's are missing.
        filtered = [Watch([item]) for item in loaded.detections if item.table == "events" and item.needed is not None]
        unfiltered = Watch(whole)
        known = {item.id for item in loaded.detections if item.needed is not None}
        found: set[str] = set()
        texts = st.lists(st.sampled_from(WORDS + ODD), min_size=1, max_size=5)
        commands = st.lists(
            st.tuples(st.sampled_from(["/usr/bin/curl", "/bin/sh", "/usr/bin/python3", "/x"]), texts), max_size=12
        )

        @settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.too_slow])
        @given(commands)
        def same(commands: list[tuple[str, list[str]]]) -> None:
            rows = events_of([*commands, ("/usr/bin/curl", ["curl", "-o"])])
            expected = [hit for hit in hits(unfiltered, rows) if hit[0] in known]
            found.update(name for name, _ in expected)
            assert sorted(hit for watch in filtered for hit in hits(watch, rows)) == expected

        same()
        assert len(found) > 8

    def test_most_rules_need_a_text(self, loaded: LoadedDetections) -> None:
        of_events = [item for item in loaded.detections if item.table == "events" and item.correlation is None]
        assert [item.title for item in of_events if item.needed is None] == ["t6", "t8"]

    def test_an_exec_that_no_rule_can_match_is_not_evaluated(self, tmp_path: Path) -> None:
        pack = [item for item in load_detections([PACK]).detections if item.table == "events"]
        watch = Watch(pack)
        rows = events_of([("/usr/bin/true", ["true"])] * 5 + [("/usr/bin/curl", ["curl"])])
        (look,) = watch._looks["events"]
        assert look.select(rows).column("serial").to_pylist() == [6]
