"""The face of the Rust extension, and its only importer.

Work that happens to every event lives behind this module; what crosses it crosses per block.
"""

from __future__ import annotations

from envtrail.core._core import (  # noqa: TID251 - the one importer
    Assembler,
    AuditSocket,
    Batch,
    Counters,
    ExecWatch,
    Fault,
    FileGroup,
    FileWatch,
    Process,
    ProcessConnector,
    ProcessEvent,
    SeenProcess,
    SerialGap,
    __version__,
    event_schema,
    merkle_root,
    record_type_name,
    redact_argv,
    redact_text,
    syscall_name,
)

__all__ = [
    "Assembler",
    "AuditSocket",
    "Batch",
    "Counters",
    "ExecWatch",
    "Fault",
    "FileGroup",
    "FileWatch",
    "Process",
    "ProcessConnector",
    "ProcessEvent",
    "SeenProcess",
    "SerialGap",
    "__version__",
    "event_schema",
    "merkle_root",
    "record_type_name",
    "redact_argv",
    "redact_text",
    "syscall_name",
]
