//! Merkle root over salted hashes of lines, so that one record can be blanked later and the chain still verifies.
//!
//! Salts come from a binary tree of SHA-256: the two children of a node are `H(0 ‖ node)` and `H(1 ‖ node)`, and the salt of
//! line *i* is the leaf at *i* of a tree of depth 32 over the segment's seed. To blank a line, the seed is replaced by the nodes beside
//! its path: every other salt can still be made, its own cannot, and its stored hash says nothing of what it was.
//! Leaf hash: `SHA-256(0 ‖ salt ‖ line)`, inner node: `SHA-256(1 ‖ left ‖ right)`, an odd node moves up as it is (RFC 6962, 2.1).

use sha2::{Digest, Sha256};

pub type Hash = [u8; 32];

const DEPTH: usize = 32;

/// Root over the lines of `block` (a last line without newline counts) and their number. The root of nothing is `SHA-256("")`.
pub fn merkle_root(block: &[u8], seed: &[u8]) -> (Hash, u64) {
    let mut salts = Salts::new(seed);
    let mut stack: Vec<(u32, Hash)> = Vec::new();
    let mut lines = 0u64;
    let mut rest = block;
    while !rest.is_empty() {
        let end = memchr::memchr(b'\n', rest).unwrap_or(rest.len());
        let line = rest.get(..end).unwrap_or_default();
        rest = rest.get(end + 1..).unwrap_or_default();
        let salt = salts.take();
        let leaf: Hash = Sha256::new()
            .chain_update([0])
            .chain_update(salt)
            .chain_update(line)
            .finalize()
            .into();
        lines += 1;
        push(&mut stack, leaf);
    }
    let Some((_, mut root)) = stack.pop() else {
        return (Sha256::digest([]).into(), 0);
    };
    while let Some((_, left)) = stack.pop() {
        root = join(&left, &root);
    }
    (root, lines)
}

fn push(stack: &mut Vec<(u32, Hash)>, leaf: Hash) {
    let mut node = (0, leaf);
    while let Some((height, left)) = stack.last() {
        if *height != node.0 {
            break;
        }
        node = (height + 1, join(left, &node.1));
        stack.pop();
    }
    stack.push(node);
}

fn join(left: &Hash, right: &Hash) -> Hash {
    Sha256::new()
        .chain_update([1])
        .chain_update(left)
        .chain_update(right)
        .finalize()
        .into()
}

/// Salts in order, each inner node made once.
struct Salts {
    /// Nodes on the way to the next leaf, root first.
    path: Vec<Hash>,
    next: u32,
}

impl Salts {
    fn new(seed: &[u8]) -> Self {
        Salts {
            path: vec![Sha256::digest(seed).into()],
            next: 0,
        }
    }

    fn take(&mut self) -> Hash {
        while self.path.len() <= DEPTH {
            let level = self.path.len() - 1;
            let bit = self.next >> (DEPTH - 1 - level) & 1;
            let parent = self.path.last().copied().unwrap_or_default();
            self.path.push(
                Sha256::new()
                    .chain_update([bit as u8])
                    .chain_update(parent)
                    .finalize()
                    .into(),
            );
        }
        let salt = self.path.last().copied().unwrap_or_default();
        let following = self.next.wrapping_add(1);
        let shared = (self.next ^ following).leading_zeros() as usize;
        self.path.truncate(shared + 1);
        self.next = following;
        salt
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_root_depends_on_every_byte_on_order_and_on_the_seed() {
        let (root, lines) = merkle_root(b"a\nb\nc\n", b"seed");
        assert_eq!(lines, 3);
        for other in [
            &b"a\nb\nd\n"[..],
            b"b\na\nc\n",
            b"a\nb\n",
            b"a\nb\nc\n\n",
            b"a\nbc\n",
        ] {
            assert_ne!(merkle_root(other, b"seed").0, root);
        }
        assert_ne!(merkle_root(b"a\nb\nc\n", b"Seed").0, root);
        assert_eq!(merkle_root(b"a\nb\nc", b"seed").0, root);
    }

    #[test]
    fn salts_differ_and_are_the_same_each_time() {
        let draw = || {
            let mut salts = Salts::new(b"x");
            (0..100).map(|_| salts.take()).collect::<Vec<_>>()
        };
        let first = draw();
        assert_eq!(first, draw());
        let distinct: std::collections::HashSet<_> = first.iter().collect();
        assert_eq!(distinct.len(), 100);
    }
}
