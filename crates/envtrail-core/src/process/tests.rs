use super::*;

fn exec(table: &mut ProcessTable, time_ms: u64, pid: u32, ppid: u32, hint: Option<u16>) -> Place {
    exec_reported(table, time_ms, pid, ppid, hint).0
}

fn exec_reported(
    table: &mut ProcessTable,
    time_ms: u64,
    pid: u32,
    ppid: u32,
    hint: Option<u16>,
) -> (Place, Vec<ProcessEvent>) {
    table.exec(&Exec {
        comm: b"x",
        id: time_ms << 20 | u64::from(pid),
        pid,
        ppid,
        hint,
        time_ms,
        serial: u64::from(pid),
        segment: 1,
        uid: None,
        auid: None,
        ses: None,
    })
}

fn exit(table: &mut ProcessTable, time_ms: u64, pid: u32, ppid: u32, code: Option<i32>) {
    let serial = time_ms;
    table.exit_record(Moment { time_ms, serial }, pid, ppid, code, 1);
}

#[test]
fn a_fork_that_is_reported_after_the_exec_changes_nothing() {
    for fork_first in [true, false] {
        let mut table = ProcessTable::default();
        let conda = exec(&mut table, 1000, 10, 1, Some(0));
        if fork_first {
            table.fork(2000, 11, 10, true);
        }
        let bash = exec(&mut table, 2001, 11, 10, None);
        if !fork_first {
            table.fork(2000, 11, 10, true);
        }
        let pip = exec(&mut table, 3000, 12, 11, Some(1));
        assert_eq!(bash.parent, conda.image);
        assert_eq!(pip.parent, bash.image);
        assert_eq!(pip.tracked, conda.image);
        assert_eq!(table.descendants(conda.image.unwrap()), 3);
    }
}

#[test]
fn forks_reported_before_the_execs_between_them_still_give_the_right_parent() {
    let mut table = ProcessTable::default();
    let conda = exec(&mut table, 1000, 10, 1, Some(0));
    table.fork(2000, 11, 10, true);
    table.fork(2100, 12, 11, true);
    let bash = exec(&mut table, 2050, 11, 10, None);
    let pip = exec(&mut table, 2150, 12, 11, None);
    assert_eq!((bash.parent, pip.parent), (conda.image, bash.image));
}

#[test]
fn a_process_that_ended_by_the_coarse_clock_before_its_fork_is_one() {
    let mut table = ProcessTable::default();
    exec(&mut table, 1000, 10, 1, Some(0));
    let copy = exec(&mut table, 2589, 11, 10, None);
    exit(&mut table, 2589, 11, 10, Some(0));
    table.fork(2590, 11, 10, true);
    table.exit(2594, 11, true, Some(0), None);
    assert_eq!(table.holder_of(11, 2595, 2000), copy.image);
    assert_eq!(table.holder_of(11, 9000, 2000), None);
    exec(&mut table, 3000, 11, 7, None);
    assert_eq!(table.holder_of(11, 3001, 2000), None);
}

#[test]
fn a_fork_that_is_reported_twice_is_one_and_a_later_one_of_another_parent_is_another() {
    for (again_ms, is_same) in [(2000, true), (2010, false)] {
        let mut table = ProcessTable::default();
        let parent = exec(&mut table, 1000, 10, 1, Some(0));
        let other = exec(&mut table, 1000, 20, 1, Some(0));
        table.fork(2000, 11, 10, true);
        table.fork(again_ms, 11, 20, true);
        let expected = if is_same { parent } else { other };
        assert_eq!(table.image_of(11), expected.image, "{again_ms}");
    }
}

#[test]
fn a_fork_before_an_exec_that_was_reported_first_is_the_earlier_images() {
    let mut table = ProcessTable::default();
    let shell = exec(&mut table, 1000, 10, 1, None);
    let pip = exec(&mut table, 2000, 10, 1, Some(0));
    table.fork(1500, 11, 10, true);
    let helper = exec(&mut table, 1501, 11, 10, None);
    assert_eq!(helper.parent, shell.image);
    assert_eq!(table.descendants(pip.image.unwrap()), 1);
}

