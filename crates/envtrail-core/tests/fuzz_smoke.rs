//! Mutations of real lines for as long as `ENVTRAIL_FUZZ_SECONDS` says (2 by default): never a panic, never more out than came in,
//! and each event becomes a document.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use envtrail_core::assembler::{Assembler, Options};
use envtrail_core::documents::{event_documents, Tables};
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
        rounds += 1;
    }
    assert!(rounds > 10, "only {rounds} rounds");
}
