//! Mutations of the corpus of secrets for as long as `ENVTRAIL_FUZZ_SECONDS` says (2 by default): redaction changes no byte outside what it
//! marks, changes nothing a second time, and does not depend on how the kernel parts an argument.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use arrow_array::{Array, ListArray, StringArray};
use envtrail_core::assembler::{Assembler, Batch, Options};
use envtrail_core::redact::{redact, Counts, Form};
use std::path::Path;
use std::time::{Duration, Instant};

const FILES: [&str; 7] = [
    "addresses",
    "assignments",
    "headers",
    "lookalikes",
    "options",
    "programs",
    "tokens",
];

/// Arguments joined by NUL.
fn corpus() -> Vec<Vec<u8>> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/secrets");
    let read = |name: &&str| {
        std::fs::read_to_string(folder.join(name).with_extension("jsonl")).expect("the corpus")
    };
    let text: String = FILES.iter().map(read).collect();
    let lines = text.lines().filter(|line| line.starts_with('['));
    lines
        .map(|line| {
            let words: Vec<String> = serde_json::from_str(line).expect("a list");
            words.join("\0").replace(['⟦', '⟧'], "").into_bytes()
        })
        .collect()
}

struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % limit.max(1) as u64) as usize
    }
}

fn mutated(corpus: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut text = corpus[random.below(corpus.len())].clone();
    for _ in 0..random.below(5) {
        let at = random.below(text.len());
        let other = &corpus[random.below(corpus.len())];
        match random.below(4) {
            0 => text.insert(at, b"\"'=:@/ ;|&-$<>(){}[],\\\n\0?#x\xff"[random.below(27)]),
            1 => {
                let end = (at + random.below(12)).min(text.len());
                text.drain(at..end);
            }
            2 => text[at] = random.below(256) as u8,
            _ => {
                let start = random.below(other.len());
                let piece = &other[start..(start + random.below(60)).min(other.len())];
                text.splice(at..at, piece.iter().copied());
            }
        }
        if text.is_empty() {
            text.push(b'x');
        }
    }
    text
}

/// What is between markers stands in the text in the same order, from its beginning to its end.
fn assert_only_spans_changed(text: &[u8], clean: &[u8], count: usize) {
    let mut rest = text;
    let mut marks = 0;
    let mut clean = clean;
    while let Some(at) = memchr::memmem::find(clean, b"<redacted:") {
        let piece = &clean[..at];
        let end = at
            + clean[at..]
                .iter()
                .position(|byte| *byte == b'>')
                .expect("a marker");
        let place = match marks {
            0 => rest.starts_with(piece).then_some(0),
            _ => memchr::memmem::find(rest, piece),
        };
        let place = place.unwrap_or_else(|| panic!("{:?}", String::from_utf8_lossy(text)));
        rest = &rest[place + piece.len()..];
        clean = &clean[end + 1..];
        marks += 1;
    }
    assert!(rest.ends_with(clean), "{:?}", String::from_utf8_lossy(text));
    assert_eq!(marks, count);
}

fn execve(arguments: &[&[u8]], parts: usize) -> String {
    let stamp = "msg=audit(1764000000.123:77):";
    let hex = |bytes: &[u8]| {
        bytes
            .iter()
            .map(|byte| format!("{byte:02X}"))
            .collect::<String>()
    };
    let mut lines = format!("type=SYSCALL {stamp} arch=c000003e syscall=59 success=yes exit=0 a0=1 items=0 ppid=10 pid=11 auid=1001 uid=1001 ses=3 comm=\"x\" exe=\"/bin/x\" key=\"k\"\n");
    for (at, argument) in arguments.iter().enumerate() {
        let lead = if at == 0 {
            format!("argc={} ", arguments.len())
        } else {
            String::new()
        };
        let size = argument.len().div_ceil(parts).max(1);
        if argument.len() <= size {
            let value = if argument.is_empty() {
                "\"\"".to_owned()
            } else {
                hex(argument)
            };
            lines += &format!("type=EXECVE {stamp} {lead}a{at}={value}\n");
            continue;
        }
        for (part, piece) in argument.chunks(size).enumerate() {
            let length = if part == 0 {
                format!("a{at}_len={} ", argument.len() * 2)
            } else {
                String::new()
            };
            let lead = if part == 0 { lead.as_str() } else { "" };
            lines += &format!(
                "type=EXECVE {stamp} {lead}{length}a{at}[{part}]={}\n",
                hex(piece)
            );
        }
    }
    lines + &format!("type=EOE {stamp} \n")
}

fn run(lines: &str) -> Batch {
    let mut assembler = Assembler::new(Options::default());
    assembler.push(lines.as_bytes());
    assembler.flush();
    assembler.drain().expect("a batch")
}

fn arguments_of(batch: &Batch) -> Vec<String> {
    let column = batch.events.column_by_name("argv").expect("argv");
    let lists = column.as_any().downcast_ref::<ListArray>().expect("lists");
    let first = lists.value(0);
    let words = first.as_any().downcast_ref::<StringArray>().expect("texts");
    (0..words.len())
        .map(|at| words.value(at).to_owned())
        .collect()
}

#[test]
fn redaction_changes_marked_spans_alone_and_nothing_twice() {
    let seconds = std::env::var("ENVTRAIL_FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let corpus = corpus();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    let mut rounds = 0;
    while Instant::now() < deadline {
        let text = mutated(&corpus, &mut random);
        for form in [Form::Arguments, Form::Title, Form::Text, Form::Path] {
            let mut counts = Counts::default();
            let Some(clean) = redact(&text, form, &mut counts) else {
                continue;
            };
            if memchr::memmem::find(&text, b"<redacted:").is_none() {
                assert_only_spans_changed(&text, &clean, counts.iter().sum::<u32>() as usize);
            }
            let again = redact(&clean, form, &mut Counts::default());
            assert!(
                again.is_none(),
                "{form:?}\n{:?}\n{:?}\n{:?}",
                String::from_utf8_lossy(&text),
                String::from_utf8_lossy(&clean),
                String::from_utf8_lossy(&again.unwrap_or_default())
            );
        }
        if rounds % 8 == 0 {
            let arguments: Vec<&[u8]> = text.split(|byte| *byte == 0).collect();
            let whole = run(&execve(&arguments, 1));
            let parted = run(&execve(&arguments, 2 + random.below(6)));
            assert_eq!(arguments_of(&whole), arguments_of(&parted));
            assert_eq!(whole.redactions, parted.redactions);
        }
        rounds += 1;
    }
    assert!(rounds > 100, "only {rounds} rounds");
}
