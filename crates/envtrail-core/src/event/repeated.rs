//! Words that one record after another says again, byte for byte: who did it, in a session, by which program, under which title, and the
//! names that auditd adds.

use super::capabilities::Capabilities;
use super::{ExtraFields, Range};
use std::fmt;

/// Longest words that are kept.
const LONGEST: usize = 512;
const FILES: usize = 16;
const CALLS: usize = 16;
/// Processes whose records are mixed.
const PROCESSES: usize = 16;

/// Words of a record, the byte that ends them, and what they say.
#[derive(Default)]
pub(super) struct Words<T> {
    bytes: Vec<u8>,
    said: T,
}

impl<T> Words<T> {
    /// What the words at the beginning of `text` say, and how many bytes they are, if they are those read last.
    pub(super) fn find(&self, text: &[u8]) -> Option<(&T, usize)> {
        let (_, length) = (self.bytes.last()?, self.bytes.len() - 1);
        text.starts_with(&self.bytes)
            .then_some((&self.said, length))
    }

    /// Keep what so many bytes at the beginning of `text` say, which `write` writes; those that nothing ends could go on.
    pub(super) fn keep(&mut self, text: &[u8], length: usize, write: impl FnOnce(&mut T)) {
        self.bytes.clear();
        if let Some(words) = text.get(..=length).filter(|words| words.len() <= LONGEST) {
            self.bytes.extend_from_slice(words);
            write(&mut self.said);
        }
    }
}

/// The body of a record, and the one text that it says.
#[derive(Default)]
pub(super) struct Body {
    bytes: Vec<u8>,
    text: Vec<u8>,
}

impl Body {
    /// The text, if the body is that which was read last.
    pub(super) fn find(&self, body: &[u8]) -> Option<&[u8]> {
        (self.bytes == body && !body.is_empty()).then_some(&self.text)
    }

    /// Keep what it says.
    pub(super) fn keep(&mut self, body: &[u8], text: &[u8]) {
        self.bytes.clear();
        if body.len() <= LONGEST {
            self.bytes.extend_from_slice(body);
            self.text.clear();
            self.text.extend_from_slice(text);
        }
    }
}

/// Who did it and by which program: `auid=` to `exe=` of a system call.
#[derive(Default)]
pub(super) struct Task {
    pub(super) ids: [Option<u32>; 5],
    /// Terminal, name and program, as ranges of `text`.
    pub(super) ranges: [Range; 3],
    pub(super) text: Vec<u8>,
}

/// What a process says again and again.
#[derive(Default)]
pub(super) struct Process {
    pub(super) task: Words<Task>,
    pub(super) cwd: Body,
    pub(super) title: Body,
}

/// Who did it: `auid=` to `ses=` of a system call.
#[derive(Default)]
pub(super) struct Who {
    pub(super) ids: [Option<u32>; 5],
    pub(super) tty: Option<Vec<u8>>,
}

/// What a PATH record says after the inode.
#[derive(Default)]
pub(super) struct FileFacts {
    pub(super) mode: Option<u32>,
    pub(super) ouid: Option<u32>,
    pub(super) nametype: Vec<u8>,
}

/// What auditd added to a system call whose name is known.
#[derive(Default)]
pub(super) struct Names {
    /// Architecture and number.
    pub(super) call: (Option<u32>, Option<u32>),
    pub(super) fields: ExtraFields,
}

/// What was read last.
#[derive(Default)]
pub(super) struct Repeated {
    pub(super) who: Words<Who>,
    pub(super) capabilities: Capabilities,
    /// By what the call is.
    names: [Words<Names>; CALLS],
    /// By what the call is and which of its files: a new file lies in a folder, a program has its loader beside it.
    files: [Words<FileFacts>; FILES],
    processes: [Process; PROCESSES],
}

impl Repeated {
    /// What the process with this id said last, or another one in its place.
    pub(super) fn process(&self, pid: Option<u32>) -> Option<&Process> {
        self.processes.get(pid.unwrap_or(0) as usize % PROCESSES)
    }

    pub(super) fn process_mut(&mut self, pid: Option<u32>) -> Option<&mut Process> {
        self.processes
            .get_mut(pid.unwrap_or(0) as usize % PROCESSES)
    }

    pub(super) fn names(&self, call: Option<u32>) -> Option<&Words<Names>> {
        self.names.get(call.unwrap_or(0) as usize % CALLS)
    }

    pub(super) fn names_mut(&mut self, call: Option<u32>) -> Option<&mut Words<Names>> {
        self.names.get_mut(call.unwrap_or(0) as usize % CALLS)
    }

    pub(super) fn file(&self, call: Option<u32>, item: u32) -> Option<&Words<FileFacts>> {
        self.files.get(place_of(call, item))
    }

    pub(super) fn file_mut(
        &mut self,
        call: Option<u32>,
        item: u32,
    ) -> Option<&mut Words<FileFacts>> {
        self.files.get_mut(place_of(call, item))
    }
}

fn place_of(call: Option<u32>, item: u32) -> usize {
    call.unwrap_or(0).wrapping_add(item) as usize % FILES
}

/// It is no part of what an event says.
impl fmt::Debug for Repeated {
    fn fmt(&self, _: &mut fmt::Formatter<'_>) -> fmt::Result {
        Ok(())
    }
}
