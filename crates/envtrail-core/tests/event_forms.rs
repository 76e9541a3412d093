//! Forms of records from RHEL 5 to 10, Debian, Ubuntu, SUSE and Amazon Linux: who, whose account, from where, and with what result.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{event, field, text};
use envtrail_core::assembler::{Assembler, Options};
use envtrail_core::event::Kind;

/// `pid uid auid ses success | acct exe hostname addr terminal`, `-` for what is not there.
fn said(line: &str) -> String {
    let event = event(line);
    let number = |number: Option<u32>| number.map_or("-".to_owned(), |number| number.to_string());
    let word = |word: Option<String>| word.unwrap_or("-".to_owned());
    let success = event
        .success
        .map_or("-", |success| if success { "yes" } else { "no" });
    assert_eq!(field(&event, "exe"), text(&event, event.exe), "{line}");
    if let Some(terminal) = field(&event, "terminal").filter(|terminal| terminal != "?") {
        assert_eq!(text(&event, event.tty), Some(terminal), "{line}");
    }
    format!(
        "{} {} {} {} {success} | {} {} {} {} {}",
        number(event.pid),
        number(event.uid),
        number(event.auid),
        number(event.ses),
        word(field(&event, "acct")),
        word(field(&event, "exe")),
        word(field(&event, "hostname")),
        word(field(&event, "addr")),
        word(field(&event, "terminal")),
    )
}

