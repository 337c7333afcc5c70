//! The gateway through which a Multi-Agency Safeguarding Hub (MASH) asks its partner agencies what
//! they know about a child at risk, and gets their answers back.
//!
//! Modules are declared in reading order; ARCHITECTURE.md is the map. Start with [`exchange`].

#![cfg_attr(test, allow(clippy::unwrap_used))]

// The message: no I/O, no async, no clock.
pub mod message;
pub mod schema;
pub mod rule;
pub mod timer;
pub mod directory;
pub mod seal;
pub mod event;
pub mod attachment;

// Trust: pure, over bytes and keys.
pub mod audit;
pub mod pki;

// State.
pub mod store;

// What happens.
pub mod problem;
pub mod ledger;
pub mod retention;
pub mod exchange;
pub mod register;
pub mod worker;
pub mod telemetry;
pub mod report;

// The edges.
pub mod cli;
pub mod config;
pub mod http;
pub mod issuer;
