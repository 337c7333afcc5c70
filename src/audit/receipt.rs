//! Receipts.

use std::sync::Arc;

use super::tree::Hash;

/// A logged entry, with its proof and checkpoint: what a receipt is made of.
#[derive(Clone, Debug)]
pub struct Logged {
    /// Its place in the log.
    pub index: u64,
    /// Its canonical fields.
    pub fields: String,
    /// The salt of its commitment.
    pub salt: [u8; 32],
    /// The inclusion proof in the checkpoint's tree.
    pub proof: Vec<Hash>,
    /// The signed checkpoint of the batch that appended it.
    pub checkpoint: Arc<str>,
}
