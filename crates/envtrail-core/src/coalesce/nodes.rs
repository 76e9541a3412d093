//! Machines that records name, by number.

use crate::fault::FaultKind;
use rustc_hash::FxHashMap;

/// Names of machines that are distinguished.
const MOST: usize = 1 << 16;

/// Number 0 is that of records without a name.
pub(super) struct Nodes {
    names: Vec<Vec<u8>>,
    numbers: FxHashMap<Vec<u8>, u32>,
    last: u32,
}

impl Default for Nodes {
    fn default() -> Self {
        Nodes {
            names: vec![Vec::new()],
            numbers: FxHashMap::default(),
            last: 0,
        }
    }
}

impl Nodes {
    pub(super) fn name(&self, number: u32) -> &[u8] {
        let name = self.names.get(number as usize);
        name.map(Vec::as_slice).unwrap_or_default()
    }

    /// Number of a name, the next one for a new name.
    #[inline]
    pub(super) fn number_of(&mut self, name: &[u8]) -> Result<u32, FaultKind> {
        if name.is_empty() {
            return Ok(0);
        }
        if self.name(self.last) == name {
            return Ok(self.last);
        }
        let number = match self.numbers.get(name) {
            Some(number) => *number,
            None if self.names.len() < MOST => {
                let number = self.names.len() as u32;
                self.names.push(name.to_vec());
                self.numbers.insert(name.to_vec(), number);
                number
            }
            None => return Err(FaultKind::TooManyNodes),
        };
        self.last = number;
        Ok(number)
    }
}
