//! Names of machines, as records have them.

/// Whether a record's node is this machine: the same name, or one of them with the domain and the other without.
pub(super) fn is_same_machine(name: &[u8], own: &[u8]) -> bool {
    let short = |name: &[u8]| name.iter().position(|byte| *byte == b'.');
    match (short(name), short(own)) {
        (Some(end), None) => name.get(..end) == Some(own),
        (None, Some(end)) => own.get(..end) == Some(name),
        _ => name == own,
    }
}

/// Twenty bits of a machine's name (FNV-1a).
pub(super) fn salt_of(name: &[u8]) -> u64 {
    let hash = name.iter().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
    });
    (hash ^ hash >> 20 ^ hash >> 40) & 0xF_FFFF
}
