//! Logs that somebody made to take time, memory or another's place.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use arrow_array::cast::AsArray;
use arrow_array::types::UInt64Type;
use envtrail_core::assembler::{Assembler, Batch, Options};
use envtrail_core::coalesce::Limits;

fn assembler() -> Assembler {
    Assembler::new(Options {
        node: "gpu1".to_owned(),
        ..Options::default()
    })
}

fn numbers(batch: &Batch, name: &str) -> Vec<Option<u64>> {
    let column = batch.events.column_by_name(name).unwrap();
    column.as_primitive::<UInt64Type>().iter().collect()
}

#[test]
fn one_serial_for_ever_takes_time_for_each_record_and_no_more() {
    let began = std::time::Instant::now();
    let mut log = String::new();
    for item in 0..200_000 {
        log += &format!(
            "type=PATH msg=audit(1764000000.000:7): item={item:06} name=\"/tmp/{item:06}\"\n"
        );
    }
    let repeated = log.lines().nth(150_000).unwrap().to_owned() + "\n";
    log += &repeated;
    for account in 0..200_000 {
        log += &format!(
            "type=USER_AUTH msg=audit(1764000000.000:8): msg='op=x acct=\"{account:06}\"'\n"
        );
    }
    let mut assembler = assembler();
    assembler.remember(1, b"");
    assembler.push(log.as_bytes());
    assembler.flush();
    assert_eq!(assembler.counters().duplicate, 1);
    assert_eq!(assembler.drain().unwrap().events.num_rows(), 200_001);
    // With a search through all that precedes: minutes.
    assert!(began.elapsed().as_secs() < 30);
}

#[test]
fn nothing_is_joined_to_a_line_of_which_a_part_was_left_out() {
    let limits = Limits {
        timeout_ms: 2000,
        max_in_flight: 100,
        max_event_bytes: 1000,
    };
    let mut assembler = Assembler::new(Options {
        limits,
        ..Options::default()
    });
    assembler.push(b"type=CWD msg=audit(1764000000.000:7): cwd=\"/");
    assembler.push(&[b'a'; 500]);
    assembler.push(&[b'b'; 900]);
    assembler.push(b"/z\"\ntype=CWD msg=audit(1764000000.000:8): cwd=\"/\"\n");
    assembler.flush();
    let batch = assembler.drain().unwrap();
    assert_eq!(
        batch.records,
        b"type=CWD msg=audit(1764000000.000:8): cwd=\"/\"\n"
    );
    assert_eq!(batch.faults[0].kind.as_str(), "event_too_long");
}

#[test]
fn machines_whose_names_are_no_text_are_told_apart_in_the_next_segment() {
    let exec = |node: &[u8], serial: u64, pid: u32, ppid: u32| {
        let mut line = [b"node=", node, b" "].concat();
        line.extend_from_slice(
            format!("type=SYSCALL msg=audit(1764000000.{serial:03}:{serial}): arch=c000003e syscall=59 success=yes exit=0 ppid={ppid} pid={pid} comm=\"x\" exe=\"/x\"\n").as_bytes(),
        );
        line
    };
    let mut all = assembler();
    all.push(&[exec(b"a\xfe", 1, 100, 1), exec(b"a\xff", 2, 100, 1)].concat());
    all.flush();
    let images = numbers(&all.drain().unwrap(), "image");
    let mut segment = assembler();
    segment
        .restore_processes(&all.save_processes().unwrap(), None)
        .unwrap();
    for image in images {
        assert_eq!(segment.lineage(image.unwrap()).len(), 1);
    }
    let children = [exec(b"a\xfe", 3, 101, 100), exec(b"a\xff", 4, 101, 100)].concat();
    let parents = |assembler: &mut Assembler| {
        assembler.push(&children);
        assembler.flush();
        numbers(&assembler.drain().unwrap(), "parent_image")
    };
    let known = parents(&mut all);
    assert_ne!(known[0], known[1]);
    assert_eq!(parents(&mut segment), known);
}

#[test]
fn serials_that_a_log_of_before_does_not_hold_are_no_loss() {
    let line = |serial: u64| {
        format!("type=USER_AUTH msg=audit(1764000000.000:{serial}): msg='op=x'\n").into_bytes()
    };
    let holes = |is_import: bool| {
        let mut assembler = assembler();
        assembler.set_log(is_import.then_some("a"));
        for serial in (0..30_000).step_by(3) {
            assembler.push(&line(serial));
        }
        assembler.flush();
        assembler.take_serial_gaps().len()
    };
    assert_eq!((holes(true), holes(false) > 0), (0, true));
}
