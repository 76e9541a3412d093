//! Logins: one session each, named by who logged in, whatever ran in it and in whatever order its records are read.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use arrow_array::RecordBatch;
use envtrail_core::assembler::{Assembler, Options};
use envtrail_core::logins::Logins;
use serde_json::Value;
use std::collections::BTreeMap;

const BASE_S: u64 = 1_764_000_000;
const UNSET: u32 = u32::MAX;
const SSH: &str = "hostname=192.0.2.1 addr=192.0.2.1 terminal=ssh";

fn line(kind: &str, after_ms: u64, serial: u64, body: &str) -> String {
    let (s, ms) = (BASE_S + after_ms / 1000, after_ms % 1000);
    format!("type={kind} msg=audit({s}.{ms:03}:{serial}): {body}")
}

/// The kernel's LOGIN of session 3 of alice, by sshd's process 700.
fn login(after_ms: u64, serial: u64) -> String {
    line(
        "LOGIN",
        after_ms,
        serial,
        &format!("pid=700 uid=0 old-auid={UNSET} auid=1000 tty=(none) old-ses={UNSET} ses=3 res=1"),
    )
}

/// A record of a program in session 3 of login uid 1000.
fn said(kind: &str, after_ms: u64, serial: u64, pid: u32, message: &str) -> String {
    let body = format!("pid={pid} uid=0 auid=1000 ses=3 msg='{message}'");
    line(kind, after_ms, serial, &body)
}

fn sshd(kind: &str, after_ms: u64, serial: u64, op: &str) -> String {
    let message = format!("op={op} acct=\"alice\" exe=\"/usr/sbin/sshd\" {SSH} res=success");
    said(kind, after_ms, serial, 700, &message)
}

fn sudo(kind: &str, after_ms: u64, serial: u64) -> String {
    let message = "op=PAM:session_open acct=\"root\" exe=\"/usr/bin/sudo\" hostname=? addr=? terminal=/dev/pts/0 res=success";
    said(kind, after_ms, serial, 900, message)
}

fn boot(after_ms: u64, serial: u64) -> String {
    let body = format!("pid=1 uid=0 auid={UNSET} ses={UNSET} msg='res=success'");
    line("SYSTEM_BOOT", after_ms, serial, &body)
}

fn batch_of(lines: &[String]) -> RecordBatch {
    let mut assembler = Assembler::new(Options::default());
    for line in lines {
        assembler.push(format!("{line}\n").as_bytes());
        // In the order in which they are written here.
        assembler.flush();
    }
    assembler.drain().unwrap().events
}

/// Sessions by id, as a store holds them that follows what is given.
#[derive(Default)]
struct Kept(BTreeMap<String, Value>);

impl Kept {
    fn take(&mut self, logins: &mut Logins, lines: &[String]) {
        for line in lines {
            logins.begin(&batch_of(std::slice::from_ref(line)), "here", 4);
            logins.take_until(usize::MAX);
            let given: Vec<Value> = serde_json::from_slice(&logins.take_given()).unwrap();
            for session in given {
                if let Some(id) = session["replaces"].as_str() {
                    self.0.remove(id);
                }
                self.0
                    .insert(session["id"].as_str().unwrap().to_owned(), session);
            }
        }
    }

    /// `id user service remote terminal ended outcome`, of times what comes after the minute.
    fn shown(&self) -> Vec<String> {
        let base = BASE_S.to_string();
        let show = |session: &Value| {
            let texts = [
                "id", "user", "service", "remote", "terminal", "ended", "outcome",
            ];
            let texts = texts.map(|name| session[name].as_str().unwrap_or("-"));
            texts
                .join(" ")
                .replace(&base, "B")
                .replace("2025-11-24T16:", "")
        };
        self.0.values().map(show).collect()
    }
}

fn sessions(lines: &[String]) -> Vec<String> {
    let (mut logins, mut kept) = (Logins::new(100), Kept::default());
    kept.take(&mut logins, lines);
    kept.shown()
}

fn orders(lines: &[String]) -> Vec<Vec<String>> {
    if lines.len() < 2 {
        return vec![lines.to_vec()];
    }
    let mut out = Vec::new();
    for at in 0..lines.len() {
        let mut rest = lines.to_vec();
        let first = rest.remove(at);
        for mut order in orders(&rest) {
            order.insert(0, first.clone());
            out.push(order);
        }
    }
    out
}

