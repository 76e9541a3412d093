//! Lines of JSON that hold records: what a log collector, a container runtime or `journalctl -o json` made of a log.

use crate::heads::{push_record, Form, NoRecord};
use crate::journal::Entry;
use crate::parse::LastStamp;
use serde_json::{Map, Value};

/// Where collectors put the line that they read; the first that holds a record is taken.
const TEXTS: [&[&str]; 10] = [
    &["message"],
    &["log"],
    &["@message"],
    &["event", "original"],
    &["event.original"],
    &["_raw"],
    &["line"],
    &["full_message"],
    &["short_message"],
    &["msg"],
];
/// Where they put the machine that it is of.
const HOSTS: [&[&str]; 9] = [
    &["host", "name"],
    &["host", "hostname"],
    &["host.name"],
    &["host"],
    &["hostname"],
    &["beat", "hostname"],
    &["agent", "hostname"],
    &["agent.hostname"],
    &["fluentd", "hostname"],
];
/// Under which an export puts the document itself.
const WRAPPERS: [&str; 2] = ["_source", "result"];

/// Append the records of a line to `out`, each with a newline.
pub fn push_json(line: &[u8], last: &mut LastStamp, out: &mut Vec<u8>) -> Result<Form, NoRecord> {
    match serde_json::from_slice(line) {
        Ok(Value::Object(document)) => push_document(&document, last, out),
        Ok(Value::Array(documents)) => {
            let mut found = Err(NoRecord::Foreign);
            for document in &documents {
                if let Value::Object(document) = document {
                    found = push_document(document, last, out).or(found);
                }
            }
            found
        }
        Ok(_) => Err(NoRecord::Foreign),
        Err(_) => Err(NoRecord::BadJson),
    }
}

fn push_document(
    document: &Map<String, Value>,
    last: &mut LastStamp,
    out: &mut Vec<u8>,
) -> Result<Form, NoRecord> {
    let inner = WRAPPERS
        .iter()
        .find_map(|name| document.get(*name).and_then(Value::as_object));
    let document = inner.unwrap_or(document);
    let host = HOSTS
        .iter()
        .find_map(|path| find(document, path).and_then(Value::as_str))
        .unwrap_or_default()
        .as_bytes();
    if document.contains_key("_TRANSPORT") || document.contains_key("__CURSOR") {
        return entry_of(document).push(host, last, out);
    }
    for path in TEXTS {
        let Some(text) = find(document, path).and_then(Value::as_str) else {
            continue;
        };
        let mut found = false;
        for line in text.split('\n') {
            found |= push_record(line.as_bytes(), host, last, out).is_ok();
        }
        if found {
            return Ok(Form::Json);
        }
    }
    Err(NoRecord::Foreign)
}

fn find<'a>(document: &'a Map<String, Value>, path: &[&str]) -> Option<&'a Value> {
    let (first, rest) = path.split_first()?;
    rest.iter()
        .try_fold(document.get(*first)?, |value, name| value.get(name))
}

fn entry_of(document: &Map<String, Value>) -> Entry {
    let mut entry = Entry::default();
    for (name, value) in document {
        let Some(bytes) = bytes_of(value) else {
            continue;
        };
        if let Some(place) = entry.place(name.as_bytes()) {
            *place = bytes;
        }
    }
    entry
}

/// A text, or bytes that are none as numbers; of several values the first. None for what `journalctl` left out.
fn bytes_of(value: &Value) -> Option<Vec<u8>> {
    match value {
        Value::String(text) => Some(text.as_bytes().to_vec()),
        Value::Number(number) => Some(number.to_string().into_bytes()),
        Value::Array(values) => match values.first()? {
            Value::Number(_) => values
                .iter()
                .map(|byte| u8::try_from(byte.as_u64()?).ok())
                .collect(),
            first => bytes_of(first),
        },
        _ => None,
    }
}
