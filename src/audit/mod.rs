//! The tamper-evident log: what an entry commits to, the tree over them, the signed checkpoint, the
//! receipt. Holds no contents and does no I/O, so that anyone can run it.

pub mod checkpoint;
mod credentials;
pub mod entry;
mod files;
pub mod growth;
pub mod receipt;
pub mod scrub;
mod standing;
pub mod tree;
pub mod verify;
