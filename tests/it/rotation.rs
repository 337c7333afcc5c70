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

/// A system that runs, as its test sees it.
struct Driven {
    agency: &'static str,
    settings: watch::Sender<Arc<ClientConfig>>,
    seen: Arc<Seen>,
}

impl Driven {
    fn answered(&self) -> u64 {
        self.seen.answered.load(Ordering::SeqCst)
    }
}

/// The hub asks and three agencies answer, without a pause, each in its own way.
struct Load {
    stop: Arc<AtomicU64>,
    systems: Vec<Driven>,
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
        self.systems.push(Driven { agency, settings: sender, seen: Arc::clone(&seen) });
        System { url: gateway.url.clone(), habit, settings, kept: None, seen }
    }

    /// An agency changes over to the certificate in its folder now, and to these roots; returns
    /// when it has.
    async fn change_over(&self, gateway: &TestGateway, agency: &str, roots: &str) {
        let Driven { settings, seen, .. } =
            self.systems.iter().find(|system| system.agency == agency).unwrap();
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
        let counts = || -> Vec<u64> { self.systems.iter().map(Driven::answered).collect() };
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
        self.systems.iter().map(Driven::answered).sum()
    }
}

fn face(gateway: &TestGateway, agency: &str, roots: &str) -> Arc<ClientConfig> {
    let read = |name: String| std::fs::read_to_string(gateway.agencies().join(name)).unwrap();
    let (chain, key) = (read(format!("{agency}.pem")), read(format!("{agency}.key")));
    let material = ClientMaterial { chain: &chain, key: &key, roots };
    tls::client_config(material, MinTls::Tls13).unwrap()
}

/// The machine without a network where the root's key is: not this home, nor any other.
pub(crate) struct OffLine(PathBuf);

