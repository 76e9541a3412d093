use super::*;

fn exec(table: &mut ProcessTable, time_ms: u64, pid: u32, ppid: u32, hint: Option<u16>) -> Place {
    exec_told(table, time_ms, pid, ppid, hint).0
}

fn exec_told(
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

#[test]
fn a_fork_that_is_told_after_the_exec_changes_nothing() {
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
fn forks_told_before_the_execs_between_them_still_give_the_right_parent() {
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
    table.exit_record(2589, 11, 10, Some(0));
    table.fork(2590, 11, 10, true);
    table.exit(2594, 11, true, Some(0), None);
    assert_eq!(table.holder_of(11, 2595, 2000), copy.image);
    assert_eq!(table.holder_of(11, 9000, 2000), None);
    exec(&mut table, 3000, 11, 7, None);
    assert_eq!(table.holder_of(11, 3001, 2000), None);
}

#[test]
fn a_fork_before_an_exec_that_was_told_first_is_the_earlier_images() {
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
fn an_end_that_came_before_the_exec_is_told_with_it() {
    let mut table = ProcessTable::default();
    assert_eq!(table.exit(1100, 10, true, None, Some(9)), None);
    let (_, told) = exec_told(&mut table, 1090, 10, 1, Some(0));
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].pid, told[0].signal), (10, Some(9)));
}

#[test]
fn an_orphan_whose_parents_end_is_told_after_its_exec_is_its_parents() {
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
fn an_orphan_whose_fork_was_not_told_execs_again_and_is_one_process() {
    let mut table = ProcessTable::default();
    exec(&mut table, 1000, 5, 1, None);
    exec(&mut table, 2000, 10, 5, None);
    let pip = exec(&mut table, 3000, 11, 10, Some(0));
    table.exit_record(4000, 10, 5, Some(0));
    exec(&mut table, 5000, 11, 5, None);
    exec(&mut table, 6000, 10, 5, None);
    let again = exec(&mut table, 7000, 11, 5, None);
    assert_eq!(again.tracked, pip.image);
}

#[test]
fn a_fork_that_is_corrected_is_told_and_counted_once() {
    let mut table = ProcessTable::default();
    let pip = exec(&mut table, 1000, 9, 1, Some(0));
    assert!(table.fork(2000, 10, 9, true).is_some());
    assert!(table.fork(2010, 12, 10, true).is_some());
    let (_, told) = exec_told(&mut table, 2001, 10, 9, None);
    assert_eq!(told, []);
    assert_eq!(table.image_of(12), Some(2001 << 20 | 10));
    assert_eq!(table.descendants(pip.image.unwrap()), 3);
}

#[test]
fn the_end_of_a_process_whose_fork_was_told_is_told() {
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
    let (_, told) = exec_told(&mut table, 2001, 10, 9, Some(0));
    let told: Vec<_> = told
        .iter()
        .map(|event| (event.is_exit, event.exit_code))
        .collect();
    assert_eq!(told, [(false, None), (true, Some(3))]);
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
fn a_thread_that_had_ended_by_itself_and_is_told_last_says_nothing_of_the_process() {
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
    table.exit_record(3500, 11, 10, Some(3));
    let again = exec(&mut table, 2000, 11, 10, Some(1));
    assert_eq!((again.image, again.parent), (bash.image, conda.image));
    assert_eq!(table.descendants(conda.image.unwrap()), 2);
    assert_eq!(table.lineage(pip.image.unwrap()).len(), 3);
    assert_eq!(table.images[&pip.image.unwrap()].end, (Some(3), None));
    assert_eq!(table.image_of(11), None, "it has ended");
}
