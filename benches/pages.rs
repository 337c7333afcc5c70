//! How long a page of the desk takes, and how large it is, with 100,000 exchanges stored.
//!
//! `cargo bench --bench pages` has the hub ask three agencies again and again until so many exchanges are
//! there (`-- --exchanges 3000` for fewer), and then asks for each page 200 times over one connection with
//! a certificate, the answer read whole. It exits with 1 when the slowest hundredth of a page takes 50 ms or
//! more, or a page with its stylesheet and script is larger than 50 KB.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "the figures are the result")]

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "the tests' harness does more than a benchmark needs")]
mod support;

#[expect(dead_code, reason = "shared with the other benchmarks")]
mod load;

use std::process::ExitCode;
use std::time::{Duration, Instant};

use hyper::Method;
use hyper::header::HeaderMap;
use load::{client, headers, percentile_ms};
use mash_gateway::message::Role;
use support::{Agency, HUB, POLICE, SURGERY, TRUST, TestGateway, case};
use tokio::task::JoinSet;

const SENDERS: usize = 16;
const TIMES: usize = 200;
const LONGEST: Duration = Duration::from_millis(50);
const LARGEST: usize = 50_000;

fn main() -> ExitCode {
    let exchanges = argument("--exchanges").unwrap_or(100_000);
    tokio::runtime::Runtime::new().unwrap().block_on(measure(exchanges))
}

fn argument(name: &str) -> Option<usize> {
    let arguments: Vec<_> = std::env::args().collect();
    let place = arguments.iter().position(|argument| argument == name)?;
    Some(arguments[place + 1].parse().unwrap())
}

async fn measure(exchanges: usize) -> ExitCode {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    for (name, usual, more) in [
        ("requests_per_agency_per_minute", "60000", "100000000"),
        ("mailbox_messages_max", "100000", "1000000"),
        ("mailbox_bytes_max", "1073741824", "10737418240"),
    ] {
        gateway.configure(&format!("# {name} = {usual}"), &format!("{name} = {more}"));
    }
    gateway.serve();
    let begun = Instant::now();
    fill(&gateway, exchanges).await;
    println!("{exchanges} exchanges in {:.0} s", begun.elapsed().as_secs_f64());

    // One more, which is opened, answered in part, and looked at.
    let officer = gateway.seated(gateway.desk(SURGERY, Role::ContactOfficer));
    let manager = gateway.seated(gateway.desk(HUB, Role::TeamManager));
    let operator = gateway.seated(gateway.desk(HUB, Role::Operator));
    let lead = gateway.seated(gateway.desk(HUB, Role::OperationalLead));
    let answer = gateway.agency(HUB).dispatch(&[SURGERY, TRUST]).await;
    let enquiry = answer["enquiry"].as_str().unwrap();
    let reference = answer["exchanges"][0]["reference"].as_str().unwrap();
    let opened = officer.fill_in(&format!("/requests/{reference}/open"), &[]).await;
    assert_eq!(opened.status, 303, "{}", opened.text());
    let fields = [("status", "nothing-known"), ("version", "0")];
    let kept = officer.fill_in(&format!("/requests/{reference}/reply/neglect"), &fields).await;
    assert_eq!(kept.status, 303, "{}", kept.text());

    let written = manager.fill_in("/rfis", &[]).await;
    let written = written.headers["location"].to_str().unwrap().to_owned();

    let mut extra = 0;
    for part in ["/desk.css", "/desk.js"] {
        extra += officer.page(part).await.body.len();
    }
    println!("stylesheet and script: {extra} bytes\n");
    println!("{:<40} {:>9} {:>9} {:>9} {:>9}", "page", "p50 ms", "p99 ms", "max ms", "bytes");
    let mut is_good = true;
    for (who, page) in [
        (&officer, "/requests".to_owned()),
        (&officer, format!("/requests/{reference}")),
        (&officer, format!("/requests/{reference}/details")),
        (&officer, format!("/requests/{reference}/reply")),
        (&officer, format!("/requests/{reference}/reply/lawful-basis")),
        (&officer, format!("/requests/{reference}/reply/check")),
        (&manager, "/enquiries".to_owned()),
        (&manager, format!("/enquiries/{enquiry}")),
        (&manager, format!("/enquiries/{enquiry}/answers")),
        (&manager, format!("/enquiries/{enquiry}/asked")),
        (&manager, format!("/enquiries/{enquiry}/sent")),
        (&manager, "/rfis".to_owned()),
        (&manager, written.clone()),
        (&manager, format!("{written}/people/new")),
        (&manager, format!("{written}/recipients/new")),
        (&manager, format!("{written}/override/decide")),
        (&manager, format!("{written}/check")),
        (&operator, "/agencies".to_owned()),
        (&operator, format!("/agencies/{SURGERY}")),
        (&operator, "/dead-letters".to_owned()),
        (&operator, format!("/log?reference={reference}")),
        // Also while the figures are made.
        (&lead, "/timeliness".to_owned()),
    ] {
        is_good &= look(who, &page, extra).await;
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// The hub asks until there are so many exchanges.
async fn fill(gateway: &TestGateway, exchanges: usize) {
    let mut senders = JoinSet::new();
    for sender in 0..SENDERS {
        let url = gateway.url.parse().unwrap();
        let mut connection = client(gateway, HUB).connect(&url).await.unwrap();
        let count = (exchanges / 3 + sender) / SENDERS;
        senders.spawn(async move {
            for _ in 0..count {
                let body = case::dispatch(&[POLICE, TRUST, SURGERY]).to_string().into_bytes();
                let sent = connection.send(Method::POST, "/v1/rfis", headers(), body.into());
                let answer = sent.await.unwrap();
                assert_eq!(answer.status, 202, "{}", String::from_utf8_lossy(&answer.body));
            }
        });
    }
    senders.join_all().await;
}

async fn look(who: &Agency, page: &str, extra: usize) -> bool {
    let mut connection = who.connect().await;
    let mut taken = Vec::new();
    let mut bytes = 0;
    for _ in 0..TIMES {
        let begun = Instant::now();
        let sent = connection.send(Method::GET, page, HeaderMap::new(), Vec::new().into());
        let answer = sent.await.unwrap();
        taken.push(begun.elapsed());
        // Whether it is complete or not: what is still missing is said on it.
        assert!([200, 422].contains(&answer.status.as_u16()), "{page}: {}", answer.status);
        bytes = answer.body.len();
    }
    taken.sort_unstable();
    let slow = percentile_ms(&taken, 0.99);
    let holds = slow < LONGEST.as_secs_f64() * 1_000.0 && bytes + extra <= LARGEST;
    // Without the reference, for the eye.
    let name: Vec<_> = page.split('/').filter(|part| !part.contains("20")).collect();
    println!(
        "{:<40} {:>9.2} {slow:>9.2} {:>9.2} {bytes:>9}{}",
        name.join("/"),
        percentile_ms(&taken, 0.5),
        percentile_ms(&taken, 1.0),
        if holds { "" } else { "  not as it should be" }
    );
    holds
}
