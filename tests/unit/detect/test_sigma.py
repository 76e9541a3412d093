"""Sigma rules of every shape: run as SQL, compared with a slow matcher; what cannot be run is refused by name."""

from __future__ import annotations

import re
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from sigma.types import SigmaString

from envtrail.detect.detection import LoadedDetections
from envtrail.detect.detector import Detector, table_of
from envtrail.detect.fields import COLUMNS, find_source
from envtrail.detect.load import load_detections

RULE = "7d0f0f2e-9f3b-4d0a-9f0a-00000000000"


def rule(detection: dict[str, Any], *, category: str = "operation", at: int = 0, **more: Any) -> dict[str, Any]:
    condition = detection.pop("condition", "sel")
    return {
        "title": f"t{at}",
        "id": f"{RULE}{at}",
        "logsource": {"product": "envtrail", "category": category},
        "detection": {**detection, "condition": condition},
        **more,
    }


def load(folder: Path, *rules: dict[str, Any] | str) -> LoadedDetections:
    text = "\n---\n".join(item if isinstance(item, str) else yaml.safe_dump(item) for item in rules)
    (folder / "r.yml").write_text(text)
    return load_detections([folder])


def row(**values: Any) -> dict[str, Any]:
    return {"time_ms": 1000, "id": "o", "host": "h", **values}


def fits(folder: Path, detection: dict[str, Any], *rows: dict[str, Any]) -> list[bool]:
    """Which of the rows a rule fits."""
    loaded = load(folder, rule(detection))
    assert loaded.refused == []
    detector = Detector(loaded)
    return [bool(list(detector.evaluate("operations", table_of("operations", [item])))) for item in rows]


