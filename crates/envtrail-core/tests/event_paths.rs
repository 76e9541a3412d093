//! Arguments in their places, and paths as they were: absolute where the folder is known, without the kernel's suffix.
#![allow(
    dead_code,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing
)]

mod common;

use common::{argv, event, events, field, hex, text};
use envtrail_core::event::Kind;

const STAMP: &str = "msg=audit(1700000000.000:100):";

fn names(lines: &[String]) -> Vec<Option<String>> {
    let event = event(&lines.join("\n"));
    event
        .paths
        .iter()
        .map(|path| text(&event, path.name))
        .collect()
}

/// A call of x86-64 from `/home/u` with these registers; (nametype, name) of each PATH.
fn call(number: u32, registers: &str, cwd: &str, paths: &[(&str, &str)]) -> Vec<String> {
    let mut lines = vec![
        format!("type=SYSCALL {STAMP} arch=c000003e syscall={number} success=yes exit=0 {registers} items={} ppid=1 pid=2 auid=1000 uid=1000 comm=\"x\" exe=\"/x\" key=\"k\"", paths.len()),
        format!("type=CWD {STAMP} cwd={cwd}"),
    ];
    for (at, (nametype, name)) in paths.iter().enumerate() {
        lines.push(format!("type=PATH {STAMP} item={at} name={name} inode=1 dev=08:01 mode=0100644 ouid=0 ogid=0 rdev=00:00 nametype={nametype}"));
    }
    lines
}

fn some(names: &[&str]) -> Vec<Option<String>> {
    names.iter().map(|name| Some((*name).to_owned())).collect()
}

#[test]
fn an_empty_argument_that_the_kernel_left_out_keeps_its_place() {
    let read = events(include_str!("cases/12_empty_argument.log"));
    let exec = &read[0];
    assert_eq!(
        argv(exec)[1..],
        [
            "/opt/v/bin/pip",
            "install",
            "--index-url",
            "",
            "six==1.16.0"
        ]
    );
    assert_eq!(field(exec, "left_out").as_deref(), Some("a4"));
    assert_eq!(exec.missing, 0);
}

#[test]
fn only_what_lacks_inside_one_record_was_empty() {
    for (lines, expected, left_out, is_whole) in [
        (
            vec!["argc=3 a1=\"x\" a2=\"y\""],
            vec!["", "x", "y"],
            Some("a0"),
            true,
        ),
        (
            vec!["argc=5 a0=\"x\" a3=\"y\" a4=\"z\""],
            vec!["x", "", "", "y", "z"],
            Some("a1 a2"),
            true,
        ),
        (vec!["argc=2 a0=\"x\" a1=\"\""], vec!["x", ""], None, true),
        // The end may lie in a record that was lost, and so may what lacks between two records.
        (
            vec!["argc=3 a0=\"x\" a1=\"y\""],
            vec!["x", "y"],
            None,
            false,
        ),
        (
            vec!["argc=4 a0=\"x\" a1=\"y\"", "a3=\"z\""],
            vec!["x", "y", "z"],
            None,
            false,
        ),
        (vec!["a1=\"y\""], vec!["y"], None, false),
        (
            vec!["argc=3 a0[0]=\"x\" a0[2]=\"y\" a2=\"z\""],
            vec!["xy", "", "z"],
            Some("a1"),
            false,
        ),
        (
            vec!["argc=4294967295 a0=\"x\" a4294967294=\"y\""],
            vec!["x", "y"],
            None,
            false,
        ),
        (
            vec!["argc=4294967295 a0=\"x\" a4294967295[4294967295]=\"y\""],
            vec!["x", "y"],
            None,
            false,
        ),
        // Unless the title shows that nothing but empty ones followed.
        (
            vec!["argc=4 a0=\"x\" a1=\"y\"", "proctitle=780079"],
            vec!["x", "y", "", ""],
            Some("a2 a3"),
            true,
        ),
        (
            vec!["argc=4 a0=\"x\" a1=\"y\"", "proctitle=78007900007A"],
            vec!["x", "y"],
            None,
            false,
        ),
        (vec!["argc=2", "proctitle=78"], vec![], None, false),
    ] {
        let mut text = call(59, "a0=1", "\"/\"", &[]);
        let kind = |body: &str| match body.starts_with("proctitle") {
            true => "PROCTITLE",
            false => "EXECVE",
        };
        let records = lines.iter();
        text.extend(records.map(|body| format!("type={} {STAMP} {body}", kind(body))));
        let event = event(&text.join("\n"));
        assert_eq!(argv(&event), expected, "{lines:?}");
        assert_eq!(field(&event, "left_out").as_deref(), left_out, "{lines:?}");
        assert_eq!(event.missing & 2 == 0, is_whole, "{lines:?}");
    }
}

