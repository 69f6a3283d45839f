//! An ordered list that also knows ranks and sums: a treap in an arena.
//!
//! Insert, remove, "how much is ahead of this one" and "the n-th" each take O(log n) expected
//! steps up to a million entries and beyond. The shape depends on a hash of a counter, so equal
//! histories build equal trees and nothing random is needed.
//!
//! Not here: what the order means; keys are compared and nothing else.

use super::Load;
use crate::ids::TaskId;

/// "No node": an index that the arena never reaches.
const NIL: u32 = u32::MAX;

#[derive(Clone, Debug)]
struct Node {
    order: u64,
    task: TaskId,
    /// The heap priority: a parent's is at least its children's.
    height: u64,
    own: Load,
    /// `own` of the whole subtree.
    sum: Load,
    left: u32,
    right: u32,
}

/// Tasks by their order, with their loads.
// spec: OC-CORE-1003, OC-CORE-1102
#[derive(Clone, Debug)]
pub(crate) struct Ranked {
    nodes: Vec<Node>,
    vacant: Vec<u32>,
    root: u32,
    inserted: u64,
}

impl Default for Ranked {
    fn default() -> Self {
        Self {
            nodes: Vec::new(),
            vacant: Vec::new(),
            root: NIL,
            inserted: 0,
        }
    }
}

impl Ranked {
    /// Adds a task. `order` must not be taken.
    pub(crate) fn insert(&mut self, order: u64, task: TaskId, own: Load) {
        let height = scattered(self.inserted);
        self.inserted += 1;
        let node = self.place_node(Node {
            order,
            task,
            height,
            own,
            sum: own,
            left: NIL,
            right: NIL,
        });
        let (before, after) = self.split(self.root, order);
        debug_assert_ne!(self.first_of(after), Some(order), "an order is used once");
        let front = self.merge(before, node);
        self.root = self.merge(front, after);
    }

    /// Takes out the task of that order and says whether it was there.
    pub(crate) fn remove(&mut self, order: u64) -> bool {
        let (before, rest) = self.split(self.root, order);
        let (found, after) = match order.checked_add(1) {
            Some(next) => self.split(rest, next),
            None => (rest, NIL),
        };
        self.root = self.merge(before, after);
        if found != NIL {
            self.vacant.push(found);
        }
        found != NIL
    }

    /// What all tasks add up to.
    pub(crate) fn total(&self) -> Load {
        self.sum(self.root)
    }

    /// How many tasks there are.
    pub(crate) fn len(&self) -> usize {
        count(self.total())
    }

    /// What the tasks before `order` add up to.
    pub(crate) fn ahead_of(&self, order: u64) -> Load {
        let mut ahead = Load::default();
        let mut at = self.root;
        while at != NIL {
            let node = self.node(at);
            if node.order < order {
                ahead = ahead.plus(self.sum(node.left)).plus(node.own);
                at = node.right;
            } else {
                at = node.left;
            }
        }
        ahead
    }

    /// The task with `rank` others before it, and its load.
    pub(crate) fn nth(&self, rank: usize) -> Option<(TaskId, Load)> {
        let mut left_to_skip = rank;
        let mut at = self.root;
        while at != NIL {
            let node = self.node(at);
            let before = count(self.sum(node.left));
            match left_to_skip.cmp(&before) {
                std::cmp::Ordering::Less => at = node.left,
                std::cmp::Ordering::Equal => return Some((node.task, node.own)),
                std::cmp::Ordering::Greater => {
                    left_to_skip -= before + 1;
                    at = node.right;
                }
            }
        }
        None
    }

