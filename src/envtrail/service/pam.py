"""Checks accounts of the machine for the web UI, whose process then needs no root privileges, and slows down guessing."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Optional

from envtrail.errors import CannotRunError
from envtrail.model.credentials import Checked, Credentials
from envtrail.model.tries import Tries, keys_of

CheckAccount = Callable[[str, str], Optional[int]]


class PamCheck:
    """Checks passwords, one at a time, and slows down guessing.

    Args:
        check_account: Gives the uid of an account, where a password is its own.
    """

    def __init__(self, check_account: CheckAccount) -> None:
        self._check_account = check_account
        self._tries = Tries(time.monotonic)
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
                uid = self._check_account(given.name, given.password)
        except CannotRunError:
            self._tries.forgive(keys)
            raise
        if uid is None:
            return Checked(is_right=False)
        self._tries.note_right(keys)
        return Checked(is_right=True, uid=uid)
