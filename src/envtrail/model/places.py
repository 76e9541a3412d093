"""Items of a machine as a fleet's store has them."""

from __future__ import annotations

from typing import TypeVar

import msgspec

from envtrail.model.access_log import AccessEntry
from envtrail.model.approval import Grant, Request
from envtrail.model.environment import Environment, Holding, SnapshotRef
from envtrail.model.finding import Finding
from envtrail.model.naming import place
from envtrail.model.operation import Operation
from envtrail.model.run import Run

_T = TypeVar("_T")
_replace = msgspec.structs.replace


def on_host(item: _T, host: str) -> _T:
    """An item of a machine as a fleet names it: its environment is named with the machine."""
    match item:
        case Operation():
            return _replace(item, environment=_replace(item.environment, prefix=place(host, item.environment.prefix)))
        case Run() if item.environment is not None:
            return _replace(item, environment=_replace(item.environment, prefix=place(host, item.environment.prefix)))
        case Finding() if item.prefix is not None:
            return _replace(item, prefix=place(host, item.prefix))
        case Environment() | Holding() | SnapshotRef():
            return _replace(item, prefix=place(host, item.prefix))
        case Request() | Grant():
            return _replace(item, terms=_replace(item.terms, prefix=place(host, item.terms.prefix)))
        case AccessEntry() if item.environment is not None:
            return _replace(item, environment=place(host, item.environment))
        case _:
            return item
