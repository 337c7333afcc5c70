//! RFC 6962 hashing: the tree over the entries, and what proves things about it.
//!
//! Nothing here stores anything. Entry `i` keeps the roots of every complete subtree it completes
//! (its own leaf hash first), so any complete subtree's root is found in one entry and nothing is
//! ever rewritten: see [`stored_at`].

use std::fmt;

use ring::digest::{self, SHA256};

/// A SHA-256 hash in the tree.
#[derive(Clone, Copy, Eq, Hash, PartialEq)]
pub struct Hash([u8; 32]);

impl Hash {
    /// The hash held in these bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Its bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

impl fmt::Debug for Hash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

/// The hash of a leaf: the 0x00 prefix keeps leaves and nodes apart (RFC 6962, 2.1).
pub fn leaf_hash(leaf: &[u8]) -> Hash {
    hash(&[&[0], leaf])
}

/// The hash of a node over its two children.
pub fn node_hash(left: &Hash, right: &Hash) -> Hash {
    hash(&[&[1], &left.0, &right.0])
}

/// A tree as far as it must be known to grow: its size and the roots of its complete subtrees.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Tree {
    size: u64,
    /// Largest first: one for each bit set in `size`.
    peaks: Vec<Hash>,
}

impl Tree {
    /// The tree of no leaves.
    pub fn empty() -> Self {
        Self { size: 0, peaks: Vec::new() }
    }

    /// The tree of `size` leaves with these peaks, in the order of [`Tree::peaks_wanted`]; none when
    /// their number is wrong.
    pub fn from_peaks(size: u64, peaks: Vec<Hash>) -> Option<Self> {
        (peaks.len() == size.count_ones() as usize).then_some(Self { size, peaks })
    }

    /// Which subtree roots make up the peaks of a tree of `size` leaves: (level, index).
    pub fn peaks_wanted(size: u64) -> Vec<(u8, u64)> {
        subtrees(0, size)
    }

    /// How many leaves.
    pub fn size(&self) -> u64 {
        self.size
    }

    /// The root (of no leaves: the hash of nothing).
    pub fn root(&self) -> Hash {
        fold(&self.peaks).unwrap_or_else(|| hash(&[]))
    }

    /// The tree with these leaves added, and what their entries need: nothing but the peaks and the
    /// new leaves is read.
    pub fn extend(&self, leaves: &[Hash]) -> Extension {
        let mut tree = self.clone();
        let mut completed = Vec::with_capacity(leaves.len());
        for leaf in leaves {
            let mut nodes = vec![*leaf];
            let mut node = *leaf;
            // Each trailing one in the index is a left sibling that is now paired.
            for _ in 0..tree.size.trailing_ones() {
                let left = tree.peaks.pop().expect("one peak for each bit set in the size");
                node = node_hash(&left, &node);
                nodes.push(node);
            }
            tree.peaks.push(node);
            tree.size += 1;
            completed.push(nodes);
        }
        Extension { before: self.clone(), tree, completed }
    }
}

/// A tree that has grown, and the proofs of what it grew by.
#[derive(Clone, Debug)]
pub struct Extension {
    before: Tree,
    tree: Tree,
    completed: Vec<Vec<Hash>>,
}

impl Extension {
    /// The tree after.
    pub fn tree(&self) -> &Tree {
        &self.tree
    }

    /// The roots of the complete subtrees that the `i`th new leaf completes, its own hash first.
    pub fn nodes(&self, i: usize) -> &[Hash] {
        &self.completed[i]
    }

    /// The proof that the `i`th new leaf is in the tree after.
    ///
    /// Every sibling on its path is a peak of the tree before or was made by this extension: a left
    /// sibling that lies before the first new leaf is a maximal subtree there, which is a peak.
    pub fn inclusion_proof(&self, i: usize) -> Vec<Hash> {
        let plan = Plan::inclusion(self.before.size + i as u64, self.tree.size);
        let found: Vec<_> =
            plan.wanted().iter().map(|(level, index)| self.find(*level, *index)).collect();
        plan.proof(&found)
    }

    fn find(&self, level: u8, index: u64) -> Hash {
        let (entry, position) = stored_at(level, index);
        match entry.checked_sub(self.before.size) {
            Some(new) => self.completed[usize::try_from(new).expect("a batch fits")][position],
            None => {
                // A bit set in the size is a peak; higher bits come first.
                let above = self.before.size.checked_shr(u32::from(level) + 1).unwrap_or(0);
                self.before.peaks[above.count_ones() as usize]
            }
        }
    }
}

/// Which stored subtree roots a proof is made of, and how.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Plan {
    wanted: Vec<(u8, u64)>,
    /// How many of `wanted`, in turn, fold into each hash of the proof.
    parts: Vec<usize>,
}

impl Plan {
    /// For the proof that leaf `index` is in the tree of `size` leaves (RFC 6962, 2.1.1).
    pub fn inclusion(index: u64, size: u64) -> Self {
        let mut plan = Self { wanted: Vec::new(), parts: Vec::new() };
        plan.path(index, 0, size);
        plan
    }

