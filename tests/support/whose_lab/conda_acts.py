"""Steps with conda, of the versions that are there."""

from __future__ import annotations

from whose_lab.ledger import Plan, normalise
from whose_lab.places import NAMES, VERSIONS, Scene
from whose_lab.tool_acts import Act

_INSTALL = ("install",)
_UPDATE = ("install", "update")


def conda_install(scene: Scene) -> Plan | None:
    names = scene.absent()
    return _conda(scene, "install --no-deps " + _pinned(scene, names), _INSTALL) if names else None


def conda_change(scene: Scene) -> Plan | None:
    names = scene.present()
    wanted = " ".join(f"{normalise(name)}={scene.other_version(name)}" for name in names)
    return _conda(scene, f"install --no-deps {wanted}", _UPDATE) if names else None


def conda_reinstall(scene: Scene) -> Plan | None:
    names = scene.present()
    wanted = " ".join(f"{normalise(name)}={scene.version_of(name)}" for name in names)
    return _conda(scene, f"install --no-deps --force-reinstall {wanted}", _UPDATE) if names else None


def conda_satisfied(scene: Scene) -> Plan | None:
    names = scene.present()
    return _conda(scene, f"install --no-deps {' '.join(map(normalise, names))}", _INSTALL) if names else None


def conda_remove(scene: Scene) -> Plan | None:
    names = scene.present()
    return _conda(scene, f"remove --force {' '.join(map(normalise, names))}", ("remove",)) if names else None


def conda_fail(scene: Scene) -> Plan | None:
    return _conda(scene, f"install --no-deps {normalise(scene.names[0])}=9.9", _INSTALL)


def conda_kill(scene: Scene) -> Plan | None:
    names = scene.absent()
    after = scene.chance.uniform(0.3, 3.5)
    return _conda(scene, "install --no-deps " + _pinned(scene, names), _INSTALL, kill_after_s=after) if names else None


def conda_list(scene: Scene) -> Plan | None:
    """It removes documents whose files are gone; that is no operation."""
    return Plan(command=f"{scene.chance.choice(scene.world.condas)} list -p {scene.slot.prefix} --json", tool="")


def conda_create(scene: Scene) -> Plan | None:
    """A whole environment, with a few of the packages."""
    wanted = " ".join(f"{normalise(name)}={scene.chance.choice(VERSIONS)}" for name in scene.chance.sample(NAMES, 2))
    return _conda(scene, f"create python=3.10 pip {wanted}", ("create",))


def conda_delete(scene: Scene) -> Plan | None:
    conda = scene.chance.choice(scene.world.condas)
    words = scene.chance.choice(["env remove -y -q", "remove --all -y -q"])
    return Plan(command=f"{conda} {words} -p {scene.slot.prefix}", tool="conda", kinds=("delete",), allows_fewer=True)


def _pinned(scene: Scene, names: list[str]) -> str:
    return " ".join(f"{normalise(name)}={scene.chance.choice(VERSIONS)}" for name in names)


def _conda(scene: Scene, words: str, kinds: tuple[str, ...], *, kill_after_s: float | None = None) -> Plan:
    verb, _, rest = words.partition(" ")
    channels = " ".join(f"-c {channel}" for channel in scene.world.channels)
    command = (
        f"{scene.chance.choice(scene.world.condas)} {verb} -y -q -p {scene.slot.prefix} --override-channels {channels} {rest}"
    )
    return Plan(command=command, tool="conda", kinds=kinds, kill_after_s=kill_after_s)


CONDA: tuple[Act, ...] = (
    conda_install, conda_install, conda_change, conda_reinstall, conda_satisfied, conda_remove, conda_remove, conda_fail, conda_kill, conda_list,
)  # fmt: skip
MAKE: tuple[Act, ...] = (conda_create,)
CHANGE: tuple[Act, ...] = (conda_delete,)
