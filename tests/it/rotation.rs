//! Certificates, authorities and roots are replaced while agencies talk, and not one request fails;
//! and whoever offers the wrong thing is told so, and changes nothing.

use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use http_body_util::{BodyExt as _, Full};
use hyper::body::Bytes;
use hyper::{Method, Request, Version};
use hyper_util::rt::{TokioExecutor, TokioIo};
use mash_gateway::pki::tls::{self, ClientMaterial, MinTls};
use rustls::ClientConfig;
use serde_json::Value;
use tokio::sync::{mpsc, watch};
use tokio_rustls::TlsConnector;

use crate::support::{
    DOMAIN, HUB, POLICE, SURGERY, SUSPENDED, TRUST, TestGateway, case, eventually, text,
};

/// How an agency's system keeps its connections.
#[derive(Clone, Copy)]
enum Habit {
    /// A new one for each request.
    Fresh,
    Http1,
    Http2,
}

enum Sender {
    Http1(hyper::client::conn::http1::SendRequest<Full<Bytes>>),
    Http2(hyper::client::conn::http2::SendRequest<Full<Bytes>>),
}

/// An agency's system under load: what it shows and trusts can be changed while it runs.
struct System {
    url: String,
    habit: Habit,
    settings: watch::Receiver<Arc<ClientConfig>>,
    kept: Option<Sender>,
    seen: Arc<Seen>,
}

#[derive(Default)]
struct Seen {
    /// Requests that were answered as they should be.
    answered: AtomicU64,
    /// How often it changed over to new settings.
    changes: AtomicU64,
}

impl System {
    /// One request, which has to be answered with `status`. Nothing is ever tried a second time.
    async fn ask(&mut self, method: Method, path: &str, body: Option<Value>, status: u16) -> Value {
        if self.settings.has_changed().unwrap() {
            self.kept = None;
        }
        let mut sender = match self.kept.take() {
            Some(sender) => sender,
            None => self.connect().await,
        };
        let mut request = Request::new(Full::new(Bytes::new()));
        *request.method_mut() = method.clone();
        if let Some(body) = body {
            let headers = request.headers_mut();
            headers.insert("content-type", "application/json".parse().unwrap());
            let key = uuid::Uuid::new_v4().to_string();
            headers.insert("idempotency-key", key.parse().unwrap());
            *request.body_mut() = Full::new(Bytes::from(body.to_string()));
        }
        let answer = match &mut sender {
            Sender::Http1(sender) => {
                *request.uri_mut() = path.parse().unwrap();
                request.headers_mut().insert("host", "localhost".parse().unwrap());
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
            Sender::Http2(sender) => {
                *request.uri_mut() = format!("{}{path}", self.url).parse().unwrap();
                *request.version_mut() = Version::HTTP_2;
                sender.ready().await.unwrap();
                sender.send_request(request).await.unwrap()
            }
        };
        let (head, body) = answer.into_parts();
        let body = body.collect().await.unwrap().to_bytes();
        assert_eq!(head.status.as_u16(), status, "{method} {path}: {}", text(&body));
        self.seen.answered.fetch_add(1, Ordering::SeqCst);
        if !matches!(self.habit, Habit::Fresh) {
            self.kept = Some(sender);
        }
        serde_json::from_slice(&body).unwrap()
    }

    async fn connect(&mut self) -> Sender {
        let is_changed = self.settings.has_changed().unwrap();
        let mut settings = ClientConfig::clone(&self.settings.borrow_and_update());
        let is_http2 = matches!(self.habit, Habit::Http2);
        settings.alpn_protocols = vec![if is_http2 { "h2" } else { "http/1.1" }.into()];
        let stream =
            tokio::net::TcpStream::connect(self.url.trim_start_matches("https://")).await.unwrap();
        let tls = TlsConnector::from(Arc::new(settings));
        let stream = tls.connect("localhost".try_into().unwrap(), stream).await.unwrap();
        let io = TokioIo::new(stream);
        let sender = if is_http2 {
            let executor = TokioExecutor::new();
            let (sender, driver) =
                hyper::client::conn::http2::handshake(executor, io).await.unwrap();
            tokio::spawn(driver);
            Sender::Http2(sender)
        } else {
            let (sender, driver) = hyper::client::conn::http1::handshake(io).await.unwrap();
            tokio::spawn(driver);
            Sender::Http1(sender)
        };
        if is_changed {
            self.seen.changes.fetch_add(1, Ordering::SeqCst);
        }
        sender
    }
}

/// The hub asks and three agencies answer, without a pause, each in its own way.
struct Load {
    stop: Arc<AtomicU64>,
    systems: Vec<(&'static str, watch::Sender<Arc<ClientConfig>>, Arc<Seen>)>,
    tasks: Vec<tokio::task::JoinHandle<()>>,
}

impl Load {
    fn start(gateway: &TestGateway) -> Self {
        let stop = Arc::new(AtomicU64::new(0));
        let mut load = Self { stop: Arc::clone(&stop), systems: Vec::new(), tasks: Vec::new() };
        let mut queues = Vec::new();
        for (agency, habit) in
            [(POLICE, Habit::Http2), (TRUST, Habit::Http1), (SURGERY, Habit::Fresh)]
        {
            let mut system = load.system(gateway, agency, habit);
            let (queue, mut asked) = mpsc::channel::<Value>(4);
            queues.push(queue);
            load.tasks.push(tokio::spawn(async move {
                while let Some(exchange) = asked.recv().await {
                    let rfi = exchange["message"].as_str().unwrap();
                    let collected =
                        system.ask(Method::GET, &format!("/v1/messages/{rfi}"), None, 200).await;
                    assert_eq!(collected["id"], rfi);
                    let path = case::path(&exchange, "acknowledgements");
                    system.ask(Method::POST, &path, Some(case::acknowledgement(rfi)), 202).await;
                }
            }));
        }
        let mut hub = load.system(gateway, HUB, Habit::Http1);
        load.tasks.push(tokio::spawn(async move {
            while stop.load(Ordering::SeqCst) == 0 {
                let dispatch = case::dispatch(&[POLICE, TRUST, SURGERY]);
                let asked = hub.ask(Method::POST, "/v1/rfis", Some(dispatch), 202).await;
                for (exchange, queue) in asked["exchanges"].as_array().unwrap().iter().zip(&queues)
                {
                    queue.send(exchange.clone()).await.unwrap();
                }
            }
        }));
        load
    }

