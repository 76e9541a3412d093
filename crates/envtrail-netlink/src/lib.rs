//! What the kernel reports of processes and files as it happens: audit records and process events over netlink, file changes by fanotify.
//!
//! References: include/uapi/linux/audit.h, include/uapi/linux/cn_proc.h, netlink(7), fanotify(7).

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod audit;
mod clock;
mod connector;
mod deadline;
mod exec_watch;
mod fanotify;
mod file_places;
mod file_watch;
mod proc;
mod seen;
mod signal;
mod socket;
mod watched;

pub use audit::{AuditSocket, Mode};
pub use connector::ProcessConnector;
pub use exec_watch::ExecWatch;
pub use file_watch::FileWatch;
pub use seen::{see, Seen};
