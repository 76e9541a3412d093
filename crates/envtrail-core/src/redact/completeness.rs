//! What decides whether a closer look is worth it overlooks nothing that the closer look would find.

use super::*;
use crate::event::{Event, Key, Record};
use proptest::prelude::*;
use std::path::Path;

const FORMS: [Form; 4] = [Form::Arguments, Form::Title, Form::Text, Form::Path];

fn would_change(text: &[u8], form: Form) -> bool {
    find(text, form).replace(&mut Counts::default()).is_some()
}

fn assert_not_overlooked(text: &[u8]) {
    for form in FORMS {
        assert!(
            may_hold_secret(text, form) || !would_change(text, form),
            "{form:?} {:?}",
            String::from_utf8_lossy(text)
        );
    }
}

/// Every text of the corpus, as a list of words as well.
fn corpus() -> Vec<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../tests/data/secrets");
    let mut texts = Vec::new();
    for file in std::fs::read_dir(folder).unwrap() {
        let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
        for line in text.lines().filter(|line| !line.starts_with('#')) {
            let line = line.replace(['⟦', '⟧'], "");
            match serde_json::from_str(&line).unwrap() {
                serde_json::Value::String(text) => texts.push(text),
                value => {
                    let words: Vec<String> = serde_json::from_value(value).unwrap();
                    texts.extend([words.join("\0"), words.join(" ")]);
                }
            }
        }
    }
    texts
}

#[test]
fn nothing_of_the_corpus_is_overlooked_wherever_it_is_cut() {
    let corpus = corpus();
    assert!(corpus.len() > 500, "{}", corpus.len());
    for text in corpus {
        let bytes = text.as_bytes();
        for at in 0..bytes.len() {
            assert_not_overlooked(&bytes[at..]);
            assert_not_overlooked(&bytes[..at]);
        }
        // Of a length at which the kernel cuts.
        let long = "x".repeat(127usize.saturating_sub(bytes.len() + 1)) + "\0" + &text;
        for at in 100..long.len() {
            assert_not_overlooked(&long.as_bytes()[..at]);
        }
    }
}

/// The pieces that texts with secrets are made of.
fn pieces() -> Vec<String> {
    let mut pieces: Vec<String> = [
        "=",
        ":",
        ": ",
        "=\"",
        "\": \"",
        "\"",
        "'",
        " ",
        "\0",
        "@",
        "://",
        "/",
        "(",
        ")",
        "[",
        "]",
        ",",
        ";",
        "|",
        "&",
        "?",
        "#",
        "-",
        "--",
        "_",
        ".",
        "\n",
        "\\",
        "é",
        "hunter2",
        "S3cret!",
        "a",
        "x1",
        "0123456789abcdef",
        "abcdefghijklmnopqrst",
        "https",
        "bob",
        "host.example",
        "localhost",
        "<redacted:token>",
        "<redac",
        "%",
        "<<<",
        "echo",
        "${X}",
        "-c",
        "-e",
        "--eval",
        "python",
        "bash",
        "sudo",
        "env",
        "node",
        "-----BEGIN RSA PRIVATE KEY-----",
        "https://h.example/t/abcdef0123/x",
        "https://api.telegram.org/bot12:abc/x",
        "-sSLu",
        "-Lu",
        "PATH",
        "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiIxMjM0In0.abcdefgh",
        "scott/tiger",
        "['",
        "','",
        "key",
        "\u{1f}",
    ]
    .map(str::to_owned)
    .to_vec();
    let words = names::ENDS
        .iter()
        .chain(&names::WORDS)
        .chain(&names::PARAMETERS)
        .chain(&names::HEADERS);
    pieces.extend(words.map(|word| (*word).to_owned()));
    pieces.extend(
        names::KEYS
            .iter()
            .flat_map(|word| [format!("{word}_key"), format!("{word}Key")]),
    );
    for row in programs::ROWS {
        let words = row
            .programs
            .iter()
            .chain(row.words)
            .chain(row.takes.options());
        pieces.extend(words.map(|word| word.replace('*', "")));
        if let programs::Takes::After(text) | programs::Takes::Joined(text) = row.takes {
            pieces.push(text.to_owned());
        }
    }
    let readers = programs::READERS
        .iter()
        .flat_map(|(program, option)| [*program, *option]);
    let calls = programs::SETTERS.iter().chain(&programs::SIGN_INS).copied();
    pieces.extend(readers.chain(calls).map(str::to_owned));
    pieces.extend(urls::HOOKS.map(|(text, _)| format!("https://{text}a/b/c")));
    pieces.extend(
        tokens::starts().map(|start| start.text().to_owned() + &"A1b2C3d4E5f6A7b8C9d0".repeat(4)),
    );
    pieces.extend(
        tokens::starts().map(|start| start.text().to_owned() + &"A1B2C3D4E5F6A7B8".repeat(4)),
    );
    pieces
}

fn text_of_pieces() -> impl Strategy<Value = String> {
    let gap = prop::sample::select(vec!["", "", " ", "\0", "=", ": ", "'", "\"", "-", "_"]);
    let case = prop::sample::select(vec![0, 0, 0, 1, 2]);
    let piece = (prop::sample::select(pieces()), case, gap).prop_map(|(piece, case, gap)| {
        let piece = match case {
            1 => piece.to_ascii_uppercase(),
            2 => piece
                .split_at_checked(1)
                .map(|(first, rest)| first.to_ascii_uppercase() + rest)
                .unwrap_or_default(),
            _ => piece,
        };
        piece + gap
    });
    prop::collection::vec(piece, 1..9).prop_map(|pieces| pieces.concat())
}

