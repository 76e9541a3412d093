//! The kernel's audit records and process events over netlink.
//!
//! References: include/uapi/linux/audit.h, include/uapi/linux/cn_proc.h, netlink(7).

mod audit;
mod connector;
mod socket;

pub use audit::{AuditSocket, Mode};
pub use connector::ProcessConnector;
