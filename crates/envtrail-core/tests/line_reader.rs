//! What stands before records, and that it does not matter how the bytes are cut.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use envtrail_core::heads::{Form, NoRecord};
use envtrail_core::line_reader::{Figures, LineReader};
use envtrail_core::parse::{parse_stamp, LastStamp};
use proptest::prelude::*;

const CWD: &str = r#"type=CWD msg=audit(1700000000.123:45): cwd="/""#;

fn read(bytes: &[u8], cuts: &[usize]) -> (String, Figures) {
    let mut reader = LineReader::default();
    let mut out = Vec::new();
    let mut rest = bytes;
    for cut in cuts {
        let (block, after) = rest.split_at((*cut).min(rest.len()));
        out.extend_from_slice(&reader.read(block));
        rest = after;
    }
    out.extend_from_slice(&reader.read(rest));
    out.extend_from_slice(&reader.finish());
    let lines = String::from_utf8_lossy(&out);
    let lines = lines
        .split('\n')
        .map(|line| line.trim_end_matches('\r'))
        .filter(|line| !line.is_empty());
    (
        lines.map(|line| format!("{line}\n")).collect(),
        reader.figures(),
    )
}

/// What is made of one line, and what it is taken for.
fn made_of(line: &str) -> (String, Option<Form>) {
    let (out, figures) = read(line.as_bytes(), &[]);
    let form = [
        Form::Plain,
        Form::Syslog,
        Form::Kernel,
        Form::Journal,
        Form::Json,
    ]
    .into_iter()
    .find(|form| figures.forms[*form as usize] > 0);
    (out, form)
}

