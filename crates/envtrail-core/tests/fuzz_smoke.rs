//! Mutations of real lines for as long as `ENVTRAIL_FUZZ_SECONDS` says (2 by default): never a panic, never more output than input,
//! each event becomes a document; what was given out is read again, remembered and carried on; and logs of any form are read.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use envtrail_core::assembler::{Assembler, Options};
use envtrail_core::documents::{event_documents, Tables};
use envtrail_core::line_reader::LineReader;
use std::time::{Duration, Instant};

const CORPUS: &str = include_str!("corpus.log");

#[test]
fn mutated_lines_never_panic() {
    let seconds = std::env::var("ENVTRAIL_FUZZ_SECONDS")
        .ok()
        .and_then(|text| text.parse().ok())
        .unwrap_or(2);
    let deadline = Instant::now() + Duration::from_secs(seconds);
    let mut state = 0x9e37_79b9_7f4a_7c15u64;
    let mut next = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state % below.max(1) as u64) as usize
    };
    let mut rounds = 0;
    while Instant::now() < deadline {
        let mut bytes = CORPUS.as_bytes().to_vec();
        for _ in 0..next(12) + 1 {
            let at = next(bytes.len());
            match next(5) {
                0 => bytes[at] = next(256) as u8,
                1 => bytes.truncate(at.max(1)),
                2 => {
                    let end = (at + next(200)).min(bytes.len());
                    bytes.drain(at..end);
                    if bytes.is_empty() {
                        bytes.push(b'\n');
                    }
                }
                3 => {
                    let piece = bytes[at..(at + next(300)).min(bytes.len())].to_vec();
                    let to = next(bytes.len());
                    bytes.splice(to..to, piece);
                }
                _ => bytes.insert(at, b"\"'=\n\x1d\0 {}[]"[next(11)]),
            }
        }
        let mut assembler = Assembler::new(Options::default());
        assembler.push(&bytes);
        assembler.push_process_events(&bytes);
        assembler.flush();
        let batch = assembler.drain().expect("a batch");
        let lines = bytes.iter().filter(|byte| **byte == b'\n').count() + 1;
        assert!(batch.events.num_rows() <= lines);
        let documents = event_documents(&batch.events, 1, &Tables::default()).expect("documents");
        for document in documents {
            serde_json::from_slice::<serde_json::Value>(&document.body).expect("JSON");
        }
        let tables = assembler.save_processes().expect("the tables");
        read_again(&batch.records, batch.events.num_rows(), &tables, &mut next);
        let records = read_lines(&bytes, next(bytes.len()));
        let lines = records.iter().filter(|byte| **byte == b'\n').count();
        assert!(
            lines
                <= 1 + bytes
                    .iter()
                    .filter(|byte| matches!(byte, b'\n' | 0))
                    .count()
        );
        rounds += 1;
    }
    assert!(rounds > 10, "only {rounds} rounds");
}

/// What was given out gives the same again, adds nothing to itself, and goes on from tables that are whole or damaged.
fn read_again(records: &[u8], events: usize, tables: &str, next: &mut impl FnMut(usize) -> usize) {
    let mut again = Assembler::new(Options::default());
    again.reread(records);
    assert_eq!(again.drain().expect("a batch").events.num_rows(), events);
    let mut later = Assembler::new(Options::default());
    later
        .restore_processes(tables, None)
        .expect("its own tables");
    assert_eq!(later.save_processes().expect("the tables"), tables);
    later.remember(1, records);
    later.set_log(Some("a"));
    later.push(records);
    later.flush();
    assert_eq!(later.drain().expect("a batch").events.num_rows(), 0);
    let mut damaged = tables.as_bytes().to_vec();
    for _ in 0..=next(3) {
        let at = next(damaged.len());
        damaged[at] = b"0123456789-,:[]{}\"n"[next(19)];
    }
    let _ = later.restore_processes(&String::from_utf8_lossy(&damaged), None);
    later.push(records);
    later.set_log(None);
    later.push(records);
    later.flush();
    later.drain().expect("a batch");
}

/// The records of a log that is read in two pieces.
fn read_lines(bytes: &[u8], cut: usize) -> Vec<u8> {
    let mut reader = LineReader::default();
    let (one, two) = bytes.split_at(cut);
    let mut records = reader.read(one).into_owned();
    records.extend_from_slice(&reader.read(two));
    records.extend(reader.finish());
    records
}
