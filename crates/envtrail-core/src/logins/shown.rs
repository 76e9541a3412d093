//! A session as it is given out.

use crate::json::{push_moment, push_number, push_text};
use serde::{Deserialize, Serialize};

/// The end of the year 9999, the last that RFC 3339 can write.
const LATEST_MS: i64 = 253_402_300_799_999;

/// Where the records of a session begin.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Evidence {
    pub(super) segment: u64,
    pub(super) serial: u64,
    pub(super) time_ms: i64,
}

/// A session as it was given last (`model.run.Session`).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub(super) struct Shown {
    pub(super) id: String,
    pub(super) host: String,
    pub(super) session: Option<u32>,
    pub(super) user: Option<String>,
    pub(super) auid: Option<u32>,
    pub(super) remote: Option<String>,
    pub(super) terminal: Option<String>,
    pub(super) service: Option<String>,
    pub(super) started: String,
    pub(super) ended: Option<String>,
    pub(super) outcome: String,
    pub(super) evidence: Vec<Evidence>,
}

/// As RFC 3339 writes it.
pub(super) fn moment(time_ms: i64) -> String {
    let mut text = Vec::new();
    push_moment(&mut text, time_ms.min(LATEST_MS));
    text.retain(|byte| *byte != b'"');
    String::from_utf8(text).unwrap_or_default()
}

/// Append a session as JSON, with a comma, and the id that it replaces.
pub(super) fn push(out: &mut Vec<u8>, shown: &Shown, replaces: Option<&str>) {
    let texts = [
        ("id", Some(shown.id.as_str())),
        ("host", Some(shown.host.as_str())),
        ("user", shown.user.as_deref()),
        ("remote", shown.remote.as_deref()),
        ("terminal", shown.terminal.as_deref()),
        ("service", shown.service.as_deref()),
        ("started", Some(shown.started.as_str())),
        ("ended", shown.ended.as_deref()),
        ("outcome", Some(shown.outcome.as_str())),
        ("replaces", replaces),
    ];
    out.push(b'{');
    for (name, text) in texts {
        push_text(out, name);
        out.push(b':');
        match text {
            Some(text) => push_text(out, text),
            None => out.extend_from_slice(b"null"),
        }
        out.push(b',');
    }
    let number = |out: &mut Vec<u8>, begin: &[u8], number: i128| {
        out.extend_from_slice(begin);
        push_number(out, number);
    };
    match shown.session {
        Some(session) => number(out, b"\"session\":", session.into()),
        None => out.extend_from_slice(b"\"session\":null"),
    }
    match shown.auid {
        Some(auid) => number(out, b",\"auid\":", auid.into()),
        None => out.extend_from_slice(b",\"auid\":null"),
    }
    out.extend_from_slice(b",\"evidence\":[");
    for one in &shown.evidence {
        number(out, b"{\"segment\":", one.segment.into());
        number(out, b",\"serial\":", one.serial.into());
        number(out, b",\"time_ms\":", one.time_ms.into());
        out.push(b'}');
    }
    out.extend_from_slice(b"]},");
}
