//! Signed checkpoints.

/// The log's signing key.
pub struct LogKey;
