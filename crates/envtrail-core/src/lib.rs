//! Lines of the Linux audit log in, events as Arrow out; events as Arrow in, documents out.
//!
//! `parse` (a line) → `coalesce` (an event) → `event` (its fields) → `process` (who) → `redact` → `batch` (Arrow).
//! `columns` (Arrow) → `documents` (ECS).
//! Nothing here does I/O, reads a clock or panics on input.

#![forbid(unsafe_code)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

pub mod assembler;
pub mod batch;
pub mod builders;
pub mod coalesce;
pub mod columns;
pub mod documents;
pub mod event;
pub mod fault;
pub mod file_events;
pub mod files;
pub mod gaps;
pub mod heads;
pub mod hints;
pub mod journal;
pub mod json;
pub mod json_line;
pub mod line_reader;
pub mod log_files;
pub mod log_places;
pub mod logins;
pub mod parse;
pub mod prefilter;
pub mod process;
pub mod procevent;
pub mod redact;
pub mod rewrite;
pub mod rows;
pub mod schema;
pub mod seal;
pub mod syscalls;
pub mod text;
pub mod types;
pub mod ulid;
