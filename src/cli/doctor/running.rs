//! Whether the gateway and the issuer run, and what they say of themselves.

use std::time::Duration;

use hyper::Method;
use jiff::Timestamp;

use super::Report;
use crate::cli::running::{ask, is_ours};
use crate::config::{Config, Home};
use crate::issuer::{Access, Answer, Ask};
use crate::worker::backlog::{DEAD_LETTERS, MAILBOXES};
use crate::worker::deliver::ENDPOINTS;
use crate::worker::trust::ISSUER;
use crate::worker::witness::WITNESSES;

/// Whether this home's gateway runs; its concerns are findings.
pub(super) async fn gateway(home: &Home, config: &Config, report: &mut Report) -> bool {
    let address = config.listen.local;
    let answered = ask(config, Method::GET, "/readyz", TIMEOUT).await;
    let (status, body) = match answered {
        Ok((status, body)) if is_ours(home, &body) => (status, body),
        Ok(_) => {
            report.act("gateway", format!("somebody else answers on {address}"));
            report.next("local under [listen] in gateway.toml: each gateway needs its own");
            return false;
        }
        Err(error) if error.kind() == std::io::ErrorKind::TimedOut => {
            report.act("gateway", format!("it does not answer on {address}"));
            report.next("its log; then restart it");
            return true;
        }
        Err(_) => {
            report.act("gateway", format!("it does not run: nobody answers on {address}"));
            report.next("mash-gateway serve");
            return false;
        }
    };
    if status.is_success() {
        report.ok("gateway", "it runs and takes work");
    } else {
        let reason = body["reason"].as_str().unwrap_or("it does not say why");
        report.act("gateway", format!("it runs and takes no work: {reason}"));
        report.next("its log says more");
    }
    for concern in body["concerns"].as_array().into_iter().flatten() {
        let concern = concern.as_str().unwrap_or_default();
        match concern.split_once(": ").map_or(concern, |(matter, _)| matter) {
            // Up to a minute old; below, the issuer is asked itself, the store what was returned and what
            // waits, and witnesses are looked up.
            ISSUER | DEAD_LETTERS | MAILBOXES | WITNESSES => continue,
            // Its messages are tried for days: what is late is told below, with whom to ring.
            ENDPOINTS => {
                report.note("gateway-concern", concern);
                report.next("is it up? mash-gateway partner test with the agency's id");
            }
            _ => {
                report.act("gateway-concern", concern);
                report.next("its log says more");
            }
        }
    }
    true
}

/// Whether the issuer answers and can open its keys.
pub(super) async fn issuer(
    home: &Home,
    config: &Config,
    is_running: bool,
    at: Timestamp,
    report: &mut Report,
) {
    match Access::for_gateway(home, config).ask(Ask::Status, at).await {
        Ok(Answer::Status(authorities)) => {
            report.ok("issuer", format!("it answers and has {} keys", authorities.len()));
        }
        Ok(Answer::Issued(_) | Answer::Lists { .. }) => {
            report.act("issuer", "something else answers on its socket");
            report.next("socket under [issuer] in gateway.toml");
        }
        Err(_) if config.issuer.start && !is_running => {
            report.note("issuer", "it does not run; it starts with the gateway");
        }
        Err(error) => {
            report.act("issuer", format!("nothing can be issued, no list signed: {error}"));
            report.next(match config.issuer.start {
                true => "the gateway starts it again by itself; its log says what is in the way",
                false => "mash-gateway issuer, as the user who may read its keys",
            });
        }
    }
}

const TIMEOUT: Duration = Duration::from_secs(10);
