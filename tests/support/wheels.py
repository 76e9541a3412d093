"""Wheels made on the spot: pip installs them without a network."""

from __future__ import annotations

import base64
import hashlib
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path


def make_wheel(
    folder: Path,
    name: str,
    version: str,
    *,
    requires: Sequence[str] = (),
    extras: Sequence[str] = (),
    scripts: Mapping[str, str] | None = None,
) -> Path:
    """A pure-Python wheel with one module (PEP 427); `scripts` are console scripts, name → entry point."""
    module = name.replace("-", "_")
    info = f"{module}-{version}.dist-info"
    reported = [f"Requires-Dist: {item}" for item in requires] + [f"Provides-Extra: {item}" for item in extras]
    metadata = "\n".join(["Metadata-Version: 2.1", f"Name: {name}", f"Version: {version}", *reported, ""])
    files = {
        f"{module}.py": f"version = {version!r}\n\n\ndef main() -> None:\n    pass\n",
        f"{info}/METADATA": metadata,
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: tests\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    if scripts:
        files[f"{info}/entry_points.txt"] = "[console_scripts]\n" + "".join(
            f"{key} = {value}\n" for key, value in scripts.items()
        )
    record = "".join(f"{path},sha256={_hash(text)},{len(text)}\n" for path, text in files.items()) + f"{info}/RECORD,,\n"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{module}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as archive:
        for inner, text in {**files, f"{info}/RECORD": record}.items():
            archive.writestr(inner, text)
    return path


def _hash(text: str) -> str:
    return base64.urlsafe_b64encode(hashlib.sha256(text.encode()).digest()).rstrip(b"=").decode()
