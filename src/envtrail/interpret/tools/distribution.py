"""The distribution's own package managers, where they write Python packages into the system's environment.

References:
    apt(8), apt-get(8), aptitude(8), dpkg(1), dnf(8), rpm(8), zypper(8), pacman(8), apk(8)
"""

from __future__ import annotations

from envtrail.interpret.tool import Intention, Invocation
from envtrail.interpret.tools.options import sort_words, values
from envtrail.interpret.tools.paths import known_program
from envtrail.model.operation import OperationKind

_TAKES_VALUE = values(
    "-o --option -t --target-release --default-release -c --config-file -a --host-architecture --root --admindir --instdir --log -x --exclude"
    " --enablerepo --disablerepo --setopt --releasever -r --repo -b --dbpath --cachedir --config"
)
_INSTALL, _REMOVE, _UPDATE = OperationKind.INSTALL, OperationKind.REMOVE, OperationKind.UPDATE
_WORDS = {
    "install": _INSTALL,
    "reinstall": _INSTALL,
    "build-dep": _INSTALL,
    "localinstall": _INSTALL,
    "add": _INSTALL,
    "remove": _REMOVE,
    "purge": _REMOVE,
    "erase": _REMOVE,
    "autoremove": _REMOVE,
    "del": _REMOVE,
    "upgrade": _UPDATE,
    "full-upgrade": _UPDATE,
    "dist-upgrade": _UPDATE,
    "safe-upgrade": _UPDATE,
    "distro-sync": _UPDATE,
    "downgrade": _UPDATE,
    "dup": _UPDATE,
    "groupinstall": _INSTALL,
    "group": _INSTALL,
}
_MORE_WORDS = {
    "dnf": {"update": _UPDATE},
    "yum": {"update": _UPDATE},
    "microdnf": {"update": _UPDATE},
    "zypper": {"update": _UPDATE, "in": _INSTALL, "rm": _REMOVE, "up": _UPDATE},
}
"""What is a separate word in some: `apt update` only reads the lists, `dnf update` is an upgrade."""
_FLAGS = {
    "dpkg": {"-i": _INSTALL, "--install": _INSTALL, "--unpack": _INSTALL, "-r": _REMOVE, "--remove": _REMOVE, "-P": _REMOVE, "--purge": _REMOVE},
    "rpm": {"-i": _INSTALL, "-U": _UPDATE, "-F": _UPDATE, "-e": _REMOVE, "--install": _INSTALL, "--upgrade": _UPDATE, "--erase": _REMOVE},
    "pacman": {"-S": _INSTALL, "-U": _INSTALL, "-R": _REMOVE, "--sync": _INSTALL, "--upgrade": _INSTALL, "--remove": _REMOVE},
}  # fmt: skip
_ASKING = {"rpm": ("-q", "--query", "-V", "--verify", "-K"), "pacman": ("-s", "-i", "-l", "-g", "-p", "-h")}
"""Flags that turn a change into a question: `rpm -qi` is no `rpm -i`."""
_SIMULATED = (
    "-s",
    "--simulate",
    "--just-print",
    "--dry-run",
    "--recon",
    "--no-act",
    "--assumeno",
    "--test",
    "-d",
    "--download-only",
    "--downloadonly",
)


class Distribution:
    """An operation on the system's environment only where that has changed: most packages hold no Python."""

    name = "distribution"
    programs = (
        "apt",
        "apt-get",
        "aptitude",
        "dpkg",
        "dnf",
        "dnf-3",
        "yum",
        "microdnf",
        "rpm",
        "zypper",
        "pacman",
        "apk",
        "unattended-upgrade",
    )

    def read(self, invocation: Invocation) -> Intention | None:
        """Say what is to be installed or removed."""
        found = known_program(invocation, self.programs)
        if found is None:
            return None
        tool, arguments = found
        words = sort_words(arguments, _TAKES_VALUE)
        if words.has(*_ASKING.get(tool, ())):
            return None
        flags, known = _FLAGS.get(tool), _WORDS | _MORE_WORDS.get(tool, {})
        kind = next((flags[flag] for flag in flags if words.has(flag)), None) if flags else known.get(words.command)
        if tool == "unattended-upgrade":
            kind = _UPDATE
        if kind is None or words.has("--help", "--version") or (words.has(*_SIMULATED) and tool != "pacman"):
            return None
        return Intention(
            tool=tool,
            kind=kind,
            argv=[tool, *arguments],
            prefix="/usr",
            environment_kind="system",
            why="the distribution's packages lie in /usr",
            only_if_changed=True,
        )
