//! The corpus `tests/data/secrets`: what is marked by ⟦⟧ is replaced, all else stays.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use envtrail_core::redact::{redact, Counts, Form};
use serde_json::Value;
use std::path::Path;

const SECRETS: [&str; 6] = [
    "addresses",
    "assignments",
    "headers",
    "options",
    "programs",
    "tokens",
];

/// Where it stands, the form, and the text with its marks.
type Case = (String, Form, String);

fn cases(name: &str) -> Vec<Case> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/secrets");
    let path = folder.join(name).with_extension("jsonl");
    let text = std::fs::read_to_string(path).expect("the corpus");
    let lines = text.lines().enumerate();
    lines
        .filter(|(_, line)| !line.starts_with('#'))
        .map(|(at, line)| {
            let place = format!("{name}.jsonl:{}", at + 1);
            match serde_json::from_str(line).expect(&place) {
                Value::String(text) => (place, Form::Text, text),
                Value::Array(words) => {
                    let words: Vec<&str> = words
                        .iter()
                        .map(|word| word.as_str().expect("text"))
                        .collect();
                    (place, Form::Arguments, words.join("\0"))
                }
                other => panic!("{place}: {other}"),
            }
        })
        .collect()
}

fn redacted(text: &str, form: Form) -> String {
    let mut counts = Counts::default();
    let clean = redact(text.as_bytes(), form, &mut counts);
    String::from_utf8(clean.unwrap_or_else(|| text.as_bytes().to_vec())).expect("UTF-8")
}

/// Markers of all kinds become ⟦⟧.
fn without_kinds(text: &str) -> String {
    let mut parts = text.split("<redacted:");
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        out += "⟦⟧";
        out += part.split_once('>').expect("a marker").1;
    }
    out
}

/// What stands between the marks is taken out of them.
fn without_values(text: &str) -> String {
    let mut parts = text.split('⟦');
    let mut out = parts.next().unwrap().to_owned();
    for part in parts {
        out += "⟦⟧";
        out += part.split_once('⟧').expect("a closing mark").1;
    }
    out
}

#[test]
fn a_secret_goes_and_nothing_else() {
    let mut count = 0;
    let mut wrong = Vec::new();
    for (place, form, marked) in SECRETS.iter().flat_map(|name| cases(name)) {
        assert!(marked.contains('⟦'), "{place}: no secret");
        let text = marked.replace(['⟦', '⟧'], "");
        let clean = redacted(&text, form);
        if without_kinds(&clean) != without_values(&marked) {
            wrong.push(format!("{place}: {clean:?}\n  of {marked:?}"));
        }
        if redacted(&clean, form) != clean {
            wrong.push(format!("{place}: twice: {:?}", redacted(&clean, form)));
        }
        count += marked.matches('⟦').count();
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(count >= 200, "{count}");
}

#[test]
fn what_only_looks_like_a_secret_stays() {
    let cases = cases("lookalikes");
    let mut wrong = Vec::new();
    for (place, form, text) in &cases {
        let clean = redacted(text, *form);
        if clean != *text {
            wrong.push(format!("{place}: {clean:?}"));
        }
    }
    assert!(
        wrong.is_empty(),
        "{} wrong:\n{}",
        wrong.len(),
        wrong.join("\n")
    );
    assert!(cases.len() >= 100, "{}", cases.len());
}