#[test]
fn the_suffix_of_what_is_gone_is_in_no_path_that_the_kernel_made() {
    let exe = hex("/home/u/env/bin/python3.11 (deleted)");
    let cwd = hex("/home/u/gone (deleted)");
    let own = hex("/home/u/x (deleted)");
    let mut lines = call(
        87,
        "a0=1",
        &cwd,
        &[
            ("PARENT", &cwd),
            ("DELETE", &own),
            ("DELETE", &hex("y (deleted)")),
        ],
    );
    lines[0] = lines[0].replace("exe=\"/x\"", &format!("exe={exe}"));
    let read = event(&lines.join("\n"));
    assert_eq!(
        text(&read, read.exe).as_deref(),
        Some("/home/u/env/bin/python3.11")
    );
    assert_eq!(text(&read, read.cwd).as_deref(), Some("/home/u/gone"));
    // What a user names so stays so.
    assert_eq!(
        names(&lines),
        some(&[
            "/home/u/gone",
            "/home/u/x (deleted)",
            "/home/u/gone/y (deleted)"
        ])
    );
    let user = event(&format!("type=USER_CMD {STAMP} pid=1 uid=0 auid=1000 ses=3 msg='cwd={cwd} cmd=6964 exe={exe} terminal=pts/1 res=success'"));
    assert_eq!(
        text(&user, user.exe).as_deref(),
        Some("/home/u/env/bin/python3.11")
    );
    assert_eq!(
        field(&user, "exe").as_deref(),
        Some("/home/u/env/bin/python3.11")
    );
    assert_eq!(field(&user, "cwd").as_deref(), Some("/home/u/gone"));
}

#[test]
fn names_are_seen_from_the_working_directory() {
    for (name, expected) in [
        ("\"x\"", "/home/u/x"),
        ("\"./x/../y\"", "/home/u/y"),
        ("\"../v/x\"", "/home/v/x"),
        ("\"../../../x\"", "/x"),
        ("\"..\"", "/home"),
        ("\".\"", "/home/u"),
        ("\".//x/\"", "/home/u/x/"),
        ("\"..x\"", "/home/u/..x"),
        ("\"/etc//x\"", "/etc/x"),
    ] {
        assert_eq!(
            names(&call(83, "a0=1", "\"/home/u\"", &[("CREATE", name)])),
            some(&[expected]),
            "{name}"
        );
    }
    assert_eq!(
        names(&call(
            83,
            "a0=1",
            "\"/\"",
            &[("CREATE", "\"x\""), ("NORMAL", "\"..\"")]
        )),
        some(&["/x", "/"])
    );
    assert_eq!(
        names(&call(83, "a0=1", "(null)", &[("CREATE", "\"x\"")])),
        some(&["x"])
    );
    assert_eq!(
        names(&call(
            83,
            "a0=1",
            "\"/u\"",
            &[("CREATE", "(null)"), ("CREATE", "\"\"")]
        )),
        [None, Some(String::new())]
    );
}

