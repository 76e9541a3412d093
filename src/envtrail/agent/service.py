"""The running agent: reads the source, carries blocks through the pipeline, and keeps house."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import Future, ThreadPoolExecutor

from envtrail import __version__
from envtrail.agent.build import Parts
from envtrail.agent.status import AgentStatus, KernelFigures, read_own_usage, write_status
from envtrail.agent.world import observe_packages
from envtrail.environments.find import find_environments
from envtrail.model.environment import Environment
from envtrail.model.observation import EnvironmentSeen, GapFound

_STATUS_INTERVAL_MS = 2_000
_KERNEL_INTERVAL_MS = 5_000
_RETENTION_INTERVAL_MS = 3_600_000


class Agent:
    """One loop, one thread; looking for environments is the only work beside it.

    Args:
        parts: What `build.py` wired together.
        clock_ms: Wall clock in ms since the epoch.
    """

    def __init__(self, parts: Parts, *, clock_ms: Callable[[], int]) -> None:
        self._parts = parts
        self._clock_ms = clock_ms
        self._started_ms = clock_ms()
        self._stopping = False
        self._searcher = ThreadPoolExecutor(max_workers=1, thread_name_prefix="find-environments")
        self._search: Future[list[Environment]] | None = None
        self._unread: list[Environment] = []
        self._due: dict[str, int] = {}

    def stop(self) -> None:
        """Ask the loop to end after the block at hand."""
        self._stopping = True

    def run(self) -> None:
        """Run until stopped or until the source has ended; everything read is then on disk."""
        parts = self._parts
        interval_ms = parts.config.number("store.write_interval_ms")
        taken_ms = 0
        self._start_search()
        try:
            while not self._stopping:
                block = parts.source.read(interval_ms)
                now_ms = self._clock_ms()
                parts.pipeline.take(block, now_ms)
                self._keep_house(now_ms)
                if block.ended:
                    break
                # Under load one batch per interval costs a tenth of one batch per event; when idle nothing waits.
                if block.records or block.processes:
                    time.sleep(max(0, taken_ms + interval_ms - now_ms) / 1000)
                taken_ms = self._clock_ms()
        finally:
            self._searcher.shutdown(wait=False, cancel_futures=True)
            parts.close()

    def _keep_house(self, now_ms: int) -> None:
        parts = self._parts
        if self._is_due("sync", now_ms, parts.config.number("store.sync_interval_ms")):
            parts.writer.sync()
        if parts.writer.is_full(now_ms):
            parts.writer.seal()
        if self._is_due("status", now_ms, _STATUS_INTERVAL_MS):
            self._write_status(now_ms)
        if self._is_due("kernel", now_ms, _KERNEL_INTERVAL_MS):
            parts.pipeline.observe(
                [GapFound(time_ms=now_ms, gap=gap) for gap in parts.losses.poll(now_ms)], now_ms
            )
            parts.rules.keep(now_ms)
        if self._is_due("retention", now_ms, _RETENTION_INTERVAL_MS):
            gaps = parts.writer.retain(now_ms)
            parts.pipeline.observe([GapFound(time_ms=now_ms, gap=gap) for gap in gaps], now_ms)
        self._look_for_environments(now_ms)

    def _look_for_environments(self, now_ms: int) -> None:
        """Read one environment a turn, so that capture never waits for a large machine."""
        if self._search is not None and self._search.done():
            self._unread = self._search.result()
            self._search = None
            self._parts.rules.landscape_changed(self._unread, now_ms)
        if self._unread:
            self._parts.take_environment(self._unread.pop(), now_ms)
        elif self._search is None and self._is_due(
            "search", now_ms, self._parts.config.number("interpret.environments_interval_s") * 1000
        ):
            self._start_search()

    def _start_search(self) -> None:
        self._due["search"] = self._clock_ms()
        self._search = self._searcher.submit(find_environments, self._parts.config)

    def _is_due(self, name: str, now_ms: int, interval_ms: int) -> bool:
        if now_ms - self._due.get(name, 0) < interval_ms:
            return False
        self._due[name] = now_ms
        return True

    def _write_status(self, now_ms: int) -> None:
        parts = self._parts
        counters = parts.pipeline.assembler.counters()
        kernel = parts.losses.status
        cpu_s, rss_bytes = read_own_usage()
        names = ("lines", "records", "events", "complete", "late", "lost", "duplicate", "faults", "in_flight")
        write_status(
            parts.config.data_dir,
            AgentStatus(
                pid=parts.pid,
                version=__version__,
                started_ms=self._started_ms,
                updated_ms=now_ms,
                source=parts.source.name,
                rules=parts.rules.status(),
                kernel=kernel
                and KernelFigures(
                    lost=kernel.lost, backlog=kernel.backlog, backlog_limit=kernel.backlog_limit
                ),
                counters={name: getattr(counters, name) for name in names},
                lag_ms=parts.pipeline.lag_ms,
                cpu_s=cpu_s,
                rss_bytes=rss_bytes,
            ),
        )


def observations_of(environment: Environment, now_ms: int, *, reason: str) -> list[object]:
    """An environment and its packages as observations."""
    return [
        EnvironmentSeen(time_ms=now_ms, environment=environment),
        *observe_packages(environment, now_ms, reason=reason),
    ]
