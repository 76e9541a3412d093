"""The recorded trail for trying Envtrail anywhere (`tools/record_demo.py` made it under the real kernel)."""

from __future__ import annotations

import shutil
import tarfile
import time
from collections.abc import Callable
from importlib.resources import as_file, files
from pathlib import Path, PurePosixPath

from envtrail.agent.build import make_pipeline
from envtrail.agent.pipeline import Result
from envtrail.config import Config
from envtrail.errors import InputError
from envtrail.interpret.tools import hints
from envtrail.model.operation import Operation
from envtrail.state.state import State
from envtrail.trail.layout import Layout
from envtrail.trail.reader import iterate_steps
from envtrail.trail.typed import repair_events
from envtrail.trail.writer import TrailWriter

_PAUSE_S = 0.4


def play(config: Config, *, on_result: Callable[[Result], None], pause: bool) -> Path:
    """Unpack the recorded segments into `DATA/demo` (beside the real trail, never in it) and process them; returns the folder.

    Raises:
        InputError: this installation has no recorded trail.
    """
    folder = config.data_dir / "demo"
    shutil.rmtree(folder, ignore_errors=True)
    layout = Layout(folder)
    layout.create()
    with as_file(files("envtrail") / "demo" / "trail.tar") as archive:
        if not archive.exists():
            raise InputError("this installation has no recorded trail", hint="tools/record_demo.py records one")
        unpack(archive, folder)

    def show(result: Result) -> None:
        on_result(result)
        if pause and isinstance(result, Operation) and result.actor.method != "owner":
            time.sleep(_PAUSE_S)

    state = State(layout.state)
    pipeline = make_pipeline(config, state, on_result=show)
    for step in iterate_steps(layout):
        pipeline.replay(step)
    state.close()
    names = hints(config.interpret.ai_agents)
    for number in layout.numbers():
        repair_events(layout, number, names)
    # A writer leaves an open segment behind, which shows that no sealed one is missing.
    TrailWriter(config.replaced("demo", {"data_dir": str(folder)}), names).close()
    return folder


def unpack(archive: Path, folder: Path) -> None:
    """The regular files of an archive, below a folder; without `extractall`, whose filters Python 3.11.2 (Debian 12) does not have.

    Raises:
        InputError: a name points outside the folder.
    """
    with tarfile.open(archive) as tar:
        for member in tar:
            name = PurePosixPath(member.name)
            if name.is_absolute() or ".." in name.parts:
                raise InputError(
                    f"`{archive}` contains `{member.name}`, which points outside the folder", hint="install Envtrail again"
                )
            content = tar.extractfile(member) if member.isfile() else None
            if content is not None:
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                (folder / name).write_bytes(content.read())
