//! Settings of an assembler, with what they are by default.

use crate::coalesce::Limits;

/// How an assembler works.
#[derive(Clone, Debug)]
pub struct Options {
    pub node: String,
    pub redact: bool,
    pub hints: Vec<(String, Vec<String>)>,
    pub limits: Limits,
}

impl Default for Options {
    fn default() -> Self {
        let limits = Limits {
            timeout_ms: 2000,
            max_in_flight: 65_536,
            max_event_bytes: 32 << 20,
        };
        Options {
            node: String::new(),
            redact: true,
            hints: Vec::new(),
            limits,
        }
    }
}