#[test]
fn names_from_a_folder_that_no_record_names_stay_relative() {
    const CWD: &str = "ffffff9c";
    for (number, what, registers, expected) in [
        (257, "openat", format!("a0={CWD} a1=1"), "/home/u/x"),
        (
            257,
            "openat",
            "a0=ffffffffffffff9c a1=1".to_owned(),
            "/home/u/x",
        ),
        (257, "openat", "a0=4 a1=1".to_owned(), "x"),
        (437, "openat2", "a0=4 a1=1".to_owned(), "x"),
        (263, "unlinkat", "a0=4 a1=1".to_owned(), "x"),
        (
            264,
            "renameat",
            format!("a0={CWD} a1=1 a2={CWD} a3=2"),
            "/home/u/x",
        ),
        (264, "renameat", format!("a0={CWD} a1=1 a2=4 a3=2"), "x"),
        (316, "renameat2", format!("a0=4 a1=1 a2={CWD} a3=2"), "x"),
        (266, "symlinkat", format!("a0=1 a1={CWD} a2=2"), "/home/u/x"),
        (266, "symlinkat", "a0=1 a1=4 a2=2".to_owned(), "x"),
        (322, "execveat", "a0=4 a1=1".to_owned(), "x"),
        (59, "execve", "a0=4 a1=1".to_owned(), "/home/u/x"),
        (4, "stat", "a0=4 a1=1".to_owned(), "/home/u/x"),
        (426, "io_uring_enter", "a0=4 a1=1".to_owned(), "x"),
        (240, "mq_open", "a0=4 a1=1".to_owned(), "x"),
        (9999, "a new one", "a0=4 a1=1".to_owned(), "x"),
    ] {
        let lines = call(number, &registers, "\"/home/u\"", &[("NORMAL", "\"x\"")]);
        assert_eq!(names(&lines), some(&[expected]), "{what} {registers}");
    }
    // Of another machine, by its own number: openat of aarch64.
    let lines = call(56, "a0=4 a1=1", "\"/home/u\"", &[("NORMAL", "\"x\"")]);
    let lines: Vec<_> = lines
        .iter()
        .map(|line| line.replace("c000003e", "c00000b7"))
        .collect();
    assert_eq!(names(&lines), some(&["x"]));
}

#[test]
fn the_parent_of_a_name_from_another_folder_is_not_the_working_directory() {
    // The kernel writes the working directory where a name has no own folder, whatever the descriptor is.
    let paths = [("PARENT", "\"/home/u\""), ("DELETE", "\"x\"")];
    assert_eq!(
        names(&call(263, "a0=4 a1=1", "\"/home/u\"", &paths)),
        [None, Some("x".to_owned())]
    );
    assert_eq!(
        names(&call(263, "a0=ffffff9c a1=1", "\"/home/u\"", &paths)),
        some(&["/home/u", "/home/u/x"])
    );
    let deeper = [("PARENT", "\"a/\""), ("DELETE", "\"a/x\"")];
    assert_eq!(
        names(&call(263, "a0=4 a1=1", "\"/home/u\"", &deeper)),
        some(&["a/", "a/x"])
    );
    assert_eq!(
        names(&call(87, "a0=4 a1=1", "\"/home/u\"", &deeper)),
        some(&["/home/u/a/", "/home/u/a/x"])
    );
}

#[test]
fn the_target_of_a_new_link_begins_at_the_link() {
    let paths = [
        ("PARENT", "\"/opt/\""),
        ("UNKNOWN", "\"../lib\""),
        ("CREATE", "\"/opt/l\""),
    ];
    assert_eq!(
        names(&call(88, "a0=1 a1=2", "\"/home/u\"", &paths)),
        some(&["/opt/", "../lib", "/opt/l"])
    );
}

#[test]
fn addresses_of_machines_of_both_byte_orders_are_read() {
    for saddr in [
        "020000160A0102030000000000000000",
        "000200160A0102030000000000000000",
    ] {
        let read = event(&format!("type=SOCKADDR {STAMP} saddr={saddr}"));
        assert_eq!(text(&read, read.address).as_deref(), Some("10.1.2.3"));
    }
}

#[test]
fn a_path_has_no_empty_component_and_no_dot() {
    for (name, expected) in [
        ("\"/e/dev/../prod/x.py\"", "/e/prod/x.py"),
        ("\"/e/./prod//x/\"", "/e/prod/x/"),
        ("\"//e/prod/.\"", "/e/prod"),
        ("\"/../../e\"", "/e"),
        ("\"/..\"", "/"),
        ("\"../b/./x/../y.py\"", "/home/b/y.py"),
        ("\"/e/.hidden/..x/a..b\"", "/e/.hidden/..x/a..b"),
    ] {
        let lines = call(2, "a0=1", "\"/home/u\"", &[("NORMAL", name)]);
        assert_eq!(names(&lines), some(&[expected]), "{name}");
    }
}

