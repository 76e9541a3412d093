//! Names that auditd adds: read in every form, and made by nobody else.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{argv, event, events, field, hex, keys, text};
use envtrail_core::event::Kind;
use proptest::prelude::*;

const STAMP: &str = "msg=audit(1700000000.000:100):";

fn syscall(comm: &str, exe: &str, end: &str) -> String {
    format!("type=SYSCALL {STAMP} arch=c000003e syscall=59 success=yes exit=0 a0=1 items=2 ppid=1 pid=2000 auid=1000 uid=1000 euid=1000 gid=1000 tty=pts0 ses=3 comm={comm} exe={exe}{end}")
}

#[test]
fn names_are_read_where_the_byte_became_a_blank() {
    let read = events(include_str!("cases/13_blank_for_1d.log"));
    assert_eq!(read.len(), 2);
    for (event, kind, rules) in [
        (&read[0], Kind::Exec, vec![]),
        (&read[1], Kind::Exit, vec!["x"]),
    ] {
        for name in ["AUID", "UID", "EUID"] {
            assert_eq!(field(event, name).as_deref(), Some("alice"));
        }
        assert_eq!(keys(event), rules);
        // The number is the kernel's; the name in this log is a copy's mistake.
        assert_eq!(event.kind, kind);
    }
}

#[test]
fn names_and_capabilities_of_one_program_keep_their_own_values() {
    let added =
        "\u{1d}ARCH=x86_64 SYSCALL=execve AUID=\"alice\" UID=\"bob\" GID=\"bob\" EUID=\"root\"";
    let call = syscall("\"ping\"", "\"/bin/ping\"", &format!(" key=(null){added}"));
    let capabilities = format!("type=BPRM_FCAPS {STAMP} fver=2 fp=2000 old_pp=0");
    let event = event(&format!("{call}\n{capabilities}"));
    for (name, value) in [
        ("AUID", "alice"),
        ("UID", "bob"),
        ("EUID", "root"),
        ("fver", "2"),
        ("fp", "2000"),
        ("old_pp", "0"),
    ] {
        assert_eq!(field(&event, name).as_deref(), Some(value), "{name}");
    }
}

#[test]
fn names_are_read_in_every_form_and_the_field_before_keeps_its_own_value() {
    for between in ["\u{1d}", " ", ""] {
        for (key, rules) in [
            ("(null)", vec![]),
            ("\"a\"", vec!["a"]),
            ("610162", vec!["a", "b"]),
        ] {
            let line = syscall("\"pip\"", "\"/usr/bin/pip\"", &format!(" key={key}{between}ARCH=x86_64 SYSCALL=execve AUID=\"alice\" UID=\"alice\" EUID=\"root\""));
            let event = event(&line);
            assert_eq!(keys(&event), rules, "{line}");
            let reported = ["AUID", "UID", "EUID"].map(|name| field(&event, name).unwrap());
            assert_eq!(reported, ["alice", "alice", "root"], "{line}");
        }
        let user = event(&format!("type=USER_START {STAMP} pid=1 uid=0 auid=1000 ses=3 msg='op=PAM:session_open acct=\"alice\" exe=\"/bin/login\" hostname=? addr=? terminal=tty1 res=success'{between}UID=\"root\" AUID=\"alice\""));
        assert_eq!(user.success, Some(true));
        assert_eq!(field(&user, "res").as_deref(), Some("success"));
        assert_eq!(field(&user, "AUID").as_deref(), Some("alice"));
        assert_eq!(field(&user, "UID").as_deref(), Some("root"));
        let rule = event(&format!("type=CONFIG_CHANGE {STAMP} auid=1000 ses=3 op=add_rule key=(null) list=4 res=1{between}AUID=\"alice\""));
        assert_eq!(rule.success, Some(true));
        assert_eq!(field(&rule, "AUID").as_deref(), Some("alice"));
        let path = event(&format!("type=PATH {STAMP} item=0 name=\"/x\" inode=1 dev=08:01 mode=040755 ouid=0 ogid=0 rdev=00:00 nametype=CREATE{between}OUID=\"root\" OGID=\"root\""));
        assert_eq!(
            text(&path, path.paths[0].nametype).as_deref(),
            Some("CREATE")
        );
        let address = event(&format!("type=SOCKADDR {STAMP} saddr=020000160A0102030000000000000000{between}SADDR={{ saddr_fam=inet laddr=10.1.2.3 lport=22 }}"));
        assert_eq!(text(&address, address.address).as_deref(), Some("10.1.2.3"));
    }
}

