"""Signatures over approved terms, in OpenSSH's format: anybody can check them with `ssh-keygen` alone.

References:
    ssh-keygen(1), `-Y sign`, `-Y verify`, ALLOWED SIGNERS
    https://github.com/openssh/openssh-portable/blob/master/PROTOCOL.sshsig
"""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

from envtrail.errors import CannotRunError, InputError
from envtrail.trail.files import give_to_owner_of_folder

NAMESPACE = "envtrail-approval"
_TIMEOUT_S = 20
_KEY = re.compile(r"key (SHA256:\S+)")


def sign(data: bytes, key: Path) -> str:
    """An armoured SSHSIG; ssh-keygen prompts for a passphrase, or uses the ssh agent.

    Raises:
        InputError: the key cannot be used.
        CannotRunError: ssh-keygen is not installed.
    """
    done = _run(["-q", "-Y", "sign", "-n", NAMESPACE, "-f", str(key), "-"], data, timeout_s=None)
    if done.returncode != 0:
        raise InputError(
            f"`{key}` did not sign: {done.stderr.decode(errors='replace').strip()}", hint="a key made by `ssh-keygen -t ed25519`"
        )
    return done.stdout.decode()


def verify(data: bytes, signature: str, *, signer: str, allowed_signers: Path) -> str:
    """Check a signature; returns the fingerprint of the key.

    Raises:
        InputError: it is not this signer's signature over this.
        CannotRunError: ssh-keygen is not installed.
    """
    # In memory: under the unit's protection there is no folder for temporary files.
    with os.fdopen(os.memfd_create("envtrail-signature"), "w+b") as file:
        file.write(signature.encode())
        file.flush()
        path = f"/proc/self/fd/{file.fileno()}"
        words = ["-Y", "verify", "-n", NAMESPACE, "-f", str(allowed_signers), "-I", signer, "-s", path]
        done = _run(words, data, timeout_s=_TIMEOUT_S, descriptors=(file.fileno(),))
    found = _KEY.search(done.stdout.decode(errors="replace"))
    if done.returncode != 0 or found is None:
        output = (done.stderr or done.stdout).decode(errors="replace").strip().partition("\n")[0]
        raise InputError(
            f"the signature is not {signer}'s over these terms: {output}",
            hint=f"`{allowed_signers}` names who may sign with which key (ssh-keygen(1), ALLOWED SIGNERS)",
        )
    return found[1]


class ServiceKey:
    """The key with which the service signs what was approved over its socket.

    Args:
        folder: Of the state; the key is made there on first use.
        node: Name of the machine: the signer is `envtrail@NODE`.
    """

    def __init__(self, folder: Path, node: str) -> None:
        self._key = folder / "approvals"
        self.signer = f"envtrail@{node}"

    @property
    def allowed_signers(self) -> Path:
        """With the public key, in the format that `ssh-keygen -Y verify` reads."""
        return self._key.with_name("approvals.allowed_signers")

    def sign(self, data: bytes) -> str:
        """Sign; makes the key when there is none.

        Raises:
            CannotRunError: ssh-keygen is not installed.
            OSError: the key cannot be stored.
        """
        if not self._key.exists():
            self._make()
        return sign(data, self._key)

    def _make(self) -> None:
        """The key is moved into place last: if the disk is full before, it is made at another time."""
        made = self._key.with_name(self._key.name + ".new")
        public = made.with_name(made.name + ".pub")
        for left in (made, public):
            left.unlink(missing_ok=True)
        done = _run(["-q", "-t", "ed25519", "-N", "", "-C", self.signer, "-f", str(made)], b"", timeout_s=_TIMEOUT_S)
        if done.returncode != 0:
            raise CannotRunError(
                f"`{self._key}` cannot be made: {done.stderr.decode(errors='replace').strip()}", hint="is the folder writable?"
            )
        self.allowed_signers.write_text(f'{self.signer} namespaces="{NAMESPACE}" {public.read_text().strip()}\n')
        for path in (self.allowed_signers, public, made):
            give_to_owner_of_folder(path)
        public.replace(self._key.with_suffix(".pub"))
        made.replace(self._key)


def _run(
    words: list[str], data: bytes, *, timeout_s: float | None, descriptors: tuple[int, ...] = ()
) -> subprocess.CompletedProcess[bytes]:
    command = ["ssh-keygen", *words]
    try:
        return subprocess.run(command, input=data, capture_output=True, check=False, timeout=timeout_s, pass_fds=descriptors)
    except FileNotFoundError:
        raise CannotRunError("`ssh-keygen` is not installed", hint="install openssh-client") from None
