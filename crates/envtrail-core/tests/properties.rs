//! What must hold for any input.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use arrow_array::{Array, RecordBatch, StringArray, UInt64Array};
use envtrail_core::assembler::{Assembler, Batch, Options};
use envtrail_core::coalesce::Limits;
use proptest::prelude::*;

fn assembler(redact: bool) -> Assembler {
    let hints = vec![
        ("pip".to_owned(), vec!["pip".to_owned()]),
        ("python".to_owned(), vec!["python".to_owned()]),
    ];
    Assembler::new(Options {
        node: "n".to_owned(),
        redact,
        hints,
        ..Options::default()
    })
}

fn run(bytes: &[u8], redact: bool) -> Batch {
    let mut assembler = assembler(redact);
    assembler.push(bytes);
    assembler.flush();
    assembler.drain().unwrap()
}

fn column<'a, T: 'static>(batch: &'a RecordBatch, name: &str) -> &'a T {
    batch
        .column_by_name(name)
        .unwrap()
        .as_any()
        .downcast_ref::<T>()
        .unwrap()
}

fn event(serial: u64, argument: &str) -> Vec<String> {
    let stamp = format!("msg=audit(1764000000.{:03}:{serial}):", serial % 1000);
    let word =
        if argument.bytes().all(|b| b.is_ascii_graphic() && b != b'"') && !argument.is_empty() {
            format!("\"{argument}\"")
        } else if argument.is_empty() {
            "\"\"".to_owned()
        } else {
            argument.bytes().map(|b| format!("{b:02X}")).collect()
        };
    vec![
        format!("type=SYSCALL {stamp} arch=c000003e syscall=59 success=yes exit=0 a0=1 items=1 ppid=10 pid={} auid=1001 uid=1001 ses=3 tty=(none) comm=\"x\" exe=\"/bin/x\" key=\"k\"", 100 + serial),
        format!("type=EXECVE {stamp} argc=2 a0=\"x\" a1={word}"),
        format!("type=CWD {stamp} cwd=\"/\""),
        format!("type=PATH {stamp} item=0 name=\"/bin/x\" inode=1 mode=0100755 ouid=0 nametype=NORMAL"),
        format!("type=PROCTITLE {stamp} proctitle=\"x\""),
        format!("type=EOE {stamp} "),
    ]
}

/// One of each kind that the coalescer distinguishes.
const LINES: [&str; 8] = [
    "type=SYSCALL STAMP: arch=c000003e syscall=257 success=yes exit=3 a0=1 items=1 ppid=10 pid=11 auid=1001 uid=1001 ses=3 comm=\"x\"",
    "type=PATH STAMP: item=0 name=\"/bin/x\" inode=1 mode=0100755 ouid=0 nametype=NORMAL",
    "type=PATH STAMP: item=1 name=\"/bin/y\" inode=1 mode=0100755 ouid=0 nametype=NORMAL",
    "type=PROCTITLE STAMP: proctitle=\"x\"",
    "type=EOE STAMP: ",
    "type=USER_LOGIN STAMP: pid=1 uid=0 auid=1001 ses=3 msg='op=login res=success'",
    "type=LOGIN STAMP: pid=1 uid=0 old-auid=4294967295 auid=1001 old-ses=4294967295 ses=3 res=1",
    "node=other type=CWD STAMP: cwd=\"/\"",
];

fn identities(batch: &Batch) -> Vec<(u64, String)> {
    let serials = column::<UInt64Array>(&batch.events, "serial");
    let exe = column::<StringArray>(&batch.events, "exe");
    let mut out: Vec<_> = (0..batch.events.num_rows())
        .map(|row| {
            (
                serials.value(row),
                if exe.is_valid(row) {
                    exe.value(row).to_owned()
                } else {
                    String::new()
                },
            )
        })
        .collect();
    out.sort();
    out
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn no_bytes_make_it_panic(bytes in proptest::collection::vec(any::<u8>(), 0..2000)) {
        run(&bytes, true);
    }

    #[test]
    fn no_line_of_the_right_shape_makes_it_panic(lines in proptest::collection::vec("(node=[a-z]{0,3} )?type=[A-Z_]{0,9} msg=audit\\([0-9]{1,11}\\.[0-9]{1,4}:[0-9]{1,21}\\): ?[ -~\u{1d}]{0,200}", 0..20)) {
        run(lines.join("\n").as_bytes(), true);
    }

    #[test]
    fn cutting_the_bytes_anywhere_changes_nothing(arguments in proptest::collection::vec("[ -~é]{0,40}", 1..8), cuts in proptest::collection::vec(any::<prop::sample::Index>(), 0..6)) {
        let text: String = arguments.iter().enumerate().flat_map(|(at, argument)| event(at as u64 + 1, argument)).map(|line| line + "\n").collect();
        let bytes = text.as_bytes();
        let whole = run(bytes, true);
        let mut places: Vec<usize> = cuts.iter().map(|cut| cut.index(bytes.len())).collect();
        places.sort_unstable();
        let mut pieces = assembler(true);
        let mut start = 0;
        for place in places {
            pieces.push(&bytes[start..place]);
            start = place;
        }
        pieces.push(&bytes[start..]);
        pieces.flush();
        let cut = pieces.drain().unwrap();
        prop_assert_eq!(&whole.events, &cut.events);
        prop_assert_eq!(&whole.records, &cut.records);
    }

    #[test]
    fn lines_that_come_together_give_what_each_gives_alone(lines in proptest::collection::vec((0usize..LINES.len(), 1u64..4, any::<bool>()), 1..40)) {
        let lines: Vec<String> = lines.into_iter().map(|(which, serial, is_crlf)| {
            let end = if is_crlf { "\r\n" } else { "\n" };
            LINES[which].replace("STAMP", &format!("msg=audit(1764000000.000:{serial})")) + end
        }).collect();
        let read = |blocks: &[String]| {
            let mut assembler = Assembler::new(Options { limits: Limits { max_event_bytes: 600, ..Options::default().limits }, ..Options::default() });
            blocks.iter().for_each(|block| assembler.push(block.as_bytes()));
            assembler.flush();
            let batch = assembler.drain().unwrap();
            (batch.events, batch.records, batch.faults, assembler.counters())
        };
        prop_assert_eq!(read(&[lines.concat()]), read(&lines));
    }

    #[test]
    fn events_do_not_depend_on_how_their_records_interleave(count in 1usize..6, seed in any::<u64>()) {
        let mut lines: Vec<Vec<String>> = (0..count).map(|at| event(at as u64 + 1, "a b")).collect();
        let straight: String = lines.iter().flatten().map(|line| line.clone() + "\n").collect();
        let mut mixed = String::new();
        let mut state = seed | 1;
        while lines.iter().any(|event| !event.is_empty()) {
            state = state.wrapping_mul(6364136223846793005).wrapping_add(1442695040888963407);
            let pick = (state >> 33) as usize % count;
            if !lines[pick].is_empty() {
                mixed += &lines[pick].remove(0);
                mixed.push('\n');
            }
        }
        let (one, other) = (run(straight.as_bytes(), true), run(mixed.as_bytes(), true));
        prop_assert_eq!(identities(&one), identities(&other));
        prop_assert_eq!(other.events.num_rows(), count);
    }

    #[test]
    fn what_was_written_gives_the_same_events_again(arguments in proptest::collection::vec("(--password|https://u:p@h/|x|HF_TOKEN=ab| |é|\u{1}){1,4}", 1..6)) {
        let text: String = arguments.iter().enumerate().flat_map(|(at, argument)| event(at as u64 + 1, argument)).map(|line| line + "\n").collect();
        let first = run(text.as_bytes(), true);
        let second = run(&first.records, true);
        prop_assert_eq!(&first.records, &second.records);
        for name in ["argv", "proctitle", "serial", "exe", "offset", "length"] {
            prop_assert_eq!(first.events.column_by_name(name), second.events.column_by_name(name));
        }
        prop_assert_eq!(second.redactions, [0; 9]);
    }

    #[test]
    fn a_dropped_record_is_marked_and_makes_no_second_event(drop in 0usize..4, serial in 1u64..1000) {
        let mut lines = event(serial, "a");
        lines.remove(drop);
        let batch = run((lines.join("\n") + "\n").as_bytes(), true);
        prop_assert_eq!(batch.events.num_rows(), 1);
        let complete = column::<arrow_array::BooleanArray>(&batch.events, "complete");
        prop_assert!(!complete.value(0));
    }
}

#[test]
fn memory_is_bounded_whatever_stays_open() {
    let limits = Limits {
        timeout_ms: 2000,
        max_in_flight: 100,
        max_event_bytes: 10_000,
    };
    let mut assembler = Assembler::new(Options {
        limits,
        ..Options::default()
    });
    for serial in 0..5000 {
        assembler
            .push(format!("type=CWD msg=audit(1764000000.000:{serial}): cwd=\"/\"\n").as_bytes());
    }
    assert!(assembler.counters().in_flight <= 100);
    for _ in 0..1000 {
        assembler.push(
            format!(
                "type=PATH msg=audit(1764000000.000:9999): item={} name=\"{}\"\n",
                rand(),
                "x".repeat(100)
            )
            .as_bytes(),
        );
    }
    assembler.flush();
    let batch = assembler.drain().unwrap();
    assert_eq!(batch.events.num_rows(), 5001);
    assert!(batch.records.len() < 500_000);
}

fn rand() -> u64 {
    use std::sync::atomic::{AtomicU64, Ordering};
    static NEXT: AtomicU64 = AtomicU64::new(0);
    NEXT.fetch_add(1, Ordering::Relaxed)
}

#[test]
fn a_late_record_is_an_event_of_its_own_and_counted_late() {
    let mut assembler = assembler(true);
    let lines = event(7, "a");
    assembler.push((lines[..3].join("\n") + "\n" + &lines[5] + "\n").as_bytes());
    assembler.push((lines[3].clone() + "\n").as_bytes());
    assembler.flush();
    assert_eq!(assembler.drain().unwrap().events.num_rows(), 2);
    let counters = assembler.counters();
    assert_eq!(
        (counters.late, counters.lost, counters.duplicate),
        (1, 0, 0)
    );
}

#[test]
fn a_repeated_record_is_counted_and_left_out() {
    let lines = event(7, "a");
    let doubled: String = lines
        .iter()
        .take(4)
        .flat_map(|line| [line.clone(), line.clone()])
        .chain(lines.iter().skip(4).cloned())
        .map(|line| line + "\n")
        .collect();
    let mut assembler = assembler(true);
    assembler.push(doubled.as_bytes());
    assembler.flush();
    assert_eq!(assembler.drain().unwrap().events.num_rows(), 1);
    assert_eq!(assembler.counters().duplicate, 4);
}
