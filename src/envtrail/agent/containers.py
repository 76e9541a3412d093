"""What a container runs, as its engine has written it down."""

from __future__ import annotations

from pathlib import Path

import msgspec
from msgspec import Struct

from envtrail.model.bounds import UNDECODABLE
from envtrail.model.operation import Container

_DOCKER = Path("/var/lib/docker/containers")
_PODMAN = (Path("/var/lib/containers/storage/overlay-containers/containers.json"),)


class _DockerConfig(Struct):
    Image: str


class _Docker(Struct):
    Config: _DockerConfig


class _Podman(Struct):
    id: str
    metadata: str = "{}"


class _PodmanMetadata(Struct):
    image_name: str | None = msgspec.field(default=None, name="image-name")


def read_container_image(container: Container, *, docker: Path = _DOCKER, podman: tuple[Path, ...] = _PODMAN) -> str | None:
    """The name of a container's image; None where its engine keeps it elsewhere, or it cannot be read."""
    try:
        if container.engine == "docker":
            raw = (docker / container.id / "config.v2.json").read_bytes()
            return msgspec.json.decode(raw, type=_Docker).Config.Image
        if container.engine == "podman":
            for path in podman:
                for known in msgspec.json.decode(path.read_bytes(), type=list[_Podman]):
                    if known.id == container.id:
                        return msgspec.json.decode(known.metadata, type=_PodmanMetadata).image_name
    except (OSError, *UNDECODABLE):
        pass
    return None
