"""What is built is what runs: the wheel, in a separate environment."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]


@pytest.mark.timeout(600)  # it compiles the core where that is not done yet
def test_the_wheel_holds_everything(tmp_path: Path) -> None:
    tools = Path(sys.executable).parent
    build = [str(tools / "maturin"), "build", "--release", "-q", "-o", str(tmp_path)]
    subprocess.run(build, cwd=ROOT, check=True, capture_output=True)
    (wheel,) = tmp_path.glob("*.whl")
    uv = str(tools / "uv")
    subprocess.run([uv, "venv", "-q", "--python", sys.executable, str(tmp_path / "env")], check=True)
    install = [uv, "pip", "install", "-q", "--python", str(tmp_path / "env/bin/python")]
    subprocess.run([*install, "--require-hashes", "-r", str(ROOT / "requirements-service.txt")], check=True)
    subprocess.run([*install, "--no-deps", str(wheel)], check=True)
    program = str(tmp_path / "env/bin/envtrail")
    for words in (
        ["--version"],
        ["--data-dir", str(tmp_path / "trail"), "demo", "--fast"],
        ["service", "install", "--root", str(tmp_path / "root")],
    ):
        done = subprocess.run([program, *words], cwd=tmp_path, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert (tmp_path / "root/etc/systemd/system/envtrail-recorder.service").exists()
