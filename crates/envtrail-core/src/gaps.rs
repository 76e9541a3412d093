//! Serials that never arrived.
//!
//! The kernel numbers every event of a boot, also those that no rule lets out, so a hole means a loss only to a source that gets all.
//! A late record fills its hole; a serial that falls far back with the clock going on is another boot, not a loss.

use std::collections::VecDeque;

/// Serials `first..=last` never arrived between two moments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SerialGap {
    pub node: u32,
    pub first: u64,
    pub last: u64,
    pub since_ms: u64,
    pub until_ms: u64,
    /// When it was found: event of its node, wall clock (0: not known).
    found_at: u64,
    found_ms: u64,
}

/// Holes open at one time; past it the oldest are reported early.
const MAX_OPEN: usize = 1024;
/// Events of a node after which a hole stays one, where the wall clock is not known.
const FILLED_WITHIN_EVENTS: u64 = 4096;
/// A step back or forth larger than this is another counter, not a hole.
const MAX_STEP: u64 = 1_000_000;

#[derive(Default)]
struct Node {
    newest: Option<(u64, u64)>,
    events: u64,
    open: VecDeque<SerialGap>,
}

/// Watches the serials of each node.
#[derive(Default)]
pub struct SerialWatch {
    nodes: Vec<Node>,
    found: Vec<SerialGap>,
    pub lost: u64,
}

impl SerialWatch {
    /// An event of the kernel with this serial was seen at `now_ms` of the wall clock.
    pub fn see(&mut self, node: u32, time_ms: u64, serial: u64, now_ms: u64) {
        let at = node as usize;
        if self.nodes.len() <= at {
            self.nodes.resize_with(at + 1, Node::default);
        }
        let Some(entry) = self.nodes.get_mut(at) else {
            return;
        };
        entry.events += 1;
        match entry.newest {
            Some((newest, _)) if serial == newest => {}
            Some((newest, since_ms)) if serial > newest => {
                if serial - newest > 1 && serial - newest <= MAX_STEP {
                    entry.open.push_back(SerialGap {
                        node,
                        first: newest + 1,
                        last: serial - 1,
                        since_ms,
                        until_ms: time_ms,
                        found_at: entry.events,
                        found_ms: now_ms,
                    });
                }
                entry.newest = Some((serial, time_ms));
            }
            Some((newest, _)) if newest - serial <= MAX_STEP && fill(&mut entry.open, serial) => {}
            Some((newest, newest_ms))
                if newest - serial > 65_536 || is_restart(newest, newest_ms, serial, time_ms) =>
            {
                entry.newest = Some((serial, time_ms));
            }
            Some(_) => {}
            None => entry.newest = Some((serial, time_ms)),
        }
        let is_over = |node: &Node| {
            let is_lost = |gap: &SerialGap| gap.found_at + FILLED_WITHIN_EVENTS < node.events;
            node.open.len() > MAX_OPEN || node.open.front().is_some_and(is_lost)
        };
        while self.nodes.get(at).is_some_and(is_over) {
            self.lose(at);
        }
    }

    /// The wall clock says `now_ms`: holes that were found `timeout_ms` ago stay such. Those that were found without a clock, as what was
    /// recorded before was read again, are found now.
    pub fn tick(&mut self, now_ms: u64, timeout_ms: u64) {
        let open = self.nodes.iter_mut().flat_map(|node| &mut node.open);
        for gap in open.filter(|gap| gap.found_ms == 0) {
            gap.found_ms = now_ms;
        }
        let is_lost = |gap: &SerialGap| gap.found_ms + timeout_ms < now_ms;
        for at in 0..self.nodes.len() {
            while self
                .nodes
                .get(at)
                .is_some_and(|node| node.open.front().is_some_and(is_lost))
            {
                self.lose(at);
            }
        }
    }

    fn lose(&mut self, node: usize) {
        if let Some(gap) = self
            .nodes
            .get_mut(node)
            .and_then(|node| node.open.pop_front())
        {
            self.lost += gap.last - gap.first + 1;
            self.found.push(gap);
        }
    }

    /// Hand out what was found.
    pub fn take(&mut self) -> Vec<SerialGap> {
        std::mem::take(&mut self.found)
    }

    /// Nothing more will come: what is open is lost.
    pub fn flush(&mut self) {
        for node in 0..self.nodes.len() {
            while self
                .nodes
                .get(node)
                .is_some_and(|node| !node.open.is_empty())
            {
                self.lose(node);
            }
        }
    }
}

/// A counter that begins again after a pause: another boot.
fn is_restart(newest: u64, newest_ms: u64, serial: u64, time_ms: u64) -> bool {
    newest - serial > 256 && serial < newest / 2 && time_ms > newest_ms + 1000
}

