//! Every record belongs to its event, whatever the form of the log: order, completion, reading again, reading twice.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use arrow_array::cast::AsArray;
use arrow_array::types::{TimestampMillisecondType, UInt16Type, UInt32Type, UInt64Type};
use arrow_array::{Array, BooleanArray, RecordBatch, UInt64Array};
use envtrail_core::assembler::{Assembler, Batch, Options, ReadHeld};
use proptest::prelude::*;

/// One event of a generated log.
#[derive(Clone, Debug)]
struct Made {
    node: usize,
    kind: Kind,
    /// Its stamp against that of the event before, in ms: slow system calls, clocks that are set, a record of 2036.
    step_ms: i64,
    pid: u64,
}

#[derive(Clone, Copy, Debug)]
enum Kind {
    Exec,
    Exit,
    Login,
    User,
}

#[derive(Clone, Copy, Debug)]
struct Form {
    has_eoe: bool,
    is_enriched: bool,
}

const NODES: [&str; 3] = ["", "node=gpu2 ", "node=gpu3 "];

fn made() -> impl Strategy<Value = Made> {
    let kind = prop_oneof![
        4 => Just(Kind::Exec),
        3 => Just(Kind::Exit),
        1 => Just(Kind::Login),
        2 => Just(Kind::User)
    ];
    let step = prop_oneof![
        6 => 0i64..40,
        1 => -5_000i64..5_000,
        1 => Just(400_000_000_000i64),
        1 => Just(-400_000_000_000i64)
    ];
    (0usize..3, kind, step, 100u64..112).prop_map(|(node, kind, step_ms, pid)| Made {
        node,
        kind,
        step_ms,
        pid,
    })
}

/// Lines of each event. `log[i]` is the event with serial `i + 1`.
fn lines_of(log: &[Made], form: Form) -> Vec<Vec<String>> {
    let mut now_ms: i64 = 1_764_000_000_000;
    let mut out = Vec::new();
    for (at, made) in log.iter().enumerate() {
        now_ms = (now_ms + made.step_ms).clamp(1_000_000_000_000, 4_000_000_000_000);
        let stamp = format!(
            "msg=audit({}.{:03}:{}):",
            now_ms / 1000,
            now_ms % 1000,
            at + 1
        );
        let node = NODES[made.node];
        let names = if form.is_enriched {
            "\u{1d}AUID=\"alice\" UID=\"alice\""
        } else {
            ""
        };
        let pid = made.pid;
        let subject = format!("ppid={} pid={pid} auid=1001 uid=1001 ses=3", pid - 1);
        let mut lines = match made.kind {
            Kind::Exec => vec![
                format!("{node}type=SYSCALL {stamp} arch=c000003e syscall=59 success=yes exit=0 a0=1 items=1 {subject} tty=(none) comm=\"pip\" exe=\"/opt/v/bin/pip\" key=\"k\"{names}"),
                format!("{node}type=EXECVE {stamp} argc=2 a0=\"pip\" a1=\"n{at}\""),
                format!("{node}type=CWD {stamp} cwd=\"/\""),
                format!("{node}type=PATH {stamp} item=0 name=\"/opt/v/bin/pip\" inode=1 mode=0100755 ouid=0 nametype=NORMAL"),
                format!("{node}type=PROCTITLE {stamp} proctitle=\"bash\""),
            ],
            Kind::Exit => vec![
                format!("{node}type=SYSCALL {stamp} arch=c000003e syscall=231 a0=1 items=0 {subject} comm=\"pip\" exe=\"/opt/v/bin/pip\" key=\"k\"{names}"),
                format!("{node}type=PROCTITLE {stamp} proctitle=\"pip\""),
            ],
            Kind::Login => vec![
                format!("{node}type=LOGIN {stamp} pid={pid} uid=0 old-auid=4294967295 auid=1001 tty=(none) old-ses=4294967295 ses=3 res=1"),
                format!("{node}type=SYSCALL {stamp} arch=c000003e syscall=1 success=yes exit=4 a0=1 items=0 {subject} comm=\"sshd\" exe=\"/usr/sbin/sshd\" key=(null){names}"),
                format!("{node}type=PROCTITLE {stamp} proctitle=\"sshd\""),
            ],
            Kind::User => vec![format!(
                "{node}type=USER_START {stamp} pid={pid} uid=0 auid=1001 ses=3 msg='op=PAM:session_open acct=\"alice\" exe=\"/usr/sbin/sshd\" hostname=h addr=192.0.2.1 terminal=ssh res=success'{names}"
            )],
        };
        if form.has_eoe && !matches!(made.kind, Kind::User) {
            lines.push(format!("{node}type=EOE {stamp} "));
        }
        out.push(lines);
    }
    out
}

