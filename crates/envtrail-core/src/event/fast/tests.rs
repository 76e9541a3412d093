use super::*;
use crate::event::Record;
use crate::types;
use proptest::prelude::*;

const SYSCALLS: [&str; 4] = [
    "arch=c000003e syscall=59 success=yes exit=0 a0=55d0c8a0f2a0 a1=0 a2=7ffe a3=8 items=2 ppid=7 pid=19 auid=1001 uid=0 gid=0 euid=0 \
     suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 tty=pts0 ses=4294967295 comm=\"pip\" exe=\"/usr/bin/python3.11\" key=\"k\"\u{1d}ARCH=x86_64 \
     SYSCALL=execve AUID=\"alice\" UID=\"root\" GID=\"root\" EUID=\"root\" SUID=\"root\"",
    "arch=c000003e syscall=231 a0=ff a1=e7 a2=3c a3=0 items=0 ppid=6359 pid=4294967296 auid=4294967295 uid=0 gid=0 euid=0 suid=0 fsuid=0 \
     egid=0 sgid=0 fsgid=0 tty=(none) ses=3 comm=6120622E exe=(null) subj=unconfined key=(null)",
    "arch=40000003 syscall=5 per=400000 success=no exit=-13 a0=1 a1=2 a2=3 a3=4 items=1 ppid=1 pid=2 auid=3 uid=4 gid=5 euid=6 suid=7 \
     fsuid=8 egid=9 sgid=1 fsgid=2 tty=ttyS0 ses=1 comm=\"a\" exe=\"/a b\" subj=a:b:c key=6101620A\u{1d}",
    "arch=c00000b7 syscall=221 success=yes exit=18446744073709551615 a0=0 a1=\"x\" a2='y' a3={z} items=1 ppid=99999999999999999999 pid= \
     auid=-1 uid=00000000000000000001001 gid=0x1",
];
const PATHS: [&str; 3] = [
    "item=0 name=\"/bin/sh\" inode=247072 dev=fe:00 mode=0100755 ouid=0 ogid=0 rdev=00:00 nametype=NORMAL cap_fp=0 cap_fe=0\u{1d}OUID=\"root\"",
    "item=12 name=2F612062 inode=1 dev=fe:00 mode=040755 ouid=4294967295 ogid=0 rdev=00:00 obj=a:b nametype=CREATE name=\"/x\"",
    "item=1 name=(null) inode=18446744073709551616 dev=fe:00 mode=9 ouid=1 ogid=0 rdev=00:00 nametype=",
];

const TEXTS: [&str; 8] = [
    "cwd=\"/home/alice\"",
    "cwd=\"/srv/x (deleted)\"",
    "cwd=2F612062",
    "cwd=(null)",
    "proctitle=707974686F6E002D6D00706970",
    "proctitle=\"bash\"",
    "fver=0 fp=0 old_pp=000001fffeffffff frootid=0",
    "fver=0 fp=0 old_pp=000001fffeffffff pid=7",
];

/// A line, cut, with bytes of it changed or left out.
fn mutated(lines: &'static [&'static str]) -> impl Strategy<Value = Vec<u8>> {
    let place = any::<prop::sample::Index>();
    let byte = prop_oneof![
        any::<u8>(),
        prop::sample::select(b" =\"'{0919afAF(\x1d-".to_vec())
    ];
    let changes = prop::collection::vec((place, 0..4u8, byte), 0..4);
    (prop::sample::select(lines.to_vec()), changes).prop_map(|(line, changes)| {
        let mut bytes = line.as_bytes().to_vec();
        for (place, what, byte) in changes {
            let at = place.index(bytes.len().max(1));
            match what {
                _ if bytes.is_empty() => {}
                0 => bytes[at] = byte,
                1 => bytes.insert(at, byte),
                2 => drop(bytes.remove(at)),
                _ => bytes.truncate(at),
            }
        }
        bytes
    })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

    #[test]
    fn a_system_call_reads_the_same_by_order_and_by_name(first in mutated(&SYSCALLS), second in mutated(&SYSCALLS)) {
        let (mut by_order, mut by_name) = (Event::default(), Event::default());
        // The second one finds what the first left.
        for body in [first, second] {
            let kept = by_order.fields.len();
            let rest = by_order.begin_syscall(&body);
            let rest = by_order.begin_names(rest);
            by_order.read_syscall_fields(rest, kept);
            by_name.read_syscall_fields(&body, kept);
            let shown = format!("{by_order:?}").replace("repeated: Some()", "repeated: None");
            prop_assert_eq!(shown, format!("{by_name:?}"));
        }
    }

    #[test]
    fn a_system_call_reads_the_same_whatever_was_read_before(bodies in prop::collection::vec(mutated(&SYSCALLS[..1]), 1..5)) {
        let mut event = Event::default();
        // Most are of the one session, byte for byte.
        let usual = [SYSCALLS[0].as_bytes().to_vec(), SYSCALLS[0].as_bytes().to_vec()];
        for body in usual.into_iter().chain(bodies) {
            let mut by_name = Event::default();
            by_name.read_syscall_fields(&body, 0);
            event.clear();
            let rest = event.begin_syscall(&body);
            let rest = event.begin_names(rest);
            event.read_syscall_fields(rest, 0);
            let shown = format!("{event:?}").replace("repeated: Some()", "repeated: None");
            prop_assert_eq!(shown, format!("{by_name:?}"));
        }
    }

    #[test]
    fn a_folder_a_title_and_capabilities_read_the_same_whatever_was_read_before(bodies in prop::collection::vec(mutated(&TEXTS), 1..5)) {
        let mut event = Event::default();
        for body in bodies.iter().chain(&bodies).chain([bodies[0].clone()].iter()) {
            for record_type in [types::CWD, types::PROCTITLE, types::BPRM_FCAPS] {
                let mut fresh = Event::default();
                let record = Record { record_type, start: 0, body: 0, end: body.len() as u32 };
                event.clear();
                event.read_record(body, &record);
                fresh.read_record(body, &record);
                let shown = |event: &Event| format!("{event:?}").replace("repeated: Some()", "repeated: None");
                prop_assert_eq!(shown(&event), shown(&fresh));
            }
        }
    }

    #[test]
    fn a_path_reads_the_same_by_order_and_by_name(body in mutated(&PATHS)) {
        let (mut by_order, mut by_name) = (Event::default(), Event::default());
        for body in [PATHS[0].as_bytes(), &body, &body, PATHS[0].as_bytes(), &body] {
            let (mut one, mut other) = (PathItem::default(), PathItem::default());
            let rest = by_order.begin_path(&mut one, body);
            by_order.read_path_fields(&mut one, rest);
            by_name.read_path_fields(&mut other, body);
            let shown = format!("{by_order:?} {one:?}").replace("repeated: Some()", "repeated: None");
            prop_assert_eq!(shown, format!("{by_name:?} {other:?}"));
        }
    }
}

#[test]
fn what_the_kernel_writes_is_read_by_order_to_its_end() {
    for (line, rest) in [
        (SYSCALLS[0], "\u{1d}ARCH=x86_64"),
        (SYSCALLS[2], " per=400000"),
    ] {
        let left = Event::default().begin_syscall(line.as_bytes()).to_vec();
        assert!(
            left.starts_with(rest.as_bytes()),
            "{}",
            String::from_utf8_lossy(&left)
        );
    }
    assert_eq!(Event::default().begin_syscall(SYSCALLS[1].as_bytes()), b"");
    let path = PATHS[0].as_bytes();
    assert_eq!(
        Event::default().begin_path(&mut PathItem::default(), path),
        b""
    );
}