fn whole() -> Vec<String> {
    vec![
        login(0, 10),
        sshd("USER_START", 50, 11, "PAM:session_open"),
        sshd("USER_LOGIN", 80, 12, "login"),
        sudo("USER_START", 5_000, 13),
        sshd("USER_END", 60_000, 20, "PAM:session_close"),
    ]
}

const ENDED: &str = "here/B000/3 alice sshd 192.0.2.1 ssh 01:00.000Z success";
const OPEN: &str = "here/B000/3 alice sshd 192.0.2.1 ssh - unknown";

#[test]
fn a_login_is_one_session_in_every_order_of_its_records() {
    for order in orders(&whole()) {
        assert_eq!(sessions(&order), [ENDED], "{order:?}");
    }
    for order in orders(&whole()[1..]) {
        let shown = ENDED.replace("B000", "B050");
        assert_eq!(sessions(&order), [shown], "{order:?}");
    }
}

#[test]
fn a_session_says_where_it_begins_and_what_it_replaces() {
    let (mut logins, mut kept) = (Logins::new(100), Kept::default());
    kept.take(&mut logins, &whole()[1..2]);
    assert_eq!(kept.shown(), [OPEN.replace("B000", "B050")]);
    logins.begin(&batch_of(&whole()[..1]), "here", 5);
    logins.take_until(usize::MAX);
    let given = String::from_utf8(logins.take_given()).unwrap();
    let given: Vec<Value> = serde_json::from_str(&given).unwrap();
    assert_eq!(given[0]["replaces"], format!("here/{BASE_S}050/3"));
    assert_eq!(
        (&given[0]["session"], &given[0]["auid"]),
        (&3.into(), &1000.into())
    );
    assert_eq!(given[0]["host"], "here");
    assert_eq!(given[0]["started"], "2025-11-24T16:00:00.000Z");
    let evidence = serde_json::json!([{"segment": 5, "serial": 10, "time_ms": BASE_S * 1000}]);
    assert_eq!(given[0]["evidence"], evidence);
    assert_eq!(logins.take_given(), b"[]");
}

#[test]
fn what_is_read_again_changes_nothing() {
    let (mut logins, mut kept) = (Logins::new(100), Kept::default());
    kept.take(&mut logins, &whole());
    logins.begin(&batch_of(&whole()), "here", 4);
    logins.take_until(usize::MAX);
    assert_eq!(logins.take_given(), b"[]");
    logins.turn();
    logins.begin(&batch_of(&whole()), "here", 4);
    logins.take_until(usize::MAX);
    assert_eq!(logins.take_given(), b"[]");
}

#[test]
fn what_ran_in_a_login_neither_names_nor_ends_it() {
    let nobody = "here/B000/3 - - - - - unknown";
    assert_eq!(sessions(&[sudo("USER_START", 0, 1)]), [nobody]);
    assert_eq!(
        sessions(&[sudo("USER_START", 0, 1), sudo("USER_END", 9, 2)]),
        [nobody]
    );
    let named = sudo("USER_START", 0, 1) + "\u{1d}UID=\"root\" AUID=\"alice\"";
    assert_eq!(sessions(&[named]), ["here/B000/3 alice - - - - unknown"]);
    for name in ["unknown(1000)", "1000"] {
        let named = sudo("USER_START", 0, 1) + &format!("\u{1d}UID=\"root\" AUID=\"{name}\"");
        assert_eq!(sessions(&[named]), [nobody], "{name}");
    }
    let mut channel = whole();
    channel[4] = sshd("USER_END", 60_000, 20, "login");
    assert_eq!(sessions(&channel), [OPEN]);
    channel.push(sshd("USER_END", 70_000, 21, "PAM:session_close"));
    assert_eq!(sessions(&channel), [ENDED.replace("01:00", "01:10")]);
}

#[test]
fn without_a_pam_session_the_last_logout_ends_it() {
    let out = |after_ms| sshd("USER_LOGOUT", after_ms, 20, "login");
    let begun = [login(0, 10), sshd("USER_LOGIN", 80, 12, "login")];
    for ends in [[out(30_000), out(60_000)], [out(60_000), out(30_000)]] {
        assert_eq!(sessions(&[&begun[..], &ends[..]].concat()), [ENDED]);
    }
}