class TestShapes:
    @pytest.mark.parametrize(
        ("detection", "yes", "no"),
        [
            ({"sel": {"tool": "PIP"}}, {"tool": "pip"}, {"tool": "pipx"}),
            ({"sel": {"tool|cased": "Pip"}}, {"tool": "Pip"}, {"tool": "pip"}),
            ({"sel": {"tool": ["uv", "p?p"]}}, {"tool": "pap"}, {"tool": "paap"}),
            ({"sel": {"command|contains|all": ["a", "b"]}}, {"command": "xbya"}, {"command": "xa"}),
            ({"sel": {"command|startswith": "pip "}}, {"command": "pip x"}, {"command": "a pip x"}),
            ({"sel": {"command|endswith": r"\*"}}, {"command": "x*"}, {"command": "xy"}),
            ({"sel": {"command": "100%_"}}, {"command": "100%_"}, {"command": "100xy"}),
            ({"sel": {"command|re": "^a+b$"}}, {"command": "aab"}, {"command": "xaab"}),
            ({"sel": {"command|re|i": "A+B"}}, {"command": "xaab"}, {"command": "x"}),
            ({"sel": {"remote|cidr": "10.0.0.0/9"}}, {"remote": "10.127.255.255"}, {"remote": "10.128.0.0"}),
            ({"sel": {"remote|cidr": ["192.168.0.0/16", "10.0.0.1/32"]}}, {"remote": "10.0.0.1"}, {"remote": "10.0.0.11"}),
            ({"sel": {"packages|gte": 5}}, {"packages": 5}, {"packages": 4}),
            ({"sel": {"packages": 5}}, {"packages": 5}, {"packages": 50}),
            ({"sel": {"packages": "5*"}}, {"packages": 50}, {"packages": 45}),
            ({"sel": {"off_hours": True}}, {"off_hours": True}, {"off_hours": False}),
            ({"sel": {"grant": None}}, {}, {"grant": "G"}),
            ({"sel": {"grant|exists": True}}, {"grant": "G"}, {}),
            ({"sel": {"user|fieldref": "owner"}}, {"user": "Al", "owner": "al"}, {"user": "al", "owner": "bo"}),
            ({"sel": {"via|contains": "on"}}, {"via": ["uv", "conda"]}, {"via": ["uv"]}),
            ({"sel": {"via": None}}, {"via": []}, {"via": ["uv"]}),
            ({"sel": {"command": ""}}, {"command": ""}, {"command": "x"}),
            ({"sel": {"tool": "*"}}, {"tool": ""}, {}),
            ({"kw": ["evil", "ba*d"], "condition": "kw"}, {"argv": ["so", "EVIL"]}, {"tool": "good"}),
            (
                {"sel": {"tool": "pip"}, "no": {"user": "ci"}, "condition": "sel and not no"},
                {"tool": "pip"},
                {"tool": "pip", "user": "ci"},
            ),
            (
                {"sel_a": {"tool": "a"}, "sel_b": {"tool": "b"}, "condition": "1 of sel_*"},
                {"tool": "b"},
                {"tool": "c"},
            ),
            (
                {"sel_a": {"tool": "a"}, "sel_b": {"user": "b"}, "condition": "all of sel_*"},
                {"tool": "a", "user": "b"},
                {"tool": "a"},
            ),
            ({"sel": [{"tool": "a"}, {"user": "b", "tool": "c"}]}, {"user": "b", "tool": "c"}, {"user": "b"}),
            ({"sel": {"command|windash|contains": " -x "}}, {"command": "a /x b"}, {"command": "a x b"}),
            ({"sel": {"command|base64offset|contains": "evil"}}, {"command": "xxZXZpbA=="}, {"command": "evil"}),
            ({"sel": {"command": "a'b\"c"}}, {"command": "a'b\"c"}, {"command": "abc"}),
        ],
    )
    def test_it_fits_what_it_means(
        self, tmp_path: Path, detection: dict[str, Any], yes: dict[str, Any], no: dict[str, Any]
    ) -> None:
        assert fits(tmp_path, detection, row(**yes), row(**no), row()) == [
            True,
            False,
            None in detection.get("sel", {}).values() if isinstance(detection.get("sel"), dict) else False,
        ]

    def test_what_is_absent_fits_a_negation(self, tmp_path: Path) -> None:
        assert fits(tmp_path, {"sel": {"user": "ci"}, "condition": "not sel"}, row(), row(user="ci"), row(user="x")) == [
            True,
            False,
            True,
        ]

    @pytest.mark.parametrize(
        ("changed", "reported"),
        [
            ({"logsource": {"product": "windows", "category": "process_creation"}}, "its product is `windows`"),
            ({"logsource": {"product": "linux", "service": "sshd"}}, "`linux sshd`"),
            ({"logsource": {"product": "linux", "category": "network_connection"}}, "network_connection"),
            ({"detection": {"sel": {"nonsense": 1}, "condition": "sel"}}, "`nonsense` is not a field"),
            ({"detection": {"sel": {"command|re": "(?=x)y"}, "condition": "sel"}}, "(?=x)y"),
            ({"detection": {"sel": {"command|re": r"(a)\1"}, "condition": "sel"}}, r"(a)\1"),
            ({"detection": {"sel": {"remote|cidr": "fe80::/10"}, "condition": "sel"}}, "fe80::/10"),
            ({"detection": {"sel": {"user|expand": "%admins%"}, "condition": "sel"}}, "admins"),
            (
                {
                    "logsource": {"product": "linux", "service": "auditd"},
                    "detection": {"sel": {"type": "SYSCALL", "a0": "1"}, "condition": "sel"},
                },
                "registers",
            ),
            (
                {
                    "logsource": {"product": "linux", "category": "process_creation"},
                    "detection": {"sel": {"Hashes": "x"}, "condition": "sel"},
                },
                "`Hashes`",
            ),
        ],
    )
    def test_what_cannot_be_asked_is_refused_by_name_and_is_no_fault(
        self, tmp_path: Path, changed: dict[str, Any], reported: str
    ) -> None:
        loaded = load(tmp_path, {**rule({"sel": {"tool": "x"}}), **changed}, rule({"sel": {"tool": "pip"}}, at=1))
        assert [(item.title, item.is_fault) for item in loaded.refused] == [("t0", False)]
        assert reported in loaded.refused[0].reason
        assert [item.title for item in loaded.detections] == ["t1"]

    @pytest.mark.parametrize(
        "text",
        [
            "{",
            "title: x",
            "- 1",
            "title: x\nlogsource: {}\ndetection: {condition: a}",
            "title: x\nlogsource: 5\ndetection: 7",
            "a: *b",
            "null",
            "\0",
        ],
    )
    def test_a_rule_at_fault_is_told_with_its_file(self, tmp_path: Path, text: str) -> None:
        loaded = load(tmp_path, text)
        assert loaded.detections == []
        assert [item.path for item in loaded.refused if item.is_fault] == [str(tmp_path / "r.yml")] * len(loaded.refused)

    def test_a_filter_of_sigma_takes_out_what_it_names(self, tmp_path: Path) -> None:
        taken = {
            "title": "f",
            "id": f"{RULE}9",
            "logsource": {"product": "envtrail", "category": "operation"},
            "filter": {"rules": [f"{RULE}0"], "ci": {"user": "ci"}, "condition": "not ci"},
        }
        loaded = load(tmp_path, rule({"sel": {"tool": "pip"}}), taken)
        assert loaded.refused == []
        detector = Detector(loaded)
        found = [
            bool(list(detector.evaluate("operations", table_of("operations", [row(tool="pip", user=user)]))))
            for user in ("ci", "al")
        ]
        assert found == [False, True]

    def test_no_name_means_two_things_in_one_table(self) -> None:
        meaning: dict[tuple[str, str], set[str]] = {}
        for category, service in (("process_creation", None), ("file_event", None), (None, "auditd")):
            source = find_source("linux", category, service)
            assert not isinstance(source, str)
            for name, field in source.fields.items():
                meaning.setdefault((source.table, name), set()).add(field.sql)
        assert len(meaning) > 40
        assert {name: reported for name, reported in meaning.items() if len(reported) > 1} == {}
        assert set(COLUMNS) == {"operations", "changes", "runs", "gaps"}


