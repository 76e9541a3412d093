"""Checks accounts of the machine for the web UI, whose process then needs no root privileges.

References:
    pam(3), pam_authenticate(3), pam_acct_mgmt(3)
"""

from __future__ import annotations

import pwd
import threading
import time

from envtrail.errors import CannotRunError
from envtrail.model.credentials import Checked, Credentials
from envtrail.model.tries import Tries, keys_of

_MOST_BYTES = 1024


class PamCheck:
    """Checks passwords with PAM, one at a time, and slows down guessing.

    Args:
        service: Name of the file in /etc/pam.d.
    """

    def __init__(self, service: str) -> None:
        self._service = service
        self._tries = Tries(time.monotonic)
        # libpam's modules need not be thread-safe.
        self._lock = threading.Lock()

    def check(self, given: Credentials) -> Checked:
        """Whether this is the password of an account that may sign in now.

        Raises:
            CannotRunError: PAM is not available.
        """
        keys = keys_of(given.name, given.address)
        wait_s = self._tries.begin(keys)
        if wait_s > 0:
            return Checked(is_right=False, wait_s=wait_s)
        try:
            with self._lock:
                uid = self._check_account(given)
        except CannotRunError:
            self._tries.forgive(keys)
            raise
        if uid is None:
            return Checked(is_right=False)
        self._tries.note_right(keys)
        return Checked(is_right=True, uid=uid)

    def _check_account(self, given: Credentials) -> int | None:
        try:
            import pamela
        except (ImportError, OSError) as fault:
            raise CannotRunError(f"PAM is not available: {fault}", hint="pip install 'envtrail[web]', and libpam") from None
        if not given.name or "\0" in given.name + given.password or len(given.password.encode()) > _MOST_BYTES:
            return None
        try:
            pamela.authenticate(given.name, given.password, service=self._service)
            return pwd.getpwnam(given.name).pw_uid
        except (pamela.PAMError, KeyError, UnicodeEncodeError):
            return None