fn text_of_the_corpus() -> impl Strategy<Value = Vec<u8>> {
    let pair = (
        prop::sample::select(corpus()),
        prop::sample::select(corpus()),
    );
    (pair, any::<[prop::sample::Index; 4]>(), any::<u8>()).prop_map(|((one, other), at, byte)| {
        let (mut one, other) = (one.into_bytes(), other.into_bytes());
        if one.is_empty() || other.is_empty() {
            return one;
        }
        let (start, length) = (at[0].index(other.len()), at[1].index(40));
        let part = other[start..(start + length).min(other.len())].to_vec();
        let place = at[2].index(one.len());
        one.splice(place..(place + at[3].index(6)).min(one.len()), part);
        let last = one.len() - 1;
        one[place.min(last)] ^= byte & 0x20;
        one
    })
}

/// Records of a value at the places where one is rewritten: of a system call, of a command of sudo, of an exec.
fn records_of(value: &[u8], form: usize) -> (Vec<u8>, Vec<Record>) {
    let hex = |value: &[u8]| -> String { value.iter().map(|byte| format!("{byte:02X}")).collect() };
    let text = hex(value);
    let stamp = "audit(1764000000.123:77): ";
    let call = |number: u32| {
        format!("arch=c000003e syscall={number} success=yes exit=3 a0=1 items=2 ppid=10 pid=11 auid=1001 uid=1001 tty=pts0 ses=3 comm={text} exe=\"/bin/x\" key=(null)\x1dAUID=\"alice\"")
    };
    let words: Vec<&[u8]> = value.split(|byte| *byte == 0).collect();
    let arguments: String = words
        .iter()
        .enumerate()
        .map(|(at, word)| match word {
            [] => format!(" a{at}=\"\""),
            word => format!(" a{at}={}", hex(word)),
        })
        .collect();
    let bodies = match form {
        0 => vec![
            (1300, call(257)),
            (1307, format!("cwd={text}")),
            (1302, "item=0 name=\"/home/alice\" inode=1 mode=040755 ouid=0 nametype=PARENT".to_owned()),
            (1302, format!("item=1 name={text} inode=2 mode=0100644 ouid=0 nametype=CREATE")),
            (1327, format!("proctitle={text}")),
        ],
        1 => vec![(
            1123,
            format!("pid=9 uid=1001 auid=1001 ses=3 msg='cwd=\"/root\" cmd={text} exe=\"/usr/bin/sudo\" terminal=pts/0 res=success'"),
        )],
        _ => vec![
            (1300, call(59)),
            (1309, format!("argc={}{arguments}", words.len())),
            (1327, format!("proctitle={}", hex(value.get(..126).map_or(value, |_| b"x")))),
        ],
    };
    let mut bytes = Vec::new();
    let mut records = Vec::new();
    for (record_type, text) in bodies {
        let start = bytes.len() as u32;
        bytes.extend_from_slice(format!("type={record_type} msg={stamp}").as_bytes());
        let body = bytes.len() as u32;
        bytes.extend_from_slice(text.as_bytes());
        records.push(Record {
            record_type,
            start,
            body,
            end: bytes.len() as u32,
        });
        bytes.push(b'\n');
    }
    (bytes, records)
}

/// An event whose fields have a value is looked at where the value alone would be.
fn assert_event_not_overlooked(search: &mut Search, value: &[u8]) {
    for form in 0..3 {
        let (mut bytes, mut records) = records_of(value, form);
        let mut event = Event::default();
        event.read(Key::default(), &bytes, &records);
        let is_seen = event.may_hold_secret(search);
        let (argv, counts) = (&mut event.argv, &mut Counts::default());
        let count = crate::rewrite::redact_event(&mut bytes, &mut records, argv, counts);
        assert!(
            is_seen || count == 0,
            "{form} {:?}",
            String::from_utf8_lossy(value)
        );
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(20_000))]

    #[test]
    fn nothing_made_of_what_secrets_are_made_of_is_overlooked(text in text_of_pieces()) {
        assert_not_overlooked(text.as_bytes());
    }

    #[test]
    fn no_mixture_of_the_corpus_is_overlooked(text in text_of_the_corpus()) {
        assert_not_overlooked(&text);
    }

    #[test]
    fn no_text_at_all_is_overlooked(text in prop::collection::vec(any::<u8>(), 0..200), other in "[ -~]{0,80}") {
        assert_not_overlooked(&text);
        assert_not_overlooked(other.as_bytes());
    }

    #[test]
    fn no_event_is_overlooked(values in prop::collection::vec(text_of_pieces(), 1..4), lead in "[/a-z-]{0,120}") {
        let mut search = Search::default();
        for value in values {
            assert_event_not_overlooked(&mut search, value.as_bytes());
            // Longer than a title. (One that is cut and repeats the arguments is passed over: they are looked at.)
            assert_event_not_overlooked(&mut search, (lead.clone() + &value).as_bytes());
        }
    }
}