class TestCorrelations:
    def take(self, folder: Path, correlation: dict[str, Any], *rows: dict[str, Any]) -> list[tuple[int, dict[str, str]]]:
        bases = [rule({"sel": {"tool": name}}, at=at, name=name) for at, name in enumerate(("pip", "uv"))]
        loaded = load(folder, *bases, {"title": "c", "id": f"{RULE}7", "name": "c", "correlation": correlation})
        assert loaded.refused == []
        detector = Detector(loaded)
        found = [item for one in rows for item in detector.evaluate("operations", table_of("operations", [one]))]
        assert {item.detection for item in found} <= {"c"}
        return [(item.time_ms, item.values) for item in found]

    def test_so_many_in_a_time_and_once_a_group_and_time(self, tmp_path: Path) -> None:
        counted = {"type": "event_count", "rules": ["pip"], "group-by": ["user"], "timespan": "10s", "condition": {"gte": 3}}
        rows = [row(tool="pip", user="al", time_ms=at * 1000) for at in range(8)] + [row(tool="pip", user="bo", time_ms=8000)]
        assert self.take(tmp_path, counted, *rows) == [(2000, {"count": "3", "user": "al"})]
        spread = [row(tool="pip", user="al", time_ms=at * 5000) for at in range(8)]
        assert self.take(tmp_path, counted, *spread) == []
        again = [row(tool="pip", user="al", time_ms=at) for at in (0, 1, 2, 20_000, 20_001, 20_002)]
        assert [time_ms for time_ms, _ in self.take(tmp_path, counted, *again)] == [2, 20_002]

    def test_so_many_different_ones(self, tmp_path: Path) -> None:
        counted = {
            "type": "value_count",
            "rules": ["pip"],
            "group-by": ["user"],
            "timespan": "1m",
            "condition": {"gte": 2, "field": "prefix"},
        }
        rows = [row(tool="pip", user="al", prefix=prefix, time_ms=at) for at, prefix in enumerate("aaab")]
        assert [time_ms for time_ms, _ in self.take(tmp_path, counted, *rows)] == [3]

    @pytest.mark.parametrize(("type_", "order", "found"), [("temporal", "pu", 1), ("temporal", "up", 1), ("temporal_ordered", "pu", 1), ("temporal_ordered", "up", 0)])  # fmt: skip
    def test_one_and_another(self, tmp_path: Path, type_: str, order: str, found: int) -> None:
        names = {"p": "pip", "u": "uv"}
        rows = [row(tool=names[letter], user="al", time_ms=at) for at, letter in enumerate(order)]
        correlation = {"type": type_, "rules": ["pip", "uv"], "group-by": ["user"], "timespan": "5s"}
        assert len(self.take(tmp_path, correlation, *rows)) == found
        assert self.take(tmp_path, correlation, rows[0], row(tool=names[order[1]], user="bo", time_ms=1)) == []

    def test_what_is_without_the_value_that_groups_is_in_no_group(self, tmp_path: Path) -> None:
        counted = {"type": "event_count", "rules": ["pip"], "group-by": ["user"], "timespan": "10s", "condition": {"gte": 2}}
        assert self.take(tmp_path, counted, *[row(tool="pip", time_ms=at) for at in range(5)]) == []


