//! What an assembler receives and answers about processes.

use super::places::image_id;
use super::Assembler;
use crate::fault::FaultKind;
use crate::process::{Exec, Image, LateEnd};
use crate::procevent::{frames, Frame};

impl Assembler {
    /// Take frames of the process connector (`procevent`): each takes its place in time among the events of the next `push`.
    pub fn push_process_events(&mut self, block: &[u8]) {
        for frame in frames(block) {
            match frame {
                Ok(Frame::Other) => {}
                Ok(frame) => self.waiting.push(frame),
                Err(()) => self.fault(FaultKind::BadFrame, b""),
            }
        }
    }

    /// A fork or exit that was observed before (rebuild); not reported again. Some were reported late.
    pub fn replay_process(&mut self, frame: Frame) {
        self.waiting.replay(frame);
    }

    /// A process that was there before (from /proc).
    #[allow(clippy::too_many_arguments)]
    pub fn seed_process(
        &mut self,
        time_ms: u64,
        pid: u32,
        ppid: u32,
        exe: Option<&str>,
        argv: &[String],
        uid: Option<u32>,
        auid: Option<u32>,
        ses: Option<u32>,
    ) {
        let hint = self.hints.of_words(exe.unwrap_or_default(), argv);
        self.tables.own().seed(&Exec {
            comm: exe
                .and_then(|exe| exe.rsplit('/').next())
                .unwrap_or_default()
                .as_bytes(),
            id: image_id(time_ms, u64::from(pid)),
            pid,
            ppid,
            hint,
            time_ms,
            serial: 0,
            segment: 0,
            uid,
            auid,
            ses,
        });
    }

    /// Between these moments forks and exits may have been missed.
    pub fn doubt_forks(&mut self, since_ms: u64, until_ms: u64) {
        self.tables.own().doubt(since_ms, until_ms);
    }

    pub fn forget_processes(&mut self) {
        self.waiting.clear();
        self.tables.own().forget();
    }

    /// The records that follow are of this log, which was written before (its processes are none of this machine's now); None: live again.
    /// What was running in a log continues in its next part, whatever was read in between. A log without a name has no next part.
    pub fn set_log(&mut self, log: Option<&str>) {
        let entered = self.tables.set_log(log);
        if let Some(at) = self.tables.log() {
            self.log_files.turn_to(at, entered.is_new);
        }
    }

    /// Ends that stand in a log after what was read of it since; each is given once.
    pub fn late_ends(&mut self) -> Vec<LateEnd> {
        self.tables.take_late_ends()
    }

    /// The process tables as text, for a segment that begins now.
    ///
    /// # Errors
    /// They cannot be written: none is known.
    pub fn save_processes(&self) -> Result<String, serde_json::Error> {
        let (coalescer, hints) = (&self.coalescer, self.hints.labels());
        self.tables.save(hints, |number| {
            // A letter a byte: names need not be text.
            coalescer
                .node(number)
                .iter()
                .copied()
                .map(char::from)
                .collect()
        })
    }

    /// Take up the process tables that `save_processes` gave when the segment began.
    ///
    /// # Errors
    /// It is nothing that `save_processes` gives.
    pub fn restore_processes(
        &mut self,
        text: &str,
        log: Option<&str>,
    ) -> Result<(), serde_json::Error> {
        let (coalescer, hints) = (&mut self.coalescer, &self.hints);
        self.tables.restore(
            text,
            log,
            |label| hints.number(label),
            |name| {
                let bytes: Result<Vec<u8>, _> = name.chars().map(u8::try_from).collect();
                coalescer.number_of_node(&bytes.ok()?).ok()
            },
        )
    }

    /// The records of the next `push` will lie in this segment, behind so many bytes of others.
    pub fn set_segment(&mut self, number: u64, records_bytes: u64) {
        self.segment = number;
        self.segment_bytes = records_bytes;
    }

    pub fn lineage(&self, image: u64) -> Vec<&Image> {
        let table = self.tables.holder(image);
        table.map_or_else(Vec::new, |table| table.lineage(image))
    }

    /// The image of the pid's only holder within the time before a moment, also after it has ended.
    pub fn holder_of(&self, pid: u32, until_ms: u64, within_ms: u64) -> Option<u64> {
        let table = self.tables.own_ref()?;
        table.holder_of(pid, until_ms, within_ms)
    }

    /// What an image of this machine was started with, as its exec recorded it, where that was not long ago.
    pub fn words_of(&self, image: u64) -> Option<Vec<String>> {
        self.log_files.own_words_of(image)
    }

    /// The program of an image of this machine, as its exec recorded it, where that was not long ago.
    pub fn program_of(&self, image: u64) -> Option<String> {
        self.log_files.own_program_of(image)
    }

    pub fn image_of(&self, pid: u32) -> Option<u64> {
        self.tables.own_ref()?.image_of(pid)
    }

    pub fn descendants(&self, image: u64) -> u32 {
        let table = self.tables.holder(image);
        table.map_or(0, |table| table.descendants(image))
    }
}
