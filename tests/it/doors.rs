//! What reaches the doors besides honest requests: other people's names, requests with two ends,
//! floods, drips, and signals.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::process::{Command, Stdio};

use hyper::Method;
use serde_json::json;

use crate::support::{HUB, POLICE, TestGateway, case, eventually, text};

fn configured(settings: &[(&str, &str)]) -> TestGateway {
    let mut gateway = TestGateway::made(&case::partners(&[]));
    for (default, changed) in settings {
        gateway.configure(default, changed);
    }
    gateway.serve();
    gateway
}

/// Each is good but for the one thing, has a body that is good too, and a second request after it:
/// neither is answered but with 400, and nothing is kept.
#[tokio::test]
async fn a_request_ends_in_one_place_and_is_for_one_host() {
    let gateway = TestGateway::start();
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    let asked = hub.dispatch(&[POLICE]).await["exchanges"][0].clone();
    let path = case::path(&asked, "acknowledgements");
    police.collect_first().await;
    let body = case::acknowledgement(asked["message"].as_str().unwrap()).to_string();
    let length = body.len();
    let chunks = format!("{length:x}\r\n{body}\r\n0\r\n\r\n");
    let key = uuid::Uuid::new_v4();
    let post = |target: &str, version: &str, framing: &str, sent: &str| {
        format!(
            "POST {target} {version}\r\nContent-Type: application/json\r\nIdempotency-Key: \
             {key}\r\n{framing}\r\n{sent}GET /v1/inbox HTTP/1.1\r\nHost: localhost\r\nConnection: \
             close\r\n\r\n"
        )
    };
    let host = "Host: localhost\r\n";
    let cl = format!("{host}Content-Length: {length}\r\n");
    let te = "Transfer-Encoding: chunked\r\n";
    let now = "HTTP/1.1";
    let absolute = format!("{}{path}", gateway.url);
    for (reason, request) in [
        ("framed-twice", post(&path, now, &format!("{cl}{te}"), &chunks)),
        ("framed-twice", post(&path, now, &format!("{host}{te}Content-Length: 4\r\n"), &chunks)),
        ("framed-twice", post(&path, now, &format!("{cl}Content-Length: {length}\r\n"), &body)),
        ("framed-twice", post(&path, now, &format!("{host}{te}{te}"), &chunks)),
        (
            "content-length",
            post(&path, now, &format!("{host}Content-Length: {length}, {length}\r\n"), &body),
        ),
        (
            "content-length",
            post(&path, now, &format!("{host}Content-Length: +{length}\r\n"), &body),
        ),
        (
            "transfer-encoding",
            post(&path, now, &format!("{host}Transfer-Encoding: identity, chunked\r\n"), &chunks),
        ),
        ("space-in-name", post(&path, now, &format!("{host}Content-Length : {length}\r\n"), &body)),
        ("space-in-name", post(&path, now, &format!("{cl}X: y\r\n z\r\n"), &body)),
        ("bare-lf", post(&path, now, &format!("{cl}X: y\n"), &body)),
        ("bare-cr", post(&path, now, &format!("{cl}X: y\rZ: z\r\n"), &body)),
        ("no-host", post(&path, now, &format!("Content-Length: {length}\r\n"), &body)),
        ("two-hosts", post(&path, now, &format!("{host}{cl}"), &body)),
        ("foreign-host", post(&path, now, &cl.replace("localhost", "evil.example"), &body)),
        ("not-a-path", post(&absolute, now, &cl, &body)),
        (
            "upgrade",
            post(&path, now, &format!("{cl}Connection: Upgrade\r\nUpgrade: h2c\r\n"), &body),
        ),
    ] {
        let line = format!("mash_gateway_malformed_requests_total{{reason=\"{reason}\"}}");
        let before = gateway.metric(&line);
        let answer = gateway.raw(POLICE, request.as_bytes());
        assert!(answer.starts_with("HTTP/1.1 400"), "{reason}: {request}\n{answer}");
        assert_eq!(answer.matches("HTTP/1.1").count(), 1, "{reason}: {request}\n{answer}");
        eventually(reason, async || gateway.metric(&line) == before + 1).await;
    }
    // The library itself refuses this one.
    let old =
        gateway.raw(POLICE, post(&path, "HTTP/1.0", &format!("{host}{te}"), &chunks).as_bytes());
    assert!(old.starts_with("HTTP/1.") && old.contains(" 400 "), "{old}");
    assert_eq!(hub.get_json("/v1/inbox").await["messages"], json!([]), "nothing was taken");

    // And as it should be, twice over, it is taken: no fault above was another one.
    for (framing, sent) in [(cl.clone(), &body), (format!("{host}{te}"), &chunks)] {
        let answer = gateway.raw(POLICE, post(&path, now, &framing, sent).as_bytes());
        assert!(answer.starts_with("HTTP/1.1 202"), "{answer}");
        assert_eq!(answer.matches("HTTP/1.1 200").count(), 1, "{answer}");
    }
}

