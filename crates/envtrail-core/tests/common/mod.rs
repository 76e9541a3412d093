//! Events read from lines of one event each.

use envtrail_core::event::{Event, Key, Record};
use envtrail_core::parse::{parse_stamp, LastStamp};

/// The event that these lines make, which all belong to it.
pub fn event(text: &str) -> Event {
    let text = text.trim_end_matches('\n').to_owned() + "\n";
    let mut records = Vec::new();
    let mut last = LastStamp::default();
    let mut start = 0;
    for line in text.split_inclusive('\n') {
        let whole = line.trim_end_matches('\n').as_bytes();
        let stamp = parse_stamp(whole, &mut last).expect("a record");
        let end = start + whole.len();
        records.push(Record {
            record_type: stamp.record_type,
            start: start as u32,
            body: (end - stamp.body.len()) as u32,
            end: end as u32,
        });
        start += line.len();
    }
    let mut event = Event::default();
    event.read(Key::default(), text.as_bytes(), &records);
    event
}

/// All events of a log whose events follow each other.
pub fn events(log: &str) -> Vec<Event> {
    let stamp = |line: &str| {
        line.split_once("msg=")
            .map(|(_, rest)| rest.split_once(' ').expect("a body").0.to_owned())
    };
    let mut out: Vec<(Option<String>, String)> = Vec::new();
    for line in log.lines() {
        match out.last_mut() {
            Some((known, text)) if *known == stamp(line) => *text += &format!("{line}\n"),
            _ => out.push((stamp(line), format!("{line}\n"))),
        }
    }
    out.iter().map(|(_, text)| event(text)).collect()
}

pub fn text(event: &Event, range: Option<(usize, usize)>) -> Option<String> {
    event
        .slice(range)
        .map(|bytes| String::from_utf8_lossy(bytes).into_owned())
}

pub fn field(event: &Event, name: &str) -> Option<String> {
    let mut known = event.fields.iter();
    let (_, value) = known.find(|(key, _)| *key == name.as_bytes())?;
    Some(String::from_utf8_lossy(value).into_owned())
}

pub fn argv(event: &Event) -> Vec<String> {
    event
        .argv
        .iter()
        .map(|argument| String::from_utf8_lossy(argument).into_owned())
        .collect()
}

pub fn keys(event: &Event) -> Vec<String> {
    event
        .keys
        .iter()
        .map(|key| String::from_utf8_lossy(key).into_owned())
        .collect()
}

pub fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02X}")).collect()
}
