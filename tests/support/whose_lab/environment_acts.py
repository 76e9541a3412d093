"""Steps on whole environments: made, removed, made again, moved and copied."""

from __future__ import annotations

from pathlib import Path

from whose_lab.ledger import Plan
from whose_lab.places import Scene
from whose_lab.tool_acts import Act

_CREATE = ("create",)
_AGAIN = ("create", "update", "install")


def make(scene: Scene) -> Plan | None:
    options = scene.chance.choice(["", " --without-pip", " --without-pip", " --without-pip --system-site-packages"])
    python = f"{scene.world.system}/bin/python3" if "system" in options else "/usr/bin/python3"
    return Plan(command=f"{python} -m venv{options} {scene.slot.prefix}", tool="venv", kinds=_CREATE)


def make_with_uv(scene: Scene) -> Plan | None:
    return Plan(command=f"{scene.world.uv} venv {scene.slot.prefix}", tool="uv", kinds=_CREATE)


def make_again(scene: Scene) -> Plan | None:
    options = scene.chance.choice(["", " --clear", " --clear --without-pip"])
    return Plan(command=f"/usr/bin/python3 -m venv{options} {scene.slot.prefix}", tool="venv", kinds=_AGAIN)


def remove_whole(scene: Scene) -> Plan | None:
    command = f"rm -rf {scene.slot.prefix}"
    return (
        Plan(command=command, tool="rm", kinds=("delete",), by_hand=True, allows_fewer=True)
        if scene.slot.prefix.exists()
        else None
    )


def move_whole(scene: Scene, destination: Path) -> Plan:
    return Plan(command=f"mv {scene.slot.prefix} {destination}", tool="mv", kinds=("move",), by_hand=True)


def copy_whole(scene: Scene, destination: Path) -> Plan:
    return Plan(command=f"cp -r {scene.slot.prefix} {destination}", tool="cp", kinds=("create", "tamper"), by_hand=True)


MAKE: tuple[Act, ...] = (make, make, make_with_uv)
CHANGE: tuple[Act, ...] = (make_again, remove_whole)
