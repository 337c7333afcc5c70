//! The doors. They decide nothing: they say who is there, hand over what was sent, and render what
//! came back.

pub mod api;
pub mod client;
pub mod enrolment;
pub mod health;
pub mod presence;
pub mod refusals;
pub mod server;