fn straight(lines: &[Vec<String>]) -> String {
    lines
        .iter()
        .flatten()
        .map(|line| line.clone() + "\n")
        .collect()
}

/// The same lines as several cores write them: an event begins after the one before it, and overlaps with the next few.
fn interleaved(lines: &[Vec<String>], seed: u64, width: usize) -> String {
    let mut waiting: Vec<(usize, usize)> = Vec::new();
    let mut next = 0;
    let mut out = String::new();
    let mut state = seed | 1;
    while next < lines.len() || !waiting.is_empty() {
        state = state
            .wrapping_mul(6364136223846793005)
            .wrapping_add(1442695040888963407);
        let pick = (state >> 33) as usize % (waiting.len() + 1);
        let opens = next < lines.len() && (pick == waiting.len() && waiting.len() < width);
        let at = if opens || waiting.is_empty() {
            waiting.push((next, 0));
            next += 1;
            waiting.len() - 1
        } else {
            pick.min(waiting.len() - 1)
        };
        let (event, line) = waiting[at];
        out += &lines[event][line];
        out.push('\n');
        waiting[at].1 += 1;
        if waiting[at].1 == lines[event].len() {
            waiting.remove(at);
        }
    }
    out
}

fn assembler() -> Assembler {
    Assembler::new(Options {
        node: "gpu1".to_owned(),
        hints: vec![("pip".to_owned(), vec!["pip".to_owned()])],
        ..Options::default()
    })
}

fn read(text: &str) -> Batch {
    let mut assembler = assembler();
    assembler.push(text.as_bytes());
    assembler.flush();
    assembler.drain().unwrap()
}

fn reread(records: &[u8]) -> Batch {
    let mut assembler = assembler();
    assembler.reread(records);
    assembler.drain().unwrap()
}

fn numbers(events: &RecordBatch, name: &str) -> Vec<u64> {
    let column: &UInt64Array = events
        .column_by_name(name)
        .unwrap()
        .as_primitive::<UInt64Type>();
    (0..column.len()).map(|row| column.value(row)).collect()
}

/// What interpretation sees of events: their order and all that the kernel wrote, not how the log was kept.
fn seen(events: &RecordBatch) -> Vec<arrow_array::ArrayRef> {
    let kept_otherwise = [
        "records",
        "offset",
        "length",
        "ended_by",
        "fields",
        "redactions",
    ];
    let schema = events.schema();
    let names = schema.fields().iter().map(|field| field.name().clone());
    names
        .filter(|name| !kept_otherwise.contains(&name.as_str()))
        .map(|name| events.column_by_name(&name).unwrap().clone())
        .collect()
}

/// Each event's lines carry its time, serial and node, and are as many as it says.
fn check_quotes(batch: &Batch, records: &[u8]) {
    let events = &batch.events;
    let times = events.column_by_name("time").unwrap();
    let times = times.as_primitive::<TimestampMillisecondType>();
    let (serials, offsets) = (numbers(events, "serial"), numbers(events, "offset"));
    let lengths = events.column_by_name("length").unwrap();
    let lengths = lengths.as_primitive::<UInt32Type>();
    let counts = events.column_by_name("records").unwrap();
    let counts = counts.as_primitive::<UInt16Type>();
    for row in 0..events.num_rows() {
        let start = offsets[row] as usize;
        let text =
            std::str::from_utf8(&records[start..start + lengths.value(row) as usize]).unwrap();
        let stamp = format!(
            "audit({}.{:03}:{})",
            times.value(row) / 1000,
            times.value(row) % 1000,
            serials[row]
        );
        assert!(text.ends_with('\n'));
        assert_eq!(text.lines().count(), counts.value(row) as usize);
        assert!(
            text.lines().all(|line| line.contains(&stamp)),
            "{stamp}: {text}"
        );
    }
}

fn log() -> impl Strategy<Value = Vec<Made>> {
    proptest::collection::vec(made(), 1..60)
}