#[test]
fn only_who_can_be_of_the_login_uid_opens_it() {
    let samba = |account: &str, pid| {
        let message = format!(
            "op=PAM:session_open acct=\"{account}\" exe=\"/usr/sbin/smbd\" {SSH} res=success"
        );
        said("USER_START", 20, 30, pid, &message)
    };
    let opened = "here/B020/3 alice@CORP smbd 192.0.2.1 ssh - unknown";
    assert_eq!(sessions(&[samba("alice@CORP", 990)]), [opened]);
    assert_eq!(
        sessions(&[samba("root", 990)]),
        ["here/B020/3 - - - - - unknown"]
    );
    let named = samba("bob", 990) + "\u{1d}UID=\"root\" AUID=\"alice\"";
    assert_eq!(sessions(&[named]), ["here/B020/3 alice - - - - unknown"]);
    let named = samba("AD\\Alice", 990) + "\u{1d}UID=\"root\" AUID=\"alice\"";
    assert_eq!(
        sessions(&[named]),
        ["here/B020/3 alice smbd 192.0.2.1 ssh - unknown"]
    );
    // The process that set the login uid is the opener's.
    let begun = &whole()[..2];
    assert_eq!(sessions(&[begun, &[samba("alice", 990)]].concat()), [OPEN]);
    assert_eq!(
        sessions(&[login(0, 10), samba("alice", 700)]),
        ["here/B000/3 alice smbd 192.0.2.1 ssh - unknown"]
    );
}

#[test]
fn a_login_that_failed_says_so_and_one_without_a_number_is_none() {
    let failed = sshd("USER_START", 50, 11, "PAM:session_open").replace("success", "failed");
    assert_eq!(
        sessions(&[login(0, 10), failed]),
        ["here/B000/3 - sshd - - - failure"]
    );
    let unset = |line: String| line.replace(" ses=3", &format!(" ses={UNSET}"));
    assert!(sessions(&[unset(login(0, 10)), unset(whole()[1].clone())]).is_empty());
}

#[test]
fn a_boot_begins_the_numbers_anew_and_so_does_what_opens_again() {
    let (begun, whole, booted) = (&whole()[..2], &whole()[..], &[boot(300_000, 1)][..]);
    let again = &[sshd("USER_START", 400_000, 7, "PAM:session_open")][..];
    let inside = &[sudo("USER_START", 400_000, 7)][..];
    let login_again = &[login(86_400_000, 5)][..];
    for (parts, count) in [
        (vec![begun, again], 1),
        (vec![begun, booted, again], 2),
        (vec![booted, again, begun], 2),
        (vec![whole, again], 2),
        (vec![whole, inside], 1),
        (vec![whole, login_again], 2),
        (vec![login_again, whole], 2),
    ] {
        let shown = sessions(&parts.concat());
        assert_eq!(shown.len(), count, "{parts:?}");
        assert!(shown[0].starts_with("here/B"), "{shown:?}");
    }
    let second = format!("here/{}000/3 alice sshd", BASE_S + 400);
    let shown = sessions(&[begun, booted, again].concat());
    assert!(
        shown.iter().any(|one| one.starts_with(&second)),
        "{shown:?}"
    );
}

#[test]
fn a_clock_that_is_set_back_within_a_login_makes_no_second_session() {
    let begun = [
        login(3_600_000, 10),
        sshd("USER_START", 3_600_050, 11, "PAM:session_open"),
    ];
    let ended = sshd("USER_END", 60_000, 20, "PAM:session_close");
    let shown = sessions(&[&begun[..], std::slice::from_ref(&ended)].concat());
    assert_eq!(shown.len(), 1);
    // It ends no sooner than it began.
    assert!(
        shown[0].contains(" 2025-11-24T17:00:00.000Z success"),
        "{shown:?}"
    );
    let (mut logins, mut kept) = (Logins::new(100), Kept::default());
    kept.take(&mut logins, &begun);
    logins.turn();
    kept.take(&mut logins, &[ended]);
    assert_eq!(kept.0.len(), 2);
}

