//! A hash of lines with a key that nobody knows. All bytes of a line go through one multiplication for each sixteen of them (NH), and
//! what comes out, much shorter, through SipHash: two lines of one length have the same product sums by a chance of 2⁻⁶⁴, whoever made
//! them, as long as no hash is ever given out.
//!
//! Reference: Black et al., UMAC: Fast and Secure Message Authentication (1999), section 4; RFC 4418, section 5.2.2

use std::hash::{BuildHasher, Hash, Hasher, RandomState};

/// Words of the key: of so many words the sums are made at once.
const WORDS: usize = 64;

pub(super) struct LineHash {
    key: RandomState,
    words: [u64; WORDS],
}

impl Default for LineHash {
    fn default() -> Self {
        let key = RandomState::new();
        let mut words = [0; WORDS];
        for (at, word) in words.iter_mut().enumerate() {
            *word = key.hash_one(("word", at));
        }
        LineHash { key, words }
    }
}

impl LineHash {
    /// Of a line of an event.
    pub(super) fn of_line(&self, event: &impl Hash, line: &[u8]) -> u64 {
        let mut hasher = self.key.build_hasher();
        event.hash(&mut hasher);
        hasher.write_usize(line.len());
        for part in line.chunks(WORDS * 8) {
            hasher.write_u128(self.sum(part));
        }
        hasher.finish()
    }

    /// Of at most `WORDS` words; a shorter part is filled up with zeros, and its length is hashed too.
    fn sum(&self, part: &[u8]) -> u128 {
        let pairs = part.chunks_exact(16);
        let mut last = [0; 16];
        for (to, from) in last.iter_mut().zip(pairs.remainder()) {
            *to = *from;
        }
        let filled = (!pairs.remainder().is_empty()).then_some(last.as_slice());
        pairs
            .chain(filled)
            .zip(self.words.chunks_exact(2))
            .map(|(pair, key)| product(pair, key))
            .fold(0, u128::wrapping_add)
    }
}

fn product(pair: &[u8], key: &[u64]) -> u128 {
    match (pair.first_chunk::<16>(), key) {
        (Some(pair), [low, high]) => {
            let pair = u128::from_le_bytes(*pair);
            let first = (pair as u64).wrapping_add(*low);
            let second = ((pair >> 64) as u64).wrapping_add(*high);
            u128::from(first) * u128::from(second)
        }
        _ => 0,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::HashSet;

    #[test]
    fn each_byte_the_length_and_the_event_count() {
        let hash = LineHash::default();
        for length in [0, 1, 15, 16, 17, 511, 512, 513, 2000] {
            let line = vec![b'x'; length];
            let mut seen = HashSet::from([hash.of_line(&1, &line)]);
            assert!(!seen.insert(hash.of_line(&1, &line)));
            assert!(seen.insert(hash.of_line(&2, &line)));
            assert!(seen.insert(hash.of_line(&1, &[line.as_slice(), b"\0"].concat())));
            for at in 0..length {
                let mut other = line.clone();
                other[at] ^= 1;
                assert!(
                    seen.insert(hash.of_line(&1, &other)),
                    "byte {at} of {length}"
                );
            }
        }
    }

    #[test]
    fn parts_that_change_places_are_another_line() {
        let hash = LineHash::default();
        let (first, second) = ([b'a'; 512], [b'b'; 512]);
        assert_ne!(
            hash.of_line(&1, &[first, second].concat()),
            hash.of_line(&1, &[second, first].concat())
        );
        assert_ne!(
            hash.of_line(&1, b"aaaaaaaabbbbbbbb"),
            hash.of_line(&1, b"bbbbbbbbaaaaaaaa")
        );
    }

    #[test]
    fn another_key_gives_another_hash() {
        let of = |hash: LineHash| hash.of_line(&1, b"line");
        assert_ne!(of(LineHash::default()), of(LineHash::default()));
    }
}