    fn system(&mut self, gateway: &TestGateway, agency: &'static str, habit: Habit) -> System {
        let roots = std::fs::read_to_string(gateway.agencies().join("ca.pem")).unwrap();
        let (sender, mut settings) = watch::channel(face(gateway, agency, &roots));
        settings.mark_unchanged();
        let seen = Arc::new(Seen::default());
        self.systems.push((agency, sender, Arc::clone(&seen)));
        System { url: gateway.url.clone(), habit, settings, kept: None, seen }
    }

    /// An agency changes over to the certificate in its folder now, and to these roots; returns
    /// when it has.
    async fn change_over(&self, gateway: &TestGateway, agency: &str, roots: &str) {
        let (_, settings, seen) = self.systems.iter().find(|(name, _, _)| *name == agency).unwrap();
        let before = seen.changes.load(Ordering::SeqCst);
        settings.send_replace(face(gateway, agency, roots));
        eventually("the agency changes over", async || {
            seen.changes.load(Ordering::SeqCst) > before
        })
        .await;
        self.goes_on().await;
    }

    /// That everybody is answered, several times more; if somebody is not, the test ends here.
    async fn goes_on(&self) {
        let counts = || -> Vec<u64> {
            self.systems.iter().map(|(_, _, seen)| seen.answered.load(Ordering::SeqCst)).collect()
        };
        let before = counts();
        eventually("everybody goes on", async || {
            assert!(!self.tasks.iter().any(tokio::task::JoinHandle::is_finished), "one failed");
            counts().iter().zip(&before).all(|(now, before)| *now >= before + 6)
        })
        .await;
    }

