//! Words that one record after another says again, byte for byte: who did it, in a session, and the names that auditd adds.

use super::ExtraFields;
use std::fmt;

/// Longest words that are kept.
const LONGEST: usize = 512;
const FILES: usize = 16;

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

    /// Keep what so many bytes at the beginning of `text` say; those that nothing ends could go on.
    pub(super) fn keep(&mut self, text: &[u8], length: usize, said: impl FnOnce() -> T) {
        self.bytes.clear();
        if let Some(words) = text.get(..=length).filter(|words| words.len() <= LONGEST) {
            self.bytes.extend_from_slice(words);
            self.said = said();
        }
    }
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

/// What was read last.
#[derive(Default)]
pub(super) struct Repeated {
    pub(super) who: Words<Who>,
    /// Names that auditd added.
    pub(super) names: Words<ExtraFields>,
    /// By what the call is and which of its files: a new file lies in a folder, a program has its loader beside it.
    files: [Words<FileFacts>; FILES],
}

impl Repeated {
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