#[test]
fn user_records_of_every_distribution_say_who_and_from_where() {
    for (form, line, expected) in [
        ("RHEL 4", "type=USER_AUTH msg=audit(1150000000.123:50): user pid=2321 uid=0 auid=4294967295 msg='PAM authentication: user=root exe=\"/usr/sbin/sshd\" (hostname=10.1.2.3, addr=10.1.2.3, terminal=ssh result=Success)'",
            "2321 0 - - yes | root /usr/sbin/sshd 10.1.2.3 10.1.2.3 ssh"),
        ("RHEL 5", "type=USER_AUTH msg=audit(1250000000.123:50): user pid=2321 uid=0 auid=4294967295 subj=system_u:system_r:sshd_t:s0-s0:c0.c1023 msg='PAM: authentication acct=\"alice\" : exe=\"/usr/sbin/sshd\" (hostname=10.1.2.3, addr=10.1.2.3, terminal=ssh res=success)'",
            "2321 0 - - yes | alice /usr/sbin/sshd 10.1.2.3 10.1.2.3 ssh"),
        ("RHEL 5", "type=USER_LOGIN msg=audit(1250000000.123:51): user pid=2321 uid=0 auid=500 msg='uid=500: exe=\"/usr/sbin/sshd\" (hostname=host.example, addr=10.1.2.3, terminal=/dev/pts/0 res=success)'",
            "2321 0 500 - yes | - /usr/sbin/sshd host.example 10.1.2.3 /dev/pts/0"),
        ("RHEL 5", "type=USER_LOGIN msg=audit(1250000000.123:52): user pid=2399 uid=0 auid=4294967295 msg='acct=\"root\": exe=\"/usr/sbin/sshd\" (hostname=?, addr=10.1.2.3, terminal=sshd res=failed)'",
            "2399 0 - - no | root /usr/sbin/sshd ? 10.1.2.3 sshd"),
        ("RHEL 5", "type=USER_CMD msg=audit(1250000000.123:53): user pid=4001 uid=500 auid=500 msg='cwd=\"/home/alice\" cmd=2F62696E2F6C73202D6C (terminal=pts/0 res=success)'",
            "4001 500 500 - yes | - - - - pts/0"),
        ("RHEL 5", "type=USER_MGMT msg=audit(1250000000.123:54): user pid=4001 uid=0 auid=500 msg='op=adding user to group acct=cafe exe=\"/usr/sbin/useradd\" (hostname=?, addr=?, terminal=pts/0 res=success)'",
            "4001 0 500 - yes | cafe /usr/sbin/useradd ? ? pts/0"),
        ("RHEL 6", "type=USER_LOGIN msg=audit(1350000000.123:60): user pid=2321 uid=0 auid=500 ses=3 subj=system_u:system_r:sshd_t:s0-s0:c0.c1023 msg='op=login id=500 exe=\"/usr/sbin/sshd\" hostname=10.1.2.3 addr=10.1.2.3 terminal=/dev/pts/0 res=success'",
            "2321 0 500 3 yes | - /usr/sbin/sshd 10.1.2.3 10.1.2.3 /dev/pts/0"),
        ("RHEL 6", "type=USER_AUTH msg=audit(1350000000.123:61): user pid=2321 uid=0 auid=4294967295 ses=4294967295 msg='op=PAM:authentication acct=\"alice\" exe=\"/usr/sbin/sshd\" hostname=10.1.2.3 addr=10.1.2.3 terminal=ssh res=failed'",
            "2321 0 - - no | alice /usr/sbin/sshd 10.1.2.3 10.1.2.3 ssh"),
        ("SUSE 11", "type=USER_START msg=audit(1350000000.123:62): user pid=5432 uid=0 auid=0 ses=2 msg='op=PAM:session_open acct=\"root\" exe=\"/usr/sbin/cron\" (hostname=?, addr=?, terminal=cron res=success)'",
            "5432 0 0 2 yes | root /usr/sbin/cron ? ? cron"),
        ("Ubuntu 12.04", "type=USER_START msg=audit(1360000000.123:63): user pid=1543 uid=0 auid=1000 ses=1 msg='op=PAM:session_open acct=\"alice\" exe=\"/bin/login\" hostname=? addr=? terminal=/dev/tty1 res=success'",
            "1543 0 1000 1 yes | alice /bin/login ? ? /dev/tty1"),
        ("RHEL 7, Amazon Linux 2", "type=USER_START msg=audit(1550000000.123:64): pid=3411 uid=0 auid=1000 ses=5 subj=system_u:system_r:sshd_t:s0-s0:c0.c1023 msg='op=PAM:session_open grantors=pam_selinux,pam_loginuid,pam_unix acct=\"ec2-user\" exe=\"/usr/sbin/sshd\" hostname=10.1.2.3 addr=10.1.2.3 terminal=ssh res=success'",
            "3411 0 1000 5 yes | ec2-user /usr/sbin/sshd 10.1.2.3 10.1.2.3 ssh"),
        ("RHEL 7, unknown account", "type=USER_AUTH msg=audit(1550000000.123:65): pid=3411 uid=0 auid=4294967295 ses=4294967295 msg='op=PAM:authentication grantors=? acct=28756E6B6E6F776E207573657229 exe=\"/usr/sbin/sshd\" hostname=10.1.2.3 addr=10.1.2.3 terminal=ssh res=failed'",
            "3411 0 - - no | (unknown user) /usr/sbin/sshd 10.1.2.3 10.1.2.3 ssh"),
        ("RHEL 9, IPv6", "type=USER_LOGIN msg=audit(1750000000.123:66): pid=3411 uid=0 auid=1000 ses=5 msg='op=login id=1000 exe=\"/usr/sbin/sshd\" hostname=? addr=fe80::1 terminal=ssh res=success'\u{1d}UID=\"root\" AUID=\"alice\" ID=\"alice\"",
            "3411 0 1000 5 yes | - /usr/sbin/sshd ? fe80::1 ssh"),
        ("Debian 12, sudo", "type=USER_CMD msg=audit(1750000000.123:67): pid=4100 uid=1000 auid=1000 ses=5 subj=unconfined msg='cwd=\"/home/alice\" cmd=6964 exe=\"/usr/bin/sudo\" terminal=pts/1 res=success'\u{1d}UID=\"alice\" AUID=\"alice\"",
            "4100 1000 1000 5 yes | - /usr/bin/sudo - - pts/1"),
        ("systemd", "type=SERVICE_START msg=audit(1750000000.123:68): pid=1 uid=0 auid=4294967295 ses=4294967295 subj=unconfined msg='unit=cron comm=\"systemd\" exe=\"/usr/lib/systemd/systemd\" hostname=? addr=? terminal=? res=success'",
            "1 0 - - yes | - /usr/lib/systemd/systemd ? ? ?"),
        ("rule", "type=CONFIG_CHANGE msg=audit(1750000000.123:69): auid=1000 ses=5 op=add_rule key=\"a\" list=4 res=1\u{1d}AUID=\"alice\"",
            "- - 1000 5 yes | - - - - -"),
    ] {
        assert_eq!(said(line), expected, "{form}: {line}");
    }
}

