//! The gateway through its front door: the real binary, real mutual TLS on loopback, a real
//! database, and outside tools that know nothing of it.

#![expect(
    clippy::unwrap_used,
    clippy::print_stdout,
    reason = "a test that cannot go on has failed, and says where"
)]

mod support;

mod access;
mod architecture;
mod attachments;
mod attachments_at_rest;
mod bad_input;
mod basis;
mod canary;
mod cli;
mod csr;
mod days;
mod delivery;
mod desk;
mod doctor;
mod doors;
mod enrolment;
mod exchange;
mod expiry;
mod growth;
mod idempotency;
mod identity;
mod incidents;
mod liars;
mod limits;
mod log;
mod notices;
mod onboarding;
mod others;
mod overrides;
#[cfg(feature = "pkcs11")]
mod pkcs11;
mod pages;
mod pages_files;
mod pages_operator;
mod pages_rfi;
mod pages_says;
mod pages_told;
mod person_search;
mod reading;
mod readme;
mod receipt;
mod reconcile;
mod reports;
mod requirements;
mod retention;
mod revocation;
mod rotation;
mod said;
mod scrub;
mod sealing;
mod simulation;
mod shares;
mod start;
mod store;
mod table;
mod told;
mod witness;
mod write_points;
mod year;
mod zoo;
