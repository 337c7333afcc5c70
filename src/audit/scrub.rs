//! Part of a log looked at again: each entry by itself, with the message it accepted, the hashes it
//! completes and the checkpoint over it.
//!
//! Unlike [`LogChecker`](super::verify::LogChecker) it begins anywhere and goes on after what is
//! wrong, so that a long log can be gone through a little at a time and everything that rotted in it
//! is named. How deliveries and exchanges stand it cannot tell: that takes the whole.

use super::checkpoint::LogVerifier;
use super::files;
use super::tree::Tree;
use super::verify::{Fault, compare, read_back};
use crate::store::{AttachmentDigest, Head, MessageDigest, StoredEntry};

/// Looks at one entry after the other.
#[derive(Debug)]
pub struct Scrubber {
    log: LogVerifier,
    /// The tree of everything before the next entry, while it is known: from the log's beginning, or
    /// from a checkpoint, and no further than the next thing that is wrong. Hashes that are stored
    /// prove nothing by themselves, or one that rotted would be found in every entry after it.
    tree: Option<Tree>,
}

/// An entry and what belongs to it, as it is stored now.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'a> {
    /// The entry; none when it is gone.
    pub entry: Option<&'a StoredEntry>,
    /// The message whose row names this entry.
    pub message: Option<&'a MessageDigest>,
    /// The file whose row names this entry.
    pub file: Option<&'a AttachmentDigest>,
    /// The checkpoint that signs the log up to this entry and no further, if there is one.
    pub checkpoint: Option<&'a Head>,
}

impl Scrubber {
    /// For the log with this public key. Where it begins is not known yet: the hashes of entries are
    /// not looked at.
    pub fn new(log: LogVerifier) -> Self {
        Self { log, tree: None }
    }

    /// The next entry is the first one.
    pub fn begin(&mut self) {
        self.tree = Some(Tree::empty());
    }

    /// Whether the hashes of the next entry are looked at.
    pub fn has_tree(&self) -> bool {
        self.tree.is_some()
    }

    /// The next entry is the one after `tree`, if that is what this checkpoint signs.
    pub fn take_up(&mut self, tree: Tree, head: &Head) {
        let is_signed = signed(&self.log, head).is_ok() && tree.size() == head.size;
        self.tree = (is_signed && tree.root() == head.root).then_some(tree);
    }

    /// What is wrong with the next entry: the first thing that is.
    pub fn next(&mut self, stored: Stored<'_>) -> Result<(), Fault> {
        let tree = self.tree.take();
        let entry = stored.entry.ok_or(Fault::Missing)?;
        let fields = read_back(entry)?;
        let grown = match tree {
            None => None,
            Some(tree) => Some(grow(&tree, entry)?),
        };
        if let Some(head) = stored.checkpoint {
            signed(&self.log, head)?;
            if grown.as_ref().is_some_and(|tree| tree.root() != head.root) {
                return Err(Fault::Root);
            }
        }
        self.tree = grown;
        // What is wrong with a message is nothing that later entries build on.
        compare(Some(&fields), stored.message)?;
        files::compare(Some(&fields), stored.file)
    }
}

fn grow(tree: &Tree, entry: &StoredEntry) -> Result<Tree, Fault> {
    let leaf = entry.nodes.first().ok_or(Fault::Nodes)?;
    let extension = tree.extend(&[*leaf]);
    if extension.nodes(0) == entry.nodes { Ok(extension.tree().clone()) } else { Err(Fault::Nodes) }
}

