//! Ids of documents: written as a ULID, 48 bits of a moment and 80 bits of a hash, as `envtrail.model.ids` makes them.
//!
//! Reference: <https://github.com/ulid/spec>

use sha2::{Digest, Sha256};

const CROCKFORD: &[u8; 32] = b"0123456789ABCDEFGHJKMNPQRSTVWXYZ";

/// The id of what happened at a moment (ms since the epoch): the same whenever the parts are.
pub fn make_ulid(time_ms: i64, parts: &[&str]) -> String {
    let mut hash = Sha256::new();
    for (at, part) in parts.iter().enumerate() {
        if at > 0 {
            hash.update([0]);
        }
        hash.update(part);
    }
    let mut number = u128::from(time_ms as u64 & ((1 << 48) - 1));
    for byte in hash.finalize().iter().take(10) {
        number = number << 8 | u128::from(*byte);
    }
    (0..26u32)
        .rev()
        .map(|place| {
            let five = (number >> (5 * place) & 31) as usize;
            CROCKFORD.get(five).copied().unwrap_or(b'0') as char
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_what_python_makes_of_it() {
        assert_eq!(
            make_ulid(1_764_000_000_123, &["event", "gpu1", "42"]),
            "01KAV9FT3VJ8HAZGTNSAFBCMW9"
        );
        assert_eq!(make_ulid(-1, &[]).len(), 26);
    }
}
