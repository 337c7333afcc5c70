//! Growth: whether the log of today begins with all that somebody's kept checkpoint covers.

use std::sync::Arc;

use super::checkpoint::{Checkpoint, CheckpointError, LogVerifier};
use super::receipt::{self, ReceiptError};
use super::tree::{Hash, verify_consistency};

/// What a kept file says of the log: a checkpoint, or the latest one that its receipts are under.
#[derive(Clone, Debug)]
pub struct Kept {
    /// What it says.
    pub checkpoint: Checkpoint,
    /// The signed note that says it.
    pub note: Arc<str>,
}

impl Kept {
    /// Reads a signed note, a receipt, or a whole 202 answer. A receipt has to verify itself.
    pub fn parse(text: &str, log: &LogVerifier) -> Result<Self, KeptError> {
        let is_receipt = text.starts_with("c2sp.org/tlog-proof") || text.starts_with('{');
        if !is_receipt {
            return Self::note(text.into(), log);
        }
        let proven = receipt::verify_answer(text, log)?;
        let latest = proven.into_iter().max_by_key(|entry| entry.size).ok_or(ReceiptError::Form)?;
        Self::note(latest.checkpoint, log)
    }

    /// Reads a signed note. One of another log is told from one that is damaged.
    pub fn note(note: Arc<str>, log: &LogVerifier) -> Result<Self, KeptError> {
        match log.open(&note) {
            Ok(checkpoint) => Ok(Self { checkpoint, note }),
            Err(CheckpointError::NotOurs) if note.split('\n').next() != Some(log.origin()) => {
                Err(KeptError::Origin)
            }
            Err(error) => Err(error.into()),
        }
    }
}

/// Why a file says nothing of this log.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum KeptError {
    /// It is no checkpoint that this log's key signed.
    #[error("{0}")]
    Checkpoint(#[from] CheckpointError),
    /// It is of a log with another name.
    #[error("it is of another log: its origin is not this log's")]
    Origin,
    /// It is a receipt that proves nothing.
    #[error("{0}")]
    Receipt(#[from] ReceiptError),
}

/// Whether the log of `today` begins with the log that was kept, by a consistency proof between the
/// two (RFC 9162, 2.1.4; empty when they are of one size).
pub fn verify_growth(
    kept: &Checkpoint,
    today: &Checkpoint,
    proof: &[Hash],
) -> Result<(), NotGrown> {
    if today.size < kept.size {
        return Err(NotGrown::Shorter { kept: kept.size, today: today.size });
    }
    if today.size == kept.size && today.root != kept.root {
        return Err(NotGrown::OtherRoot { size: kept.size });
    }
    // Every log begins with the log of nothing.
    if kept.size == 0 || verify_consistency(kept.size, &kept.root, today.size, &today.root, proof) {
        Ok(())
    } else {
        Err(NotGrown::Proof { kept: kept.size, today: today.size })
    }
}

/// How a log of today does not fit what was kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum NotGrown {
    /// As many entries, and other ones: the log was signed twice.
    #[error("the log has another root for the same size: two logs of {size} entries were signed")]
    OtherRoot {
        /// How many entries.
        size: u64,
    },
    /// Its beginning cannot be shown to be what was kept.
    #[error("the proof is wrong: the log of {today} entries does not begin with the {kept} kept")]
    Proof {
        /// How many entries were signed when it was kept.
        kept: u64,
        /// How many there are.
        today: u64,
    },
    /// Its end was cut off.
    #[error(
        "the log is shorter: it has {today} entries, and {kept} were signed; \
         entry {today}: it is missing"
    )]
    Shorter {
        /// How many entries were signed when it was kept.
        kept: u64,
        /// How many there are.
        today: u64,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::audit::checkpoint::LogKey;
    use crate::audit::tree::{Plan, Tree, leaf_hash, stored_at};

    // The checkpoint of each size up to `size`, and the nodes of each entry.
    fn log(size: usize, word: &str) -> (Vec<Checkpoint>, Vec<Vec<Hash>>) {
        let (mut tree, mut nodes) = (Tree::empty(), Vec::new());
        let mut heads = vec![Checkpoint { size: 0, root: tree.root() }];
        for i in 0..size {
            let grown = tree.extend(&[leaf_hash(format!("{word} {i}").as_bytes())]);
            nodes.push(grown.nodes(0).to_vec());
            tree = grown.tree().clone();
            heads.push(Checkpoint { size: tree.size(), root: tree.root() });
        }
        (heads, nodes)
    }

    fn proof(nodes: &[Vec<Hash>], from: u64, to: u64) -> Vec<Hash> {
        let plan = Plan::consistency(from, to);
        let hashes = plan.wanted().iter().map(|(level, index)| {
            let (entry, position) = stored_at(*level, *index);
            nodes[usize::try_from(entry).unwrap()][position]
        });
        plan.proof(&hashes.collect::<Vec<_>>())
    }

    #[test]
    fn a_log_grows_from_each_of_its_own_sizes_and_from_no_others() {
        let ((heads, nodes), (others, _)) = (log(40, "a"), log(40, "b"));
        for (kept, other) in heads.iter().zip(&others) {
            for today in &heads {
                if today.size < kept.size {
                    let shorter = NotGrown::Shorter { kept: kept.size, today: today.size };
                    assert_eq!(verify_growth(kept, today, &[]), Err(shorter));
                    continue;
                }
                let proof = proof(&nodes, kept.size, today.size);
                assert_eq!(verify_growth(kept, today, &proof), Ok(()));
                let forked = verify_growth(other, today, &proof);
                match (kept.size, today.size) {
                    (0, _) => assert_eq!(forked, Ok(())),
                    (size, same) if size == same => {
                        assert_eq!(forked, Err(NotGrown::OtherRoot { size }));
                    }
                    (kept, today) => assert_eq!(forked, Err(NotGrown::Proof { kept, today })),
                }
            }
        }
    }

    #[test]
    fn what_was_kept_is_of_this_log_or_it_is_said_how_it_is_not() {
        let key = LogKey::generate("mash.example.org/log/1").unwrap();
        let other = LogKey::generate("mash.example.org/log/2").unwrap();
        let twin = LogKey::generate("mash.example.org/log/1").unwrap();
        let root = leaf_hash(b"x");
        let parse = |note: &str| Kept::parse(note, &key.verifier()).map(|kept| kept.checkpoint);
        assert_eq!(parse(&key.sign(7, &root)), Ok(Checkpoint { size: 7, root }));
        assert_eq!(parse(&other.sign(7, &root)), Err(KeptError::Origin));
        assert_eq!(parse(&twin.sign(7, &root)), Err(CheckpointError::NotOurs.into()));
        let changed = key.sign(7, &root).replace("\n7\n", "\n8\n");
        assert_eq!(parse(&changed), Err(CheckpointError::Signature.into()));
        assert_eq!(parse("{}"), Err(ReceiptError::Form.into()));
        assert_eq!(parse("c2sp.org/tlog-proof@v1\n"), Err(ReceiptError::Form.into()));
    }
}
