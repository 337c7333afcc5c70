//! Not written yet.

pub mod client;