fn curl(arguments: &[&str]) -> String {
    let asked = Command::new("curl")
        .args(["--silent", "--max-time", "30", "--output", "/dev/null"])
        .args(["--write-out", "%{http_code}"])
        .args(arguments)
        .output()
        .unwrap();
    text(&asked.stdout)
}

#[tokio::test]
async fn a_name_that_is_not_ours_is_refused_at_every_door() {
    let gateway = configured(&[("# other_names = []", "other_names = [\"mash.proxy.example\"]")]);
    let folder = gateway.agencies();
    let file = |name: &str| folder.join(name).to_str().unwrap().to_owned();
    let (ca, cert, key) = (file("ca.pem"), file("test-police.pem"), file("test-police.key"));
    let whoami = format!("{}/v1/whoami", gateway.url);
    let authorities = format!("{}/.well-known/est/cacerts", gateway.enrolment);
    let plain = format!("{}/pki/none", gateway.enrolment.replace("https", "http"));
    let live = format!("{}/livez", gateway.local);
    for version in ["--http1.1", "--http2"] {
        let tls = [version, "--cacert", &ca, "--cert", &cert, "--key", &key];
        for (host, status) in [
            ("Host: localhost", "200"),
            ("Host: LocalHost.:1", "200"),
            ("Host: mash.proxy.example", "200"),
            ("Host: evil.example", "400"),
            ("Host: localhost.evil.example", "400"),
        ] {
            for url in [&whoami, &authorities] {
                let asked = curl(&[&tls[..], &["-H", host, url]].concat());
                assert_eq!(asked, status, "{version} {host} {url}");
            }
        }
    }
    assert_eq!(curl(&["-H", "Host: evil.example", &plain]), "400");
    assert_eq!(curl(&["-H", "Host: evil.example", &live]), "400");
    assert_eq!(curl(&["-H", "Host: localhost", &live]), "200");
}

#[tokio::test]
async fn another_sites_page_is_refused_and_a_program_is_not() {
    let gateway = TestGateway::start();
    let police = gateway.agency(POLICE);
    for (site, status) in
        [("cross-site", 403), ("same-site", 403), ("x", 403), ("same-origin", 200), ("none", 200)]
    {
        let headers = [("sec-fetch-site", site)];
        let answer = police.request(Method::GET, "/v1/whoami", &headers, Vec::new()).await.unwrap();
        assert_eq!(answer.status, status, "{site}");
        if status == 403 {
            answer.problem(403, "cross-site");
        }
    }
}

#[tokio::test]
async fn an_agency_that_asks_too_often_waits_and_the_others_do_not() {
    let gateway = configured(&[(
        "# requests_per_agency_per_minute = 60000",
        "requests_per_agency_per_minute = 5",
    )]);
    let (hub, police) = (gateway.agency(HUB), gateway.agency(POLICE));
    for left in (0..5).rev() {
        let answer = police.get("/v1/whoami").await;
        assert_eq!(answer.status, 200);
        assert_eq!(answer.headers["ratelimit-policy"], "\"agency\";q=5;w=60");
        assert_eq!(answer.headers["ratelimit"], format!("\"agency\";r={left}"));
    }
    let refused = police.get("/v1/whoami").await;
    refused.problem(429, "too-many-requests");
    let wait: u32 = refused.headers["retry-after"].to_str().unwrap().parse().unwrap();
    assert!((1..=12).contains(&wait), "{wait}");
    assert_eq!(refused.headers["ratelimit"], format!("\"agency\";r=0;t={wait}"));
    assert_eq!(hub.get("/v1/whoami").await.status, 200);
    assert_eq!(gateway.metric("mash_gateway_problems_total{problem=\"too-many-requests\"}"), 1);
}