/// Take a late serial out of its hole; false when it is in none.
fn fill(open: &mut VecDeque<SerialGap>, serial: u64) -> bool {
    let Some(at) = open
        .iter()
        .position(|gap| gap.first <= serial && serial <= gap.last)
    else {
        return false;
    };
    let Some(gap) = open.get(at).copied() else {
        return false;
    };
    open.remove(at);
    if serial < gap.last {
        open.insert(
            at,
            SerialGap {
                first: serial + 1,
                ..gap
            },
        );
    }
    if gap.first < serial {
        open.insert(
            at,
            SerialGap {
                last: serial - 1,
                ..gap
            },
        );
    }
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lost(serials: &[u64]) -> u64 {
        let mut watch = SerialWatch::default();
        for (at, serial) in serials.iter().enumerate() {
            watch.see(0, 1_000_000 + at as u64, *serial, 0);
        }
        watch.flush();
        watch.lost
    }

    #[test]
    fn a_hole_after_one_that_was_found_without_a_clock_is_found() {
        let mut watch = SerialWatch::default();
        watch.see(0, 1000, 10, 0);
        watch.see(0, 1100, 20, 0);
        watch.see(0, 49_000, 40, 50_000);
        watch.tick(50_000, 2_000);
        assert_eq!(watch.take(), []);
        watch.tick(53_000, 2_000);
        let found: Vec<_> = watch
            .take()
            .iter()
            .map(|gap| (gap.first, gap.last))
            .collect();
        assert_eq!(found, [(11, 19), (21, 39)]);
    }

    #[test]
    fn a_late_record_is_late_not_lost() {
        assert_eq!(lost(&[98, 100, 101, 102, 99]), 0);
        assert_eq!(lost(&[100, 101, 102, 99]), 0);
    }

    #[test]
    fn holes_are_counted_once_and_repetitions_not_at_all() {
        assert_eq!(lost(&[1, 2, 5, 6, 5, 2]), 2);
        assert_eq!(lost(&[10, 20, 15]), 8);
    }

    #[test]
    fn a_hole_is_what_lacks_between_two_moments_of_its_machine() {
        let mut watch = SerialWatch::default();
        for (node, time_ms, serial) in [(1, 1000, 10), (0, 1050, 7), (1, 1100, 20), (0, 1150, 8)] {
            watch.see(node, time_ms, serial, 0);
        }
        for late in [15, 11, 19] {
            watch.see(1, 1200, late, 0);
        }
        assert_eq!((watch.take(), watch.lost), (vec![], 0));
        watch.flush();
        let gaps = watch.take().into_iter().map(|gap| {
            assert_eq!((gap.since_ms, gap.until_ms), (1000, 1100));
            (gap.node, gap.first, gap.last)
        });
        assert_eq!(gaps.collect::<Vec<_>>(), [(1, 12, 14), (1, 16, 18)]);
        assert_eq!((watch.take(), watch.lost), (vec![], 6));
    }

    #[test]
    fn a_hole_stays_open_for_a_while() {
        let mut watch = SerialWatch::default();
        watch.see(0, 1000, 10, 50_000);
        watch.see(0, 1000, 12, 50_000);
        watch.tick(52_000, 2_000);
        assert_eq!(watch.lost, 0);
        watch.tick(52_001, 2_000);
        assert_eq!(watch.lost, 1);
        watch.see(0, 1000, 14, 0);
        for _ in 0..FILLED_WITHIN_EVENTS {
            watch.see(0, 1000, 14, 0);
        }
        assert_eq!(watch.lost, 1);
        watch.see(0, 1000, 14, 0);
        assert_eq!(watch.lost, 2);
    }

    #[test]
    fn past_the_bound_the_oldest_hole_is_given_out() {
        let mut watch = SerialWatch::default();
        for at in 0..=MAX_OPEN as u64 {
            watch.see(0, 1000, 2 * at, 0);
        }
        assert_eq!(watch.lost, 0);
        watch.see(0, 1000, 2 * MAX_OPEN as u64 + 2, 0);
        let found: Vec<_> = watch.take().iter().map(|gap| gap.first).collect();
        assert_eq!((found, watch.lost), (vec![1], 1));
    }

    #[test]
    fn a_large_step_is_another_counter() {
        assert_eq!(lost(&[10, 10 + MAX_STEP]), MAX_STEP - 1);
        assert_eq!(lost(&[10, 11 + MAX_STEP, 13 + MAX_STEP]), 1);
        // Behind 12 that many lack, and 11 before it, which comes late: from farther back it is of another counter.
        assert_eq!(lost(&[10, 12, 11 + MAX_STEP]), 1 + MAX_STEP - 2);
        assert_eq!(lost(&[10, 12, 11 + MAX_STEP, 11]), MAX_STEP - 2);
        assert_eq!(lost(&[10, 12, 12 + MAX_STEP, 11]), 1 + MAX_STEP - 1);
    }

    #[test]
    fn a_counter_that_begins_again_is_known_by_how_far_it_falls_and_when() {
        for (newest, serial, after_ms, is_new) in [
            (1000, 3, 1001, true),
            (1000, 3, 1000, false),
            (1000, 499, 1001, true),
            (1000, 500, 1001, false),
            (400, 143, 1001, true),
            (400, 144, 1001, false),
            (200_000, 200_000 - 65_537, 0, true),
            (200_000, 200_000 - 65_536, 0, false),
        ] {
            let mut watch = SerialWatch::default();
            watch.see(0, 5000, newest, 0);
            watch.see(0, 5000 + after_ms, serial, 0);
            watch.see(0, 5000 + after_ms, serial + 2, 0);
            watch.flush();
            let found: Vec<_> = watch.take().iter().map(|gap| gap.first).collect();
            let expected = if is_new { vec![serial + 1] } else { vec![] };
            assert_eq!(found, expected, "{newest} {serial} {after_ms}");
        }
    }

    #[test]
    fn another_boot_and_a_rolled_over_counter_are_no_loss() {
        assert_eq!(lost(&[4_294_967_290, 4_294_967_295, 3, 4]), 4);
        assert_eq!(lost(&[500_000, 1, 2, 3]), 0);
        assert_eq!(lost(&[100, 101, 102, 99, 103]), 0);
    }
}