#[test]
fn a_reused_pid_is_nobodys_parent() {
    let mut table = ProcessTable::default();
    exec(&mut table, 1000, 10, 1, Some(0));
    table.exit(2000, 10, true, Some(0), None);
    let later = exec(&mut table, 5000, 20, 10, None);
    assert_eq!((later.parent, later.tracked), (None, None));
    let reused = exec(&mut table, 6000, 10, 7, None);
    assert_eq!((reused.parent, reused.tracked), (None, None));
}

#[test]
fn an_end_that_came_before_the_exec_is_reported_with_it() {
    let mut table = ProcessTable::default();
    assert_eq!(table.exit(1100, 10, true, None, Some(9)), None);
    let (_, reported) = exec_reported(&mut table, 1090, 10, 1, Some(0));
    assert_eq!(reported.len(), 1);
    assert_eq!((reported[0].pid, reported[0].signal), (10, Some(9)));
}

#[test]
fn an_end_that_is_far_from_an_exec_is_of_another_process() {
    for (exec_ms, count) in [
        (50_020, 1),
        (50_021, 0),
        (40_001, 1),
        (40_000, 0),
        (1_000, 0),
    ] {
        let mut table = ProcessTable::default();
        table.exit(50_000, 10, true, None, Some(9));
        let (_, reported) = exec_reported(&mut table, exec_ms, 10, 1, Some(0));
        assert_eq!(reported.len(), count, "{exec_ms}");
    }
    // What nobody follows is not passed on.
    let mut table = ProcessTable::default();
    table.exit(50_000, 10, true, None, Some(9));
    assert_eq!(exec_reported(&mut table, 50_000, 10, 1, None).1, []);
}

#[test]
fn an_orphan_whose_parents_end_is_reported_after_its_exec_is_its_parents() {
    for is_lost in [false, true] {
        let mut table = ProcessTable::default();
        let reaper = exec(&mut table, 1000, 10, 1, Some(0));
        table.fork(2000, 11, 10, true);
        let shell = exec(&mut table, 2001, 11, 10, None);
        table.fork(2050, 12, 11, true);
        if is_lost {
            // The orphan may have ended since, and another have its pid: who forked it is who it says.
            table.doubt(2080, 2100);
        }
        let orphan = exec(&mut table, 2200, 12, 10, None);
        table.exit(2230, 11, true, Some(0), None);
        let parent = if is_lost { reaper } else { shell };
        assert_eq!(orphan.parent, parent.image);
    }
}

#[test]
fn an_orphan_whose_parents_pid_is_in_use_again_is_its_parents() {
    let mut table = ProcessTable::default();
    exec(&mut table, 1000, 10, 1, Some(0));
    table.fork(2000, 11, 10, true);
    let shell = exec(&mut table, 2001, 11, 10, None);
    table.fork(2100, 12, 11, true);
    table.exit(2110, 11, true, Some(0), None);
    table.fork(2200, 11, 10, true);
    let orphan = exec(&mut table, 2300, 12, 10, None);
    assert_eq!(orphan.parent, shell.image);
}

#[test]
fn an_orphan_whose_fork_was_not_reported_execs_again_and_is_one_process() {
    let mut table = ProcessTable::default();
    exec(&mut table, 1000, 5, 1, None);
    exec(&mut table, 2000, 10, 5, None);
    let pip = exec(&mut table, 3000, 11, 10, Some(0));
    exit(&mut table, 4000, 10, 5, Some(0));
    exec(&mut table, 5000, 11, 5, None);
    exec(&mut table, 6000, 10, 5, None);
    let again = exec(&mut table, 7000, 11, 5, None);
    assert_eq!(again.tracked, pip.image);
}

#[test]
fn a_fork_that_is_corrected_is_reported_and_counted_once() {
    let mut table = ProcessTable::default();
    let pip = exec(&mut table, 1000, 9, 1, Some(0));
    assert!(table.fork(2000, 10, 9, true).is_some());
    assert!(table.fork(2010, 12, 10, true).is_some());
    let (_, reported) = exec_reported(&mut table, 2001, 10, 9, None);
    assert_eq!(reported, []);
    assert_eq!(table.image_of(12), Some(2001 << 20 | 10));
    assert_eq!(table.descendants(pip.image.unwrap()), 3);
}