#[tokio::test]
async fn an_address_begins_so_many_handshakes_a_second() {
    let gateway = configured(&[(
        "# handshakes_per_address_per_second = 200",
        "handshakes_per_address_per_second = 1",
    )]);
    let address = gateway.url.replace("https://localhost", "127.0.0.1");
    let line = "mash_gateway_handshakes_total{outcome=\"too-many-handshakes\"}";
    let mut open = Vec::new();
    eventually("one is too many", || {
        open.push(std::net::TcpStream::connect(&address).unwrap());
        std::future::ready(gateway.metric(line) > 0)
    })
    .await;
}

/// One frame (RFC 9113, 4.1).
fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    [&length[1..], &[kind, flags], &stream.to_be_bytes(), payload].concat()
}

/// `:method GET`, `:scheme https`, `:path /`, `:authority localhost`, as HPACK without Huffman.
fn get() -> Vec<u8> {
    [&[0x82, 0x87, 0x84, 0x01, 9][..], b"localhost"].concat()
}

/// Speaks HTTP/2 as the police by hand, through openssl: these frames over and over, until the
/// gateway has had enough. Returns once it has closed; fails if it has not within half a minute.
async fn flood(gateway: &TestGateway, what: &str, pieces: impl Iterator<Item = Vec<u8>>) {
    let mut process = gateway.s_client(POLICE, &["-alpn", "h2"]);
    // What it says is not asked for; it must not wait for a reader either.
    let mut stdout = process.stdout.take().unwrap();
    std::thread::spawn(move || std::io::copy(&mut stdout, &mut std::io::sink()));
    let mut stdin = process.stdin.take().unwrap();
    let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b"")].concat();
    let mut is_open = stdin.write_all(&begin).is_ok();
    for piece in pieces {
        is_open = is_open && stdin.write_all(&piece).is_ok();
        if !is_open {
            break;
        }
    }
    // Somebody honest is served meanwhile.
    assert_eq!(gateway.agency(HUB).get("/v1/whoami").await.status, 200, "{what}");
    eventually(what, || std::future::ready(process.try_wait().unwrap().is_some())).await;
}

