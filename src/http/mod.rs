//! The doors. They decide nothing: they say who is there, hand over what was sent, and render what
//! came back.

pub mod api;
pub mod attachments;
pub mod client;
pub mod connection;
pub mod desk;
pub mod enrolment;
mod frames;
mod framing;
mod guard;
pub mod handshakes;
pub mod health;
pub mod host;
mod log;
mod overrides;
pub mod presence;
pub mod rate;
mod reception;
mod referrer;
pub mod refusals;
mod rest;
mod saved;
pub mod server;
pub mod share;
pub mod view;
mod work;
