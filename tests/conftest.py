"""What every test may use, and why a test that needs more than this host has is skipped."""

from __future__ import annotations

import os
import shutil
import sys
from pathlib import Path

import pytest

sys.path.insert(0, str(Path(__file__).parent / "support"))

import audit_lab
import search_lab


def _why_not(marker: str, *needed: str) -> str | None:
    if marker == "kernel":
        return audit_lab.why_no_kernel()
    if marker == "browser":
        return None if shutil.which("chromium") else "chromium is not installed"
    if marker == "search":
        return search_lab.why_no_server(*needed)
    if marker == "auditd":
        return audit_lab.why_no_kernel() or (
            None if shutil.which("auditd", path="/usr/sbin:/sbin") else "auditd is not installed"
        )
    return None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    reasons: dict[tuple[str, ...], str | None] = {}
    for item in items:
        for marker in ("kernel", "auditd", "browser", "search"):
            found = item.get_closest_marker(marker)
            if found is None:
                continue
            # `search("opensearch-guarded")`: that server, which may need another JDK.
            asked = (marker, *found.args)
            if asked not in reasons:
                reasons[asked] = _why_not(*asked)
            reason = reasons[asked]
            if reason is None:
                continue
            if os.environ.get("CI") == "true":
                pytest.exit(f"marker {marker} cannot run, and CI expects it to: {reason}", returncode=1)
            item.add_marker(pytest.mark.skip(reason=reason))