    /// For the proof that the tree of `to` leaves begins with the tree of `from` (RFC 6962, 2.1.2).
    pub fn consistency(from: u64, to: u64) -> Self {
        let mut plan = Self { wanted: Vec::new(), parts: Vec::new() };
        if from > 0 && from < to {
            plan.subproof(from, 0, to, true);
        }
        plan
    }

    /// The subtree roots to fetch: (level, index at that level).
    pub fn wanted(&self) -> &[(u8, u64)] {
        &self.wanted
    }

    /// The proof, from the hashes fetched in the order wanted.
    pub fn proof(&self, fetched: &[Hash]) -> Vec<Hash> {
        let mut rest = fetched;
        let mut proof = Vec::with_capacity(self.parts.len());
        for count in &self.parts {
            let (part, after) = rest.split_at((*count).min(rest.len()));
            rest = after;
            proof.extend(fold(part));
        }
        proof
    }

    // The audit path of leaf `index` in the leaves from `start` to `end`, lowest sibling first.
    fn path(&mut self, index: u64, start: u64, end: u64) {
        if end - start <= 1 {
            return;
        }
        let middle = start + split(end - start);
        if index < middle {
            self.path(index, start, middle);
            self.part(middle, end);
        } else {
            self.path(index, middle, end);
            self.part(start, middle);
        }
    }

    fn subproof(&mut self, from: u64, start: u64, end: u64, is_whole: bool) {
        if from == end {
            if !is_whole {
                self.part(start, end);
            }
            return;
        }
        let middle = start + split(end - start);
        if from <= middle {
            self.subproof(from, start, middle, is_whole);
            self.part(middle, end);
        } else {
            self.subproof(from, middle, end, false);
            self.part(start, middle);
        }
    }

    fn part(&mut self, start: u64, end: u64) {
        let parts = subtrees(start, end);
        self.parts.push(parts.len());
        self.wanted.extend(parts);
    }
}

/// Which entry keeps the root of the complete subtree (level, index), and at which place.
pub fn stored_at(level: u8, index: u64) -> (u64, usize) {
    (((index + 1) << level) - 1, usize::from(level))
}

