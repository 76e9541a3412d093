//! Fields that have no column.

use super::Strings;

/// The first one of a name counts: a map has no two.
#[derive(Default, Debug)]
pub struct ExtraFields {
    /// `pack` of each key; 0 of one of more than eight bytes.
    names: Vec<u64>,
    /// A bit of each of `names` (`bit_of`).
    bits: u64,
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

    /// Whether there may be a field with one of these names, each the `pack` of a key.
    pub(super) fn may_have(&self, names: [u64; 3]) -> bool {
        self.names.iter().any(|name| names.contains(name))
    }

    /// The value of a key, of which `name` is the `pack`.
    #[inline]
    pub(super) fn get(&self, key: &[u8], name: u64) -> Option<&[u8]> {
        if self.bits & bit_of(name) == 0 {
            return None;
        }
        self.find(key, name)
    }

    fn find(&self, key: &[u8], name: u64) -> Option<&[u8]> {
        let is_it = |(at, known): (usize, &u64)| {
            *known == name && (name != 0 || self.keys.get(at) == Some(key))
        };
        self.values
            .get(self.names.iter().enumerate().position(is_it)?)
    }

    /// Append a field; `write` appends its value.
    pub(super) fn push(&mut self, key: &[u8], name: u64, write: impl FnOnce(&mut Vec<u8>)) {
        self.names.push(name);
        self.bits |= bit_of(name);
        if name == 0 {
            self.keys.push(key);
        } else {
            // A copy of a fixed length is no call.
            self.keys.bytes.extend_from_slice(&name.to_le_bytes());
            let end = self.keys.bytes.len() - 8 + key.len();
            self.keys.bytes.truncate(end);
            self.keys.close();
        }
        write(&mut self.values.bytes);
        self.values.close();
    }

    /// Whether no field has the name of one of `others`.
    pub(super) fn is_apart(&self, others: &ExtraFields) -> bool {
        let mut known = self.keys.iter().zip(&self.names);
        !known.any(|(key, name)| others.get(key, *name).is_some())
    }

    pub(super) fn append(&mut self, more: &ExtraFields) {
        self.names.extend_from_slice(&more.names);
        self.bits |= more.bits;
        self.keys.append(&more.keys);
        self.values.append(&more.values);
    }

    pub(super) fn truncate(&mut self, count: usize) {
        if count >= self.names.len() {
            return;
        }
        self.names.truncate(count);
        self.bits = self.names.iter().fold(0, |bits, name| bits | bit_of(*name));
        self.keys.truncate(count);
        self.values.truncate(count);
    }

    pub(super) fn clear(&mut self) {
        self.truncate(0);
    }
}

/// One bit of 64, by name.
fn bit_of(name: u64) -> u64 {
    1 << (name.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 58)
}