#[test]
fn the_end_of_a_process_whose_fork_was_reported_is_told() {
    let mut table = ProcessTable::default();
    exec(&mut table, 1000, 9, 1, None);
    assert_eq!(table.fork(2000, 10, 9, true), None);
    table.fork(2001, 11, 10, true);
    exec(&mut table, 2002, 11, 10, Some(0));
    let end = table.exit(3000, 10, true, None, Some(9));
    assert_eq!(end.map(|end| (end.pid, end.signal)), Some((10, Some(9))));
    assert_eq!(table.exit(3000, 9, true, None, Some(9)), None);
}

#[test]
fn a_program_that_another_thread_than_the_first_execs_goes_on() {
    let mut table = ProcessTable::default();
    exec(&mut table, 1000, 9, 1, None);
    table.fork(2000, 10, 9, true);
    exec(&mut table, 2001, 10, 9, None);
    table.thread(10);
    table.thread(10);
    for is_first in [false, true] {
        assert_eq!(table.exit(3000, 10, is_first, Some(0), None), None);
    }
    let pip = exec(&mut table, 2999, 10, 9, Some(0));
    assert_eq!(table.image_of(10), pip.image);
    let end = table.exit(4000, 10, true, Some(1), None);
    assert_eq!(
        end.map(|end| (end.image, end.exit_code)),
        Some((pip.image, Some(1)))
    );
}

#[test]
fn a_process_that_ended_before_its_exec_was_read_ended_as_it_did() {
    let mut table = ProcessTable::default();
    exec(&mut table, 1000, 9, 1, None);
    table.fork(2000, 10, 9, true);
    table.exit(2050, 10, true, Some(3), None);
    let (_, reported) = exec_reported(&mut table, 2001, 10, 9, Some(0));
    let reported: Vec<_> = reported
        .iter()
        .map(|event| (event.is_exit, event.exit_code))
        .collect();
    assert_eq!(reported, [(false, None), (true, Some(3))]);
}

#[test]
fn a_child_that_was_read_before_the_exec_of_an_unknown_parent_is_its() {
    let mut table = ProcessTable::default();
    table.fork(2050, 11, 10, true);
    let pip = exec(&mut table, 2001, 10, 1, Some(0));
    let child = exec(&mut table, 2060, 11, 10, None);
    assert_eq!((child.parent, child.tracked), (pip.image, pip.image));
}

#[test]
fn a_thread_that_had_ended_by_itself_and_is_reported_last_says_nothing_of_the_process() {
    let mut table = ProcessTable::default();
    exec(&mut table, 1000, 9, 1, Some(0));
    table.fork(2000, 10, 9, true);
    table.thread(10);
    assert_eq!(table.exit(3000, 10, true, Some(3), None), None);
    let end = table.exit(3000, 10, false, Some(0), None);
    assert_eq!(end.and_then(|end| end.exit_code), Some(3));
}

#[test]
fn threads_of_a_process_from_an_earlier_trail_are_not_counted() {
    let mut table = ProcessTable::default();
    exec(&mut table, 1000, 9, 1, Some(0));
    table.fork(2000, 10, 9, false);
    assert_eq!(table.exit(3000, 10, false, Some(0), None), None);
    assert!(table.exit(4000, 10, true, Some(0), None).is_some());
}

#[test]
fn an_exec_that_is_read_again_is_no_child_of_itself() {
    let mut table = ProcessTable::default();
    let conda = exec(&mut table, 1000, 10, 1, Some(0));
    let bash = exec(&mut table, 2000, 11, 10, None);
    let pip = exec(&mut table, 3000, 11, 10, None);
    exit(&mut table, 3500, 11, 10, Some(3));
    let again = exec(&mut table, 2000, 11, 10, Some(1));
    assert_eq!((again.image, again.parent), (bash.image, conda.image));
    assert_eq!(table.descendants(conda.image.unwrap()), 2);
    assert_eq!(table.lineage(pip.image.unwrap()).len(), 3);
    assert_eq!(table.images[&pip.image.unwrap()].end, (Some(3), None));
    assert_eq!(table.image_of(11), None, "it has ended");
}

