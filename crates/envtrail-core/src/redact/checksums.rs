//! Checksums that tell a token from what only looks like one.

const BASE62: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
/// Letters of a checksum in base 62.
const DIGITS: usize = 6;

/// Whether the last six letters of a token's body are the CRC-32 of those before them, in base 62.
///
/// References: <https://github.blog/engineering/platform-security/behind-githubs-new-authentication-token-formats/>
pub(super) fn ends_with_crc32(body: &[u8]) -> bool {
    let Some((secret, sum)) = body.split_last_chunk::<DIGITS>() else {
        return false;
    };
    let mut rest = crc32(secret);
    let mut expected = [b'0'; DIGITS];
    for digit in expected.iter_mut().rev() {
        *digit = BASE62.get(rest as usize % 62).copied().unwrap_or(b'0');
        rest /= 62;
    }
    !secret.is_empty() && expected == *sum
}

fn crc32(bytes: &[u8]) -> u32 {
    let step = |crc: u32, _| (crc >> 1) ^ (0xEDB8_8320 & (0u32.wrapping_sub(crc & 1)));
    let mix = |crc: u32, byte: &u8| (0..8).fold(crc ^ u32::from(*byte), step);
    !bytes.iter().fold(u32::MAX, mix)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_crc_is_that_of_ieee() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
    }

    #[test]
    fn a_body_with_its_own_checksum_is_known() {
        // CRC-32 of `zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ` is that of GitHub's published example, `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`.
        assert!(ends_with_crc32(b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq17"));
        assert!(!ends_with_crc32(b"zQWBuTSOoRi4A9spHcVY5ncnsDkxkJ0mLq18"));
        assert!(!ends_with_crc32(b"000000"));
    }
}