fn signed(log: &LogVerifier, head: &Head) -> Result<(), Fault> {
    let said = log.open(&head.note).map_err(Fault::Checkpoint)?;
    if (said.size, said.root) == (head.size, head.root) {
        Ok(())
    } else {
        Err(Fault::CheckpointColumns)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::checkpoint::LogKey;
    use crate::audit::entry::{Event, NewEntry};
    use crate::audit::tree::{Hash, stored_at};

    // A log of starts, with a checkpoint after every third entry.
    fn log(key: &LogKey) -> (Vec<StoredEntry>, Vec<Head>) {
        let (mut tree, mut entries, mut heads) = (Tree::empty(), Vec::new(), Vec::new());
        for index in 0..12 {
            let new = NewEntry::new(&Event::started("1.0.0"), jiff::Timestamp::UNIX_EPOCH);
            let grown = tree.extend(&[new.leaf_hash]);
            tree = grown.tree().clone();
            entries.push(StoredEntry {
                index,
                salt: Some(new.salt),
                fields: Some(new.fields),
                nodes: grown.nodes(0).to_vec(),
                previous: None,
            });
            if tree.size() % 3 == 0 {
                let (size, root) = (tree.size(), tree.root());
                heads.push(Head { size, root, note: key.sign(size, &root).into() });
            }
        }
        (entries, heads)
    }

    // The tree of the first `size` entries, of the hashes that are stored.
    fn tree(entries: &[StoredEntry], size: u64) -> Option<Tree> {
        let peaks = Tree::peaks_wanted(size).into_iter().map(|(level, index)| {
            let (entry, position) = stored_at(level, index);
            let entry = entries.iter().find(|stored| stored.index == entry)?;
            entry.nodes.get(position).copied()
        });
        Tree::from_peaks(size, peaks.collect::<Option<_>>()?)
    }

    // Everything found wrong from this entry on.
    fn faults(
        key: &LogKey,
        from: u64,
        entries: &[StoredEntry],
        heads: &[Head],
    ) -> Vec<(u64, Fault)> {
        let mut scrubber = Scrubber::new(key.verifier());
        if from == 0 {
            scrubber.begin();
        }
        let mut found = Vec::new();
        for index in from..12 {
            let stored = Stored {
                entry: entries.iter().find(|entry| entry.index == index),
                message: None,
                file: None,
                checkpoint: heads.iter().find(|head| head.size == index + 1),
            };
            found.extend(scrubber.next(stored).err().map(|fault| (index, fault)));
            if let Some(head) = stored.checkpoint
                && let Some(tree) = tree(entries, index + 1)
                && !scrubber.has_tree()
            {
                scrubber.take_up(tree, head);
            }
        }
        found
    }

    #[test]
    fn a_sound_part_of_a_log_has_no_faults_wherever_it_begins() {
        let key = LogKey::generate("log").unwrap();
        let (entries, heads) = log(&key);
        for from in 0..12 {
            assert_eq!(faults(&key, from, &entries, &heads), []);
        }
    }

    #[test]
    fn everything_that_rotted_is_named_and_nothing_else() {
        let key = LogKey::generate("log").unwrap();
        let (entries, heads) = log(&key);
        for from in [0, 2] {
            let mut rotten = entries.clone();
            rotten[2].fields = Some(r#"{"event":"stopped"}"#.to_owned());
            rotten[4].salt = None;
            rotten[9].salt = Some([0; 32]);
            let expected = [(2, Fault::Commitment), (4, Fault::Half), (9, Fault::Commitment)];
            assert_eq!(faults(&key, from, &rotten, &heads), expected);
        }
        for rotten_leaf in [4, 8, 11] {
            let mut rotten = entries.clone();
            rotten[rotten_leaf].nodes[0] = Hash::from_bytes([0; 32]);
            let expected = [(rotten_leaf as u64, Fault::Commitment)];
            assert_eq!(faults(&key, 0, &rotten, &heads), expected);
            assert_eq!(faults(&key, 3, &rotten, &heads), expected);
        }
        let mut rotten = entries.clone();
        rotten[7].nodes[3] = Hash::from_bytes([0; 32]);
        assert_eq!(faults(&key, 0, &rotten, &heads), [(7, Fault::Nodes)]);
        assert_eq!(faults(&key, 3, &rotten, &heads), [(7, Fault::Nodes)]);
        let mut rotten = entries.clone();
        rotten[7].nodes[1] = Hash::from_bytes([0; 32]);
        assert_eq!(faults(&key, 0, &rotten, &heads), [(7, Fault::Nodes)]);
        rotten.remove(7);
        assert_eq!(faults(&key, 0, &rotten, &heads), [(7, Fault::Missing)]);
        let mut signed = heads.clone();
        signed[1].root = Hash::from_bytes([0; 32]);
        assert_eq!(faults(&key, 0, &entries, &signed), [(5, Fault::CheckpointColumns)]);
        let other = LogKey::generate("log").unwrap();
        signed[1] = Head { note: other.sign(6, &heads[1].root).into(), ..heads[1].clone() };
        assert!(matches!(faults(&key, 0, &entries, &signed)[..], [(5, Fault::Checkpoint(_))]));
        signed[1] = Head { size: 6, ..heads[2].clone() };
        assert!(matches!(faults(&key, 0, &entries, &signed)[..], [(5, _)]));
        let root = heads[0].root;
        signed[1] = Head { size: 6, root, note: key.sign(6, &root).into() };
        assert_eq!(faults(&key, 0, &entries, &signed), [(5, Fault::Root)]);
    }
}
