//! The tamper-evident log: what an entry commits to, the tree over them, the signed checkpoint, the
//! receipt. Holds no contents and does no I/O, so that anyone can run it.

pub mod checkpoint;
pub mod cosignature;
mod credentials;
pub mod entry;
mod files;
pub mod growth;
mod note;
pub mod receipt;
pub mod scrub;
mod standing;
pub mod tree;
pub mod verify;