#[test]
fn the_record_is_taken_from_behind_its_head() {
    let heads = [
        (Form::Plain, "", "%"),
        (Form::Plain, "", "\u{feff}%"),
        (Form::Plain, "", "  %\r"),
        (Form::Plain, "node=n1 ", "node=n1 %"),
        (Form::Syslog, "node=n2 ", "Nov 23 09:29:32 gpu1 audispd: node=n2 %"),
        (Form::Syslog, "node=gpu1 ", "Nov 23 09:29:32 gpu1 audispd: %"),
        (Form::Syslog, "node=gpu1 ", "Nov  3 09:29:32 gpu1 audispd[812]: %"),
        (Form::Syslog, "node=gpu1 ", "2026-11-23T09:29:32+00:00 gpu1 auditd %"),
        (Form::Syslog, "node=gpu1 ", "host=gpu1 %"),
        (Form::Syslog, "node=gpu1 ", "Nov  3 2026 09:29:32.123 gpu1 audisp-syslog: %"),
        (Form::Syslog, "node=gpu1 ", "<13>Nov  3 09:29:32 gpu1 tag_audit_log: %"),
        (Form::Syslog, "node=gpu1 ", "2026-11-23T09:29:32.123456+08:00 gpu1 audispd: %"),
        (Form::Syslog, "node=gpu1 ", "2026-11-23T09:29:32Z gpu1 %"),
        (Form::Syslog, "", "2026-11-23T09:29:32.1Z stdout F %"),
        (Form::Syslog, "node=gpu1 ", "<13>1 2026-11-23T09:29:32.1Z gpu1 audisp-syslog - - - %"),
        (Form::Syslog, "node=gpu1 ", "<13>1 2026-11-23T09:29:32.1Z gpu1 audisp-syslog 7 - - \u{feff}%"),
        (Form::Syslog, "", r#"<13>1 - - audispd - - [a@1 b="x\"]"][c] %"#),
        (Form::Syslog, "node=gpu1 ", "Tue 2023-11-14 22:13:20 UTC gpu1 audispd[1]: %"),
        (Form::Syslog, "node=gpu1 ", "1700000000.123456 gpu1 audispd[1]: %"),
        (Form::Syslog, "", "09:29:32,123 INFO audispd:%"),
        (Form::Syslog, "node=n2 ", "09:29:32,123 NOTICE auditd[7]: node=n2 %"),
        (Form::Json, "", r#"{"message":"%"}"#),
        (Form::Json, "", r#"{"log":"%\n","stream":"stdout"}"#),
        (Form::Json, "node=gpu1 ", r#"{"@message":"%","host":"gpu1"}"#),
        (Form::Json, "node=gpu1 ", r#"{"message":"Nov 23 09:29:32 gpu1 audispd: %","host":{"name":"collector"}}"#),
        (Form::Json, "node=gpu1 ", r#"{"_index":"f","_source":{"event":{"original":"%"},"host":{"name":"gpu1"}}}"#),
        (Form::Json, "", r#"[{"message":"%"}]"#),
        (Form::Journal, "node=gpu1 ", "\u{1e}{\"__CURSOR\":\"c\",\"_TRANSPORT\":\"syslog\",\"_UID\":\"0\",\"SYSLOG_IDENTIFIER\":\"audispd\",\"_HOSTNAME\":\"gpu1\",\"MESSAGE\":\"%\"}"),
        (Form::Journal, "node=gpu1 ", r#"data: {"_TRANSPORT":"audit","_AUDIT_TYPE":"1307","_AUDIT_ID":"45","_SOURCE_REALTIME_TIMESTAMP":"1700000000123000","_HOSTNAME":"gpu1","MESSAGE":"CWD cwd=\"/\""}"#),
    ];
    for (form, node, head) in heads {
        let record = if head.contains('{') {
            CWD.replace('"', "\\\"")
        } else {
            CWD.to_owned()
        };
        let line = head.replace('%', &record);
        assert_eq!(
            made_of(&line),
            (format!("{node}{CWD}\n"), Some(form)),
            "{line}"
        );
    }
}

#[test]
fn numbers_of_the_kernel_log_become_names() {
    for (node, head) in [
        ("node=gpu1 ", "Nov 14 22:13:20 gpu1 kernel: audit: "),
        (
            "node=gpu1 ",
            "Nov 14 22:13:20 gpu1 kernel: [   12.345678] audit: ",
        ),
        ("node=gpu1 ", "Nov 14 22:13:20 gpu1 kernel: "),
        (
            "node=gpu1 ",
            "2023-11-14T22:13:20+0000 gpu1 kernel: audit: ",
        ),
        ("", "kernel: audit: "),
        ("", "[   12.345] audit: "),
        ("", "<5>[   12.345] audit: "),
        ("", "[Tue Nov 14 22:13:20 2023] audit: "),
        ("", "kern  :notice: [   12.345] audit: "),
        ("", "09:29:32,123 NOTICE kernel:"),
        ("", "09:29:32,123 NOTICE kernel:audit: "),
        ("", "09:29:32,123 WARNING kernel:[   12.345] audit: "),
        ("", "audit: "),
        ("", ""),
    ] {
        let line = format!("{head}type=1307 audit(1700000000.123:45): cwd=\"/\"");
        assert_eq!(
            made_of(&line),
            (format!("{node}{CWD}\n"), Some(Form::Kernel)),
            "{line}"
        );
    }
    let (made, _) = made_of("[ 1.0] audit: type=1999 audit(1.000:2): x=1");
    assert_eq!(made, "type=UNKNOWN[1999] msg=audit(1.000:2): x=1\n");
    for stamp in ["(17x.123:45):", "(1700000000.123:):", "(1700000000"] {
        let line = format!("kernel: audit: type=1307 audit{stamp} cwd=\"/\"");
        let (out, figures) = read(line.as_bytes(), &[]);
        assert_eq!(
            (out.as_str(), figures.faults[0].why),
            ("", NoRecord::BadStamp),
            "{line}"
        );
    }
}

#[test]
fn a_record_that_somebody_quotes_is_none() {
    for line in [
        "Nov 23 09:29:32 gpu1 sudo: alice : COMMAND=/bin/echo %",
        "Nov 23 09:29:32 gpu1 alice: %",
        "Nov 23 09:29:32 gpu1 sshd[1]: Invalid user audispd: % from 10.0.0.7",
        "Nov 23 09:29:32 gpu1 alice: kernel: audit: type=1307 audit(1.000:2): x",
        "[alice] %",
        "09:29:32,123 INFO alice:%",
        "09:29:32,123 INFO sudo: alice : COMMAND=/bin/echo kernel:%",
        "09:29:32,123 alice kernel:%",
        "09:29:32,123 INFO alice says:kernel:%",
        "<13>1 2026-11-23T09:29:32.1Z gpu1 alice - - - %",
        r#"{"message":"x %"}"#,
        r#"{"user":{"message":"%"}}"#,
    ] {
        assert_eq!(
            made_of(&line.replace('%', "type=CWD msg=audit(1.000:2): x")),
            (String::new(), None),
            "{line}"
        );
    }
    let forged = |uid: &str, name: &str| {
        read(
            format!(r#"{{"_TRANSPORT":"syslog","_UID":"{uid}","SYSLOG_IDENTIFIER":"{name}","MESSAGE":"type=CWD msg=audit(1.000:2): x"}}"#).as_bytes(),
            &[],
        )
        .1
    };
    assert_eq!(forged("0", "audispd").forms[Form::Journal as usize], 1);
    assert_eq!(
        forged("1000", "audispd").without[NoRecord::OtherWriter as usize],
        1
    );
    assert_eq!(
        forged("0", "cron").without[NoRecord::OtherWriter as usize],
        1
    );
}

#[test]
fn a_line_break_inside_an_entry_of_the_journal_begins_no_record() {
    let (made, _) = made_of(
        r#"{"_TRANSPORT":"audit","_AUDIT_TYPE":"1112","_AUDIT_ID":"4","_SOURCE_REALTIME_TIMESTAMP":"1000000","MESSAGE":"USER_LOGIN pid=1\ntype=CWD msg=audit(1.000:2): x"}"#,
    );
    assert_eq!(
        made,
        "type=USER_LOGIN msg=audit(1.000:4): pid=1 type=CWD msg=audit(1.000:2): x\n"
    );
}

#[test]
fn a_field_of_the_journal_may_be_bytes_a_number_or_several_values() {
    let bytes = format!("{:?}", b"CWD cwd=\"/\"");
    for (message, number, made) in [
        (bytes.as_str(), "1307", CWD),
        (r#"["CWD cwd=\"/\"", "x"]"#, "\"1307\"", CWD),
        (r#""CWD cwd=\"/\"""#, r#"["1307", "1300"]"#, CWD),
        (r#"[67, 256]"#, "1307", ""),
        (r#"[67, "x"]"#, "1307", ""),
        ("[]", "1307", ""),
        ("null", "1307", ""),
        (r#"{"a": 1}"#, "1307", ""),
    ] {
        let line = format!(
            r#"{{"_TRANSPORT":"audit","_AUDIT_TYPE":{number},"_AUDIT_ID":45,"_SOURCE_REALTIME_TIMESTAMP":"1700000000123000","MESSAGE":{message}}}"#
        );
        assert_eq!(made_of(&line).0.trim_end(), made, "{line}");
    }
}

#[test]
fn what_rsyslog_escaped_is_made_itself_again() {
    let (made, _) = made_of(
        "Nov 23 09:29:32 g audispd: type=CWD msg=audit(1.000:2): cwd=\"/#035\"#035AUID=\"alice\"",
    );
    assert_eq!(
        made,
        "node=g type=CWD msg=audit(1.000:2): cwd=\"/#035\"\u{1d}AUID=\"alice\"\n"
    );
}

#[test]
fn lines_without_a_record_are_counted_by_kind_with_their_number() {
    let text = "\nhello\n----\ntime->Tue Nov 14 22:13:20 2023\ntype=CWD msg=audit(11/14/2023 22:13:20.000:1) : x\n\
                type=CWD msg=audit(17000\nNov 1 1:00:00 g audit[7]: SYSCALL arch=c0\n{broken\n\
                {\"_TRANSPORT\":\"audit\",\"_AUDIT_TYPE\":1307,\"_AUDIT_ID\":4,\"_SOURCE_REALTIME_TIMESTAMP\":1,\"MESSAGE\":null}\n";
    let (out, figures) = read(text.as_bytes(), &[]);
    assert_eq!((out.as_str(), figures.lines), ("", 9));
    let found: Vec<_> = figures
        .faults
        .iter()
        .map(|fault| (fault.why, fault.line))
        .collect();
    assert_eq!(
        found,
        [
            (NoRecord::Foreign, 2),
            (NoRecord::Separator, 3),
            (NoRecord::Separator, 4),
            (NoRecord::Interpreted, 5),
            (NoRecord::BadStamp, 6),
            (NoRecord::JournalText, 7),
            (NoRecord::BadJson, 8),
            (NoRecord::LeftOut, 9),
        ]
    );
    assert_eq!(figures.faults[0].excerpt, "hello");
}

#[test]
fn bytes_that_were_never_written_end_a_line() {
    let text = format!("\0\0\0{CWD}\n{CWD}\0\0{CWD}\nfoo\n\0\0");
    let (out, figures) = read(text.as_bytes(), &[]);
    assert_eq!(out, format!("{CWD}\n{CWD}\n{CWD}\n"));
    assert_eq!((figures.nul_bytes, figures.lines), (7, 3));
    assert_eq!(figures.faults[0].line, 3);
}

#[test]
fn a_block_of_records_is_handed_on_as_it_is() {
    let text = format!("{CWD}\r\n\n{CWD}\n{}", &CWD[..40]);
    let mut reader = LineReader::default();
    assert!(matches!(
        reader.read(text.as_bytes()),
        std::borrow::Cow::Borrowed(_)
    ));
    assert!(matches!(
        reader.read(&CWD.as_bytes()[40..]),
        std::borrow::Cow::Borrowed(_)
    ));
    assert_eq!(reader.finish(), b"\n");
    let figures = reader.figures();
    assert_eq!(
        (figures.lines, figures.forms[0], figures.last_ms),
        (4, 3, 1_700_000_000_123)
    );
}

#[test]
fn a_line_that_is_too_long_is_counted_and_left_out() {
    let text = format!("{}\n{CWD}\n", "x".repeat((1 << 24) + 1));
    let (out, figures) = read(text.as_bytes(), &[1 << 23]);
    assert_eq!(out, format!("{CWD}\n"));
    assert_eq!(
        (figures.without[NoRecord::TooLong as usize], figures.lines),
        (1, 2)
    );
}

fn binary(name: &str, value: &[u8]) -> Vec<u8> {
    let mut out = format!("{name}\n").into_bytes();
    out.extend_from_slice(&(value.len() as u64).to_le_bytes());
    out.extend_from_slice(value);
    out.push(b'\n');
    out
}

fn export() -> Vec<u8> {
    let entry = |message: &[u8]| {
        let mut out = b"__CURSOR=s=1\n_TRANSPORT=audit\n_AUDIT_TYPE=1307\n_AUDIT_ID=45\n_HOSTNAME=gpu1\n_AUDIT_FIELD_X=a=b\n\
              _SOURCE_REALTIME_TIMESTAMP=1700000000123000\n"
            .to_vec();
        out.extend_from_slice(message);
        out.push(b'\n');
        out
    };
    let mut all = entry(b"MESSAGE=CWD cwd=\"/\"\n");
    all.extend(entry(&binary(
        "MESSAGE",
        b"CWD cwd=\"/\"\n\ntype=CWD msg=audit(1.000:1): x",
    )));
    all.extend(b"__CURSOR=s=2\n_TRANSPORT=syslog\nMESSAGE=hello\n\n");
    all.extend(entry(&binary("OTHER", b"\n\nMESSAGE=no\n")));
    all
}

#[test]
fn the_journal_in_its_export_format_is_read() {
    let (out, figures) = read(&export(), &[]);
    assert_eq!(
        out,
        format!("node=gpu1 {CWD}\nnode=gpu1 {CWD}  type=CWD msg=audit(1.000:1): x\n")
    );
    assert_eq!(figures.forms[Form::Journal as usize], 2);
    assert_eq!(figures.without[NoRecord::Foreign as usize], 1);
    assert_eq!(figures.without[NoRecord::LeftOut as usize], 1);
}

#[test]
fn a_stamp_is_what_the_parser_takes_for_one() {
    for (stamp, is_one) in [
        ("type=CWD msg=audit(1700000000.123:45): x", true),
        ("type=CWD msg=audit(1700000000.123:45)", true),
        ("type=CWD msg=audit(1.123:45): x", true),
        ("type=CWD msg=audit(7999999999.123:45): x", true),
        ("type=CWD msg=audit(8999999999.123:45): x", false),
        ("type=CWD msg=auditd(1700000000.123:45) x", true),
        ("type=UNKNOWN[1] msg=audit(1700000000.123:45): x", true),
        ("type=cwd msg=audit(1700000000.123:45): x", false),
        ("type= msg=audit(1700000000.123:45): x", false),
        ("type=CWD msg=audit(17000x0000.123:45): x", false),
        ("type=CWD msg=audit(1700000000.12x:45): x", false),
        ("type=CWD msg=audit(1700000000.123:): x", false),
        ("type=CWD msg=audit(1700000000.123:4x): x", false),
        (
            "type=CWD msg=audit(1700000000.123:18446744073709551615): x",
            true,
        ),
        (
            "type=CWD msg=audit(1700000000.123:18446744073709551616): x",
            false,
        ),
        (
            "type=CWD msg=audit(1700000000.123:99999999999999999999): x",
            false,
        ),
    ] {
        assert_eq!(
            parse_stamp(stamp.as_bytes(), &mut LastStamp::default()).is_ok(),
            is_one,
            "{stamp}"
        );
        for line in [stamp.to_owned(), format!("node=n {stamp}")] {
            assert_eq!(made_of(&line).1.is_some(), is_one, "{line}");
            assert_eq!(
                read(line.as_bytes(), &vec![1; line.len()]),
                read(line.as_bytes(), &[])
            );
        }
    }
}

fn piece() -> impl Strategy<Value = Vec<u8>> {
    let texts: Vec<Vec<u8>> = [
        CWD,
        "node=n ",
        "\n",
        "\r\n",
        "\r",
        "\rnode=n ",
        "\0",
        "\0\0\0\n",
        "\u{feff}",
        "Nov 14 22:13:20 gpu1 kernel: audit: type=1307 audit(1700000000.123:45): x\n",
        "Nov 23 09:29:32 gpu1 audispd: ",
        "<13>1 2026-11-23T09:29:32.1Z gpu1 audispd - - [a b=\"",
        "{\"message\":\"type=CWD msg=audit(1.000:2): x\"}\n",
        "__CURSOR=s\n_TRANSPORT=audit\n",
        "MESSAGE\n\u{3}\0\0\0\0\0\0\0abc\n\n",
        "type=EOE msg=audit(1.000:2): \n",
        "type=",
        "[ 1.2] ",
        "----\n",
    ]
    .iter()
    .map(|text| text.as_bytes().to_vec())
    .collect();
    prop_oneof![4 => prop::sample::select(texts), 1 => prop::collection::vec(any::<u8>(), 0..40)]
}

#[test]
fn records_that_cr_alone_joins_are_not_one_record() {
    let joined = format!("{CWD}\r{CWD}\rnode=n {CWD}\n{CWD}\r\n");
    let (out, figures) = read(joined.as_bytes(), &[]);
    assert_eq!(out, format!("{CWD}\n{CWD}\n"));
    assert_eq!(figures.without[NoRecord::Joined as usize], 1);
    assert_eq!((figures.faults[0].line, figures.lines), (1, 2));
    for message in ["a\rb", "a\rtyp", "\rnode\r"] {
        let line = format!("type=USER_CMD msg=audit(1700000000.123:45): pid=1 msg='x={message}'\n");
        assert_eq!(read(line.as_bytes(), &[]).0, line);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn whatever_comes_in_what_goes_out_is_records(pieces in prop::collection::vec(piece(), 0..20)) {
        let (out, figures) = read(&pieces.concat(), &[]);
        for line in out.lines() {
            prop_assert!(parse_stamp(line.as_bytes(), &mut LastStamp::default()).is_ok(), "{line}");
        }
        prop_assert_eq!(out.is_empty(), figures.forms.iter().sum::<u64>() == 0);
    }

    #[test]
    fn it_does_not_matter_how_the_bytes_are_cut(
        pieces in prop::collection::vec(piece(), 0..20),
        cuts in prop::collection::vec(0usize..60, 0..40),
    ) {
        let bytes = pieces.concat();
        prop_assert_eq!(read(&bytes, &cuts), read(&bytes, &[]));
        prop_assert_eq!(read(&bytes, &vec![1; bytes.len()]), read(&bytes, &[]));
    }

    #[test]
    fn an_export_may_be_cut_anywhere(cuts in prop::collection::vec(0usize..60, 0..40)) {
        prop_assert_eq!(read(&export(), &cuts), read(&export(), &[]));
    }
}
