//! Changes of files as records report them: by whom, in which environment, and from when on nothing more is expected of them.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

use envtrail_core::assembler::{Assembler, Options};
use envtrail_core::files::What::{self, Attributes, Created, Deleted, MovedFrom, MovedTo, Written};
use envtrail_core::files::{EventPlace, FileGroup};

const BASE_MS: u64 = 1_764_000_000_000;
const SITE: &str = "/v/lib/python3.11/site-packages";
const MKDIR: &str = "syscall=83 success=yes a0=1";

fn assembler() -> Assembler {
    let mut assembler = Assembler::new(Options {
        hints: vec![("pip".to_owned(), vec!["pip".to_owned()])],
        ..Options::default()
    });
    assembler.set_segment(5, 0);
    assembler
}

/// An event of pid 7, with (nametype, name) of each path; its title is `python -m pip`.
fn event(after_ms: u64, serial: u64, call: &str, paths: &[(&str, &str)]) -> String {
    let time_ms = BASE_MS + after_ms;
    let (s, ms) = (time_ms / 1000, time_ms % 1000);
    let stamp = format!("msg=audit({s}.{ms:03}:{serial}):");
    let mut lines = vec![format!("type=SYSCALL {stamp} arch=c000003e {call} exit=0 items={} ppid=1 pid=7 auid=1000 uid=1001 ses=3 comm=\"python\" exe=\"/v/bin/python\"\u{1d}ARCH=x86_64 SYSCALL=x AUID=\"alice\" UID=\"bob\"", paths.len())];
    if call.contains("syscall=59 ") {
        lines.push(format!(
            "type=EXECVE {stamp} argc=3 a0=\"python\" a1=\"-m\" a2=\"pip\""
        ));
    }
    lines.push(format!("type=CWD {stamp} cwd=\"/\""));
    for (at, (nametype, name)) in paths.iter().enumerate() {
        lines.push(format!("type=PATH {stamp} item={at} name=\"{name}\" inode=1 dev=08:01 mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype={nametype}"));
    }
    let title: String = b"python\0-m\0pip"
        .map(|byte| format!("{byte:02X}"))
        .concat();
    lines.push(format!("type=PROCTITLE {stamp} proctitle={title}"));
    lines.push(format!("type=EOE {stamp} "));
    lines.join("\n") + "\n"
}

fn on_another_machine(text: &str) -> String {
    text.lines()
        .map(|line| format!("node=web1 {line}\n"))
        .collect()
}

fn read(assembler: &mut Assembler, text: &str) -> Vec<FileGroup> {
    assembler.push(text.as_bytes());
    assembler.drain().unwrap().files
}

fn files(groups: &[FileGroup]) -> Vec<(&str, What)> {
    let files = groups.iter().flat_map(|group| &group.files);
    files.map(|(path, what)| (path.as_str(), *what)).collect()
}

#[test]
fn what_a_program_of_another_machine_changed_in_an_environment_is_one_group() {
    let mut assembler = assembler();
    let dist_info = format!("{SITE}/x-1.dist-info");
    let log = [
        event(
            0,
            1,
            "syscall=59 success=yes a0=1",
            &[("NORMAL", "/v/bin/python")],
        ),
        event(
            100,
            2,
            "syscall=257 success=yes a0=ffffff9c a2=241",
            &[("CREATE", "/v/pyvenv.cfg")],
        ),
        event(200, 3, MKDIR, &[("PARENT", SITE), ("CREATE", &dist_info)]),
    ];
    assert!(read(&mut assembler, &on_another_machine(&log.concat())).is_empty());
    for (after_ms, count) in [(3_200, 0), (3_201, 1)] {
        let later = event(after_ms, after_ms, MKDIR, &[("CREATE", "/etc/x")]);
        let groups = read(&mut assembler, &on_another_machine(&later));
        assert_eq!(groups.len(), count, "{after_ms}");
        let Some(group) = groups.first() else {
            continue;
        };
        assert_eq!((group.root.as_str(), group.pid, group.total), ("/v", 7, 2));
        assert_eq!(
            files(&groups),
            [("/v/pyvenv.cfg", Created), (dist_info.as_str(), Created)]
        );
        assert_eq!(
            (group.time_ms, group.until_ms),
            (BASE_MS + 100, BASE_MS + 200)
        );
        let place = |after_ms: u64, serial: u64| EventPlace {
            segment: 5,
            time_ms: BASE_MS + after_ms,
            serial,
        };
        assert_eq!(group.events, [place(100, 2), place(200, 3)]);
        let who = &group.who;
        assert_eq!(
            (who.uid, who.auid, who.ses),
            (Some(1001), Some(1000), Some(3))
        );
        assert_eq!(who.exe.as_deref(), Some("/v/bin/python"));
        assert_eq!(who.argv.as_ref().unwrap(), &["python", "-m", "pip"]);
        assert!(!who.is_argv_cut);
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(who.names, [pair("AUID", "alice"), pair("UID", "bob")]);
        let recorded = group.recorded.as_ref().unwrap();
        assert_eq!((recorded.node.as_str(), recorded.kind), ("web1", "venv"));
        assert_eq!(recorded.hint.as_deref(), Some("pip"));
        assert_eq!(recorded.exec, Some(place(0, 1)));
        assert_eq!(recorded.images.len(), 1);
        assert_eq!(recorded.end, None);
    }
    assembler.flush();
    assert!(assembler.drain().unwrap().files.is_empty());
}

