//! What an entry records.

use super::tree::Hash;

/// An entry ready to be appended.
#[derive(Clone, Debug)]
pub struct NewEntry {
    /// Its canonical fields.
    pub fields: String,
    /// The salt of its commitment.
    pub salt: [u8; 32],
    /// What the tree holds of it.
    pub leaf_hash: Hash,
}