#[test]
fn a_login_is_of_the_person_who_is_logged_in_from_then_on() {
    for (form, body, expected) in [
        ("2.6.18", "login pid=2321 uid=0 old auid=4294967295 new auid=500", "2321 0 500 - yes"),
        ("RHEL 6, SUSE 11", "login pid=2321 uid=0 subj=x old auid=4294967295 new auid=500 old ses=4294967295 new ses=3", "2321 0 500 3 yes"),
        ("RHEL 6, again", "login pid=2321 uid=0 old auid=0 new auid=500 old ses=2 new ses=3", "2321 0 500 3 yes"),
        ("RHEL 7", "pid=2321 uid=0 subj=x old-auid=4294967295 auid=1000 old-ses=4294967295 ses=3 res=1", "2321 0 1000 3 yes"),
        ("RHEL 8", "pid=2321 uid=0 old-auid=4294967295 auid=1000 tty=(none) old-ses=4294967295 ses=3 res=1\u{1d}UID=\"root\" OLD-AUID=\"unset\" AUID=\"alice\"", "2321 0 1000 3 yes"),
        // `echo 0 > /proc/self/loginuid` of anybody: he is not root by that.
        ("refused", "pid=2321 uid=1000 old-auid=1000 auid=0 tty=pts0 old-ses=3 ses=4294967295 res=0", "2321 1000 1000 3 no"),
    ] {
        let line = format!("type=LOGIN msg=audit(1750000000.123:70): {body}");
        assert_eq!(said(&line), format!("{expected} | - - - - -"), "{form}");
    }
    let line = "type=LOGIN msg=audit(1350000000.123:70): login pid=1 uid=0 old auid=4294967295 new auid=500 old ses=4294967295 new ses=3";
    let event = event(line);
    let reported: Vec<_> = ["auid", "old-auid", "ses", "old-ses"]
        .map(|name| field(&event, name).unwrap())
        .into();
    assert_eq!(reported, ["500", "4294967295", "3", "4294967295"]);
}

#[test]
fn what_a_host_calls_itself_decides_neither_who_it_was_nor_the_result() {
    let line = "type=USER_AUTH msg=audit(1750000000.123:71): pid=3411 uid=0 auid=4294967295 ses=4294967295 msg='op=PAM:authentication acct=\"alice\" exe=\"/usr/sbin/sshd\" hostname=x auid=0 uid=1 pid=1 ses=1 res=success addr=10.1.2.3 terminal=ssh res=failed'";
    assert_eq!(
        said(line),
        "3411 0 - - no | alice /usr/sbin/sshd x 10.1.2.3 ssh"
    );
    assert_eq!(field(&event(line), "res").as_deref(), Some("failed"));
    assert_eq!(field(&event(line), "auid").as_deref(), Some("4294967295"));
}

#[test]
fn what_a_program_says_stands_beside_what_the_kernel_wrote_and_never_in_its_place() {
    let read = |message: &str| {
        event(&format!(
            "type=USER_MGMT msg=audit(1250000000.123:73): user pid=2 uid=0 auid=500 msg='{message}'"
        ))
    };
    for (message, name, value) in [
        ("uid=501: exe=\"/bin/x\" res=success", "id", Some("501")),
        ("uid=501: exe=\"/bin/x\" res=success", "uid", Some("0")),
        ("op=x user=bob res=success", "acct", Some("bob")),
        ("op=x key=\"k\" res=success", "key", Some("k")),
        ("op=x AUID=\"root\" res=success", "AUID", None),
        ("op=x euid=7 gid=8 ppid=9 ses=4", "euid", None),
        ("op=x euid=7 gid=8 ppid=9 ses=4", "gid", None),
        ("op=x euid=7 gid=8 ppid=9 ses=4", "ppid", None),
        ("op=x euid=7 gid=8 ppid=9 ses=4", "ses", None),
        ("op=x result=failed", "res", Some("failed")),
        ("op=x success=no", "res", Some("no")),
    ] {
        let event = read(message);
        assert_eq!(field(&event, name).as_deref(), value, "{message} {name}");
        assert_eq!(
            (event.pid, event.uid, event.auid),
            (Some(2), Some(0), Some(500))
        );
        assert_eq!((event.euid, event.gid, event.ppid), (None, None, None));
        assert_eq!(event.ses, None);
    }
    assert_eq!(read("op=x key=\"k\"").keys.get(0), Some(&b"k"[..]));
    assert_eq!(read("op=x result=failed").success, Some(false));
    assert_eq!(read("op=x res=success").success, Some(true));
    assert_eq!(read("op=x").success, None);
}

