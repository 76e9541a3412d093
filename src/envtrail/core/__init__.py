"""The face of the Rust extension, and its only importer.

Work that happens to every event lives behind this module; what crosses it crosses per block.
"""

from __future__ import annotations

from envtrail.core._core import (  # noqa: TID251 - the one importer
    Assembler,
    AuditSocket,
    Batch,
    CheckedFile,
    Counters,
    DistInfo,
    EventDocuments,
    ExecWatch,
    Fault,
    FileCheck,
    FileGroup,
    FileWatch,
    Process,
    ProcessConnector,
    ProcessEvent,
    SeenProcess,
    SerialGap,
    __version__,
    content_digest,
    event_schema,
    merkle_root,
    read_dist_infos,
    record_type_name,
    redact_argv,
    redact_text,
    syscall_name,
)

__all__ = [
    "Assembler",
    "AuditSocket",
    "Batch",
    "CheckedFile",
    "Counters",
    "DistInfo",
    "EventDocuments",
    "ExecWatch",
    "Fault",
    "FileCheck",
    "FileGroup",
    "FileWatch",
    "Process",
    "ProcessConnector",
    "ProcessEvent",
    "SeenProcess",
    "SerialGap",
    "__version__",
    "content_digest",
    "event_schema",
    "merkle_root",
    "read_dist_infos",
    "record_type_name",
    "redact_argv",
    "redact_text",
    "syscall_name",
]
