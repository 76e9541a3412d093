"""Steps with pip and uv."""

from __future__ import annotations

from collections.abc import Callable

from whose_lab.ledger import Plan
from whose_lab.places import VERSIONS, Scene

Act = Callable[[Scene], "Plan | None"]
_INSTALL = ("install",)
_UPDATE = ("install", "update")
_REMOVE = ("remove",)


def _pip(scene: Scene) -> str | None:
    """One of the ways to call an environment's pip."""
    slot = scene.slot
    if slot.kind == "user":
        return f"{scene.world.system}/bin/python3 -m pip"
    if not list(slot.site.glob("pip-*.dist-info")):
        return None
    ways = [f"{slot.python} -m pip"]
    if not slot.is_moved and (slot.prefix / "bin/pip").exists():
        ways += [f"{slot.prefix}/bin/pip"] * 2
    return scene.chance.choice(ways)


def _place(scene: Scene) -> str:
    return " --user --break-system-packages" if scene.slot.kind == "user" else ""


def _pinned(scene: Scene, names: list[str]) -> str:
    return " ".join(f"{name}=={scene.chance.choice(VERSIONS)}" for name in names)


def pip_install(scene: Scene) -> Plan | None:
    pip, names = _pip(scene), scene.absent()
    return (
        Plan(command=f"{pip} install{_place(scene)} {_pinned(scene, names)}", tool="pip", kinds=_INSTALL)
        if pip and names
        else None
    )


def pip_upgrade(scene: Scene) -> Plan | None:
    pip, names = _pip(scene), scene.present()
    wanted = " ".join(f"{name}=={scene.other_version(name)}" for name in names)
    return Plan(command=f"{pip} install -U{_place(scene)} {wanted}", tool="pip", kinds=_UPDATE) if pip and names else None


def pip_reinstall(scene: Scene) -> Plan | None:
    pip, names = _pip(scene), scene.present()
    wanted = " ".join(f"{name}=={scene.version_of(name)}" for name in names)
    command = f"{pip} install --force-reinstall --no-deps{_place(scene)} {wanted}"
    return Plan(command=command, tool="pip", kinds=_UPDATE) if pip and names else None


def pip_satisfied(scene: Scene) -> Plan | None:
    pip, names = _pip(scene), scene.present()
    return Plan(command=f"{pip} install{_place(scene)} {' '.join(names)}", tool="pip", kinds=_INSTALL) if pip and names else None


def pip_excluded(scene: Scene) -> Plan | None:
    """A marker excludes it: nothing is installed, and that is as requested."""
    pip = _pip(scene)
    wanted = f"\"{scene.names[0]}-old; python_version < '3'\""
    return Plan(command=f"{pip} install{_place(scene)} {wanted}", tool="pip", kinds=_INSTALL) if pip else None


def pip_uninstall(scene: Scene) -> Plan | None:
    pip, names = _pip(scene), scene.present()
    options = " --break-system-packages" if scene.slot.kind == "user" else ""
    return Plan(command=f"{pip} uninstall -y{options} {' '.join(names)}", tool="pip", kinds=_REMOVE) if pip and names else None


def pip_fail(scene: Scene) -> Plan | None:
    pip = _pip(scene)
    wanted = scene.chance.choice([f"{scene.names[0]}==9.9", f"{scene.names[0]}-missing"])
    return Plan(command=f"{pip} install{_place(scene)} {wanted}", tool="pip", kinds=_INSTALL) if pip else None


def pip_kill(scene: Scene) -> Plan | None:
    pip, names = _pip(scene), scene.absent()
    if not pip or not names:
        return None
    return Plan(
        command=f"{pip} install{_place(scene)} {_pinned(scene, names)}",
        tool="pip",
        kinds=_INSTALL,
        kill_after_s=scene.chance.uniform(0.05, 0.9),
    )


def pip_target(scene: Scene) -> Plan | None:
    names = scene.absent() or list(scene.names)
    options = scene.chance.choice(["", " --upgrade"]) if scene.present() else ""
    command = f"{scene.world.system}/bin/python3 -m pip install --target {scene.slot.prefix}{options} {_pinned(scene, names)}"
    return Plan(command=command, tool="pip", kinds=_UPDATE)


def pip_list(scene: Scene) -> Plan | None:
    pip = _pip(scene)
    return Plan(command=f"{pip} list --format json", tool="") if pip else None


def uv_install(scene: Scene) -> Plan | None:
    names = scene.absent()
    return _uv(scene, f"install --python {scene.slot.python} {_pinned(scene, names)}", _INSTALL) if names else None


def uv_upgrade(scene: Scene) -> Plan | None:
    names = scene.present()
    wanted = " ".join(f"{name}=={scene.other_version(name)}" for name in names)
    return _uv(scene, f"install --python {scene.slot.python} -U {wanted}", _UPDATE) if names else None


def uv_reinstall(scene: Scene) -> Plan | None:
    names = scene.present()
    wanted = " ".join(f"{name}=={scene.version_of(name)}" for name in names)
    return _uv(scene, f"install --python {scene.slot.python} --reinstall {wanted}", _UPDATE) if names else None


def uv_satisfied(scene: Scene) -> Plan | None:
    names = scene.present()
    return _uv(scene, f"install --python {scene.slot.python} {' '.join(names)}", _INSTALL) if names else None


def uv_uninstall(scene: Scene) -> Plan | None:
    return _uv(scene, f"uninstall --python {scene.slot.python} {' '.join(scene.names)}", _REMOVE, allows_none=not scene.present())


def uv_fail(scene: Scene) -> Plan | None:
    return _uv(scene, f"install --python {scene.slot.python} {scene.names[0]}==9.9", _INSTALL)


def uv_kill(scene: Scene) -> Plan | None:
    names = scene.absent()
    if not names:
        return None
    after = scene.chance.uniform(0.01, 0.08)
    return _uv(scene, f"install --python {scene.slot.python} {_pinned(scene, names)}", _INSTALL, kill_after_s=after)


def uv_list(scene: Scene) -> Plan | None:
    return Plan(command=f"{scene.world.uv} pip list --python {scene.slot.python}", tool="")


def _uv(
    scene: Scene, words: str, kinds: tuple[str, ...], *, kill_after_s: float | None = None, allows_none: bool = False
) -> Plan:
    command = f"{scene.world.uv} pip {words}"
    return Plan(command=command, tool="uv", kinds=kinds, kill_after_s=kill_after_s, allows_none=allows_none)


PIP: tuple[Act, ...] = (
    pip_install, pip_install, pip_upgrade, pip_reinstall, pip_satisfied, pip_uninstall, pip_uninstall, pip_fail, pip_kill, pip_list, pip_excluded,
)  # fmt: skip
UV: tuple[Act, ...] = (
    uv_install, uv_install, uv_upgrade, uv_reinstall, uv_satisfied, uv_uninstall, uv_uninstall, uv_fail, uv_kill, uv_list,
)  # fmt: skip