#[test]
fn the_call_says_who_did_it_and_not_the_denial_before_it() {
    let call = "type=SYSCALL msg=audit(1750000000.123:72): arch=c000003e syscall=59 success=yes exit=0 ppid=1 pid=20 auid=1000 uid=1000 tty=pts0 ses=3 comm=\"pip\" exe=\"/usr/bin/python3.11\" key=\"x\"\n";
    for before in [
        "type=AVC msg=audit(1750000000.123:72): avc:  denied  { execute } for  pid=20 comm=\"bash\" exe=\"/bin/bash\" tty=tty1 name=\"pip\"\n",
        "type=AVC msg=audit(1750000000.123:72): apparmor=\"ALLOWED\" operation=\"exec\" pid=20 comm=\"bash\" requested_mask=\"x\"\n",
        "type=INTEGRITY_RULE msg=audit(1750000000.123:72): file=\"/usr/bin/pip\" ppid=1 pid=20 comm=\"bash\" exe=\"/bin/bash\"\n",
    ] {
        let event = event(&format!("{before}{call}"));
        assert_eq!(text(&event, event.comm).as_deref(), Some("pip"), "{before}");
        assert_eq!(text(&event, event.exe).as_deref(), Some("/usr/bin/python3.11"));
        assert_eq!(text(&event, event.tty).as_deref(), Some("pts0"));
        assert_eq!(field(&event, "comm").as_deref(), Some("bash"), "as AVC has it");
    }
    let login = "type=LOGIN msg=audit(1750000000.123:73): pid=20 uid=0 old-auid=4294967295 auid=1000 old-ses=4294967295 ses=3 res=1\n";
    let event = event(&format!(
        "{login}{}",
        call.replace(":72)", ":73)")
            .replace("ses=3", "ses=4")
            .replace("auid=1000", "auid=0")
    ));
    assert_eq!((event.auid, event.ses), (Some(1000), Some(3)));
}

#[test]
fn what_a_program_sends_and_the_call_that_sent_it_are_one_event() {
    let stamp = "msg=audit(1700000000.000:100):";
    let user = format!("type=USER_START {stamp} pid=9 uid=0 auid=1000 ses=3 msg='op=PAM:session_open acct=\"alice\" res=success'");
    let call = format!("type=SYSCALL {stamp} arch=c000003e syscall=44 success=yes exit=9 a0=1 items=0 ppid=1 pid=9 auid=1000 uid=0 comm=\"sshd\" exe=\"/usr/sbin/sshd\" key=(null)");
    let title = format!("type=PROCTITLE {stamp} proctitle=\"sshd\"");
    for lines in [[&user, &call, &title], [&call, &user, &title]] {
        let log = lines.map(String::as_str).join("\n");
        let mut assembler = Assembler::new(Options::default());
        assembler.push(log.as_bytes());
        assembler.flush();
        assert_eq!(assembler.drain().unwrap().events.num_rows(), 1, "{lines:?}");
        let event = event(&log);
        assert_eq!(event.kind, Kind::User);
        assert_eq!(field(&event, "acct").as_deref(), Some("alice"));
    }
}

#[test]
fn contexts_of_security_modules_say_more_of_a_call() {
    let stamp = "msg=audit(1700000000.000:100):";
    let call = format!("type=SYSCALL {stamp} arch=c000003e syscall=2 success=yes exit=3 a0=1 items=1 ppid=1 pid=9 auid=1000 uid=0 comm=\"vim\" exe=\"/bin/vim\" subj=? key=\"k\"");
    let path = format!("type=PATH {stamp} item=0 name=\"/e/x\" inode=1 dev=08:01 mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype=CREATE");
    for (record, kind, lead) in [
        ("UNKNOWN[1420]|subj_apparmor=unconfined", Kind::File, 1300),
        ("UNKNOWN[1421]|obj_selinux=a", Kind::File, 1300),
        (
            "MAC_TASK_CONTEXTS|subj_apparmor=unconfined",
            Kind::File,
            1300,
        ),
        ("IPE_ACCESS|ipe_op=EXECUTE ipe_hook=MMAP", Kind::Mac, 1420),
    ] {
        let (name, body) = record.split_once('|').unwrap();
        let more = format!("type={name} {stamp} {body}");
        let event = event(&[call.as_str(), &more, &path].join("\n"));
        assert_eq!((event.kind, event.lead_type), (kind, lead), "{record}");
    }
}
