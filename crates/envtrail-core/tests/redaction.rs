//! What leaves the records of an event before they are written, and what stays byte for byte.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use envtrail_core::assembler::{Assembler, Batch, Options};

fn run(lines: &[String]) -> Batch {
    let mut assembler = Assembler::new(Options::default());
    assembler.push((lines.join("\n") + "\n").as_bytes());
    assembler.flush();
    assembler.drain().unwrap()
}

fn hex(text: &str) -> String {
    text.bytes().map(|byte| format!("{byte:02X}")).collect()
}

/// An exec of `python train.py …` whose PROCTITLE is `title`.
fn exec(arguments: &[&str], title: &str) -> Vec<String> {
    let stamp = "msg=audit(1764000000.123:77):";
    let argv: String = arguments
        .iter()
        .enumerate()
        .map(|(at, argument)| format!(" a{at}=\"{argument}\""))
        .collect();
    vec![
        format!("type=SYSCALL {stamp} arch=c000003e syscall=59 success=yes exit=0 a0=1 a1=2 a2=3 a3=8 items=2 ppid=10 pid=11 auid=1001 uid=1001 gid=1001 euid=1001 suid=1001 fsuid=1001 egid=1001 sgid=1001 fsgid=1001 tty=(none) ses=3 comm=\"python\" exe=\"/usr/bin/python3.11\" key=\"exec\""),
        format!("type=EXECVE {stamp} argc={}{argv}", arguments.len()),
        format!("type=CWD {stamp} cwd=\"/home/alice\""),
        format!("type=PATH {stamp} item=0 name=\"/usr/bin/python\" inode=1 dev=08:01 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL"),
        format!("type=PATH {stamp} item=1 name=\"/lib64/ld-linux-x86-64.so.2\" inode=2 dev=08:01 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL"),
        format!("type=PROCTITLE {stamp} proctitle={}", hex(title)),
    ]
}

#[test]
fn the_title_of_the_image_before_an_exec_is_redacted_by_itself() {
    // `ssh host 'MY_API_TOKEN=… python train.py'`: the title is still the shell's.
    let title = "bash\0-c\0MY_API_TOKEN=s3cr3tv4lue python train.py";
    let batch = run(&exec(&["python", "train.py"], title));
    let clean = "bash\0-c\0MY_API_TOKEN=<redacted:env-value> python train.py";
    let expected = exec(&["python", "train.py"], clean).join("\n") + "\n";
    assert_eq!(String::from_utf8_lossy(&batch.records), expected);
    assert_eq!(batch.redactions.iter().sum::<u32>(), 1);
}

#[test]
fn arguments_and_an_older_title_with_another_secret_both_count() {
    let arguments = [
        "pip",
        "install",
        "--index-url",
        "https://bob:hunter2@h/simple",
    ];
    let batch = run(&exec(&arguments, "env\0HF_TOKEN=abcdef\0pip"));
    let records = String::from_utf8_lossy(&batch.records).into_owned();
    assert!(records.contains("https://<redacted:url-credential>@h/simple"));
    assert!(records.contains(&hex("HF_TOKEN=<redacted:env-value>\0pip")));
    assert_eq!(batch.redactions.iter().sum::<u32>(), 2);
}

#[test]
fn a_title_that_repeats_the_arguments_is_cut_inside_a_secret() {
    let arguments = ["pip", "--token", "0123456789abcdef"];
    let batch = run(&exec(&arguments, "pip\0--token\x000123456"));
    let records = String::from_utf8_lossy(&batch.records).into_owned();
    assert!(!records.contains(&hex("0123456")));
    assert_eq!(batch.redactions.iter().sum::<u32>(), 1);
}

#[test]
fn a_title_without_a_secret_stays_byte_for_byte() {
    for title in ["bash\0-c\0tokenize the text", "pip\0", "pip\0--token", "p"] {
        let lines = exec(&["pip", "--token", "0123456789abcdef"], title);
        let batch = run(&lines);
        let records = String::from_utf8_lossy(&batch.records).into_owned();
        assert!(
            records.ends_with(&format!("{}\n", lines[5])),
            "{title:?}: {records}"
        );
    }
}

#[test]
fn a_secret_behind_an_argument_that_is_not_there_is_redacted() {
    let whole = exec(&["pip", "--index", "x", "--token", "0123456789abcdef"], "p");
    let one_record = " a0=\"pip\" a1=\"--index\" a3=\"--token\" a4=\"0123456789abcdef\"";
    let parts = " a0[0]=\"pi\" a0[1]=\"p\" a1=\"--index\" a3=\"--token\" a4_len=16 a4[0]=\"01234567\" a4[1]=\"89abcdef\"";
    // Left out by the kernel, and lost with a record.
    for end in [one_record, parts] {
        let mut lines = whole.clone();
        let head = lines[1].split_once(" a0=").unwrap().0.to_owned();
        lines[1] = head.clone() + end;
        let clean = " a3=\"--token\" a4=\"<redacted:option-value>\"";
        let expected = end.split_once(" a3").unwrap().0.to_owned() + clean;
        let records = run(&lines).records;
        let records = String::from_utf8_lossy(&records);
        assert!(!records.contains("abcdef"), "{records}");
        assert!(
            records.replace(" a4_len=16", "").contains(&expected),
            "{records}"
        );
        let (before, after) = end.split_once(" a3").unwrap();
        lines[1] = head.clone() + before;
        let stamp = "type=EXECVE msg=audit(1764000000.123:77):";
        lines.insert(2, format!("{stamp} a3{after}"));
        let records = run(&lines).records;
        let records = String::from_utf8_lossy(&records);
        assert!(!records.contains("abcdef"), "{records}");
        assert!(
            records.contains("a4=\"<redacted:option-value>\""),
            "{records}"
        );
    }
}