#[test]
fn a_program_of_which_no_exec_was_recorded_is_known_by_its_title() {
    let mut assembler = assembler();
    let change = event(0, 1, MKDIR, &[("CREATE", &format!("{SITE}/x-1.dist-info"))]);
    read(&mut assembler, &on_another_machine(&change));
    assembler.flush();
    let groups = assembler.drain().unwrap().files;
    let recorded = groups[0].recorded.as_ref().unwrap();
    assert_eq!((recorded.kind, recorded.exec), ("unknown", None));
    assert_eq!(recorded.hint.as_deref(), Some("pip"));
    assert_eq!(groups[0].who.argv.as_ref().unwrap()[2], "pip");
}

#[test]
fn changes_that_go_on_are_given_out_after_ten_minutes() {
    let mut assembler = assembler();
    let mut given = Vec::new();
    for at in 0..=301 {
        let change = event(
            at * 2_000,
            at + 1,
            MKDIR,
            &[("CREATE", &format!("{SITE}/{at}"))],
        );
        for group in read(&mut assembler, &on_another_machine(&change)) {
            given.push((at, group.total));
        }
    }
    assert_eq!(given, [(301, 301)]);
}

#[test]
fn a_machine_that_says_nothing_more_is_waited_for_by_the_clock() {
    let mut assembler = assembler();
    assembler.set_clock(50_000);
    let change = event(0, 1, MKDIR, &[("CREATE", &format!("{SITE}/x"))]);
    read(&mut assembler, &on_another_machine(&change));
    for (now_ms, count) in [(53_000, 0), (53_001, 1), (60_000, 0)] {
        assembler.tick(now_ms);
        assert_eq!(assembler.drain().unwrap().files.len(), count, "{now_ms}");
    }
}

#[test]
fn what_a_call_did_to_its_files_is_read_from_its_number_and_what_they_are_to_it() {
    let one = format!("{SITE}/x");
    let other = format!("{SITE}/y");
    for (call, paths, expected) in [
        (
            "syscall=83 success=yes",
            vec![("CREATE", one.as_str())],
            vec![(one.as_str(), Created)],
        ),
        ("syscall=83 success=no", vec![("CREATE", &one)], vec![]),
        (
            "syscall=87 success=yes",
            vec![("DELETE", &one)],
            vec![(&one, Deleted)],
        ),
        (
            "syscall=82 success=yes",
            vec![("DELETE", &one), ("CREATE", &other)],
            vec![(&one, MovedFrom), (&other, MovedTo)],
        ),
        (
            "syscall=2 success=yes a1=241",
            vec![("NORMAL", &one)],
            vec![(&one, Written)],
        ),
        (
            "syscall=2 success=yes a1=240",
            vec![("NORMAL", &one)],
            vec![],
        ),
        (
            "syscall=257 success=yes a0=ffffff9c a1=1 a2=2",
            vec![("NORMAL", &one)],
            vec![(&one, Written)],
        ),
        (
            "syscall=257 success=yes a0=ffffff9c a1=1 a2=0",
            vec![("NORMAL", &one)],
            vec![],
        ),
        (
            "syscall=85 success=yes",
            vec![("NORMAL", &one)],
            vec![(&one, Written)],
        ),
        (
            "syscall=76 success=yes",
            vec![("NORMAL", &one)],
            vec![(&one, Written)],
        ),
        (
            "syscall=90 success=yes",
            vec![("NORMAL", &one)],
            vec![(&one, Attributes)],
        ),
        (
            "syscall=260 success=yes a0=ffffff9c",
            vec![("NORMAL", &one)],
            vec![(&one, Attributes)],
        ),
        ("syscall=89 success=yes", vec![("NORMAL", &one)], vec![]),
        ("syscall=83 success=yes", vec![("PARENT", &one)], vec![]),
    ] {
        let lines = event(0, 1, call, &paths);
        let mut own = assembler();
        own.set_roots(vec!["/v".to_owned()]);
        assert_eq!(files(&read(&mut own, &lines)), expected, "{call}");
        let mut log = assembler();
        log.push(on_another_machine(&lines).as_bytes());
        log.flush();
        assert_eq!(files(&log.drain().unwrap().files), expected, "{call}");
    }
}

