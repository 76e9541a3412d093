"""Steps by hand, and steps that are nothing."""

from __future__ import annotations

from whose_lab.ledger import Plan
from whose_lab.places import VERSIONS, Scene
from whose_lab.tool_acts import Act

_TAMPER = ("tamper",)


def copy_in(scene: Scene) -> Plan | None:
    """A package that was unpacked elsewhere, module and metadata."""
    names = scene.absent()
    if not names:
        return None
    source = scene.world.stash / f"{names[0]}-{scene.chance.choice(VERSIONS)}"
    return Plan(command=f"cp -r {source}/. {scene.slot.site}/", tool="cp", kinds=_TAMPER, by_hand=True)


def copy_parts(scene: Scene) -> Plan | None:
    """The two parts, each by its name."""
    names = scene.absent()
    if not names:
        return None
    version = scene.chance.choice(VERSIONS)
    source = scene.world.stash / f"{names[0]}-{version}"
    command = f"cp -r {source}/{names[0]}.py {source}/{names[0]}-{version}.dist-info {scene.slot.site}"
    return Plan(command=command, tool="cp", kinds=_TAMPER, by_hand=True)


def move_out(scene: Scene) -> Plan | None:
    names = [name for name in scene.present() if (scene.slot.site / f"{name}.py").exists()]
    if not names:
        return None
    module = f"{scene.slot.site}/{names[0]}.py"
    parts = f"{module} {scene.slot.site}/{names[0]}-*.dist-info"
    folder = scene.scratch()
    folder.mkdir()
    folder.chmod(0o777)
    return Plan(command=f"mv {parts} {folder}/", tool="mv", kinds=_TAMPER, by_hand=True, files=(module,))


def move_in(scene: Scene) -> Plan | None:
    """What was moved out before, of any environment."""
    for folder in sorted((scene.person.home / "scratch").glob("step-*")):
        for name in scene.absent():
            if (folder / f"{name}.py").exists():
                return Plan(
                    command=f"mv {folder}/{name}.py {folder}/{name}-*.dist-info {scene.slot.site}/",
                    tool="mv",
                    kinds=_TAMPER,
                    by_hand=True,
                )
    return None


def remove(scene: Scene) -> Plan | None:
    names = scene.present()
    if not names:
        return None
    module = f"{scene.slot.site}/{names[0]}.py"
    command = f"rm -rf {module} {scene.slot.site}/{names[0]}-*.dist-info"
    return Plan(command=command, tool="rm", kinds=_TAMPER, by_hand=True, files=(module,))


def edit(scene: Scene) -> Plan | None:
    module = _module(scene)
    command = f"sed -i 1s/^/#{scene.number}\\\\n/ {module}"
    return Plan(command=command, tool="sed", kinds=_TAMPER, by_hand=True, files=(str(module),)) if module else None


def append(scene: Scene) -> Plan | None:
    module = _module(scene)
    command = f"sh -c 'echo \"# {scene.number}\" >> {module}'"
    return Plan(command=command, tool="sh|dash", kinds=_TAMPER, by_hand=True, files=(str(module),)) if module else None


def edit_many(scene: Scene) -> Plan | None:
    module = _module(scene)
    command = f"find {scene.slot.site} -maxdepth 1 -name '[a-zB]*.py' -newermt 2000-01-01 -name '{module.name if module else ''}' -exec sed -i 1s/^/#{scene.number}\\\\n/ {{}} ;"
    command = command.replace(" ;", " \\;")
    return Plan(command=command, tool="sed|find", kinds=_TAMPER, by_hand=True, files=(str(module),)) if module else None


def change_mode(scene: Scene) -> Plan | None:
    module = _module(scene)
    mode = scene.chance.choice(["600", "755", "777"])
    if not module or (module.stat().st_mode & 0o777) == int(mode, 8) or module.stat().st_uid != scene.person.auid:
        return None
    return Plan(command=f"chmod {mode} {module}", tool="chmod", kinds=_TAMPER, by_hand=True, files=(str(module),))


def write_pth(scene: Scene) -> Plan | None:
    path = scene.slot.site / f"step{scene.number}.pth"
    return Plan(command=f"cp {scene.world.stash}/payload.pth {path}", tool="cp", kinds=_TAMPER, by_hand=True, files=(str(path),))


def touch(scene: Scene) -> Plan | None:
    module = _module(scene)
    return Plan(command=f"touch {module}", tool="") if module and module.stat().st_uid == scene.person.auid else None


def write_data(scene: Scene) -> Plan | None:
    return (
        Plan(command=f"mkdir {scene.slot.prefix}/checkpoints-{scene.number}", tool="")
        if scene.slot.kind in {"venv", "conda"}
        else None
    )


def write_notes(scene: Scene) -> Plan | None:
    path = f"{scene.slot.prefix}/notes-{scene.number}.txt"
    return Plan(command=f"cp /etc/hostname {path}", tool="") if scene.slot.kind in {"venv", "conda"} else None


def import_it(scene: Scene) -> Plan | None:
    names = scene.present()
    if not names or scene.slot.kind not in {"venv", "conda"}:
        return None
    return Plan(command=f"{scene.slot.python} -c 'import {names[0]}'", tool="")


def _module(scene: Scene):  # type: ignore[no-untyped-def]
    """A module that is there."""
    found = [scene.slot.site / f"{name}.py" for name in scene.names]
    return next((path for path in found if path.exists()), None)


HAND: tuple[Act, ...] = (
    copy_in, copy_in, copy_parts, move_out, move_in, move_in, remove, remove, edit, append, edit_many, change_mode, write_pth,
)  # fmt: skip
NOTHING: tuple[Act, ...] = (touch, write_data, write_notes, import_it)
