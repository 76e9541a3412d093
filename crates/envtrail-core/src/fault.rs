//! Something wrong in the input, kept as data.

/// What is wrong with a line or an event.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The line does not begin with `type=` (after an optional `node=`).
    NotARecord,
    /// The stamp `msg=audit(SECONDS.MS:SERIAL)` is missing or malformed.
    BadStamp,
    /// The event holds more bytes than allowed; records after the limit are counted and left out.
    EventTooLong,
    /// More events were in flight than allowed; the oldest left incomplete.
    TooManyInFlight,
    /// The log names more machines than are kept apart.
    TooManyNodes,
    /// A frame of the process connector is malformed.
    BadFrame,
}

impl FaultKind {
    /// Stable name for programs.
    pub fn as_str(self) -> &'static str {
        match self {
            FaultKind::NotARecord => "not_a_record",
            FaultKind::BadStamp => "bad_stamp",
            FaultKind::EventTooLong => "event_too_long",
            FaultKind::TooManyInFlight => "too_many_in_flight",
            FaultKind::TooManyNodes => "too_many_nodes",
            FaultKind::BadFrame => "bad_frame",
        }
    }
}

/// A fault with its place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    pub kind: FaultKind,
    /// Line number since the assembler was made, from 1.
    pub line: u64,
    /// At most 160 bytes of it, lossily decoded.
    pub excerpt: String,
}