#[test]
fn what_a_file_is_to_a_call_is_known_where_the_kernel_does_not_write_it() {
    let nametypes = |number: u32, names: &[&str], field: &str| {
        let paths: Vec<(&str, &str)> = names.iter().map(|name| ("X", *name)).collect();
        let lines = call(number, "a0=1", "\"/\"", &paths).join("\n");
        let event = event(&lines.replace(" nametype=X", field));
        let paths = event.paths.iter();
        paths
            .map(|path| text(&event, path.nametype).unwrap_or_default())
            .collect::<Vec<_>>()
    };
    let two = ["\"/e/\"", "\"/e/a\""];
    // RHEL 7 has another name for the field.
    assert_eq!(nametypes(2, &two, " objtype=PARENT"), ["PARENT", "PARENT"]);
    assert_eq!(nametypes(2, &two, ""), ["PARENT", "CREATE"]);
    assert_eq!(nametypes(83, &two, ""), ["PARENT", "CREATE"]);
    assert_eq!(nametypes(87, &two, ""), ["PARENT", "DELETE"]);
    assert_eq!(nametypes(2, &two[1..], ""), [""]);
    assert_eq!(nametypes(59, &two, ""), ["", ""]);
    let four = ["\"/e/\"", "\"/f/\"", "\"/e/a\"", "\"/f/b\""];
    let moved = ["PARENT", "PARENT", "DELETE", "CREATE"];
    assert_eq!(nametypes(82, &four, ""), moved);
}

#[test]
fn an_event_of_another_kind_reports_the_files_of_its_call_and_a_program_none() {
    let removed = call(263, "a0=ffffff9c", "\"/e\"", &[("DELETE", "\"x\"")]);
    let watch = format!("type=CONFIG_CHANGE {STAMP} auid=1000 ses=3 op=remove_rule path=\"/e/x\" key=\"k\" list=4 res=1");
    let denial =
        format!("type=AVC {STAMP} avc:  denied  {{ unlink }} for  pid=2 comm=\"x\" tclass=file");
    let started = call(59, "a0=1", "\"/e\"", &[("NORMAL", "\"/bin/x\"")]);
    let ended = call(231, "a0=0", "\"/e\"", &[]);
    let opened = call(257, "a0=ffffff9c", "\"/e\"", &[]);
    for (lines, is_of_files) in [
        (removed.clone(), true),
        ([vec![watch.clone()], removed.clone()].concat(), true),
        ([vec![denial.clone()], removed].concat(), true),
        (opened.clone(), true),
        ([vec![denial], opened].concat(), false),
        (vec![watch], false),
        (started, false),
        (ended, false),
    ] {
        assert_eq!(
            event(&lines.join("\n")).is_of_files(),
            is_of_files,
            "{lines:?}"
        );
    }
}

#[test]
fn what_a_file_is_and_whose_is_read_in_its_numbers() {
    for (mode, expected) in [
        ("040755", Some(0o040_755)),
        ("0100644", Some(0o100_644)),
        ("01234567", Some(0o1_234_567)),
        ("37777777777", Some(u32::MAX)),
        ("40000000000", None),
        ("0100648", None),
        ("x", None),
        ("", None),
    ] {
        let mut lines = call(2, "a1=0", "\"/e\"", &[]);
        lines.push(format!("type=PATH {STAMP} item=0 name=\"/e/x\" inode=77 dev=08:01 mode={mode} ouid=1001 ogid=0 rdev=00:00 nametype=NORMAL"));
        let path = event(&lines.join("\n")).paths[0];
        assert_eq!(path.mode, expected, "{mode}");
        assert_eq!((path.inode, path.ouid), (Some(77), Some(1001)), "{mode}");
    }
}

#[test]
fn a_call_is_of_files_where_it_names_one_or_a_rule_with_a_key_selected_it() {
    for (paths, has_key, kind) in [
        (vec![("CREATE", "\"x\"")], true, Kind::File),
        (vec![("CREATE", "\"x\"")], false, Kind::File),
        (vec![], true, Kind::File),
        (vec![], false, Kind::Other),
    ] {
        let mut lines = call(2, "a1=241", "\"/e\"", &paths);
        if !has_key {
            lines[0] = lines[0].replace("key=\"k\"", "key=(null)");
        }
        assert_eq!(event(&lines.join("\n")).kind, kind, "{lines:?}");
    }
}
