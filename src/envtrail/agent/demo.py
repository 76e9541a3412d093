"""The recorded trail that a newcomer can look at anywhere (`tools/record_demo.py` made it under the real kernel)."""

from __future__ import annotations

import shutil
import tarfile
import time
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path

from envtrail.agent.build import make_pipeline
from envtrail.agent.pipeline import Result
from envtrail.config import Config
from envtrail.errors import InputError
from envtrail.interpret.tools import hints
from envtrail.model.operation import Operation
from envtrail.store.layout import Layout
from envtrail.store.reader import iterate_steps
from envtrail.store.state import State
from envtrail.store.typed import repair_events

_PAUSE_S = 0.4


def play(config: Config, *, on_result: Callable[[Result], None], pause: bool) -> Path:
    """Unpack the recorded segments into `DATA/demo` (beside the real trail, never in it) and go through them; gives the folder.

    Raises:
        InputError: this installation holds no recorded trail.
    """
    folder = config.data_dir / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    layout = Layout(folder)
    layout.create()
    with as_file(files("envtrail") / "demo" / "trail.tar") as archive:
        if not archive.exists():
            raise InputError("this installation holds no recorded trail", hint="tools/record_demo.py records one")
        with tarfile.open(archive) as tar:
            tar.extractall(folder, filter="data")

    def show(result: Result) -> None:
        on_result(result)
        if pause and isinstance(result, Operation) and result.actor.method != "owner":
            time.sleep(_PAUSE_S)

    state = State(layout.state)
    pipeline = make_pipeline(config, state, writer=None, world=None, on_result=show)
    for step in iterate_steps(layout):
        pipeline.replay(step.segment, step.records, step.observations)
    state.close()
    for number in layout.numbers():
        repair_events(layout, number, hints(config.names("interpret.ai_agents")))
    return folder