#[test]
fn a_call_without_a_known_number_is_what_its_name_says() {
    let line = |arch: &str, call: &str, name: &str| {
        format!("type=SYSCALL {STAMP} arch={arch} syscall={call} a0=7 pid=1 key=\"x\"\u{1d}ARCH=new SYSCALL={name} AUID=\"alice\"")
    };
    for (arch, call, name, kind) in [
        ("c0000999", "3", "exit_group", Kind::Exit),
        ("c0000999", "3", "execveat", Kind::Exec),
        ("c000003e", "999", "execve", Kind::Exec),
        ("c000003e", "83", "execve", Kind::File),
        ("c0000999", "3", "mkdir", Kind::File),
    ] {
        assert_eq!(
            event(&line(arch, call, name)).kind,
            kind,
            "{arch} {call} {name}"
        );
    }
    assert_eq!(
        field(&event(&line("c0000999", "3", "mkdir")), "SYSCALL").as_deref(),
        Some("mkdir")
    );
    assert_eq!(
        field(&event(&line("c000003e", "83", "mkdir")), "SYSCALL"),
        None
    );
}

#[test]
fn programs_begin_and_end_on_machines_of_other_kinds() {
    for (log, arch) in [
        (include_str!("cases/11_arch_armv7.log"), 0x4000_0028),
        (include_str!("cases/11_arch_ppc64le.log"), 0xc000_0015),
        (include_str!("cases/11_arch_s390x.log"), 0x8000_0016),
    ] {
        let read = events(log);
        let kinds: Vec<_> = read
            .iter()
            .map(|event| (event.kind, event.success))
            .collect();
        let expected = [
            (Kind::Exec, Some(true)),
            (Kind::Exec, Some(false)),
            (Kind::Exit, None),
        ];
        assert_eq!(kinds, expected);
        assert_eq!(read[0].arch, Some(arch));
        assert_eq!(read[2].a0, Some(1));
    }
}

#[test]
fn no_place_that_a_user_fills_makes_a_name() {
    let forged = "a AUID=\"root\"";
    let real = "\u{1d}ARCH=x86_64 SYSCALL=execve AUID=\"alice\"";
    for (name, line) in [
        ("comm", syscall(&hex(forged), "\"/x\"", " key=(null)")),
        ("comm, quoted", syscall("\"a AUID=root \u{1d}AUID=root\"", "\"/x\"", " key=(null)")),
        ("exe", syscall("\"x\"", &hex(&format!("/{forged}\u{1d}AUID=\"root\"")), " key=(null)")),
        ("label", syscall("\"x\"", "\"/x\"", &format!(" subj={forged} key=(null)"))),
        ("label with the byte", syscall("\"x\"", "\"/x\"", " subj=a\u{1d}AUID=\"root\" key=(null)")),
        ("program", format!("type=USER_AUTH {STAMP} pid=1 uid=0 auid=1000 ses=3 msg='op=x acct=\"{forged}\" hostname={forged} res=success'")),
        ("program with the byte", format!("type=USER_AUTH {STAMP} pid=1 uid=0 auid=1000 ses=3 msg='op=x hostname=a\u{1d}AUID=\"root\" res=success'")),
        ("program with a quote", format!("type=USER_AUTH {STAMP} pid=1 uid=0 auid=1000 ses=3 msg='op=x hostname=a'\u{1d}AUID=\"root\" UID=\"root\"'")),
        ("program with a quote and a blank", format!("type=USER_AUTH {STAMP} pid=1 uid=0 auid=1000 ses=3 msg='op=x hostname=a' AUID=\"root\" UID=\"root\"'")),
    ] {
        assert_eq!(field(&event(&line), "AUID"), None, "{name}");
        let both = event(&(line + real));
        assert_eq!(field(&both, "AUID").as_deref(), Some("alice"), "{name}");
    }
    let argument = format!(
        "{}\ntype=EXECVE {STAMP} argc=2 a0=\"x\" a1={}",
        syscall("\"x\"", "\"/x\"", " key=(null)"),
        hex("\u{1d}AUID=\"root\"")
    );
    let event = event(&argument);
    assert_eq!(field(&event, "AUID"), None);
    assert_eq!(argv(&event), ["x", "\u{1d}AUID=\"root\""]);
}

