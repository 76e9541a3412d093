"""Verifies the displayed state against the evidence: the state is derived from the segments again, separately, and compared row by row."""

from __future__ import annotations

import sqlite3
import tempfile
import time
from contextlib import closing
from pathlib import Path

import msgspec
from msgspec import Struct

from envtrail import __version__
from envtrail.config import Config
from envtrail.errors import EnvtrailError, StoreFullError
from envtrail.model.ids import lowest_id
from envtrail.model.times import to_rfc3339
from envtrail.state.comparing import RowDifference, Token, compare_tables, count_rows, feed_faults, full_disk_spans, schema_faults
from envtrail.state.schema import connect
from envtrail.state.seeding import GRACE_MS, SeededState
from envtrail.state.state import State
from envtrail.tasks.deriving import OnProgress, Way, derive
from envtrail.trail.continuity import VerifyFault
from envtrail.trail.layout import DATABASE, Layout
from envtrail.trail.missing import MISSING
from envtrail.trail.tail import is_written, kept_since_ms, read_end
from envtrail.trail.verify import VerifyReport, verify

_SETTLE_S = 5.0
"""What a running agent has written of a step is in its state after this."""
_BEHIND = (
    "the state is some moments older than the end of the evidence: a writer that was killed leaves it so and continues at the next "
    "start; a line that somebody added to the open segment has the same effect"
)
_SPANNING = frozenset({"operations", "operation_packages", "runs"})
"""Rows that span the moment at which the kept evidence starts."""
_UNCOUNTED = frozenset({"redactions", "totals"})
"""Counts over all evidence, also over dropped segments."""


class Comparison(Struct, frozen=True, kw_only=True):
    """Result of comparing the state with the evidence."""

    rows: int = 0
    not_compared: int = 0
    """Rows whose evidence was dropped."""
    faults: list[VerifyFault] = []
    reason: str | None = None
    """Why nothing was compared."""
    notes: list[str] = []


def verify_trail(config: Config, *, is_quick: bool, on_progress: OnProgress | None = None) -> VerifyReport:
    """Check the chain of segments and, unless it is to be quick, the displayed state against it.

    Raises:
        StoreFullError: there is no space to derive the state again.
    """
    layout = Layout(config.data_dir)
    report = verify(layout, on_progress=on_progress)
    if is_quick:
        return _with(report, Comparison(reason="it was not requested"))
    return _with(report, compare_state(config, on_progress=on_progress))


def compare_state(config: Config, *, on_progress: OnProgress | None = None, settle_s: float = _SETTLE_S) -> Comparison:
    """Derive the state again and compare; differences are checked twice, as an agent may be writing.

    Raises:
        StoreFullError: there is no space to derive it.
    """
    layout = Layout(config.data_dir)
    if not layout.state.exists():
        return Comparison(reason=f"`{layout.state.name}` does not exist: `envtrail rebuild` makes it")
    try:
        first = _look(config, layout, on_progress)
        if first.schema:
            return Comparison(faults=first.schema, reason="its file is not one that this version makes")
        left = first.differences
        if left and is_written(layout):
            time.sleep(settle_s)
            left = _still(left, _look(config, layout, on_progress))
        elif left and _look(config, layout, on_progress, Way.STOPPING).is_behind:
            return Comparison(rows=first.rows, not_compared=first.not_compared, notes=[_BEHIND])
        lasting = _still(left, _look(config, layout, on_progress, Way.RESTARTING)) if left else []
        return first.as_comparison(lasting, restarted=len(left) - len(lasting))
    except StoreFullError:
        raise
    except (EnvtrailError, msgspec.MsgspecError, sqlite3.Error, OSError, ValueError, LookupError, RecursionError) as fault:
        what = f"the state cannot be compared with the evidence: {fault}"
        return Comparison(faults=[VerifyFault(what=what)], reason=str(fault))


class _Look(Struct, frozen=True, kw_only=True):
    rows: int = 0
    not_compared: int = 0
    differences: list[RowDifference] = []
    schema: list[VerifyFault] = []
    """Results for the file as a whole: then nothing was compared."""
    feed: list[VerifyFault] = []
    versions: list[str] = []
    is_behind: bool = False
    """The state is that of a moment shortly before the end of the evidence."""

    def as_comparison(self, differences: list[RowDifference], *, restarted: int) -> Comparison:
        faults = [*self.feed, *(fault for difference in differences for fault in difference.faults())]
        others = [version for version in self.versions if version != __version__]
        notes = []
        if differences:
            notes.append(
                f"a state that {' and '.join(others) or 'another version'} made, or that was made with other settings, differs although "
                "nobody changed it: `envtrail rebuild` makes it from the evidence (keep a copy of `state.sqlite` first)"
            )
        if restarted:
            notes.append(
                f"{restarted} rows hold what a restarted agent knew, and the whole evidence holds more: "
                "`envtrail rebuild` makes them from it"
            )
        return Comparison(rows=self.rows, not_compared=self.not_compared, faults=faults, notes=notes)


