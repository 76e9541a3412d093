//! `envtrail.core._core`: conversions only. Blocks of bytes come in, Arrow goes out, and comes back to become
//! documents; nothing crosses per line.

mod arrow;
mod documents;
mod files;
mod functions;
mod lines;
mod netlink;
mod rows;
mod values;
mod watch;

use pyo3::prelude::*;

/// The compiled core; `envtrail.core` is its only importer.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::documents::EventDocuments;
    #[pymodule_export]
    use super::files::{
        content_digest, hold_below, read_dist_infos, CheckedFile, DistInfo, FileCheck,
    };
    #[pymodule_export]
    use super::functions::{
        architectures, event_schema, merkle_root, record_type_name, redact_argv, redact_text,
        system_calls,
    };
    #[pymodule_export]
    use super::lines::{LineFault, LineFigures, LineReader};
    #[pymodule_export]
    use super::netlink::{AuditSocket, ProcessConnector};
    #[pymodule_export]
    use super::rows::{interesting_rows, rows_as_json};
    #[pymodule_export]
    use super::values::{Assembler, Batch, Counters, Fault, Process, ProcessEvent, SerialGap};
    #[pymodule_export]
    use super::watch::{ExecWatch, FileGroup, FileWatch, RecordedFiles, SeenProcess};
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