#[test]
fn records_without_a_number_are_of_the_process_that_logged_in() {
    let old = |after_ms, serial, pid: u32, auid: u32| {
        let message = format!(
            "PAM: session open acct=\"alice\" : exe=\"/usr/sbin/sshd\" ({})",
            SSH.replace(' ', ", ") + " res=success"
        );
        line(
            "USER_START",
            after_ms,
            serial,
            &format!("user pid={pid} uid=0 auid={auid} msg='{message}'"),
        )
    };
    let (own, others, persons) = (
        old(50, 11, 700, 1000),
        old(60, 12, 701, 1000),
        old(70, 13, 700, 1001),
    );
    for order in orders(&[login(0, 10), own.clone(), others, persons]) {
        assert_eq!(sessions(&order), [OPEN], "{order:?}");
    }
    let late = login(61_000, 19);
    assert_eq!(
        sessions(&[own.clone(), late])[0].split(' ').nth(1),
        Some("-")
    );
    let mut logins = Logins::new(100);
    Kept::default().take(&mut logins, std::slice::from_ref(&own));
    assert_eq!(logins.unplaced(), 1);
    Kept::default().take(&mut logins, &[login(0, 10)]);
    assert_eq!(logins.unplaced(), 0);
    let unnumbered = line(
        "LOGIN",
        0,
        10,
        &format!("login pid=700 uid=0 old auid={UNSET} new auid=1000"),
    );
    for order in orders(&[unnumbered, own]) {
        assert_eq!(
            sessions(&order),
            [OPEN.replace("B000/3", "B000/pid700")],
            "{order:?}"
        );
    }
}

#[test]
fn a_login_is_found_from_its_begin_to_the_next_boot_as_far_as_its_records_were_taken() {
    let mut logins = Logins::new(100);
    let lines = [&whole()[..2], &[boot(300_000, 1)]].concat();
    logins.begin(&batch_of(&lines), "here", 4);
    let find = |logins: &Logins, after_ms: u64| {
        let found = logins.find("here", 3, Some(1000), (BASE_S * 1000 + after_ms) as i64)?;
        Some((found.auid, found.user, found.remote))
    };
    assert_eq!(find(&logins, 100), None);
    logins.take_until(1);
    assert_eq!(find(&logins, 100), Some((Some(1000), None, None)));
    logins.take_until(2);
    let alice = Some((
        Some(1000),
        Some("alice".to_owned()),
        Some("192.0.2.1".to_owned()),
    ));
    assert_eq!(find(&logins, 100), alice);
    assert_eq!(find(&logins, 400_000), alice);
    logins.take_until(usize::MAX);
    assert_eq!(find(&logins, 299_999), alice);
    assert_eq!(find(&logins, 300_000), None);
    let found = |node, number, auid| logins.find(node, number, auid, BASE_S as i64 * 1000);
    assert!(found("here", 3, Some(1000)).is_some());
    assert!(found("there", 3, Some(1000)).is_none());
    assert!(found("here", 4, Some(1000)).is_none());
    assert!(found("here", 3, None).is_none());
}

#[test]
fn what_goes_on_is_taken_up_in_the_next_segment_and_what_has_ended_is_not() {
    for cut in 1..5 {
        let (mut logins, mut kept) = (Logins::new(100), Kept::default());
        kept.take(&mut logins, &[&[boot(0, 1)], &whole()[..cut]].concat());
        let saved = logins.save().unwrap();
        let mut logins = Logins::new(100);
        logins.restore(&saved).unwrap();
        kept.take(&mut logins, &whole()[cut..]);
        assert_eq!(kept.shown(), [ENDED], "{cut}");
        let saved: Value = serde_json::from_str(&logins.save().unwrap()).unwrap();
        assert_eq!(saved["logins"], serde_json::json!([]));
        assert_eq!(saved["boots"]["here"], serde_json::json!([BASE_S * 1000]));
    }
    assert!(Logins::new(1).restore("[]").is_err());
}

#[test]
fn those_that_have_ended_are_forgotten_before_those_that_go_on() {
    let mut logins = Logins::new(4);
    let mut kept = Kept::default();
    kept.take(&mut logins, &whole()[..2]);
    let of = |number: u32| {
        let lines = whole()
            .into_iter()
            .map(|line| line.replace("ses=3", &format!("ses={number}")));
        lines.collect::<Vec<_>>()
    };
    for number in 10..20 {
        kept.take(&mut logins, &of(number));
    }
    let is_known = |number| {
        let found = logins.find("here", number, Some(1000), BASE_S as i64 * 1000 + 100);
        found.is_some()
    };
    assert!(is_known(3));
    let known: Vec<u32> = (10..20).filter(|number| is_known(*number)).collect();
    assert_eq!(known, [17, 18, 19]);
}
