"""Requests to the kernel's audit subsystem: status and rules, over netlink.

References:
    include/uapi/linux/audit.h (message types, `struct audit_status`, `struct audit_rule_data`), netlink(7).
"""

from __future__ import annotations

import errno
import os
import socket
import struct
from types import TracebackType

from msgspec import Struct
from typing_extensions import Self

_NETLINK_AUDIT = 9
_GET, _SET, _ADD_RULE, _DEL_RULE, _LIST_RULES = 1000, 1001, 1011, 1012, 1013
_NLMSG_ERROR, _NLMSG_DONE = 2, 3
_REQUEST, _ACK = 1, 4
_HEADER = struct.Struct("=IHHII")
_STATUS = struct.Struct("=10I")
_TIMEOUT_S = 5.0


class KernelStatus(Struct, frozen=True, kw_only=True):
    """`struct audit_status`, as `auditctl -s` shows it."""

    enabled: int
    """0 off, 1 on, 2 on and locked until reboot."""
    failure: int
    pid: int
    """The audit daemon; 0 when there is none."""
    rate_limit: int
    backlog_limit: int
    lost: int
    backlog: int
    backlog_wait_time: int


_MASKS = {
    "enabled": 1,
    "failure": 2,
    "pid": 4,
    "rate_limit": 8,
    "backlog_limit": 16,
    "backlog_wait_time": 32,
    "lost": 64,
}
_PLACES = {
    "enabled": 1,
    "failure": 2,
    "pid": 3,
    "rate_limit": 4,
    "backlog_limit": 5,
    "lost": 6,
    "backlog_wait_time": 9,
}


class AuditControl:
    """One control socket. Every method raises OSError with the kernel's errno when it refuses."""

    def __init__(self) -> None:
        self._socket = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_AUDIT)
        self._socket.bind((0, 0))
        self._socket.settimeout(_TIMEOUT_S)
        self._sequence = 0

    def __enter__(self) -> Self:
        return self

    def __exit__(self, kind: type[BaseException] | None, fault: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def close(self) -> None:
        """Close the socket."""
        self._socket.close()

    def status(self) -> KernelStatus:
        """What the kernel's audit is doing."""
        payload = self._request(_GET, b"")[0]
        words = _STATUS.unpack(payload[: _STATUS.size].ljust(_STATUS.size, b"\0"))
        return KernelStatus(
            enabled=words[1],
            failure=words[2],
            pid=words[3],
            rate_limit=words[4],
            backlog_limit=words[5],
            lost=words[6],
            backlog=words[7],
            backlog_wait_time=words[9],
        )

    def set_status(self, **fields: int) -> None:
        """Set some of `enabled`, `failure`, `rate_limit`, `backlog_limit`, `backlog_wait_time`."""
        words = [0] * 10
        for name, value in fields.items():
            words[0] |= _MASKS[name]
            words[_PLACES[name]] = value
        self._request(_SET, _STATUS.pack(*words))

    def list_rules(self) -> list[bytes]:
        """Every rule as `struct audit_rule_data`, in the kernel's order."""
        return self._request(_LIST_RULES, b"", multipart=True)

    def add_rule(self, rule: bytes) -> None:
        """Append a rule; EEXIST when it is there already, EPERM when rules are locked."""
        self._request(_ADD_RULE, rule)

    def delete_rule(self, rule: bytes) -> None:
        """Take out a rule; ENOENT when it is not there."""
        self._request(_DEL_RULE, rule)

    def _request(self, kind: int, payload: bytes, *, multipart: bool = False) -> list[bytes]:
        self._sequence += 1
        header = _HEADER.pack(_HEADER.size + len(payload), kind, _REQUEST | _ACK, self._sequence, 0)
        self._socket.send(header + payload)
        answers: list[bytes] = []
        acknowledged = False
        while True:
            try:
                datagram = self._socket.recv(1 << 16)
            except TimeoutError:
                raise OSError(errno.ETIMEDOUT, os.strerror(errno.ETIMEDOUT)) from None
            length, answer_kind, _, sequence, _ = _HEADER.unpack_from(datagram)
            body = datagram[_HEADER.size : max(length, _HEADER.size)]
            if sequence != self._sequence:
                continue
            if answer_kind == _NLMSG_ERROR:
                code = struct.unpack_from("=i", body)[0]
                if code:
                    raise OSError(-code, os.strerror(-code))
                acknowledged = True
            elif answer_kind == _NLMSG_DONE:
                return answers
            else:
                answers.append(body)
            if acknowledged and not multipart and (answers or kind != _GET):
                return answers