LETTERS = "abAB.*?\\%_'\"$(é \n"


class TestProperties:
    @settings(max_examples=150, deadline=None)
    @given(
        st.text(LETTERS, max_size=6),
        st.lists(st.text(LETTERS, max_size=6), min_size=1, max_size=5),
        st.sampled_from(["", "contains", "startswith", "endswith"]),
    )
    def test_patterns_fit_what_pysigmas_own_expression_fits(
        self, tmp_path_factory: pytest.TempPathFactory, pattern: str, values: list[str], modifier: str
    ) -> None:
        folder = tmp_path_factory.mktemp("sigma", numbered=True)
        found = fits(
            folder,
            {"sel": {f"command|{modifier}" if modifier else "command": pattern}},
            *[row(command=value) for value in values],
        )
        wanted = SigmaString(pattern)
        if modifier in {"contains", "endswith"} and not (pattern and wanted.startswith(SigmaString("*").s[0])):
            wanted = SigmaString("*") + wanted
        if modifier in {"contains", "startswith"} and not (pattern and wanted.endswith(SigmaString("*").s[0])):
            wanted += SigmaString("*")
        expression = re.compile("".join(_as_re(part) for part in wanted.s), re.IGNORECASE | re.DOTALL)
        assert found == [bool(expression.fullmatch(value)) for value in values]

    @settings(max_examples=100, deadline=None)
    @given(st.text(max_size=300) | st.recursive(st.none() | st.integers() | st.text(max_size=8), lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(["title", "id", "logsource", "detection", "condition", "correlation", "filter", "level", "x"]), inner, max_size=5), max_leaves=15).map(yaml.safe_dump))  # fmt: skip
    def test_no_text_makes_the_loader_raise(self, tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
        folder = tmp_path_factory.mktemp("sigma", numbered=True)
        (folder / "r.yml").write_text(text, errors="replace")
        load_detections([folder])


def _as_re(part: Any) -> str:
    if isinstance(part, str):
        return re.escape(part)
    return ".*" if part.name == "WILDCARD_MULTI" else "."


def test_the_rows_keep_their_columns() -> None:
    table = table_of("changes", [row(package="x", requested=True)])
    assert isinstance(table, pa.Table)
    assert set(COLUMNS["changes"]) < set(table.column_names)


@pytest.mark.parametrize(
    "pattern",
    [
        {"command|re": "^(a+)+$"},
        {"command|re": "(a|aa|a?)*b$"},
        {"command": "*a*a*a*a*a*a*a*b"},
        {"command": "*a?*a?*a?*a?*a?*a?*b"},
    ],
)
def test_no_argument_makes_a_pattern_take_for_ever(tmp_path: Path, pattern: dict[str, str]) -> None:
    began_s = time.monotonic()
    assert fits(tmp_path, {"sel": pattern}, {"command": "a" * 60_000 + "!"}) == [False]
    assert time.monotonic() - began_s < 5