#[test]
fn below_the_watched_folders_all_counts_but_bytecode_and_elsewhere_nothing() {
    let mut assembler = assembler();
    assembler.set_roots(vec!["/srv/e".to_owned(), "/srv/e/inner".to_owned()]);
    let names = [
        "/srv/e/a",
        "/srv/e/inner/b/",
        "/srv/e2/c",
        "/srv/e/__pycache__/x.cpython-311.pyc",
        "rel",
    ];
    let log: Vec<String> = names
        .iter()
        .zip(1..)
        .map(|(name, serial)| event(serial, serial, MKDIR, &[("CREATE", name)]))
        .collect();
    let groups = read(&mut assembler, &log.concat());
    let roots: Vec<_> = groups.iter().map(|group| group.root.as_str()).collect();
    assert_eq!(roots, ["/srv/e", "/srv/e/inner"]);
    assert_eq!(
        files(&groups),
        [("/srv/e/a", Created), ("/srv/e/inner/b", Created)]
    );
    assert!(groups.iter().all(|group| group.recorded.is_none()));
    assert_eq!(groups[0].who.comm.as_deref(), Some("python"));
}

#[test]
fn an_environment_that_was_moved_is_a_change_of_the_place_where_it_was() {
    let mut assembler = assembler();
    let log = [
        event(0, 1, MKDIR, &[("CREATE", "/v/pyvenv.cfg")]),
        event(
            9_000,
            2,
            "syscall=82 success=yes",
            &[("DELETE", "/v"), ("CREATE", "/w")],
        ),
        event(20_000, 3, MKDIR, &[("CREATE", "/w/x")]),
    ];
    assembler.push(on_another_machine(&log.concat()).as_bytes());
    assembler.flush();
    let groups = assembler.drain().unwrap().files;
    let shown: Vec<_> = groups
        .iter()
        .map(|group| (group.root.as_str(), files(std::slice::from_ref(group))))
        .collect();
    assert_eq!(
        shown,
        [
            ("/v", vec![("/v/pyvenv.cfg", Created)]),
            ("/v", vec![("/v", MovedFrom), ("/w", MovedTo)]),
            ("/w", vec![("/w/x", Created)]),
        ]
    );
    let kinds = groups
        .iter()
        .map(|group| group.recorded.as_ref().unwrap().kind);
    assert_eq!(kinds.collect::<Vec<_>>(), ["venv", "venv", "venv"]);
}

#[test]
fn what_a_log_says_is_not_mixed_with_another_that_names_no_machine() {
    let mut assembler = assembler();
    for (log, path) in [("a", "/v/pyvenv.cfg"), ("b", "/v/bin/x"), ("a", "/v/bin/x")] {
        assembler.set_log(Some(log));
        let change = event(0, 1, MKDIR, &[("CREATE", path)]);
        assembler.push(change.as_bytes());
        assembler.flush();
        let count = assembler.drain().unwrap().files.len();
        assert_eq!(count, usize::from(log == "a"), "{log} {path}");
    }
}
