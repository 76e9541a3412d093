//! Where events stand in the process table.

use crate::event::{Event, Kind};
use crate::process::{Exec, Moment, Place, ProcessEvent, ProcessTable};

/// Where an event stands in the process table, and what is to be reported of processes now that it is known. `id`: of the image that an exec
/// begins.
pub(super) fn place_of(
    processes: &mut ProcessTable,
    event: &Event,
    id: u64,
    segment: u64,
    hint: Option<u16>,
) -> (Place, Vec<ProcessEvent>) {
    let (Some(pid), Some(ppid)) = (event.pid, event.ppid) else {
        return (Place::default(), Vec::new());
    };
    let at = Moment {
        time_ms: event.time_ms,
        serial: event.serial,
    };
    match event.kind {
        Kind::Exec if event.success != Some(false) => processes.exec(&Exec {
            comm: event.slice(event.comm).unwrap_or_default(),
            id,
            pid,
            ppid,
            hint,
            time_ms: event.time_ms,
            serial: event.serial,
            segment,
            uid: event.uid,
            auid: event.auid,
            ses: event.ses,
        }),
        Kind::Exit => {
            let code = exit_code_of(event);
            (
                processes.exit_record(at, pid, ppid, code, segment),
                Vec::new(),
            )
        }
        _ => (processes.place_at(pid, ppid, at), Vec::new()),
    }
}

/// The code that a process ended with by itself; None of any other event.
pub(super) fn exit_code_of(event: &Event) -> Option<i32> {
    let code = event.a0.filter(|_| event.kind == Kind::Exit)?;
    Some((code & 0xff) as i32)
}

/// `time_ms << 20 | serial & 0xFFFFF`; the serial of another machine's event is mixed with its name.
pub fn image_id(time_ms: u64, serial: u64) -> u64 {
    time_ms << 20 | serial & 0xF_FFFF
}
