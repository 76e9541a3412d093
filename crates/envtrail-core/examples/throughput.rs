//! Parse, coalesce and build Arrow batches from a file: `throughput FILE [unredacted]`. Prints events and bytes.
#![allow(clippy::print_stdout, clippy::expect_used, clippy::indexing_slicing)]

use envtrail_core::assembler::{Assembler, Options};
use std::io::Read;

fn main() {
    let path = std::env::args().nth(1).expect("a file");
    let mut file = std::fs::File::open(path).expect("a readable file");
    let hints = vec![
        ("pip".to_owned(), vec!["pip".to_owned()]),
        ("python".to_owned(), vec!["python".to_owned()]),
    ];
    let mut assembler = Assembler::new(Options {
        hints,
        redact: std::env::args().nth(2).as_deref() != Some("unredacted"),
        ..Options::default()
    });
    let mut block = vec![0; 1 << 17];
    let (mut events, mut bytes) = (0, 0);
    loop {
        let length = file.read(&mut block).expect("a block");
        if length == 0 {
            assembler.flush();
        } else {
            assembler.push(&block[..length]);
        }
        if length > 0 && assembler.pending() < 1000 {
            continue;
        }
        let batch = assembler.drain().expect("a batch");
        events += batch.events.num_rows();
        bytes += batch.records.len();
        if length == 0 {
            break;
        }
    }
    println!(
        "{events} events, {bytes} bytes of records, {:?}",
        assembler.counters()
    );
}
