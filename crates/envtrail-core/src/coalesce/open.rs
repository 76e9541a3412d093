//! Events that take more records, by their identity.

use crate::event::Key;
use rustc_hash::FxHashMap;

/// More than are open at one time on most machines: each then has a separate place, by its serial.
const PLACES: usize = 256;

/// The number of each event in the queue of its node.
pub(super) struct Open {
    places: Vec<Option<(Key, u64)>>,
    /// Those whose place another one took.
    others: FxHashMap<Key, u64>,
}

impl Default for Open {
    fn default() -> Self {
        Open {
            places: vec![None; PLACES],
            others: FxHashMap::default(),
        }
    }
}

impl Open {
    #[inline]
    pub(super) fn get(&self, key: &Key) -> Option<u64> {
        match self.places.get(place_of(key)) {
            Some(Some((known, number))) if known == key => Some(*number),
            _ if self.others.is_empty() => None,
            _ => self.others.get(key).copied(),
        }
    }

    #[inline]
    pub(super) fn insert(&mut self, key: Key, number: u64) {
        let Some(place) = self.places.get_mut(place_of(&key)) else {
            return;
        };
        if let Some((before, number)) = place.replace((key, number)) {
            self.others.insert(before, number);
        }
    }

    #[inline]
    pub(super) fn remove(&mut self, key: &Key) {
        match self.places.get_mut(place_of(key)) {
            Some(place) if place.is_some_and(|(known, _)| known == *key) => *place = None,
            _ if self.others.is_empty() => {}
            _ => drop(self.others.remove(key)),
        }
    }
}

fn place_of(key: &Key) -> usize {
    key.serial as usize % PLACES
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_event_is_found_whatever_took_its_place() {
        let key = |serial: u64| Key {
            node: 0,
            time_ms: 1,
            serial,
        };
        let mut open = Open::default();
        let serials = [7, 7 + PLACES as u64, 7 + 2 * PLACES as u64];
        for (number, serial) in (0..).zip(serials) {
            open.insert(key(serial), number);
        }
        let found = |open: &Open| serials.map(|serial| open.get(&key(serial)));
        assert_eq!(found(&open), [Some(0), Some(1), Some(2)]);
        open.remove(&key(serials[2]));
        assert_eq!(found(&open), [Some(0), Some(1), None]);
        open.remove(&key(serials[0]));
        assert_eq!(found(&open), [None, Some(1), None]);
    }
}
