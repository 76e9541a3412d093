//! `envtrail.core._core`: conversions only. The input is blocks of bytes, the output Arrow, which is read back to become
//! documents; nothing crosses per line.

mod arrow;
mod assembler;
mod documents;
mod files;
mod functions;
mod lines;
mod logins;
mod netlink;
mod prefilter;
mod rows;
mod values;
mod watch;

use pyo3::prelude::*;

/// The compiled core; `envtrail.core` is its only importer.
#[pymodule]
mod _core {
    #[pymodule_export]
    use super::assembler::Assembler;
    #[pymodule_export]
    use super::documents::EventDocuments;
    #[pymodule_export]
    use super::files::{
        confine, content_digest, end_with_parent, hold_below, hold_capabilities, identity_of,
        keep_capabilities, read_dist_infos, CheckedFile, DistInfo, FileCheck,
    };
    #[pymodule_export]
    use super::functions::{
        architectures, event_schema, merkle_root, record_type_name, redact_argv, redact_path,
        redact_text, redaction_tables, system_calls,
    };
    #[pymodule_export]
    use super::lines::{LineFault, LineFigures, LineReader};
    #[pymodule_export]
    use super::logins::{service_of, Logins};
    #[pymodule_export]
    use super::netlink::{AuditSocket, ProcessConnector};
    #[pymodule_export]
    use super::prefilter::{texts_of_expression, Prefilter};
    #[pymodule_export]
    use super::rows::interesting_rows;
    #[pymodule_export]
    use super::values::{Batch, Counters, Fault, Process, ProcessEvent, SerialGap};
    #[pymodule_export]
    use super::watch::{see_process, ExecWatch, FileGroup, FileWatch, RecordedFiles, SeenProcess};
    #[pymodule_export]
    #[allow(non_upper_case_globals)]
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
