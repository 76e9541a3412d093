//! Fields that have no place of their own.

use super::Strings;

/// The first one of a name counts: a map has no two.
#[derive(Default, Debug)]
pub struct ExtraFields {
    /// `pack` of each key; 0 of one of more than eight bytes.
    names: Vec<u64>,
    pub keys: Strings,
    pub values: Strings,
}

impl ExtraFields {
    pub fn len(&self) -> usize {
        self.names.len()
    }

    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    /// Key and value of each.
    pub fn iter(&self) -> impl Iterator<Item = (&[u8], &[u8])> {
        self.keys.iter().zip(self.values.iter())
    }

    /// The value of a key, of which `name` is the `pack`.
    pub(super) fn get(&self, key: &[u8], name: u64) -> Option<&[u8]> {
        let is_it = |(at, known): (usize, &u64)| {
            *known == name && (name != 0 || self.keys.get(at) == Some(key))
        };
        self.values
            .get(self.names.iter().enumerate().position(is_it)?)
    }

    /// Append a field; `write` appends its value.
    pub(super) fn push(&mut self, key: &[u8], name: u64, write: impl FnOnce(&mut Vec<u8>)) {
        self.names.push(name);
        self.keys.push(key);
        write(&mut self.values.bytes);
        self.values.close();
    }

    pub(super) fn append(&mut self, more: &ExtraFields) {
        self.names.extend_from_slice(&more.names);
        self.keys.append(&more.keys);
        self.values.append(&more.values);
    }

    pub(super) fn truncate(&mut self, count: usize) {
        self.names.truncate(count);
        self.keys.truncate(count);
        self.values.truncate(count);
    }

    pub(super) fn clear(&mut self) {
        self.truncate(0);
    }
}