impl OffLine {
    /// Takes the root's key and both identities off the gateway's machine.
    pub(crate) fn take_from(gateway: &TestGateway) -> Self {
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

    pub(crate) fn path(&self, name: &str) -> String {
        self.0.join(name).to_str().unwrap().to_owned()
    }

    fn read(&self, name: &str) -> String {
        std::fs::read_to_string(self.0.join(name)).unwrap()
    }

    /// Signs `request.txt` with the root in this folder below the off-line one.
    pub(crate) fn sign(&self, root: &str, confirm: &str) -> Output {
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
pub(crate) fn done(output: Output) -> String {
    assert!(output.status.success(), "{}{}", text(&output.stdout), text(&output.stderr));
    text(&output.stdout)
}

#[track_caller]
pub(crate) fn json(output: Output) -> Value {
    serde_json::from_str(&done(output)).unwrap()
}

/// That a command failed so, saying this.
#[track_caller]
pub(crate) fn refused(output: &Output, exit: i32, because: &str) {
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

/// Everything in the home that says whom it trusts and issues with.
fn authorities(gateway: &TestGateway) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files: Vec<_> = std::fs::read_dir(gateway.home().join("certs"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .map(|path| (path.clone(), std::fs::read(path).unwrap()))
        .collect();
    files.sort();
    files
}

#[test]
fn an_answer_is_to_the_request_of_this_home_and_signed_by_its_root() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let off_line = OffLine::take_from(&gateway);
    let request = off_line.path("request.txt");
    let ask = |purpose: &str| {
        json(gateway.run(&["authority", "request", purpose, "--out", &request, "--json"]))
    };
    let install =
        |name: &str| gateway.run(&["authority", "install", &off_line.path(name), "--json"]);
    let name = format!("{DOMAIN} agencies 2");
    let asked = ask("agencies");
    assert_eq!((&asked["name"], &asked["purpose"]), (&name.as_str().into(), &"agencies".into()));
    let text_of_request = off_line.read("request.txt");
    assert!(text_of_request.contains(&name) && !text_of_request.contains("PRIVATE"));
    // As another tool sees it.
    let seen = Command::new("openssl")
        .args(["req", "-noout", "-verify", "-text", "-in", &request])
        .output()
        .unwrap();
    let seen = format!("{}{}", text(&seen.stdout), text(&seen.stderr));
    assert!(seen.contains("verify OK") && seen.contains("Client Authentication"), "{seen}");
    // Asked twice, it is the same key.
    assert_eq!(ask("agencies")["key"], asked["key"]);

    let unconfirmed = ["--certificate", "root.pem", "--key", "root.key.age", "--identity"];
    let sign = |identity: &str, more: &[&str]| {
        let out = ["--out", "answer.pem"];
        off_line
            .run(&[&["sign", "request.txt"][..], &unconfirmed, &[identity], more, &out].concat())
    };
    refused(&sign("officer.txt", &[]), 2, "nothing was signed");
    refused(&sign("officer.txt", &["--confirm", "another"]), 2, "nothing was signed");
    // The gateway's own identities open nothing of the root's.
    let stranger = gateway.home().join("keys/authority-identity.txt");
    let stranger = sign(stranger.to_str().unwrap(), &["--confirm", &name]);
    refused(&stranger, 1, "root.key.age");
    assert!(!off_line.0.join("answer.pem").exists());

    // A changed byte, in the words or in the request itself.
    let words = text_of_request.replace("agencies 2", "agencies 3");
    std::fs::write(&request, words).unwrap();
    refused(&sign("officer.txt", &["--confirm", &name]), 3, "somebody changed it");
    let (head, block) = text_of_request.split_once("REQUEST-----\n").unwrap();
    for at in [3, 100, block.len() - 60] {
        let mut block = block.as_bytes().to_vec();
        block[at] = if block[at] == b'A' { b'B' } else { b'A' };
        let changed = format!("{head}REQUEST-----\n{}", text(&block));
        std::fs::write(&request, changed).unwrap();
        let said = sign("officer.txt", &["--confirm", &name]);
        assert_eq!(said.status.code(), Some(3), "{at}: {}", text(&said.stderr));
    }
    assert!(!off_line.0.join("answer.pem").exists());

    // Line ends may change on the way, and either of the two officers can sign.
    std::fs::write(&request, text_of_request.replace('\n', "\r\n")).unwrap();
    done(sign("recovery.txt", &["--confirm", &name]));
    std::fs::copy(off_line.path("answer.pem"), off_line.path("good.pem")).unwrap();

    // Signed by a foreign root of the same name.
    let recipient = |file: &str| {
        let text = off_line.read(file);
        text.lines().find_map(|line| line.strip_prefix("# public key: ")).unwrap().to_owned()
    };
    let (officer, recovery) = (recipient("officer.txt"), recipient("recovery.txt"));
    let root_name = format!("{DOMAIN} root");
    let new = |recipients: &[&str]| {
        let end = ["--out", "foreign"];
        off_line.run(&[&["new", "--name", &root_name][..], recipients, &end].concat())
    };
    refused(&new(&["--recipient", &officer]), 2, "two recipients");
    refused(&new(&["--recipient", &officer, "--recipient", &officer]), 2, "two recipients");
    refused(&new(&["--recipient", &officer, "--recipient", "age1x"]), 2, "age1x");
    done(new(&["--recipient", &officer, "--recipient", &recovery]));
    refused(&new(&["--recipient", &officer, "--recipient", &recovery]), 2, "there already");
    done(off_line.sign("foreign/", &name));
    let before = authorities(&gateway);
    refused(&install("answer.pem"), 3, "no root in certs/root.pem signed");
    // A root of the same name is not trusted beside ours, nor with another's list.
    let trust = |root: &str, list: &str| {
        let (root, list) = (off_line.path(root), off_line.path(list));
        gateway.run(&["authority", "trust", &root, "--crl", &list])
    };
    refused(&trust("foreign/root.pem", "foreign/root.crl.pem"), 1, "has this name");
    refused(&trust("root.pem", "foreign/root.crl.pem"), 3, "not signed by this root");
    refused(&trust("good.pem", "root.crl.pem"), 2, "not a root");

    // Our root, but another home's request: its key is not one of ours.
    let other = TestGateway::made(&case::partners(&[]));
    let asked = other.run(&["authority", "request", "agencies", "--out", &request, "--json"]);
    done(off_line.sign("", json(asked)["name"].as_str().unwrap()));
    refused(&install("answer.pem"), 3, "answers another request");
    // Things that are no answer.
    refused(&install("root.pem"), 2, "not an issuing authority");
    refused(&install("request.txt"), 1, "not one certificate");
    let both = off_line.read("good.pem") + &off_line.read("good.pem");
    std::fs::write(off_line.path("both.pem"), both).unwrap();
    refused(&install("both.pem"), 2, "exactly one");
    refused(&install("nothing.pem"), 4, "cannot read");
    assert_eq!(authorities(&gateway), before, "nothing was changed");

    // A stop between any two files of the change, and it is taken up again; twice is harmless.
    let first = json(install("good.pem"));
    assert_eq!((&first["changed"], &first["name"]), (&true.into(), &name.as_str().into()));
    let after = authorities(&gateway);
    let certificates = gateway.home().join("certs/agency-ca.pem");
    let kept = |files: &[(PathBuf, Vec<u8>)], name: &str| {
        files.iter().find(|(path, _)| path.ends_with(name)).unwrap().1.clone()
    };
    std::fs::write(&certificates, kept(&before, "agency-ca.pem")).unwrap();
    let pending = gateway.home().join("certs/agency-ca.next.key.age");
    std::fs::write(&pending, kept(&before, "agency-ca.next.key.age")).unwrap();
    gateway.certify(POLICE);
    assert_eq!(json(install("good.pem"))["changed"], true);
    assert_eq!(std::fs::read(&certificates).unwrap(), kept(&after, "agency-ca.pem"));
    assert!(!pending.exists());
    assert_eq!(json(install("good.pem"))["changed"], false);

    // The one that issues is not retired, nor one that is in use, nor what is not there.
    let retire = |name: &str, more: &[&str]| {
        gateway.run(&[&["authority", "retire", name, "--confirm", name][..], more].concat())
    };
    refused(&retire(&name, &[]), 1, "this authority issues");
    refused(&retire(&name, &["--force"]), 1, "this authority issues");
    let old = format!("{DOMAIN} agencies 1");
    refused(&retire(&old, &[]), 1, "certificates in force came from");
    refused(&retire("somebody else's", &[]), 4, "no such authority");
    let only = format!("{DOMAIN} root");
    let distrust = ["authority", "distrust", &only, "--confirm", &only];
    refused(&gateway.run(&distrust), 1, "the only root");
    done(retire(&old, &["--force"]));
    let key = gateway.age_decrypt("keys/authority-identity.txt", "certs/agency-ca.key.age");
    assert_eq!(text(&key.unwrap()).matches("BEGIN PRIVATE KEY").count(), 1, "its key is gone");
}

/// Requests that no home of ours writes.
#[test]
fn what_a_root_does_not_sign() {
    let gateway = TestGateway::made(&case::partners(&[]));
    let off_line = OffLine::take_from(&gateway);
    let request = off_line.path("request.txt");
    let made = |curve: &str, subject: &str, extensions: &str| {
        let configuration = format!("[req]\ndistinguished_name=dn\n[dn]\n[asked]\n{extensions}\n");
        std::fs::write(off_line.path("asked.cnf"), configuration).unwrap();
        let made = Command::new("openssl")
            .args(["req", "-new", "-nodes", "-newkey", "ec", "-pkeyopt"])
            .arg(format!("ec_paramgen_curve:{curve}"))
            .args(["-sha384", "-keyout", "/dev/null", "-subj", subject, "-reqexts", "asked"])
            .args(["-config", &off_line.path("asked.cnf"), "-out", &request])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        off_line.sign("", subject.trim_start_matches("/CN="))
    };
    let (clients, servers) = ("extendedKeyUsage=clientAuth", "extendedKeyUsage=serverAuth");
    let with = |purpose: &str, more: &str| format!("{purpose}\n{more}");
    for (curve, subject, extensions, because) in [
        ("P-256", "/CN=a", clients.to_owned(), "P-384"),
        ("P-384", "/CN=a", "extendedKeyUsage=clientAuth,serverAuth".to_owned(), "not for both"),
        ("P-384", "/CN=a", "extendedKeyUsage=codeSigning".to_owned(), "not for both"),
        ("P-384", "/CN=a", "extendedKeyUsage=anyExtendedKeyUsage".to_owned(), "not for both"),
        ("P-384", "/CN=a", "subjectAltName=DNS:a.example".to_owned(), "not for both"),
        ("P-384", "/CN=a", with(clients, "subjectAltName=DNS:a.example"), "not for both"),
        ("P-384", "/CN=a", with(clients, "basicConstraints=CA:TRUE,pathlen:3"), "asks for more"),
        ("P-384", "/CN=a", with(clients, "keyUsage=keyCertSign"), "asks for more"),
        ("P-384", "/CN=a", with(servers, "nameConstraints=permitted;DNS:a.b"), "asks for more"),
        ("P-384", "/CN=a", with(servers, "subjectAltName=IP:192.0.2.1"), "DNS names"),
        ("P-384", "/CN=a", with(servers, "subjectAltName=DNS:*.a.example"), "DNS names"),
        ("P-384", "/CN=a", with(servers, "subjectAltName=URI:https://a.example"), "http://"),
        ("P-384", "/O=a", clients.to_owned(), "one common name"),
        ("P-384", "/CN=a/O=b", clients.to_owned(), "one common name"),
        ("P-384", "/CN=a/CN=b", clients.to_owned(), "one common name"),
        // All that is asked is right, but the words that say so are missing.
        ("P-384", "/CN=a", clients.to_owned(), "somebody changed it"),
    ] {
        refused(&made(curve, subject, &extensions), 3, because);
    }
    assert!(!off_line.0.join("answer.pem").exists());
    // Nor does a home ask for hosts that would leave out its own.
    let ask = ["authority", "request", "gateway-servers", "--out", &request, "--host"];
    refused(&gateway.run(&[&ask[..], &["other.example"]].concat()), 1, "localhost");
    done(gateway.run(&[&ask[..], &["other.example", "localhost"]].concat()));
    let name = format!("{DOMAIN} gateway servers 2");
    assert!(text(&off_line.sign("", &name).stdout).contains("other.example, localhost"));
    let ask = ["authority", "request", "agencies", "--out", &request, "--host", "a.example"];
    refused(&gateway.run(&ask), 2, "--host is for gateway servers");
}

#[test]
fn the_root_is_two_peoples_and_its_list_never_loses_a_name() {
    let gateway = TestGateway::made(&case::partners(&[]));
    // Either identity opens the root's key, with a tool that knows nothing of us; no other does.
    for (identity, opens) in [
        ("keys/recovery-identity.txt", true),
        ("keys/root-identity.txt", true),
        ("keys/authority-identity.txt", false),
        ("keys/at-rest-identity.txt", false),
    ] {
        let key = gateway.age_decrypt(identity, "certs/root.key.age");
        assert_eq!(key.is_some(), opens, "{identity}");
        assert!(key.is_none_or(|key| text(&key).contains("BEGIN PRIVATE KEY")));
    }
    let off_line = OffLine::take_from(&gateway);
    let list = |previous: &str, more: &[&str]| {
        let root =
            ["--certificate", "root.pem", "--key", "root.key.age", "--identity", "officer.txt"];
        let files = ["--previous", previous, "--out", "next.crl.pem", "--json"];
        off_line.run(&[&["crl"][..], &root, &files, more].concat())
    };
    let (one, two) = ("40".repeat(20), "41".repeat(20));
    let first = json(list("root.crl.pem", &["--revoke", &one, "--reason", "key-compromise"]));
    assert_eq!(first["revoked"], serde_json::json!([one]));
    std::fs::copy(off_line.path("next.crl.pem"), off_line.path("first.crl.pem")).unwrap();
    let second = json(list("first.crl.pem", &["--revoke", &two, "--reason", "superseded"]));
    assert_eq!(second["revoked"], serde_json::json!([one, two]));
    let again = json(list("next.crl.pem", &["--revoke", &two, "--reason", "key-compromise"]));
    assert_eq!(again["revoked"], second["revoked"]);
    refused(&list("next.crl.pem", &["--revoke", "not-hex", "--reason", "superseded"]), 1, "serial");
    refused(&list("root.pem", &[]), 3, "no list of this root");
    refused(&list("next.crl.pem", &["--revoke", &one]), 2, "--reason");
    // As openssl reads it, with what the first said of the first.
    let shown = Command::new("openssl")
        .args(["crl", "-noout", "-text", "-CAfile", "root.pem", "-in", "next.crl.pem"])
        .current_dir(&off_line.0)
        .output()
        .unwrap();
    let shown = format!("{}{}", text(&shown.stdout), text(&shown.stderr));
    assert!(shown.contains("verify OK"), "{shown}");
    let reasons: Vec<_> = ["Key Compromise", "Superseded"].map(|r| shown.matches(r).count()).into();
    assert_eq!(reasons, [1, 1], "{shown}");
    // The home takes it, and none that is older.
    let trust = |list: &str| {
        let (root, list) = (off_line.path("root.pem"), off_line.path(list));
        gateway.run(&["authority", "trust", &root, "--crl", &list, "--json"])
    };
    assert_eq!(json(trust("next.crl.pem"))["changed"], true);
    assert_eq!(json(trust("next.crl.pem"))["changed"], false);
    refused(&trust("first.crl.pem"), 1, "older than the one here");
    assert_eq!(
        std::fs::read_to_string(gateway.home().join("certs/root.crl.pem")).unwrap(),
        off_line.read("next.crl.pem")
    );
}

#[test]
fn a_home_whose_root_opens_with_other_peoples_identities() {
    let folder = tempfile::TempDir::new().unwrap();
    let recipient = |name: &str| {
        let made = Command::new("age-keygen")
            .args(["-o", name])
            .current_dir(folder.path())
            .output()
            .unwrap();
        text(&made.stderr).trim().rsplit(' ').next().unwrap().to_owned()
    };
    let (one, two) = (recipient("one.txt"), recipient("two.txt"));
    let init = |recipients: &[&str]| {
        Command::new(env!("CARGO_BIN_EXE_mash-gateway"))
            .args(["init", "--home", "home", "--gateway-host", "localhost"])
            .args(recipients)
            .current_dir(folder.path())
            .output()
            .unwrap()
    };
    refused(&init(&["--root-recipient", &one]), 2, "two recipients");
    assert!(!folder.path().join("home").exists());
    done(init(&["--root-recipient", &one, "--root-recipient", &two]));
    assert!(!folder.path().join("home/keys/root-identity.txt").exists());
    for (identity, opens) in
        [("one.txt", true), ("two.txt", true), ("home/keys/recovery-identity.txt", false)]
    {
        let opened = Command::new("age")
            .args(["-d", "-i", identity, "home/certs/root.key.age"])
            .current_dir(folder.path())
            .output()
            .unwrap();
        assert_eq!(opened.status.success(), opens, "{identity}");
    }
}
