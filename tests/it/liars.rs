//! Endpoints that lie, stall and break off: nothing is sent to the wrong one, nothing they do is
//! taken for an answer, and none of it costs the gateway or another agency anything.

use std::cell::Cell;
use std::sync::atomic::Ordering;

use serde_json::Value;

use crate::support::authority::TestAuthority;
use crate::support::endpoint::Endpoint;
use crate::support::liar::{Liar, Lie};
use crate::support::{HUB, POLICE, SURGERY, TRUST, TestGateway, case, eventually, resident_kib};

/// Each attempt of one message meets another lie. The last finds the endpoint honest.
#[tokio::test]
async fn whatever_an_endpoint_does_the_message_is_kept_and_arrives_in_the_end() {
    let told = [
        (Lie::ClosesInHandshake, "connection-closed"),
        (Lie::Expired, "server-certificate-expired"),
        (Lie::WrongName, "server-certificate-name"),
        (Lie::WrongAuthority, "server-certificate-untrusted"),
        (Lie::Resets, "connection-closed"),
        (Lie::Endless, "response-too-large"),
        (Lie::Drips, "answer-timeout"),
        (Lie::Redirects, "redirected"),
    ];
    let mut liar = Liar::new(&told.map(|(lie, _)| lie));
    let mut gateway = TestGateway::made(&case::partners(&[(POLICE, &liar.lines())]));
    gateway.configure("# retry_base_s = 5", "retry_base_s = 1");
    gateway.configure("# retry_cap_s = 3600", "retry_cap_s = 1");
    gateway.configure("# attempt_timeout_s = 30", "attempt_timeout_s = 3");
    gateway.configure("# lease_s = 60", "lease_s = 6");
    liar.start(&gateway.home());
    gateway.serve();
    let before = resident_kib(gateway.pid());
    let hub = gateway.agency(HUB);
    let dispatched = hub.dispatch(&[POLICE]).await;
    let asked = &dispatched["exchanges"][0];
    let path = format!("/v1/exchanges/{}", asked["exchange"].as_str().unwrap());
    let timeline = async || hub.get_json(&path).await["timeline"].as_array().unwrap().clone();
    let most = Cell::new(before);
    eventually("it arrives", async || {
        most.set(resident_kib(gateway.pid()).max(most.get()));
        timeline().await.last().is_some_and(|last| last["event"] == "delivered")
    })
    .await;
    let grown = most.get() - before;
    assert!(grown < 16 << 10, "{grown} KiB more than {before}");

    let timeline = timeline().await;
    let failed: Vec<_> = timeline
        .iter()
        .filter(|entry| entry["event"] == "attempt-failed")
        .map(|entry| entry["code"].as_str().unwrap())
        .collect();
    assert_eq!(failed, told.map(|(_, code)| code));

    let seen = liar.seen();
    let lies: Vec<_> = seen.iter().map(|one| one.lie).collect();
    let planned = told.iter().map(|(lie, _)| Some(*lie)).chain([None]);
    assert_eq!(lies, planned.collect::<Vec<_>>(), "each was told once");
    let id = asked["message"].as_str().unwrap();
    for one in &seen {
        // In TLS 1.3 the server has done its part before the client looks at its certificate.
        let is_impostor = matches!(
            one.lie,
            Some(Lie::ClosesInHandshake | Lie::Expired | Lie::WrongName | Lie::WrongAuthority)
        );
        assert_eq!(one.is_established, !is_impostor, "{:?}", one.lie);
        if is_impostor {
            assert!(one.heard.is_empty(), "{:?} was told something", one.lie);
        } else {
            let heard = String::from_utf8_lossy(&one.heard);
            assert!(heard.contains(&format!("mash-message-id: {id}")), "{:?}", one.lie);
            assert!(heard.contains("Wrenna"), "{:?}: the whole message", one.lie);
        }
    }
    assert_eq!(liar.followed.load(Ordering::Relaxed), 0, "nobody went where it was redirected to");
    // What fits into the buffers on the way, of ten gigabytes.
    let sent = liar.sent.load(Ordering::Relaxed);
    assert!((1..64 << 20).contains(&sent), "{sent}");
    gateway.stop();
    gateway.verify_log();
}

/// Four attempts run at once, and twenty-four messages wait: eight for each.
#[tokio::test]
async fn a_dead_and_a_hanging_endpoint_do_not_hold_up_a_good_one() {
    let dead = Endpoint::reserve().lines(false);
    let (hanging, mut good) = (Endpoint::reserve(), Endpoint::reserve());
    let good_lines = good.lines(false).replace("endpoint.pem", "good.pem");
    let mut gateway = TestGateway::made(&case::partners(&[
        (POLICE, &dead),
        (TRUST, &hanging.lines(false)),
        (SURGERY, &good_lines),
    ]));
    for (default, changed) in [
        ("# retry_base_s = 5", "retry_base_s = 1"),
        ("# lease_s = 60", "lease_s = 600"),
        ("# attempt_timeout_s = 30", "attempt_timeout_s = 300"),
        ("# concurrency_max = 32", "concurrency_max = 4"),
        ("# concurrency_per_endpoint_max = 8", "concurrency_per_endpoint_max = 1"),
    ] {
        gateway.configure(default, changed);
    }
    let certs = gateway.home().join("certs");
    good.introduce(&gateway.home());
    std::fs::rename(certs.join("endpoint.pem"), certs.join("good.pem")).unwrap();
    std::fs::write(certs.join("endpoint.pem"), TestAuthority::new("Endpoints").pem()).unwrap();
    gateway.serve();
    let hub = gateway.agency(HUB);
    let mut asked: Vec<Value> = Vec::new();
    for _ in 0..8 {
        let dispatched = hub.dispatch(&[POLICE, TRUST, SURGERY]).await;
        asked.push(dispatched["exchanges"][2].clone());
    }
    // Only now: until here the good one's waited too.
    good.start(&gateway.home());
    eventually("the good one's are delivered", async || good.pushed().len() == 8).await;
    let ids = good.pushed().iter().map(|pushed| pushed.document["id"].clone()).collect::<Vec<_>>();
    assert!(asked.iter().all(|one| ids.contains(&one["message"])), "each of them once");
    eventually("the others wait", async || {
        gateway.local("/metrics").contains("\nmash_gateway_queued_messages 16\n")
    })
    .await;
}
