//! The files of Python environments: their metadata, and whether they are as it says. Runs none of their code, follows no link out of them.

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

mod check;
mod confine;
mod identity;
mod metadata;
mod open;

pub use check::{Expected, FileCheck, Found, Verdict};
pub use confine::{confine, end_with_parent, hold_capabilities, keep_capabilities, Confinement};
pub use identity::identity_of;
pub use metadata::{read_dist_infos, sum_record, DistInfo, Read, RecordSums};
pub use open::{hold, hold_folder, Held, Links};
