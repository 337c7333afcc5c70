//! Workers: what the gateway does unasked. Each can be killed at any instruction.

pub mod backlog;
pub mod circuit;
pub mod deliver;
pub mod expiry;
pub mod trust;
pub mod witness;