fn reading(table: &mut ProcessTable, number: u32, serials: [u64; 2]) {
    table.set_reading(number);
    for serial in serials[0]..=serials[1] {
        table.note_serial(serial);
    }
}

/// Of (time, serial); its image.
fn exec_at(table: &mut ProcessTable, (time_ms, serial): (u64, u64), pid: u32, ppid: u32) -> Place {
    let (place, _) = table.exec(&Exec {
        comm: b"x",
        id: time_ms << 20 | serial,
        pid,
        ppid,
        hint: Some(0),
        time_ms,
        serial,
        segment: 1,
        uid: None,
        auid: None,
        ses: None,
    });
    place
}

fn exit_at(
    table: &mut ProcessTable,
    (time_ms, serial): (u64, u64),
    pid: u32,
    ppid: u32,
    code: i32,
) -> Place {
    table.exit_record(Moment { time_ms, serial }, pid, ppid, Some(code), 1)
}

#[test]
fn an_end_that_is_stamped_before_the_exec_is_of_it_where_its_serial_follows() {
    for (serial, is_its) in [(120, true), (90, false)] {
        let mut table = ProcessTable::default();
        let pip = exec_at(&mut table, (60_000, 110), 10, 1);
        let end = exit_at(&mut table, (500, serial), 10, 1, 3);
        assert_eq!(end.image == pip.image, is_its);
        assert_eq!(table.images[&pip.image.unwrap()].end.0 == Some(3), is_its);
    }
}

#[test]
fn after_a_clock_was_set_back_a_child_has_its_parent_and_a_pid_may_be_used_again() {
    let mut table = ProcessTable::default();
    table.set_reading(1);
    let pip = exec_at(&mut table, (60_000, 110), 10, 1);
    assert_eq!(exec_at(&mut table, (500, 120), 11, 10).parent, pip.image);
    exit_at(&mut table, (60_001, 121), 10, 1, 0);
    let again = exec_at(&mut table, (600, 130), 10, 1);
    assert_eq!((again.parent, again.tracked), (None, again.image));
}

/// The parts of a log are serials 1000..=1999, 2000..=2999 and 3000..=3999; the exec is in the first.
fn end_of(order: &[u32], end_in: u64, ends: &[(u64, u32, i32)]) -> Option<i32> {
    let mut table = ProcessTable::default();
    let mut found = Vec::new();
    let mut pip = None;
    for (number, part) in (1..).zip(order) {
        reading(
            &mut table,
            number,
            [u64::from(*part) * 1000, u64::from(*part) * 1000 + 999],
        );
        if *part == 1 {
            pip = exec_at(&mut table, (1_500_000, 1500), 10, 1).image;
        }
        for (serial, ppid, code) in ends.iter().filter(|end| end.0 / 1000 == u64::from(*part)) {
            exit_at(&mut table, (serial * 10000, *serial), 10, *ppid, *code);
        }
        found.extend(table.find_ends());
    }
    let known = table.images[&pip.unwrap()].end.0;
    for end in &found {
        assert_eq!((Some(end.image), end.exit_code), (pip, known));
        assert_eq!(end.serial / 1000, end_in);
    }
    known
}

#[test]
fn an_end_that_was_read_before_its_exec_is_found_when_the_older_part_has_ended() {
    for order in [
        [1, 2, 3],
        [2, 1, 3],
        [3, 2, 1],
        [3, 1, 2],
        [1, 3, 2],
        [2, 3, 1],
    ] {
        assert_eq!(end_of(&order, 3, &[(3500, 1, 3)]), Some(3), "{order:?}");
        assert_eq!(
            end_of(&order, 2, &[(2500, 1, 4), (3500, 1, 3)]),
            Some(4),
            "{order:?}"
        );
        assert_eq!(
            end_of(&order, 3, &[(2500, 7, 4), (3500, 1, 3)]),
            None,
            "{order:?}"
        );
    }
}

