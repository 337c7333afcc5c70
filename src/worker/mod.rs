//! Workers: what the gateway does unasked. Each can be killed at any instruction.

pub mod anchor;
pub mod backlog;
pub mod circuit;
pub mod deliver;
pub mod due;
pub mod expiry;
pub mod notify;
pub mod retain;
pub mod scrub;
pub mod sweep;
pub mod trust;
pub mod witness;
