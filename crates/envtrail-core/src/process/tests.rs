use super::*;

fn exec(table: &mut ProcessTable, time_ms: u64, pid: u32, ppid: u32, hint: Option<u16>) -> Place {
    let exec = Exec {
        comm: b"x",
        id: time_ms << 20 | u64::from(pid),
        pid,
        ppid,
        hint,
        time_ms,
        serial: u64::from(pid),
        uid: None,
        auid: None,
        ses: None,
    };
    table.exec(&exec).0
}

#[test]
fn a_fork_that_is_told_after_the_exec_changes_nothing() {
    for fork_first in [true, false] {
        let mut table = ProcessTable::default();
        let conda = exec(&mut table, 1000, 10, 1, Some(0));
        if fork_first {
            table.fork(2000, 11, 10);
        }
        let bash = exec(&mut table, 2001, 11, 10, None);
        if !fork_first {
            table.fork(2000, 11, 10);
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
    table.fork(2000, 11, 10);
    table.fork(2100, 12, 11);
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
    table.fork(2590, 11, 10);
    table.exit(2594, 11, Some(0), None);
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
    table.fork(1500, 11, 10);
    let helper = exec(&mut table, 1501, 11, 10, None);
    assert_eq!(helper.parent, shell.image);
    assert_eq!(table.descendants(pip.image.unwrap()), 1);
}

#[test]
fn a_reused_pid_is_nobodys_parent() {
    let mut table = ProcessTable::default();
    exec(&mut table, 1000, 10, 1, Some(0));
    table.exit(2000, 10, Some(0), None);
    let later = exec(&mut table, 5000, 20, 10, None);
    assert_eq!((later.parent, later.tracked), (None, None));
    let reused = exec(&mut table, 6000, 10, 7, None);
    assert_eq!((reused.parent, reused.tracked), (None, None));
}

#[test]
fn an_end_that_came_before_the_exec_is_told_with_it() {
    let mut table = ProcessTable::default();
    assert_eq!(table.exit(1100, 10, None, Some(9)), None);
    let (_, told) = table.exec(&Exec {
        comm: b"x",
        id: 1 << 20,
        pid: 10,
        ppid: 1,
        hint: Some(0),
        time_ms: 1090,
        serial: 1,
        uid: None,
        auid: None,
        ses: None,
    });
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].pid, told[0].signal), (10, Some(9)));
}

#[test]
fn an_orphan_whose_parents_end_is_told_after_its_exec_is_its_parents() {
    for is_lost in [false, true] {
        let mut table = ProcessTable::default();
        let reaper = exec(&mut table, 1000, 10, 1, Some(0));
        table.fork(2000, 11, 10);
        let shell = exec(&mut table, 2001, 11, 10, None);
        table.fork(2050, 12, 11);
        if is_lost {
            // The orphan may have ended since, and another have its pid: who forked it is who it says.
            table.doubt(2100);
        }
        let orphan = exec(&mut table, 2200, 12, 10, None);
        table.exit(2230, 11, Some(0), None);
        let parent = if is_lost { reaper } else { shell };
        assert_eq!(orphan.parent, parent.image);
    }
}

#[test]
fn an_orphan_whose_parents_pid_is_in_use_again_is_its_parents() {
    let mut table = ProcessTable::default();
    exec(&mut table, 1000, 10, 1, Some(0));
    table.fork(2000, 11, 10);
    let shell = exec(&mut table, 2001, 11, 10, None);
    table.fork(2100, 12, 11);
    table.exit(2110, 11, Some(0), None);
    table.fork(2200, 11, 10);
    let orphan = exec(&mut table, 2300, 12, 10, None);
    assert_eq!(orphan.parent, shell.image);
}