def _still(differences: list[RowDifference], other: _Look) -> list[RowDifference]:
    """Those that a second run found too, with the same content of the state."""
    seen = {difference.token for difference in other.differences}
    return [difference for difference in differences if difference.token in seen]


def _look(config: Config, layout: Layout, on_progress: OnProgress | None, way: Way = Way.WHOLE) -> _Look:
    """Derive the state and compare; if the way has stops, also there, until it is the same."""
    with (
        tempfile.TemporaryDirectory(prefix="envtrail-verify-") as folder,
        closing(connect(layout.state, read_only=True)) as shown,
    ):
        # In this order: the agent writes to the evidence before it writes to the state.
        end = read_end(layout)
        shown.execute("BEGIN")
        shown.execute("SELECT count(*) FROM identity").fetchone()
        with closing(connect(Path(folder) / "new.sqlite", read_only=False)) as fresh:
            schema = schema_faults(shown, fresh)
        if schema:
            return _Look(schema=schema)
        since_ms = kept_since_ms(layout, end)
        path = Path(folder) / DATABASE
        versions: set[str] = set()
        with (
            closing(State(path) if since_ms is None else SeededState(path, layout.state, since_ms)) as state,
            closing(connect(path, read_only=True)) as derived,
        ):
            earlier: set[Token] | None = None
            for _ in derive(config, layout, end, state, way=way, versions=versions, on_progress=on_progress):
                if isinstance(state, SeededState):
                    state.settle()
                if way is Way.RESTARTING:
                    earlier = {item.token for item in compare_tables(shown, derived)}
                elif _is_same(shown, derived, since_ms):
                    return _Look(is_behind=True)
            taken_over = state.settle() if isinstance(state, SeededState) else 0
            found = list(compare_tables(shown, derived))
            full = full_disk_spans(derived)
            differences = [item for item in found if not _is_excused(item, since_ms) and not _is_of(item, full)]
            taken_over += len(found) - len(differences)
            differences = [item for item in differences if earlier is None or item.token in earlier]
            return _Look(
                rows=count_rows(shown) - taken_over,
                not_compared=taken_over,
                differences=differences,
                feed=feed_faults(shown),
                versions=sorted(versions),
            )


def _is_same(shown: sqlite3.Connection, derived: sqlite3.Connection, since_ms: int | None) -> bool:
    return all(_is_excused(item, since_ms) for item in compare_tables(shown, derived))


def _is_excused(item: RowDifference, since_ms: int | None) -> bool:
    """Whether the kept evidence alone cannot produce it, or not completely."""
    if since_ms is None:
        return False
    if item.table.name == "gaps" and item.shown is None and str(item.key[0]).startswith(MISSING):
        return True  # A fault of the chain already; the state has it after the next rebuild.
    if item.table.name in _UNCOUNTED:
        return True
    if item.table.name == "sessions":
        started = (item.derived or item.shown or ("",))[0]
        return str(started) < to_rfc3339(since_ms + GRACE_MS)
    return item.table.name in _SPANNING and str(item.key[0]) < lowest_id(since_ms + GRACE_MS)


def _is_of(item: RowDifference, spans: list[tuple[str, str]]) -> bool:
    """Whether it goes back to a time of which the evidence holds less than the agent knew."""
    return item.table.name in _SPANNING and any(begin <= str(item.key[0]) < end for begin, end in spans)


def _with(report: VerifyReport, compared: Comparison) -> VerifyReport:
    checked, not_checked = list(report.checked), list(report.not_checked)
    if compared.reason is not None:
        not_checked.insert(0, f"the state was not compared with the evidence: {compared.reason}")
    else:
        checked.append(f"every row of the state against the evidence: {compared.rows}")
    if compared.not_compared:
        not_checked.append(f"{compared.not_compared} rows of the state: evidence dropped, or a disk that was full")
    return msgspec.structs.replace(
        report,
        faults=[*report.faults, *compared.faults],
        checked=checked,
        not_checked=not_checked,
        notes=compared.notes,
        rows=compared.rows,
    )
