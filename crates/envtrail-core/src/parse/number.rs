//! Numbers, eight digits at a time.

use super::first_eight;

/// The whole number at the beginning, and what follows it; None without one or past 64 bits.
#[inline(always)]
pub fn digits(bytes: &[u8]) -> Option<(u64, &[u8])> {
    match first_eight(bytes).map(short_number) {
        Some((number, length @ 1..=7)) => Some((number, bytes.get(length..)?)),
        Some((_, 0)) => None,
        _ => long_digits(bytes),
    }
}

/// The same, of any length.
fn long_digits(bytes: &[u8]) -> Option<(u64, &[u8])> {
    if let Some((number, rest)) = ten_digits(bytes) {
        return Some((number, rest));
    }
    let (mut rest, mut number) = (bytes, 0u64);
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        number = number
            .wrapping_mul(10)
            .wrapping_add(u64::from(digit - b'0'));
        rest = after;
    }
    match bytes.len() - rest.len() {
        0 => None,
        1..=19 => Some((number, rest)),
        length => {
            let text = bytes.get(..length)?;
            Some((std::str::from_utf8(text).ok()?.parse().ok()?, rest))
        }
    }
}

/// The same, of eight to fifteen digits, with eight bytes more behind the first eight: seconds, an id that is not set.
fn ten_digits(bytes: &[u8]) -> Option<(u64, &[u8])> {
    const TENS: [u64; 8] = [1, 10, 100, 1000, 10_000, 100_000, 1_000_000, 10_000_000];
    let (high, 8) = short_number(first_eight(bytes)?) else {
        return None;
    };
    let rest = bytes.get(8..)?;
    let (low, length) = short_number(first_eight(rest)?);
    Some((high * TENS.get(length)? + low, rest.get(length..)?))
}

/// The number that the digits at the beginning of a word make, and how many they are.
///
/// Reference: D. Lemire, "Faster integer parsing" (2018): neighbours are joined to pairs, pairs to fours, fours to eight.
#[inline(always)]
fn short_number(word: u64) -> (u64, usize) {
    const ONES: u64 = u64::MAX / 255;
    let values = word ^ (ONES * b'0' as u64);
    let others = (values.wrapping_add(ONES * 0x76) | values) & (ONES << 7);
    let length = others.trailing_zeros() / 8;
    if length == 0 {
        return (0, 0);
    }
    let aligned = values << (64 - 8 * length);
    let pairs = aligned.wrapping_mul(10).wrapping_add(aligned >> 8);
    let high = (pairs & 0xff_0000_00ff).wrapping_mul(100 + (1_000_000 << 32));
    let low = (pairs >> 16 & 0xff_0000_00ff).wrapping_mul(1 + (10_000 << 32));
    (high.wrapping_add(low) >> 32, length as usize)
}

/// The hexadecimal number at the beginning, and what follows it; None without one, past 64 bits, and where the bytes end soon after it.
#[inline(always)]
pub(crate) fn hexadecimal(bytes: &[u8]) -> Option<(u64, &[u8])> {
    let (high, length) = short_hexadecimal(first_eight(bytes)?);
    let rest = bytes.get(length..)?;
    if length < 8 {
        return (length > 0).then_some((high, rest));
    }
    let (low, length) = short_hexadecimal(first_eight(rest)?);
    let rest = rest.get(length..)?;
    let is_end = length < 8 || !rest.first().is_some_and(u8::is_ascii_hexdigit);
    is_end.then_some((high << (4 * length) | low, rest))
}

/// The number that the hexadecimal digits at the beginning of a word make, and how many they are.
#[inline(always)]
fn short_hexadecimal(word: u64) -> (u64, usize) {
    const ONES: u64 = u64::MAX / 255;
    const HIGHEST: u64 = ONES << 7;
    // Of seven bits, so that no sum goes over into the next byte.
    let seven = |word: u64| word & !HIGHEST;
    let digits = seven(word) ^ (ONES * b'0' as u64);
    let letters = seven(word | (ONES * 0x20)) ^ (ONES * 0x60);
    let is_digit = !(digits + ONES * 0x76);
    let is_letter = !(letters + ONES * 0x79) & (letters + ONES * 0x7f);
    let others = !((is_digit | is_letter) & !word) & HIGHEST;
    let length = others.trailing_zeros() / 8;
    if length == 0 {
        return (0, 0);
    }
    let nibbles = (word & (ONES * 0x0f)) + (word >> 6 & ONES) * 9;
    let nibbles = (nibbles & (ONES * 0x0f)).swap_bytes() >> (64 - 8 * length);
    let pairs = (nibbles | nibbles >> 4) & 0x00ff_00ff_00ff_00ff;
    let fours = (pairs | pairs >> 8) & 0x0000_ffff_0000_ffff;
    ((fours | fours >> 16) & 0xffff_ffff, length as usize)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// The same, digit by digit.
    fn slowly(text: &str, is_digit: fn(&char) -> bool, radix: u32) -> Option<(u64, &[u8])> {
        let length = text.chars().take_while(is_digit).count();
        let (number, rest) = text.split_at(length);
        let number = u64::from_str_radix(number, radix).ok()?;
        Some((number, rest.as_bytes()))
    }

    proptest! {
        #![proptest_config(ProptestConfig { cases: 20_000, ..ProptestConfig::default() })]

        #[test]
        fn a_number_is_its_digits(digits in "[0-9]{0,22}", rest in "([ -/:-~][ -~]{0,12})?") {
            let text = digits + &rest;
            prop_assert_eq!(super::digits(text.as_bytes()), slowly(&text, char::is_ascii_digit, 10));
        }

        #[test]
        fn a_hexadecimal_number_is_its_digits(digits in "[0-9a-fA-F]{0,18}", rest in "[ -/:-@G-`g-~][ -~]{0,12}") {
            let text = digits + &rest;
            let slow = slowly(&text, char::is_ascii_hexdigit, 16).filter(|(_, rest)| text.len() - rest.len() <= 16);
            match hexadecimal(text.as_bytes()) {
                // The bytes end too soon to be read eight at a time.
                None if rest.len() < 8 => {}
                fast => prop_assert_eq!(fast, slow),
            }
        }
    }
}