fn reader_of(records: &[u8]) -> ReadHeld {
    let held = records.to_vec();
    Box::new(move |_, offset, length| {
        let held = held.get(offset as usize..)?;
        Some(held[..held.len().min(length as usize)].to_vec())
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn every_quoted_record_is_the_events_own(log in log(), seed in any::<u64>(), width in 1usize..9, has_eoe in any::<bool>()) {
        let text = interleaved(&lines_of(&log, Form { has_eoe, is_enriched: false }), seed, width);
        let batch = read(&text);
        check_quotes(&batch, &batch.records);
        let again = reread(&batch.records);
        check_quotes(&again, &batch.records);
        prop_assert_eq!(batch.events.num_rows(), log.len());
        prop_assert_eq!(&batch.events, &again.events);
    }

    #[test]
    fn nothing_is_lost_or_torn_by_any_stamp_or_interleaving(log in log(), seed in any::<u64>(), width in 1usize..9, has_eoe in any::<bool>()) {
        let lines = lines_of(&log, Form { has_eoe, is_enriched: false });
        let batch = read(&interleaved(&lines, seed, width));
        let complete: &BooleanArray = batch.events.column_by_name("complete").unwrap().as_boolean();
        prop_assert!((0..log.len()).all(|row| complete.value(row)));
        for node in 0..3 {
            let of_node: Vec<u64> = numbers(&batch.events, "serial").into_iter().filter(|serial| log[*serial as usize - 1].node == node).collect();
            prop_assert!(of_node.windows(2).all(|pair| pair[0] < pair[1]), "in the order of their first records: {of_node:?}");
        }
    }

    #[test]
    fn the_form_of_a_log_changes_nothing(log in log(), seed in any::<u64>()) {
        let log: Vec<Made> = log.into_iter().map(|made| Made { node: 0, ..made }).collect();
        let forms = [(true, false), (false, false), (true, true), (false, true)];
        let all: Vec<Batch> = forms.iter().map(|(has_eoe, is_enriched)| read(&interleaved(&lines_of(&log, Form { has_eoe: *has_eoe, is_enriched: *is_enriched }), seed, 4))).collect();
        let straight = read(&straight(&lines_of(&log, Form { has_eoe: false, is_enriched: false })));
        for batch in &all {
            prop_assert_eq!(seen(&batch.events), seen(&straight.events));
        }
    }

    #[test]
    fn machines_do_not_touch_each_other(log in log(), seed in any::<u64>()) {
        // The same pids and times on three machines: each is as if it were alone.
        let lines = lines_of(&log, Form { has_eoe: false, is_enriched: false });
        let together = read(&interleaved(&lines, seed, 5));
        let owners: Vec<usize> = numbers(&together.events, "serial").iter().map(|serial| log[*serial as usize - 1].node).collect();
        for node in 0..3 {
            let own: Vec<Vec<String>> = lines.iter().zip(&log).filter(|(_, made)| made.node == node).map(|(lines, _)| lines.clone()).collect();
            let alone = read(&straight(&own));
            let rows = arrow_array::BooleanArray::from(owners.iter().map(|owner| *owner == node).collect::<Vec<_>>());
            for (one, other) in seen(&together.events).iter().zip(seen(&alone.events)) {
                let chosen = filter(one, &rows);
                prop_assert_eq!(format!("{chosen:?}"), format!("{:?}", chosen_of(&other)));
            }
        }
    }

    #[test]
    fn what_the_trail_holds_adds_nothing(log in log(), seed in any::<u64>(), from in any::<prop::sample::Index>(), enriched in any::<bool>(), reads in any::<bool>()) {
        let first = read(&interleaved(&lines_of(&log, Form { has_eoe: true, is_enriched: false }), seed, 4));
        let copy = straight(&lines_of(&log, Form { has_eoe: false, is_enriched: enriched }));
        let lines: Vec<&str> = copy.lines().collect();
        let copy = lines[from.index(lines.len())..].join("\n") + "\n";
        let mut assembler = assembler();
        if reads {
            assembler.read_held_with(reader_of(&first.records));
        }
        assembler.remember(1, &first.records);
        assembler.push(copy.as_bytes());
        assembler.flush();
        let again = assembler.drain().unwrap();
        prop_assert_eq!(again.events.num_rows(), 0);
        prop_assert!(again.records.is_empty());
    }

    #[test]
    fn a_log_that_ends_within_events_goes_on_in_its_next_part(log in log(), seed in any::<u64>(), width in 1usize..5, cut in any::<prop::sample::Index>()) {
        let text = interleaved(&lines_of(&log, Form { has_eoe: false, is_enriched: false }), seed, width);
        let lines: Vec<&str> = text.split_inclusive('\n').collect();
        let (one, two) = lines.split_at(cut.index(lines.len()));
        let mut begun = assembler();
        begun.set_log(Some("a"));
        begun.push(one.concat().as_bytes());
        begun.flush();
        let before = begun.drain().unwrap();
        let mut later = assembler();
        later.restore_processes(&begun.save_processes().unwrap(), None).unwrap();
        later.read_held_with(reader_of(&before.records));
        later.remember(1, &before.records);
        later.set_segment(2, 0);
        later.set_log(Some("a"));
        later.push(two.concat().as_bytes());
        later.flush();
        let after = later.drain().unwrap();
        let mut whole: Vec<u64> = Vec::new();
        for batch in [&before, &after] {
            let complete: &BooleanArray = batch.events.column_by_name("complete").unwrap().as_boolean();
            whole.extend(numbers(&batch.events, "serial").iter().enumerate().filter(|(row, _)| complete.value(*row)).map(|(_, serial)| *serial));
        }
        whole.sort_unstable();
        whole.dedup();
        prop_assert_eq!(whole, (1..=log.len() as u64).collect::<Vec<_>>());
    }

    #[test]
    fn a_segment_that_begins_with_the_process_tables_is_read_as_if_all_were(log in log(), cut in any::<prop::sample::Index>()) {
        let lines = lines_of(&log, Form { has_eoe: true, is_enriched: false });
        let (one, two) = lines.split_at(cut.index(lines.len()));
        let mut all = assembler();
        all.push(straight(one).as_bytes());
        all.flush();
        all.drain().unwrap();
        let mut segment = assembler();
        segment.restore_processes(&all.save_processes().unwrap(), None).unwrap();
        all.push(straight(two).as_bytes());
        segment.push(straight(two).as_bytes());
        all.flush();
        segment.flush();
        prop_assert_eq!(seen(&all.drain().unwrap().events), seen(&segment.drain().unwrap().events));
        let (one, other): (serde_json::Value, serde_json::Value) = (serde_json::from_str(&all.save_processes().unwrap()).unwrap(), serde_json::from_str(&segment.save_processes().unwrap()).unwrap());
        prop_assert_eq!(one, other);
    }

    #[test]
    fn no_text_makes_the_process_tables_panic(text in "\\PC{0,200}") {
        let _ = assembler().restore_processes(&text, None);
    }
}

/// The rows of one column that are wanted, dictionaries resolved.
fn filter(column: &arrow_array::ArrayRef, rows: &BooleanArray) -> Vec<String> {
    let all = chosen_of(column);
    all.into_iter()
        .enumerate()
        .filter(|(row, _)| rows.value(*row))
        .map(|(_, text)| text)
        .collect()
}

fn chosen_of(column: &arrow_array::ArrayRef) -> Vec<String> {
    (0..column.len()).map(|row| shown(column, row)).collect()
}

fn shown(column: &arrow_array::ArrayRef, row: usize) -> String {
    if column.is_null(row) {
        return "null".to_owned();
    }
    if let Some(dictionary) = column.as_any_dictionary_opt() {
        let key = dictionary.normalized_keys()[row];
        return format!("{:?}", dictionary.values().slice(key, 1));
    }
    format!("{:?}", column.slice(row, 1))
}

#[test]
fn a_late_record_that_follows_its_event_at_once_stays_apart_when_read_again() {
    let stamp = "msg=audit(1764000000.000:7):";
    let text = format!(
        "type=CWD {stamp} cwd=\"/\"\ntype=EOE {stamp} \ntype=PATH {stamp} item=0 name=\"/x\"\n"
    );
    let batch = read(&text);
    assert_eq!(batch.events.num_rows(), 2);
    assert_eq!(reread(&batch.records).events, batch.events);
    check_quotes(&batch, &batch.records);
}

#[test]
fn an_event_in_two_reads_a_minute_apart_is_whole() {
    // The agent was stopped (SIGSTOP) between two records: the second half was there when it went on.
    let lines = lines_of(
        &[Made {
            node: 0,
            kind: Kind::Exec,
            step_ms: 0,
            pid: 100,
        }],
        Form {
            has_eoe: false,
            is_enriched: false,
        },
    );
    let mut assembler = assembler();
    assembler.set_clock(1_000_000);
    assembler.push((lines[0][..2].join("\n") + "\n").as_bytes());
    assembler.tick(1_000_000);
    assembler.set_clock(1_060_000);
    assembler.push((lines[0][2..].join("\n") + "\n").as_bytes());
    assembler.tick(1_060_000);
    assembler.tick(1_070_000);
    let batch = assembler.drain().unwrap();
    assert_eq!(batch.events.num_rows(), 1);
    assert!(batch
        .events
        .column_by_name("complete")
        .unwrap()
        .as_boolean()
        .value(0));
}

#[test]
fn an_event_without_an_end_is_given_out_by_arrival_live_and_in_a_log() {
    let cwd = |serial: u64| format!("type=CWD msg=audit(1764000000.000:{serial}): cwd=\"/\"\n");
    let mut live = assembler();
    live.set_clock(1_000_000);
    live.push(cwd(1).as_bytes());
    live.tick(1_001_000);
    assert_eq!(live.drain().unwrap().events.num_rows(), 0);
    live.tick(1_003_000);
    assert_eq!(live.drain().unwrap().events.num_rows(), 1);
    let mut log = assembler();
    log.push((1..=1026).map(cwd).collect::<String>().as_bytes());
    assert_eq!(log.drain().unwrap().events.num_rows(), 1);
}
