//! An event whose parts two imports read is, after the second, as if one had read it.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use arrow_array::cast::AsArray;
use arrow_array::{RecordBatch, StringArray};
use envtrail_core::assembler::{Assembler, Batch, Options};
use proptest::prelude::*;

const STAMP: &str = "msg=audit(1700000000.001:7):";

/// An event as the kernel writes it: what precedes its system call, the call, what belongs to it.
fn event() -> impl Strategy<Value = Vec<String>> {
    let sizes = (any::<bool>(), 0usize..4, any::<bool>(), 0usize..4);
    sizes.prop_map(|(is_denied, executes, has_cwd, paths)| {
        let mut lines = Vec::new();
        if is_denied {
            lines.push(format!("type=AVC {STAMP} avc:  denied  {{ read }} for  pid=42 comm=\"x\""));
        }
        lines.push(format!("type=SYSCALL {STAMP} arch=c000003e syscall=59 success=yes exit=0 items={paths} ppid=1 pid=42 auid=1000 uid=0 ses=3 comm=\"x\" exe=\"/bin/x\" key=\"k\""));
        lines.extend((0..executes).map(|at| format!("type=EXECVE {STAMP} argc={executes} a{at}=\"word{at}\"")));
        lines.extend(has_cwd.then(|| format!("type=CWD {STAMP} cwd=\"/\"")));
        lines.extend((0..paths).map(|at| format!("type=PATH {STAMP} item={at} name=\"/f{at}\" inode={at} nametype=NORMAL")));
        lines.push(format!("type=PROCTITLE {STAMP} proctitle=78"));
        lines
    })
}

/// One import more into a trail of one segment.
fn import(trail: &mut Vec<u8>, lines: &[String]) -> Batch {
    let mut assembler = Assembler::new(Options::default());
    assembler.set_log(Some("audit.log"));
    let held = trail.clone();
    assembler.read_held_with(Box::new(move |_, offset, length| {
        let held = held.get(offset as usize..)?;
        Some(held[..held.len().min(length as usize)].to_vec())
    }));
    assembler.remember(1, trail);
    assembler.set_segment(1, trail.len() as u64);
    let text: String = lines.iter().map(|line| format!("{line}\n")).collect();
    assembler.push(text.as_bytes());
    assembler.flush();
    let batch = assembler.drain().unwrap();
    trail.extend_from_slice(&batch.records);
    batch
}

fn read_again(trail: &[u8]) -> RecordBatch {
    let mut assembler = Assembler::new(Options::default());
    assembler.reread(trail);
    assembler.drain().unwrap().events
}

fn ended_by(events: &RecordBatch) -> Vec<String> {
    let column = events.column_by_name("ended_by").unwrap();
    let words = column.as_dictionary::<arrow_array::types::Int32Type>();
    let words = words.downcast_dict::<StringArray>().unwrap();
    words
        .into_iter()
        .map(|word| word.unwrap().to_owned())
        .collect()
}

fn last_records(events: &RecordBatch, trail: &[u8]) -> String {
    let number = |name: &str| {
        let column = events.column_by_name(name).unwrap();
        let numbers = arrow_cast_u64(column);
        numbers.last().copied().unwrap() as usize
    };
    let (offset, length) = (number("offset"), number("length"));
    String::from_utf8(trail[offset..offset + length].to_vec()).unwrap()
}

fn arrow_cast_u64(column: &arrow_array::ArrayRef) -> Vec<u64> {
    use arrow_array::types::{UInt32Type, UInt64Type};
    match column.as_primitive_opt::<UInt64Type>() {
        Some(numbers) => numbers.values().to_vec(),
        None => {
            let numbers = column.as_primitive::<UInt32Type>().values();
            numbers.iter().map(|one| u64::from(*one)).collect()
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    #[test]
    fn parts_that_two_imports_read_are_one_event(lines in event(), at in any::<prop::sample::Index>(), is_reversed in any::<bool>()) {
        let at = 1 + at.index(lines.len() - 1);
        let (first, second) = lines.split_at(at);
        let mut trail = Vec::new();
        for part in if is_reversed { [second, first] } else { [first, second] } {
            import(&mut trail, part);
        }
        let events = read_again(&trail);
        let ended = ended_by(&events);
        prop_assert_eq!(ended.len(), 2);
        prop_assert_eq!(ended[1].as_str(), "supplemented");
        let whole: String = lines.iter().map(|line| format!("{line}\n")).collect();
        prop_assert_eq!(last_records(&events, &trail), whole);
        for part in [first, second, &lines] {
            prop_assert_eq!(import(&mut trail, part).events.num_rows(), 0);
        }
    }

    /// The file ended within a record: a copy that was broken off, a damaged archive.
    #[test]
    fn a_record_that_was_cut_adds_nothing_and_is_replaced(lines in event(), at in any::<prop::sample::Index>(), cut in any::<prop::sample::Index>()) {
        let mut torn = lines[..=at.index(lines.len())].to_vec();
        let last = torn.last_mut().unwrap();
        last.truncate(last.len() - 1 - cut.index(last.len() - 1));
        let whole: String = lines.iter().map(|line| format!("{line}\n")).collect();
        let mut trail = Vec::new();
        import(&mut trail, &lines);
        prop_assert_eq!(import(&mut trail, &torn).events.num_rows(), 0);
        prop_assert_eq!(&trail, whole.as_bytes());
        let mut trail = Vec::new();
        import(&mut trail, &torn);
        import(&mut trail, &lines);
        prop_assert_eq!(last_records(&read_again(&trail), &trail), whole);
    }
}

#[test]
fn what_lies_between_two_parts_is_put_in_its_place() {
    let mut lines = vec![format!("type=SYSCALL {STAMP} arch=c000003e syscall=59 success=yes exit=0 items=12 ppid=1 pid=42 comm=\"x\" exe=\"/bin/x\"")];
    lines.extend((0..12).map(|at| {
        format!("type=PATH {STAMP} item={at} name=\"/f{at}\" inode={at} nametype=NORMAL")
    }));
    lines.push(format!("type=PROCTITLE {STAMP} proctitle=78"));
    let whole: String = lines.iter().map(|line| format!("{line}\n")).collect();
    for at in 1..lines.len() - 1 {
        let mut trail = Vec::new();
        for part in [&lines[..at], &lines[at + 1..], &lines[at..=at]] {
            import(&mut trail, part);
        }
        let events = read_again(&trail);
        assert_eq!(last_records(&events, &trail), whole, "{at}");
    }
}

#[test]
fn an_event_in_many_parts_is_not_written_again_for_each() {
    let mut trail = Vec::new();
    let mut rows = 0;
    for at in 0..64 {
        rows += import(
            &mut trail,
            &[format!("type=PATH {STAMP} item={at} name=\"/f{at}\"")],
        )
        .events
        .num_rows();
    }
    let ended = ended_by(&read_again(&trail));
    let count = |wanted: &str| ended.iter().filter(|word| *word == wanted).count();
    assert_eq!((rows, count("supplemented"), count("late")), (64, 8, 55));
}

#[test]
fn what_two_programs_say_under_one_serial_is_never_joined() {
    let of = |name: &str, pid: u32| {
        format!("type={name} {STAMP} pid={pid} uid=0 auid=1000 ses=3 msg='op=x res=success'")
    };
    let mut trail = Vec::new();
    import(&mut trail, &[of("USER_START", 1)]);
    import(&mut trail, &[of("USER_END", 2)]);
    assert_eq!(ended_by(&read_again(&trail)), ["single", "late"]);
}