    /// All tasks in order.
    pub(crate) fn oldest_first(&self) -> impl Iterator<Item = TaskId> + '_ {
        (0..self.len()).filter_map(|rank| Some(self.nth(rank)?.0))
    }

    fn node(&self, at: u32) -> &Node {
        &self.nodes[at as usize]
    }

    fn sum(&self, at: u32) -> Load {
        if at == NIL {
            Load::default()
        } else {
            self.node(at).sum
        }
    }

    fn first_of(&self, root: u32) -> Option<u64> {
        let mut first = None;
        let mut at = root;
        while at != NIL {
            first = Some(self.node(at).order);
            at = self.node(at).left;
        }
        first
    }

    fn place_node(&mut self, node: Node) -> u32 {
        if let Some(at) = self.vacant.pop() {
            self.nodes[at as usize] = node;
            return at;
        }
        let at = u32::try_from(self.nodes.len()).expect("memory ends before four billion tasks");
        self.nodes.push(node);
        at
    }

    fn update(&mut self, at: u32) {
        let node = self.node(at);
        let sum = self
            .sum(node.left)
            .plus(node.own)
            .plus(self.sum(node.right));
        self.nodes[at as usize].sum = sum;
    }

    /// Cuts a subtree into what comes before `order` and the rest.
    fn split(&mut self, at: u32, order: u64) -> (u32, u32) {
        if at == NIL {
            return (NIL, NIL);
        }
        let node = self.node(at);
        let (left, right) = (node.left, node.right);
        if node.order < order {
            let (before, after) = self.split(right, order);
            self.nodes[at as usize].right = before;
            self.update(at);
            (at, after)
        } else {
            let (before, after) = self.split(left, order);
            self.nodes[at as usize].left = after;
            self.update(at);
            (before, at)
        }
    }

    /// Joins two subtrees; all of `left` comes before all of `right`.
    fn merge(&mut self, left: u32, right: u32) -> u32 {
        if left == NIL || right == NIL {
            return if left == NIL { right } else { left };
        }
        if self.node(left).height >= self.node(right).height {
            let joined = self.merge(self.node(left).right, right);
            self.nodes[left as usize].right = joined;
            self.update(left);
            left
        } else {
            let joined = self.merge(left, self.node(right).left);
            self.nodes[right as usize].left = joined;
            self.update(right);
            right
        }
    }
}

fn count(load: Load) -> usize {
    usize::try_from(load.tasks).expect("as many tasks as fit in memory")
}

/// `SplitMix64`'s output function: neighbouring counters give numbers that look unrelated, which
/// is all that a treap needs to stay shallow. Clients have no say in the counter.
fn scattered(counter: u64) -> u64 {
    let mut mixed = counter.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use proptest::test_runner::RngSeed;
    use std::collections::BTreeMap;

    fn load(tokens_in: u64) -> Load {
        Load {
            tasks: 1,
            bytes: 3,
            tokens_in,
            ..Load::default()
        }
    }

    fn depth(list: &Ranked, at: u32) -> usize {
        if at == NIL {
            return 0;
        }
        1 + depth(list, list.node(at).left).max(depth(list, list.node(at).right))
    }

    // spec: OC-CORE-1003, OC-CORE-1102
    #[test]
    fn a_hundred_thousand_tasks_in_order_stay_within_a_shallow_tree() {
        let mut list = Ranked::default();
        for order in 0..100_000 {
            list.insert(order, TaskId(u128::from(order)), load(1));
        }
        assert!(
            depth(&list, list.root) < 60,
            "depth {}",
            depth(&list, list.root)
        );
        assert_eq!(list.ahead_of(77_777).tasks, 77_777);
        assert_eq!(list.nth(77_777).unwrap().0, TaskId(77_777));
    }

    #[test]
    fn the_arena_is_reused() {
        let mut list = Ranked::default();
        for order in 0..1_000 {
            list.insert(order, TaskId(1), load(1));
            assert!(list.remove(order));
        }
        assert_eq!(list.nodes.len(), 1);
        assert!(!list.remove(5));
    }

    proptest! {
        #![proptest_config(ProptestConfig {
            rng_seed: RngSeed::Fixed(10),
            ..ProptestConfig::default()
        })]

        // spec: OC-CORE-1003
        #[test]
        fn ranks_and_sums_agree_with_a_sorted_map(
            steps in proptest::collection::vec((any::<bool>(), 0_u64..40, 0_u64..9), 0..200),
        ) {
            let mut list = Ranked::default();
            let mut map = BTreeMap::new();
            for (add, order, tokens) in steps {
                if add && !map.contains_key(&order) {
                    list.insert(order, TaskId(u128::from(order)), load(tokens));
                    map.insert(order, tokens);
                } else if !add {
                    prop_assert_eq!(list.remove(order), map.remove(&order).is_some());
                }
                prop_assert_eq!(list.len(), map.len());
                let ids: Vec<_> = map.keys().map(|order| TaskId(u128::from(*order))).collect();
                prop_assert_eq!(list.oldest_first().collect::<Vec<_>>(), ids);
                for order in 0..41 {
                    let ahead = list.ahead_of(order);
                    prop_assert_eq!(ahead.tasks, map.range(..order).count() as u64);
                    let tokens = map.range(..order).map(|(_, tokens)| tokens).sum::<u64>();
                    prop_assert_eq!(ahead.tokens_in, tokens);
                    prop_assert_eq!(ahead.bytes, 3 * ahead.tasks);
                }
            }
        }
    }
}