    /// Ends it; how many requests there were, all of them answered.
    async fn stop(self) -> u64 {
        self.stop.store(1, Ordering::SeqCst);
        for task in self.tasks {
            task.await.unwrap();
        }
        self.systems.iter().map(|(_, _, seen)| seen.answered.load(Ordering::SeqCst)).sum()
    }
}

fn face(gateway: &TestGateway, agency: &str, roots: &str) -> Arc<ClientConfig> {
    let read = |name: String| std::fs::read_to_string(gateway.agencies().join(name)).unwrap();
    let (chain, key) = (read(format!("{agency}.pem")), read(format!("{agency}.key")));
    let material = ClientMaterial { chain: &chain, key: &key, roots };
    tls::client_config(material, MinTls::Tls13).unwrap()
}

/// The machine without a network where the root's key is: not this home, nor any other.
struct OffLine(PathBuf);

impl OffLine {
    /// Takes the root's key and both identities off the gateway's machine.
    fn take_from(gateway: &TestGateway) -> Self {
        let folder = gateway.folder().join("off-line");
        std::fs::create_dir(&folder).unwrap();
        let home = gateway.home();
        for (from, to) in [
            ("keys/root-identity.txt", "officer.txt"),
            ("keys/recovery-identity.txt", "recovery.txt"),
            ("certs/root.key.age", "root.key.age"),
        ] {
            std::fs::rename(home.join(from), folder.join(to)).unwrap();
        }
        std::fs::copy(home.join("certs/root.pem"), folder.join("root.pem")).unwrap();
        std::fs::copy(home.join("certs/root.crl.pem"), folder.join("root.crl.pem")).unwrap();
        Self(folder)
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
            .arg("root")
            .args(arguments)
            .current_dir(&self.0)
            .output()
            .unwrap()
    }

    fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// Signs `request.txt` with the root in this folder below the off-line one.
    fn sign(&self, root: &str, confirm: &str) -> Output {
        self.run(&[
            "sign",
            "request.txt",
            "--certificate",
            &format!("{root}root.pem"),
            "--key",
            &format!("{root}root.key.age"),
            "--identity",
            "officer.txt",
            "--confirm",
            confirm,
            "--out",
            "answer.pem",
        ])
    }
}

#[track_caller]
fn done(output: Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
fn json(output: Output) -> Value {
    serde_json::from_str(&done(output)).unwrap()
}

/// That a command failed so, saying this.
#[track_caller]
fn refused(output: &Output, exit: i32, because: &str) {
    let said = text(&output.stderr);
    assert_eq!(output.status.code(), Some(exit), "{said}");
    assert!(said.contains(because), "{said}");
}

/// The next authority of this purpose is asked for, signed and installed. `again` is for another
/// root's certificate of the same. Returns what `install` said.
fn install(gateway: &TestGateway, off_line: &OffLine, purpose: &str, root: &str) -> Value {
    let request = off_line.path("request.txt");
    let mut asked = vec!["authority", "request", purpose, "--out", &request, "--json"];
    if !root.is_empty() {
        asked.push("--again");
    }
    let asked = json(gateway.run(&asked));
    done(off_line.sign(root, asked["name"].as_str().unwrap()));
    json(gateway.run(&["authority", "install", &off_line.path("answer.pem"), "--json"]))
}

/// A new key and certificate for an agency, beside the one it has; returns the old one's serial.
fn renew(gateway: &TestGateway, agency: &str) -> String {
    let folder = gateway.agencies();
    let path = |ending: &str| folder.join(format!("{agency}.{ending}"));
    let made = Command::new("openssl")
        .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
        .args(["-subj", "/CN=any", "-keyout"])
        .arg(path("key"))
        .arg("-out")
        .arg(path("csr"))
        .output()
        .unwrap();
    assert!(made.status.success());
    let (csr, folder) = (path("csr"), folder.to_str().unwrap());
    let renewed = gateway.run(&[
        "cert",
        "renew",
        agency,
        "--csr",
        csr.to_str().unwrap(),
        "--out",
        folder,
        "--json",
    ]);
    if !renewed.status.success() {
        println!("{}", gateway.log());
    }
    json(renewed)["renews"].as_str().unwrap().to_owned()
}

/// Whether openssl and curl, each trusting these roots only, are let in as this agency.
fn lets_in(gateway: &TestGateway, agency: &str, roots: &Path) -> bool {
    let file = |ending: &str| gateway.agencies().join(format!("{agency}.{ending}"));
    let address = gateway.url.trim_start_matches("https://");
    let shown = Command::new("openssl")
        .args(["s_client", "-connect", address, "-servername", "localhost"])
        .args(["-x509_strict", "-verify_return_error", "-CAfile"])
        .arg(roots)
        .arg("-cert")
        .arg(file("pem"))
        .arg("-key")
        .arg(file("key"))
        .stdin(std::process::Stdio::null())
        .output()
        .unwrap();
    let is_verified = text(&shown.stdout).contains("Verify return code: 0 (ok)");
    let asked = Command::new("curl")
        .args(["--silent", "--output", "/dev/null", "--write-out", "%{http_code}", "--cacert"])
        .arg(roots)
        .arg("--cert")
        .arg(file("pem"))
        .arg("--key")
        .arg(file("key"))
        .arg(format!("{}/v1/whoami", gateway.url))
        .output()
        .unwrap();
    let is_answered = text(&asked.stdout) == "200";
    assert_eq!(is_verified, is_answered, "openssl and curl disagree: {}", text(&shown.stdout));
    is_verified
}

/// The serial of the certificate that the partner API shows.
fn shown_serial(gateway: &TestGateway) -> String {
    let address = gateway.url.trim_start_matches("https://");
    let script = format!(
        "openssl s_client -connect {address} </dev/null 2>/dev/null | \
         openssl x509 -noout -serial"
    );
    let shown = Command::new("bash").args(["-c", &script]).output().unwrap();
    assert!(shown.status.success(), "{}", text(&shown.stderr));
    text(&shown.stdout)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn everything_is_replaced_under_load_and_no_request_fails() {
    let mut gateway = TestGateway::start();
    let off_line = OffLine::take_from(&gateway);
    let old_roots = off_line.read("root.pem");
    let load = Load::start(&gateway);
    load.goes_on().await;

    // The gateway's own certificate.
    let before = shown_serial(&gateway);
    done(gateway.run(&["cert", "gateway"]));
    assert_ne!(shown_serial(&gateway), before);
    load.goes_on().await;

    // An agency's certificate.
    let mut replaced = vec![(POLICE, renew(&gateway, POLICE))];
    load.goes_on().await;
    load.change_over(&gateway, POLICE, &old_roots).await;

    // The agencies' issuing authority, and the gateway servers'.
    let first = format!("{DOMAIN} agencies 1");
    let installed = install(&gateway, &off_line, "agencies", "");
    assert_eq!(installed["name"], format!("{DOMAIN} agencies 2"));
    assert_eq!((&installed["changed"], &installed["inUse"]), (&true.into(), &true.into()));
    load.goes_on().await;
    let installed = install(&gateway, &off_line, "gateway-servers", "");
    assert_eq!(installed["name"], format!("{DOMAIN} gateway servers 2"));
    load.goes_on().await;
    // One agency has a certificate of the new one, while the others have theirs of the old one.
    replaced.push((SURGERY, renew(&gateway, SURGERY)));
    load.change_over(&gateway, SURGERY, &old_roots).await;
    let in_use = gateway.run(&["authority", "retire", &first, "--confirm", &first]);
    refused(&in_use, 1, "certificates in force came from");
    assert!(text(&in_use.stderr).contains(TRUST), "it says whose");
    done(gateway.run(&["cert", "gateway"]));
    for agency in [HUB, TRUST, POLICE, SUSPENDED] {
        replaced.push((agency, renew(&gateway, agency)));
        if agency != SUSPENDED {
            load.change_over(&gateway, agency, &old_roots).await;
        }
    }
    let revoke = |agency: &str, serial: &str| {
        let reason = ["--reason", "superseded", "--confirm", agency];
        done(gateway.run(&[&["cert", "revoke", "--serial", serial][..], &reason].concat()))
    };
    for (agency, serial) in &replaced {
        revoke(agency, serial);
    }
    // Police had two of the old one: the first, and the one from before the rotation.
    refused(&gateway.run(&["authority", "retire", &first, "--confirm", "another"]), 2, "--confirm");
    done(gateway.run(&["authority", "retire", &first, "--confirm", &first]));
    let servers = format!("{DOMAIN} gateway servers 1");
    done(gateway.run(&["authority", "retire", &servers, "--confirm", &servers]));
    load.goes_on().await;
    let listed = json(gateway.run(&["authority", "list", "--json"]));
    let names: Vec<_> =
        listed["authorities"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, [&format!("{DOMAIN} agencies 2"), &format!("{DOMAIN} gateway servers 2")]);

    // The root. A client that trusts only the old one and one that trusts only the new one are both
    // let in while it lasts.
    let recipient = |name: &str| {
        let text = off_line.read(name);
        text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned()
    };
    let (officer, recovery) = (recipient("officer.txt"), recipient("recovery.txt"));
    let name = format!("{DOMAIN} root 2");
    done(off_line.run(&[
        "new",
        "--name",
        &name,
        "--recipient",
        &officer,
        "--recipient",
        &recovery,
        "--out",
        "new",
    ]));
    let root = ["--certificate", "root.pem", "--key", "root.key.age", "--identity", "officer.txt"];
    let vouch = ["--confirm", &name, "--out", "voucher.pem"];
    done(off_line.run(&[&["vouch", "new/root.pem"][..], &root, &vouch].concat()));
    let trusted = json(gateway.run(&[
        "authority",
        "trust",
        &off_line.path("new/root.pem"),
        "--crl",
        &off_line.path("new/root.crl.pem"),
        "--voucher",
        &off_line.path("voucher.pem"),
        "--json",
    ]));
    assert_eq!(trusted["changed"], true);
    load.goes_on().await;
    let (old, new) = (off_line.0.join("root.pem"), off_line.0.join("new/root.pem"));
    assert!(lets_in(&gateway, TRUST, &old) && !lets_in(&gateway, TRUST, &new));
    let first_root = format!("{DOMAIN} root");
    let distrust = ["authority", "distrust", &first_root, "--confirm", &first_root];
    refused(&gateway.run(&distrust), 1, "no other root vouches");
    for purpose in ["agencies", "gateway-servers"] {
        install(&gateway, &off_line, purpose, "new/");
        load.goes_on().await;
    }
    refused(&gateway.run(&distrust), 1, "lead to this root only");
    done(gateway.run(&["cert", "gateway"]));
    load.goes_on().await;
    assert!(lets_in(&gateway, TRUST, &old) && lets_in(&gateway, TRUST, &new));
    // Police trusts the new one only, the others have the new ca.pem, one after another.
    let new_roots = off_line.read("new/root.pem");
    load.change_over(&gateway, POLICE, &new_roots).await;
    renew(&gateway, SUSPENDED);
    let both = std::fs::read_to_string(gateway.agencies().join("ca.pem")).unwrap();
    assert_eq!(both, format!("{old_roots}{new_roots}"));
    for agency in [HUB, TRUST, SURGERY] {
        load.change_over(&gateway, agency, &both).await;
    }
    done(gateway.run(&distrust));
    done(gateway.run(&["cert", "gateway"]));
    load.goes_on().await;
    assert!(!lets_in(&gateway, TRUST, &old) && lets_in(&gateway, TRUST, &new));
    renew(&gateway, SUSPENDED);
    assert_eq!(std::fs::read_to_string(gateway.agencies().join("ca.pem")).unwrap(), new_roots);

    let count = load.stop().await;
    assert!(count > 300, "{count}");
    println!("{count} requests, none failed");
    // What was done is in the log; and it all holds after a start.
    gateway.restart();
    assert!(lets_in(&gateway, TRUST, &new));
    gateway.stop();
    gateway.verify_log();
    let entries = gateway.entries();
    let count = |event: &str| entries.iter().filter(|fields| fields["event"] == event).count();
    assert_eq!(count("authority-installed"), 4);
    assert_eq!(count("authority-retired"), 2);
    assert_eq!((count("root-trusted"), count("root-distrusted")), (1, 1));
}
