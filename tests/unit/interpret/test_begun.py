"""What is waited for, and until when."""

from __future__ import annotations

import time

from envtrail.interpret.begun import Begun


def test_what_is_dropped_is_waited_for_no_more() -> None:
    begun = Begun()
    for node, pid, image in (("a", 1, 10 << 20), ("a", 1, 20 << 20), ("a", 2, 30 << 20), ("b", 1, 40 << 20)):
        begun.add(node, pid, image)
        begun.add(node, pid, image)
    begun.drop({10 << 20, 30 << 20, 50 << 20})
    assert [begun.is_waited("a", 1), begun.is_waited("a", 2), begun.is_waited("b", 1)] == [True, False, True]
    assert begun.take_ended("a", 1, 25) == [20 << 20]
    begun.drop({20 << 20})
    begun.clear("b")
    begun.drop({40 << 20})
    assert begun.pids() == set()


def test_one_more_costs_no_look_at_all_others() -> None:
    """A log without records of ends: each exec makes the oldest of some thousands be forgotten."""

    def cpu_s(waiting: int) -> float:
        begun = Begun()
        for image in range(waiting):
            begun.add("a", image, image)
        started = time.thread_time()
        for image in range(50):
            begun.drop({image})
        return time.thread_time() - started

    assert min(cpu_s(8_000) for _ in range(3)) < 20 * min(cpu_s(400) for _ in range(3)) / 2
