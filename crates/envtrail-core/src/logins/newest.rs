//! A bounded table that forgets what was put first.

use rustc_hash::FxHashMap;
use std::collections::VecDeque;
use std::hash::Hash;

/// Values by key, in the order in which their keys were put.
pub(super) struct Newest<K, V> {
    held: FxHashMap<K, (u64, V)>,
    /// With keys that are gone, or were put again since.
    order: VecDeque<(u64, K)>,
    next: u64,
}

impl<K: Hash + Eq + Clone, V> Newest<K, V> {
    pub(super) fn new() -> Self {
        Newest {
            held: FxHashMap::default(),
            order: VecDeque::new(),
            next: 0,
        }
    }

    pub(super) fn len(&self) -> usize {
        self.held.len()
    }

    pub(super) fn get(&self, key: &K) -> Option<&V> {
        self.held.get(key).map(|(_, value)| value)
    }

    pub(super) fn get_mut(&mut self, key: &K) -> Option<&mut V> {
        self.held.get_mut(key).map(|(_, value)| value)
    }

    pub(super) fn remove(&mut self, key: &K) -> Option<V> {
        self.held.remove(key).map(|(_, value)| value)
    }

    /// Put a value last, in place of one that is there.
    pub(super) fn put(&mut self, key: K, value: V) {
        self.next += 1;
        self.order.push_back((self.next, key.clone()));
        self.held.insert(key, (self.next, value));
        if self.order.len() > 2 * self.held.len() + 64 {
            let held = &self.held;
            self.order
                .retain(|(at, key)| held.get(key).is_some_and(|(last, _)| last == at));
        }
    }

    /// The same; the first one goes where there are so many others.
    pub(super) fn keep(&mut self, key: K, value: V, most: usize) {
        self.remove(&key);
        if self.len() >= most {
            self.take_first();
        }
        self.put(key, value);
    }

    pub(super) fn take_first(&mut self) -> Option<(K, V)> {
        while let Some((at, key)) = self.order.pop_front() {
            if self.held.get(&key).is_some_and(|(last, _)| *last == at) {
                let value = self.remove(&key)?;
                return Some((key, value));
            }
        }
        None
    }

    pub(super) fn values(&self) -> impl Iterator<Item = &V> {
        let is_held =
            |(at, key): &&(u64, K)| self.held.get(key).is_some_and(|(last, _)| last == at);
        let held = self.order.iter().filter(is_held);
        held.filter_map(|(_, key)| self.get(key))
    }
}

#[cfg(test)]
mod tests {
    use super::Newest;

    #[test]
    fn what_was_put_first_goes_first_and_what_is_put_again_is_last() {
        let mut table = Newest::new();
        for at in 0..1000 {
            table.keep("again", at, 3);
            table.keep(["a", "b", "c"][at % 3], at, 3);
        }
        assert_eq!(table.len(), 3);
        assert_eq!(table.values().copied().collect::<Vec<_>>(), [998, 999, 999]);
        assert_eq!(table.take_first(), Some(("c", 998)));
        assert_eq!(table.remove(&"a"), Some(999));
        assert_eq!(table.take_first(), Some(("again", 999)));
        assert_eq!(table.take_first(), None);
    }
}
