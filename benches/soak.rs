//! Whether an hour is like a minute: a steady load for long, and what becomes of speed and memory.
//!
//! `cargo bench --bench soak` posts 1,000 messages of 10 KB a second for 30 minutes, each on its own
//! clock: a message that waits for the one before it is late, and counts as late. `-- --minutes 5
//! --per-second 500` says otherwise. It ends with the last minute beside the second, and exits with
//! 1 when they differ by more than a twentieth, memory by more than a tenth, or anything was refused.
//! It needs about 12 KB of disk for each message.

#![expect(clippy::unwrap_used, reason = "a measurement that cannot go on has failed")]
#![expect(clippy::print_stdout, reason = "the figures are the result")]

#[path = "../tests/it/support/mod.rs"]
#[expect(dead_code, reason = "the tests' harness does more than a benchmark needs")]
mod support;

#[expect(dead_code, reason = "shared with the other benchmarks")]
mod load;

use std::process::ExitCode;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use load::{Steady, memory_kib, percentile_ms, targets};
use support::TestGateway;

const BODY_BYTES: usize = 10_000;
const CONNECTIONS: u32 = 64;
const MINUTE: Duration = Duration::from_secs(60);

fn main() -> ExitCode {
    let minutes = argument("--minutes").unwrap_or(30);
    let per_second = argument("--per-second").unwrap_or(1_000);
    assert!(minutes >= 3, "the first minute warms up; the second and the last are compared");
    tokio::runtime::Runtime::new().unwrap().block_on(soak(minutes, per_second))
}

fn argument(name: &str) -> Option<u32> {
    let arguments: Vec<_> = std::env::args().collect();
    let place = arguments.iter().position(|argument| argument == name)?;
    Some(arguments[place + 1].parse().unwrap())
}

/// What one minute was like.
struct Minute {
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    memory_kib: u64,
}

async fn soak(minutes: u32, per_second: u32) -> ExitCode {
    let mut gateway = TestGateway::made(&support::case::partners(&[]));
    // As an operator would who measures.
    gateway.configure(
        "# requests_per_agency_per_minute = 60000",
        "requests_per_agency_per_minute = 100000000",
    );
    gateway.serve();
    let targets = targets(&gateway, BODY_BYTES).await;
    let latencies = Arc::new(Mutex::new(Vec::new()));
    let begun = Instant::now();
    let end = begun + MINUTE * minutes;
    let load = Steady { connections: CONNECTIONS, per_second, begin: begun, end };
    let senders = load.start(&gateway, &targets, &latencies).await;
    println!("{per_second} messages a second, {BODY_BYTES} bytes each, {CONNECTIONS} connections");
    println!(
        "{:>6} {:>9} {:>9} {:>9} {:>9} {:>13} {:>12}",
        "minute", "per s", "p50 ms", "p99 ms", "max ms", "resident KiB", "database MiB"
    );
    let mut seen = Vec::new();
    for minute in 1..=minutes {
        tokio::time::sleep_until((begun + MINUTE * minute).into()).await;
        seen.push(look(&gateway, minute, std::mem::take(&mut *latencies.lock().unwrap())));
    }
    senders.join_all().await;
    verdict(&seen[1], &seen[seen.len() - 1], per_second)
}

fn look(gateway: &TestGateway, minute: u32, mut latencies: Vec<Duration>) -> Minute {
    latencies.sort_unstable();
    let seen = Minute {
        per_second: latencies.len() as f64 / MINUTE.as_secs_f64(),
        p50_ms: percentile_ms(&latencies, 0.5),
        p99_ms: percentile_ms(&latencies, 0.99),
        memory_kib: memory_kib(gateway.pid(), "VmRSS"),
    };
    println!(
        "{minute:>6} {:>9.1} {:>9.2} {:>9.2} {:>9.2} {:>13} {:>12}",
        seen.per_second,
        seen.p50_ms,
        seen.p99_ms,
        percentile_ms(&latencies, 1.0),
        seen.memory_kib,
        std::fs::metadata(gateway.database()).unwrap().len() >> 20,
    );
    seen
}

fn verdict(second: &Minute, last: &Minute, per_second: u32) -> ExitCode {
    println!("\nlast minute / second minute");
    let mut is_good = true;
    let ratios = [
        ("throughput", last.per_second / second.per_second, 0.95, 1.05),
        ("p50", last.p50_ms / second.p50_ms, 0.0, 1.05),
        ("p99", last.p99_ms / second.p99_ms, 0.0, 1.05),
        ("memory", last.memory_kib as f64 / second.memory_kib as f64, 0.0, 1.10),
        ("last minute / asked for", last.per_second / f64::from(per_second), 0.99, 1.01),
    ];
    for (name, ratio, least, most) in ratios {
        let holds = (least..=most).contains(&ratio);
        is_good &= holds;
        println!("{ratio:>8.3}  {name}{}", if holds { "" } else { ": not as it should be" });
    }
    if is_good { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
