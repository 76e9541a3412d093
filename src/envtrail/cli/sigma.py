"""Loads detections for the commands."""

from __future__ import annotations

from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from envtrail.cli.context import Context
from envtrail.errors import CannotRunError, InputError

if TYPE_CHECKING:
    from sigma.rule import SigmaRule

    from envtrail.detect.detection import Detection, LoadedDetections


def load(context: Context, paths: Sequence[Path]) -> LoadedDetections:
    """The detections of files; without any, those in use for this trail.

    Raises:
        CannotRunError: pySigma is not installed.
    """
    _need_sigma()
    from envtrail.detect.load import load_detections

    return load_detections(list(paths) or paths_of(context))


def _need_sigma() -> None:
    if find_spec("sigma") is None:
        raise CannotRunError("Sigma rules need pySigma, and Python 3.11 or newer", hint="`pip install 'envtrail[detect]'`")


def paths_of(context: Context) -> list[Path]:
    """The folders of the detections in use."""
    from envtrail.detect.detector import detection_paths

    return detection_paths(pack=context.config.detect.pack, folder=context.config.detect.path)


def read_rules_of(context: Context) -> list[SigmaRule]:
    """The plain rules in use for this trail, as pySigma objects.

    Raises:
        CannotRunError: pySigma is not installed.
    """
    _need_sigma()
    from envtrail.detect.load import read_rules

    return [rule for rule, _ in read_rules(paths_of(context))]


def convert_to_lucene(rule: SigmaRule) -> tuple[str, None] | tuple[None, str]:
    """A rule as a query over the shipped documents, or why it cannot be one."""
    from envtrail.detect.load import source_of, translate_rule
    from envtrail.detect.lucene import Lucene
    from envtrail.detect.translate import RefusedError

    try:
        source = source_of(rule)
        return f"{source.ecs_where} AND {translate_rule(rule, source, Lucene())}", None
    except RefusedError as why:
        return None, str(why)


def find_detection(context: Context, rule: str) -> tuple[Detection, LoadedDetections]:
    """A detection by its name or uuid, or the last one of a file.

    Raises:
        InputError: there is none, or it cannot be evaluated.
    """
    path = Path(rule)
    loaded = load(context, [path] if path.is_file() else [])
    found = [item for item in loaded.detections if path.is_file() or rule in {item.id, item.uuid}]
    if found:
        return found[-1], loaded
    refused = loaded.refused[0] if path.is_file() and loaded.refused else None
    if refused:
        raise InputError(f"`{rule}` cannot be evaluated: {refused.reason}", hint="`envtrail detections check` explains")
    raise InputError(f"`{rule}` is neither a file nor a detection", hint="`envtrail detections list` names them")