/// As the kernel writes a string that a user chose.
fn untrusted(value: &str) -> String {
    if value
        .bytes()
        .all(|byte| (0x21..0x7f).contains(&byte) && byte != b'"')
    {
        format!("\"{value}\"")
    } else {
        hex(value)
    }
}

const HOSTILE: &str = "[ -~]{0,6}(\u{1d}| |'|\")?(AUID|UID|SYSCALL|auid|key|res|uid)?=?\"?(root|0|exit_group)?\"?( |'|\u{1d})?(AUID=\"root\")?'?";

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, ..ProptestConfig::default() })]

    #[test]
    fn nothing_that_a_user_writes_makes_another_person(comm in HOSTILE, exe in HOSTILE, argument in HOSTILE, key in HOSTILE, said in HOSTILE, is_named in any::<bool>(), between in "(\u{1d}| )") {
        let names = if is_named { format!("{between}ARCH=x86_64 SYSCALL=execve AUID=\"alice\" UID=\"bob\"") } else { String::new() };
        let line = syscall(&untrusted(&comm), &untrusted(&exe), &format!(" key={}{names}", untrusted(&key)));
        let read = event(&format!("{line}\ntype=EXECVE {STAMP} argc=1 a0={}", untrusted(&argument)));
        let expected = is_named.then(|| "alice".to_owned());
        prop_assert_eq!(field(&read, "AUID"), expected);
        prop_assert_eq!(field(&read, "UID"), is_named.then(|| "bob".to_owned()));
        prop_assert_eq!((read.auid, read.uid, read.pid, read.ses), (Some(1000), Some(1000), Some(2000), Some(3)));
        prop_assert_eq!(read.kind, Kind::Exec);
        prop_assert_eq!(argv(&read), vec![argument]);

        let names = if is_named { "\u{1d}UID=\"bob\" AUID=\"alice\"" } else { "" };
        let user = event(&format!("type=USER_AUTH {STAMP} pid=1 uid=0 auid=1000 ses=3 msg='op=x acct={} hostname={said} addr=? terminal=ssh res=failed'{names}", untrusted(&comm)));
        prop_assert_eq!(field(&user, "AUID"), is_named.then(|| "alice".to_owned()));
        prop_assert_eq!(field(&user, "UID"), is_named.then(|| "bob".to_owned()));
        prop_assert_eq!((user.auid, user.uid, user.pid, user.ses), (Some(1000), Some(0), Some(1), Some(3)));
        prop_assert_eq!(user.kind, Kind::User);
    }

    #[test]
    fn no_body_makes_it_panic(body in "[ -~\u{1d}]{0,200}", kind in "(SYSCALL|EXECVE|PATH|CWD|LOGIN|USER_AUTH|SOCKADDR|PROCTITLE|CONFIG_CHANGE)", more in "( a[0-9]{1,10}(\\[[0-9]{1,10}\\])?=(\"[a-z]*\"|[0-9A-F]{0,8})){0,4}") {
        event(&format!("type={kind} {STAMP} {body}\ntype={kind} {STAMP} argc=4294967295{more}\ntype=CWD {STAMP} cwd=\"/\""));
    }
}

#[test]
fn what_auditd_says_of_no_account_is_no_name() {
    for between in ["\u{1d}", " "] {
        let line = syscall("\"pip\"", "\"/usr/bin/pip\"", &format!(" key=(null){between}ARCH=x86_64 SYSCALL=execve AUID=\"unknown(1000)\" UID=\"root\" GID=\"root\" EUID=\"unknown(7)\" SUID=\"root\""));
        let event = event(&line);
        let names = ["AUID", "UID", "EUID"].map(|name| field(&event, name));
        assert_eq!(names, [None, Some("root".to_owned()), None]);
    }
    let user = event(&format!("type=USER_START {STAMP} pid=1 uid=0 auid=1000 ses=3 msg='op=PAM:session_open acct=\"alice\" res=success'\u{1d}UID=\"root\" AUID=\"unknown(1000)\""));
    assert_eq!(field(&user, "AUID"), None);
}
