//! Maps whose keys are numbers in ascending order.

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};

/// A map of numbers in ascending order (process ids, images): neighbours lie side by side, so that one is in the cache with the other.
pub(super) type NearMap<K, V> = HashMap<K, V, BuildHasherDefault<Near>>;

/// A number is its own place in the table; the seven bits that distinguish entries are mixed.
#[derive(Default)]
pub(super) struct Near(u64);

impl Hasher for Near {
    fn finish(&self) -> u64 {
        const TAG: u64 = 0x7f << 57;
        let mixed = self.0.wrapping_mul(0x9e37_79b9_7f4a_7c15);
        (self.0 & !TAG) | (mixed & TAG)
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = self.0 << 8 | u64::from(*byte);
        }
    }

    fn write_u32(&mut self, number: u32) {
        self.0 = u64::from(number);
    }

    fn write_u64(&mut self, number: u64) {
        self.0 = number;
    }
}
