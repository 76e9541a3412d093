//! What an event lacks of which only some records were read.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::event;
use envtrail_core::types::{follows_call, known_name};
use proptest::prelude::*;

const OPENED: [&str; 5] = [
    "type=SYSCALL msg=audit(1700000000.001:7): arch=c000003e syscall=257 success=yes exit=3 items=2 ppid=1 pid=42 auid=1000 uid=0 ses=3 comm=\"touch\" exe=\"/bin/touch\" key=\"x\"",
    "type=CWD msg=audit(1700000000.001:7): cwd=\"/\"",
    "type=PATH msg=audit(1700000000.001:7): item=0 name=\"/etc/\" inode=1 mode=040755 ouid=0 nametype=PARENT",
    "type=PATH msg=audit(1700000000.001:7): item=1 name=\"/etc/x\" inode=2 mode=0100644 ouid=0 nametype=CREATE",
    "type=PROCTITLE msg=audit(1700000000.001:7): proctitle=746F756368",
];

/// One record of a type, as far as this is about its type.
fn of_type(number: u16) -> String {
    let name = known_name(number).expect("a name");
    format!("type={name} msg=audit(1700000000.001:7): a=1")
}

#[test]
fn companions_without_their_system_call_are_no_whole_event() {
    for lines in [&OPENED[1..], &OPENED[2..], &OPENED[3..], &OPENED[4..]] {
        assert_eq!(event(&lines.join("\n")).missing & 1, 1, "{lines:?}");
    }
    assert_eq!(event(&OPENED.join("\n")).missing, 0);
    for number in (1300..1400).filter(|number| known_name(*number).is_some()) {
        let is_missing = event(&of_type(number)).missing & 1 == 1;
        assert_eq!(
            is_missing,
            follows_call(number) || number == 1320,
            "{number}"
        );
    }
}

#[test]
fn what_the_kernel_sends_without_a_system_call_is_whole() {
    let alone = [
        "type=AVC msg=audit(1700000000.001:7): avc:  denied  { read } for  pid=42 comm=\"x\" name=\"y\" dev=\"sda1\" ino=3 tclass=file",
        "type=SECCOMP msg=audit(1700000000.001:7): auid=1000 uid=1000 gid=1000 ses=3 pid=42 comm=\"x\" exe=\"/bin/x\" sig=31 arch=c000003e syscall=9 compat=0 ip=0x7 code=0x0",
        "type=ANOM_ABEND msg=audit(1700000000.001:7): auid=1000 uid=1000 gid=1000 ses=3 pid=42 comm=\"x\" exe=\"/bin/x\" sig=11 res=1",
        "type=CONFIG_CHANGE msg=audit(1700000000.001:7): auid=1000 ses=3 op=add_rule key=\"x\" list=4 res=1",
        "type=BPF msg=audit(1700000000.001:7): prog-id=3 op=UNLOAD",
        "type=NETFILTER_CFG msg=audit(1700000000.001:7): table=filter family=2 entries=4",
        "type=TTY msg=audit(1700000000.001:7): tty pid=42 uid=0 auid=1000 ses=3 major=136 minor=1 comm=\"bash\" data=6C730D",
        "type=LOGIN msg=audit(1700000000.001:7): pid=42 uid=0 old-auid=4294967295 auid=1000 tty=(none) old-ses=4294967295 ses=3 res=1",
        "type=KERNEL msg=audit(1700000000.001:7): initialized",
        "type=USER_START msg=audit(1700000000.001:7): pid=42 uid=0 auid=1000 ses=3 msg='op=PAM:session_open acct=\"a\" exe=\"/usr/sbin/sshd\" hostname=? addr=? terminal=ssh res=success'",
    ];
    for line in alone {
        assert_eq!(event(line).missing, 0, "{line}");
    }
    // Of an audited write to the audit socket, the system call has its records too.
    let written = format!("{}\n{}", alone[9], OPENED[4]);
    assert_eq!(event(&written).missing, 1);
    let ring = "type=URINGOP msg=audit(1700000000.001:7): uring_op=18 success=yes exit=0 items=1 ppid=1 pid=42 uid=0 gid=0 euid=0 suid=0 fsuid=0 egid=0 sgid=0 fsgid=0 key=\"x\"";
    assert_eq!(
        event(&format!("{ring}\n{}\n{}", OPENED[1], OPENED[2])).missing,
        0
    );
    let link = "type=ANOM_LINK msg=audit(1700000000.001:7): op=follow_link ppid=1 pid=42 auid=1000 uid=0 ses=3 comm=\"x\" exe=\"/bin/x\" res=0";
    assert_eq!(event(&format!("{link}\n{}", OPENED[2])).missing, 0);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(256))]

    /// Of a system call with its paths any record may be left out: but for its title and the working directory, which not each has.
    #[test]
    fn a_part_of_an_event_is_never_whole(kept in prop::collection::vec(any::<bool>(), 5)) {
        let lines: Vec<&str> = OPENED.iter().zip(&kept).filter(|(_, kept)| **kept).map(|(line, _)| *line).collect();
        prop_assume!(!lines.is_empty());
        let is_whole = kept[0] && kept[2] && kept[3];
        prop_assert_eq!(event(&lines.join("\n")).missing == 0, is_whole, "{:?}", lines);
    }
}