/// Whether `proof` shows that `leaf` is entry `index` of the log of `size` entries with this root.
pub fn verify_inclusion(leaf: &Hash, index: u64, size: u64, proof: &[Hash], root: &Hash) -> bool {
    if index >= size {
        return false;
    }
    // RFC 9162, 2.1.3.2.
    let (mut at, mut last) = (index, size - 1);
    let mut hash = *leaf;
    for sibling in proof {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            hash = node_hash(sibling, &hash);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            hash = node_hash(&hash, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && hash == *root
}

/// Whether `proof` shows that the log of `to` entries begins with the log of `from` entries.
pub fn verify_consistency(
    from: u64,
    from_root: &Hash,
    to: u64,
    to_root: &Hash,
    proof: &[Hash],
) -> bool {
    if from == to {
        return proof.is_empty() && from_root == to_root;
    }
    if from == 0 || from > to {
        return false;
    }
    // RFC 9162, 2.1.4.2.
    let mut path = proof.iter();
    let start = if from.is_power_of_two() { Some(from_root) } else { path.next() };
    let Some(start) = start else { return false };
    let (mut at, mut last) = (from - 1, to - 1);
    while at & 1 == 1 {
        at >>= 1;
        last >>= 1;
    }
    let (mut old, mut new) = (*start, *start);
    for sibling in path {
        if last == 0 {
            return false;
        }
        if at & 1 == 1 || at == last {
            old = node_hash(sibling, &old);
            new = node_hash(sibling, &new);
            while at & 1 == 0 && at != 0 {
                at >>= 1;
                last >>= 1;
            }
        } else {
            new = node_hash(&new, sibling);
        }
        at >>= 1;
        last >>= 1;
    }
    last == 0 && old == *from_root && new == *to_root
}

// The complete subtrees that cover the leaves from `start` to `end`, left to right. `start` is
// aligned to the largest of them, as every subtree of RFC 6962 is.
fn subtrees(start: u64, end: u64) -> Vec<(u8, u64)> {
    let mut covered = start;
    let mut list = Vec::new();
    while covered < end {
        let level = (end - covered).ilog2();
        list.push((u8::try_from(level).expect("at most 63"), covered >> level));
        covered += 1 << level;
    }
    list
}

// The largest power of two smaller than `size`, which is at least 2.
fn split(size: u64) -> u64 {
    1 << (size - 1).ilog2()
}

// Subtree roots side by side, largest first, into the root over them.
fn fold(roots: &[Hash]) -> Option<Hash> {
    let mut from_right = roots.iter().rev();
    let last = *from_right.next()?;
    Some(from_right.fold(last, |right, left| node_hash(left, &right)))
}

fn hash(parts: &[&[u8]]) -> Hash {
    let mut context = digest::Context::new(&SHA256);
    for part in parts {
        context.update(part);
    }
    let mut bytes = [0; 32];
    bytes.copy_from_slice(context.finish().as_ref());
    Hash(bytes)
}

#[cfg(test)]
mod tests {
    use ct_merkle::mem_backed_tree::MemoryBackedTree;
    use proptest::prelude::*;

    use super::*;

    // Grows a tree in batches and keeps what a store would keep.
    fn grown(batches: &[usize]) -> (Tree, Vec<Vec<Hash>>) {
        let (mut tree, mut stored) = (Tree::empty(), Vec::new());
        for count in batches {
            let leaves: Vec<_> = (0..*count).map(|i| leaf(stored.len() + i)).collect();
            let extension = tree.extend(&leaves);
            for (i, leaf) in leaves.iter().enumerate() {
                let index = (tree.size() as usize + i) as u64;
                let (size, root) = (extension.tree().size(), extension.tree().root());
                let proof = extension.inclusion_proof(i);
                assert!(verify_inclusion(leaf, index, size, &proof, &root), "{index} of {size}");
                stored.push(extension.nodes(i).to_vec());
            }
            tree = extension.tree().clone();
        }
        (tree, stored)
    }

    fn leaf(i: usize) -> Hash {
        leaf_hash(format!("entry {i}").as_bytes())
    }

    fn fetch(stored: &[Vec<Hash>], plan: &Plan) -> Vec<Hash> {
        let hashes = plan.wanted().iter().map(|(level, index)| {
            let (entry, position) = stored_at(*level, *index);
            stored[entry as usize][position]
        });
        plan.proof(&hashes.collect::<Vec<_>>())
    }

    fn oracle(size: usize) -> [u8; 32] {
        let mut tree = MemoryBackedTree::<sha2::Sha256, Vec<u8>>::new();
        for i in 0..size {
            tree.push(format!("entry {i}").into_bytes());
        }
        tree.root().as_bytes().as_slice().try_into().unwrap()
    }

    #[test]
    fn every_root_is_the_one_another_implementation_computes() {
        let mut tree = Tree::empty();
        for size in 0..=130 {
            assert_eq!(*tree.root().as_bytes(), oracle(size), "{size} leaves");
            tree = tree.extend(&[leaf(size)]).tree().clone();
        }
    }

    #[test]
    fn every_leaf_of_every_size_is_proved_and_no_other() {
        for size in 1..=130_usize {
            let (tree, stored) = grown(&[size]);
            for index in 0..size {
                let proof = fetch(&stored, &Plan::inclusion(index as u64, size as u64));
                let holds = |i: usize| {
                    verify_inclusion(&leaf(index), i as u64, size as u64, &proof, &tree.root())
                };
                assert!(holds(index));
                assert!(!holds((index + 1) % size) || size == 1);
            }
        }
    }

    #[test]
    fn every_size_begins_with_every_smaller_one() {
        let (_, stored) = grown(&[70]);
        let root = |size: usize| grown(&[size]).0.root();
        for to in 1..=70_usize {
            for from in 1..=to {
                let proof = fetch(&stored, &Plan::consistency(from as u64, to as u64));
                let holds = |from_root: Hash| {
                    verify_consistency(from as u64, &from_root, to as u64, &root(to), &proof)
                };
                assert!(holds(root(from)), "{from} to {to}");
                assert!(!holds(leaf(999)), "{from} to {to}");
            }
        }
    }

    #[test]
    fn a_tree_is_restored_from_its_peaks() {
        for size in [0, 1, 2, 3, 7, 8, 100] {
            let (tree, stored) = grown(&[size]);
            let peaks = Tree::peaks_wanted(size as u64)
                .into_iter()
                .map(|(level, index)| {
                    let (entry, position) = stored_at(level, index);
                    stored[entry as usize][position]
                })
                .collect();
            assert_eq!(Tree::from_peaks(size as u64, peaks), Some(tree));
        }
        assert_eq!(Tree::from_peaks(3, vec![leaf(0)]), None);
    }

    proptest! {
        #[test]
        fn batches_do_not_matter(batches in prop::collection::vec(1..9_usize, 1..12)) {
            let (tree, _) = grown(&batches);
            prop_assert_eq!(*tree.root().as_bytes(), oracle(batches.iter().sum()));
        }

        #[test]
        fn a_changed_bit_is_noticed(size in 2..80_usize, at in any::<prop::sample::Index>(),
                                    byte in any::<prop::sample::Index>(), bit in 0..8_u8) {
            let (tree, stored) = grown(&[size]);
            let index = at.index(size);
            let mut proof = fetch(&stored, &Plan::inclusion(index as u64, size as u64));
            let which = byte.index(proof.len() * 32);
            proof[which / 32].0[which % 32] ^= 1 << bit;
            prop_assert!(!verify_inclusion(
                &leaf(index), index as u64, size as u64, &proof, &tree.root()));
        }
    }
}