#[tokio::test]
async fn floods_over_http2_end_the_connection_and_nobody_elses() {
    let gateway = configured(&[(
        "# http2_control_frames_per_second = 100",
        "http2_control_frames_per_second = 10",
    )]);
    let cut = "mash_gateway_connections_cut_total{reason=\"control-frames\"}";
    let many = |piece: Vec<u8>| std::iter::repeat_n(piece.repeat(100), 200);
    let begun = frame(1, 4, 1, &get());
    let counted: [(&str, Vec<u8>, Vec<u8>); 5] = [
        ("PING", Vec::new(), frame(6, 0, 0, &[0; 8])),
        ("SETTINGS", Vec::new(), frame(4, 0, 0, b"")),
        ("PRIORITY", Vec::new(), frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        ("empty DATA", begun, frame(0, 0, 1, b"")),
        ("frames nobody knows", Vec::new(), frame(0xee, 0, 0, b"x")),
    ];
    for (what, first, piece) in counted {
        let before = gateway.metric(cut);
        flood(&gateway, what, std::iter::once(first).chain(many(piece))).await;
        // The library may be the quicker of the two: of empty DATA on a closed stream.
        let is_cut = gateway.metric(cut) == before + 1;
        assert!(is_cut || what == "empty DATA", "{what}");
    }
    // CVE-2023-44487: begun and taken back; and CVE-2025-8671: we are made to take it back.
    let rapid = (0..5_000_u32).map(|n| {
        let stream = 2 * n + 1;
        [frame(1, 5, stream, &get()), frame(3, 0, stream, &[0, 0, 0, 8])].concat()
    });
    flood(&gateway, "rapid reset", rapid).await;
    assert!(gateway.metric("mash_gateway_http2_resets_total{by=\"peer\"}") > 0);
    let made = |count: u32| {
        (0..count).map(|n| {
            let stream = 2 * n + 1;
            let beyond = frame(8, 0, stream, &[0x7f, 0xff, 0xff, 0xff]);
            [frame(1, 4, stream, &get()), beyond].concat()
        })
    };
    flood(&gateway, "MadeYouReset", made(5_000)).await;
    // A few are reset and counted before anything is cut.
    let resets = || gateway.metric("mash_gateway_http2_resets_total{by=\"gateway\"}");
    let counted = std::iter::once_with(|| {
        assert!((0..500).any(|_| resets() > 0), "no reset of ours was counted");
        Vec::new()
    });
    let few = made(5).chain(counted).chain(many(frame(6, 0, 0, &[0; 8])));
    flood(&gateway, "MadeYouReset, a few", few).await;
    let endless = std::iter::once(frame(1, 0, 1, &get()))
        .chain(std::iter::repeat_n(frame(9, 0, 1, &[0x0f; 0]).repeat(100), 200));
    flood(&gateway, "CONTINUATION", endless).await;
    // One long field put into the table, then named again and again: 4 KB become 16 MB.
    let long = [&[0x40, 1, b'x', 0x7f, 0xa1, 0x1e][..], &[b'a'; 4_000]].concat();
    let bomb = [frame(1, 4, 1, &[get(), long, vec![0xbe; 4_000]].concat())];
    flood(&gateway, "HPACK bomb", bomb.into_iter().chain(many(frame(6, 0, 0, &[0; 8])))).await;
}

/// The same frames where so many are allowed: the connection lives, and answers the last of them.
#[tokio::test]
async fn as_many_frames_as_are_allowed_end_no_connection() {
    let gateway = configured(&[(
        "# http2_control_frames_per_second = 100",
        "http2_control_frames_per_second = 100000",
    )]);
    for (what, piece) in [
        ("PING", frame(6, 0, 0, &[0; 8])),
        ("SETTINGS", frame(4, 0, 0, b"")),
        ("PRIORITY", frame(2, 0, 1, &[0, 0, 0, 0, 1])),
        ("frames nobody knows", frame(0xee, 0, 0, b"x")),
    ] {
        let mut process = gateway.s_client(POLICE, &["-alpn", "h2"]);
        let mut stdin = process.stdin.take().unwrap();
        let mut stdout = BufReader::new(process.stdout.take().unwrap());
        let said = std::thread::spawn(move || {
            let begin = [b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(), frame(4, 0, 0, b"")];
            let last = frame(6, 0, 0, b"all said");
            for piece in [begin.concat(), piece.repeat(20_000), last] {
                stdin.write_all(&piece).unwrap();
            }
            stdin
        });
        let mut header = [0; 9];
        loop {
            stdout.read_exact(&mut header).unwrap_or_else(|error| panic!("{what}: {error}"));
            let [a, b, c, kind, flags, ..] = header;
            let mut payload = vec![0; u32::from_be_bytes([0, a, b, c]) as usize];
            stdout.read_exact(&mut payload).unwrap();
            assert_ne!(kind, 7, "{what}: it says goodbye");
            if (kind, flags, payload.as_slice()) == (6, 1, b"all said") {
                break;
            }
        }
        drop(said.join().unwrap());
        process.kill().unwrap();
        process.wait().unwrap();
    }
    assert_eq!(gateway.metric("mash_gateway_connections_cut_total{reason=\"control-frames\"}"), 0);
}

#[tokio::test]
async fn whoever_drips_is_let_go_of() {
    let gateway = configured(&[
        ("# header_timeout_s = 10", "header_timeout_s = 2"),
        ("# request_timeout_s = 30", "request_timeout_s = 2"),
        ("# stall_timeout_s = 120", "stall_timeout_s = 4"),
    ]);
    // Over HTTP/2, whoever does not answer a ping.
    flood(&gateway, "silence after TLS", std::iter::empty()).await;
    // A body that does not come is answered with 408.
    let head = format!(
        "POST /v1/rfis HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
         Idempotency-Key: {}\r\nContent-Length: 9\r\n\r\n{{",
        uuid::Uuid::new_v4()
    );
    let answer = gateway.raw(HUB, head.as_bytes());
    assert!(answer.starts_with("HTTP/1.1 408"), "{answer}");
    assert_eq!(gateway.raw(HUB, b"GET /v1/whoami HTTP/1.1\r\nHost: local"), "");
    assert_eq!(gateway.raw(HUB, b""), "");
    assert_eq!(gateway.agency(HUB).get("/v1/whoami").await.status, 200);
}

/// Served as process 1 of a namespace of its own, where no signal has an effect by default.
#[test]
fn the_first_process_of_a_container_ends_in_order_too() {
    let gateway = TestGateway::made(&case::partners(&[]));
    for signal in ["TERM", "INT"] {
        let mut outer = Command::new("unshare")
            .args(["--user", "--map-root-user", "--pid", "--fork", "--mount-proc"])
            .args([env!("CARGO_BIN_EXE_mash-gateway"), "serve", "--home"])
            .arg(gateway.home())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(outer.stdout.take().unwrap()).read_line(&mut line).unwrap();
        assert!(line.contains("Listening"), "{line}");
        let children = format!("/proc/{0}/task/{0}/children", outer.id());
        let inner = std::fs::read_to_string(children).unwrap();
        let status = std::fs::read_to_string(format!("/proc/{}/status", inner.trim())).unwrap();
        let ids = status.lines().find(|line| line.starts_with("NSpid:")).unwrap();
        assert!(ids.ends_with("\t1"), "it is not the first process: {ids}");
        let sent = Command::new("kill").args(["-s", signal, inner.trim()]).status().unwrap();
        assert!(sent.success());
        let ended = outer.wait().unwrap();
        let mut log = String::new();
        outer.stderr.take().unwrap().read_to_string(&mut log).unwrap();
        assert_eq!(ended.code(), Some(0), "{signal}: {log}");
    }
    gateway.verify_log();
    let stops = gateway.entries().iter().filter(|fields| fields["event"] == "stopped").count();
    assert_eq!(stops, 2);
}

#[tokio::test]
async fn a_bad_new_file_leaves_the_last_good_one_and_a_concern() {
    let gateway = TestGateway::start();
    let hang_up = || {
        let pid = gateway.pid().to_string();
        assert!(Command::new("kill").args(["-s", "HUP", &pid]).status().unwrap().success());
    };
    for name in ["partners.toml", "certs/agency-ca.crl.pem", "certs/gateway.pem"] {
        let path = gateway.home().join(name);
        let good = std::fs::read(&path).unwrap();
        std::fs::write(&path, "neither one nor the other").unwrap();
        hang_up();
        let says = |phrase: &'static str| gateway.local("/readyz").contains(phrase);
        eventually(name, async || says("changed files were not taken into use")).await;
        assert_eq!(gateway.agency(HUB).get("/v1/whoami").await.status, 200, "{name}");
        std::fs::write(&path, good).unwrap();
        hang_up();
        eventually(name, async || !says("not taken into use")).await;
    }
}

#[tokio::test]
async fn what_is_in_hand_finishes_unless_it_is_asked_twice() {
    for signals in 1..=2 {
        let gateway = TestGateway::start();
        let hub = gateway.agency(HUB);
        let body = case::dispatch(&[POLICE]).to_string();
        let head = format!(
            "POST /v1/rfis HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n\
             Idempotency-Key: {}\r\nExpect: 100-continue\r\nContent-Length: {}\r\n\r\n",
            uuid::Uuid::new_v4(),
            body.len()
        );
        let mut client = gateway.s_client(HUB, &[]);
        let mut stdin = client.stdin.take().unwrap();
        let mut stdout = BufReader::new(client.stdout.take().unwrap());
        stdin.write_all(head.as_bytes()).unwrap();
        // The handler has begun to read the body: the request is in hand.
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        assert!(line.starts_with("HTTP/1.1 100"), "{line}");
        let pid = gateway.pid().to_string();
        let term = || assert!(Command::new("kill").arg(&pid).status().unwrap().success());
        term();
        eventually("it is stopping", async || gateway.log().contains("is stopping")).await;
        let refused = hub.request(Method::GET, "/v1/whoami", &[], Vec::new()).await;
        assert!(refused.is_err(), "nobody new is let in");
        let mut rest = String::new();
        if signals == 1 {
            stdin.write_all(body.as_bytes()).unwrap();
            stdout.read_to_string(&mut rest).unwrap();
            assert!(rest.contains("HTTP/1.1 202"), "{rest}");
        } else {
            term();
            let _ = stdout.read_to_string(&mut rest);
            assert!(!rest.contains("HTTP/1.1 202"), "{rest}");
        }
        let status = format!("/proc/{pid}/stat");
        let is_over = || std::fs::read_to_string(&status).is_ok_and(|stat| stat.contains(") Z "));
        eventually("it has ended", async || is_over()).await;
        drop(stdin);
        client.wait().unwrap();
    }
}
