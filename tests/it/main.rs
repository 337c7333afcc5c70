//! The gateway through its front door: the real binary, real mutual TLS on loopback, a real
//! database, and outside tools that know nothing of it.

mod support;

mod bad_input;
mod cli;
mod delivery;
mod exchange;
mod identity;
mod log;
mod receipt;
mod sealing;