#[test]
fn an_end_in_the_next_part_of_the_log_is_of_what_ran_where_no_other_had_the_pid_in_between() {
    for other_in in [None, Some(1600), Some(2400), Some(2600)] {
        let mut table = ProcessTable::default();
        reading(&mut table, 2, [2000, 2999]);
        let other = |table: &mut ProcessTable, serial: u64| {
            exec_at(table, (serial * 1000, serial), 10, 7);
        };
        if let Some(serial) = other_in.filter(|serial| *serial > 2000) {
            other(&mut table, serial);
        }
        reading(&mut table, 1, [1000, 1999]);
        let pip = exec_at(&mut table, (1_500_000, 1500), 10, 1).image;
        if let Some(serial) = other_in.filter(|serial| *serial < 2000) {
            other(&mut table, serial);
        }
        reading(&mut table, 3, [3000, 3999]);
        let end = exit_at(&mut table, (3_500_000, 3500), 10, 1, 3);
        assert_eq!(end.image == pip, other_in.is_none(), "{other_in:?}");
    }
}

#[test]
fn where_a_part_of_the_log_is_missing_an_end_may_be_anothers() {
    for order in [[1, 3], [3, 1]] {
        assert_eq!(end_of(&order, 3, &[(3500, 1, 3)]), None, "{order:?}");
    }
}

#[test]
fn two_parts_of_a_log_are_joined_where_what_lies_between_is_little_for_its_usual_distances() {
    for (step, between, is_joined) in [
        (1, 1, true),
        (1, 128, true),
        (1, 129, false),
        (10, 9 * 128, true),
        (10, 9 * 128 + 1, false),
    ] {
        let mut table = ProcessTable::default();
        let newer = 1000 + 100 * step + between;
        for (number, first) in [(1, newer), (2, 1000)] {
            table.set_reading(number);
            for at in 0..=100 {
                table.note_serial(first + at * step);
            }
            match number {
                1 => exit_at(&mut table, (9000, newer), 10, 1, 3),
                _ => exec_at(&mut table, (2000, 1000), 10, 1),
            };
        }
        let found = table.find_ends().len();
        assert_eq!(found, usize::from(is_joined), "{step} {between}");
    }
}

#[test]
fn the_ends_that_are_kept_are_few() {
    let mut table = ProcessTable::default();
    table.set_reading(1);
    for pid in 0..10_000 {
        exit_at(&mut table, (1000, u64::from(pid) + 1), pid, 1, 0);
    }
    assert_eq!(table.found_ends.len(), 4096);
}

#[test]
fn all_that_a_process_ran_ends_with_it() {
    for is_record in [true, false] {
        let mut table = ProcessTable::default();
        table.fork(900, 10, 1, true);
        let hatch = exec(&mut table, 1000, 10, 1, Some(0)).image.unwrap();
        let python = exec(&mut table, 2000, 10, 1, None).image.unwrap();
        let child = exec(&mut table, 2500, 11, 10, None).image.unwrap();
        if is_record {
            exit(&mut table, 3000, 10, 1, Some(3));
        } else {
            table.exit(3000, 10, true, Some(3), None);
        }
        let end_of = |image| {
            table
                .lineage(image)
                .first()
                .map(|image| (image.ended_ms, image.end))
        };
        assert_eq!(end_of(hatch), Some((Some(3000), (Some(3), None))));
        assert_eq!(end_of(python), end_of(hatch));
        assert_eq!(end_of(child), Some((None, (None, None))));
    }
}

#[test]
fn a_program_whose_exec_is_read_after_its_processs_end_has_ended() {
    let mut table = ProcessTable::default();
    table.fork(900, 10, 1, true);
    exec(&mut table, 1000, 10, 1, None);
    table.exit(3000, 10, true, Some(3), None);
    let late = exec(&mut table, 2000, 10, 1, None).image.unwrap();
    let image = table.lineage(late)[0].clone();
    assert_eq!((image.ended_ms, image.end), (Some(3000), (Some(3), None)));
}
