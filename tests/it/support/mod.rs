//! A gateway of one's own for each test, agencies that speak to it, and endpoints it pushes to.
//!
//! Every answer an agency gets is held to `schemas/openapi.json`, so that no test can pass on an
//! answer the description does not know.

pub(crate) mod authority;
pub(crate) mod case;
pub(crate) mod endpoint;
pub(crate) mod faulty_store;
pub(crate) mod liar;
pub(crate) mod mail;
pub(crate) mod openapi;
pub(crate) mod told;

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::Arc;
use std::time::Duration;

use hyper::header::{HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, Uri};
use mash_gateway::http::client::{AddressPolicy, Client, ClientError, Connection, Limits};
use mash_gateway::message::Role;
use mash_gateway::pki::tls::{self, ClientMaterial, MinTls};
use rustls::ClientConfig;
use serde_json::Value;
use tempfile::TempDir;

use authority::TestAuthority;

pub(crate) const DOMAIN: &str = "mash.test.example";
pub(crate) const HUB: &str = "test-mash";
pub(crate) const POLICE: &str = "test-police";
pub(crate) const TRUST: &str = "test-trust";
pub(crate) const SURGERY: &str = "test-surgery";
pub(crate) const EARLY_HELP: &str = "test-early-help";
pub(crate) const SOCIAL_CARE: &str = "test-social-care";
pub(crate) const CLOSED: &str = "test-closed";
pub(crate) const SUSPENDED: &str = "test-suspended";

/// A home, and the gateway that runs in it.
pub(crate) struct TestGateway {
    folder: TempDir,
    process: Option<Child>,
    /// How far off the clock is that commands and the gateway go by, as faketime has it.
    clock: Option<&'static str>,
    /// What is logged, if not what is by default: `trace`.
    pub(crate) log_filter: Option<&'static str>,
    /// Where agencies reach it.
    pub(crate) url: String,
    /// Where people reach it.
    pub(crate) desk: String,
    /// Its enrolment door.
    pub(crate) enrolment: String,
    /// Its local door.
    pub(crate) local: String,
}

impl TestGateway {
    /// A new gateway where every agency has a mailbox.
    pub(crate) fn start() -> Self {
        Self::start_with(&case::partners(&[]))
    }

    /// A new gateway with this directory.
    pub(crate) fn start_with(partners: &str) -> Self {
        let mut gateway = Self::made(partners);
        gateway.serve();
        gateway
    }

    /// A home with this directory and a certificate for each agency, not running.
    pub(crate) fn made(partners: &str) -> Self {
        Self::made_by_clock(partners, None)
    }

    /// The same, made some time ago: `-62d`.
    pub(crate) fn made_long_ago(partners: &str, ago: &'static str) -> Self {
        let mut made = Self::made_by_clock(partners, Some(ago));
        made.clock = None;
        made
    }

    /// Commands and the gateway go by this clock from now on: `-31d`, or the real one.
    pub(crate) fn set_clock(&mut self, clock: Option<&'static str>) {
        self.clock = clock;
    }

    fn made_by_clock(partners: &str, clock: Option<&'static str>) -> Self {
        let folder = TempDir::new().unwrap();
        let gateway = Self {
            folder,
            process: None,
            clock,
            log_filter: None,
            url: String::new(),
            desk: String::new(),
            enrolment: String::new(),
            local: String::new(),
        };
        let init =
            gateway.run(&["init", "--gateway-host", "localhost", "--hub", HUB, "--domain", DOMAIN]);
        assert!(init.status.success(), "{}", text(&init.stderr));
        std::fs::write(gateway.home().join("partners.toml"), partners).unwrap();
        gateway.configure("# partner_api = \"0.0.0.0:8443\"", "partner_api = \"127.0.0.1:0\"");
        gateway.configure("# desk = \"0.0.0.0:8444\"", "desk = \"127.0.0.1:0\"");
        gateway.configure("# enrolment = \"0.0.0.0:8445\"", "enrolment = \"127.0.0.1:0\"");
        gateway.configure("# local = \"127.0.0.1:8446\"", "local = \"127.0.0.1:0\"");
        gateway.configure("# allow_loopback = false", "allow_loopback = true");
        for agency in [HUB, POLICE, TRUST, SURGERY, SUSPENDED] {
            gateway.certify(agency);
        }
        gateway
    }

    /// Changes a line of `gateway.toml`.
    pub(crate) fn configure(&self, from: &str, to: &str) {
        let path = self.home().join("gateway.toml");
        let settings = std::fs::read_to_string(&path).unwrap();
        assert!(settings.contains(from), "gateway.toml has no line {from}");
        std::fs::write(&path, settings.replace(from, to)).unwrap();
    }

    /// Starts it, and waits until it listens.
    pub(crate) fn serve(&mut self) {
        let (mut process, mut line) = self.spawn();
        // The port that its local door had may be another test's by now.
        if line.is_empty()
            && self.log().trim_end().ends_with("Address already in use (os error 98)")
        {
            assert!(!process.wait().unwrap().success());
            self.answer_locally_at("127.0.0.1:0");
            (process, line) = self.spawn();
        }
        let address = |door: &str| {
            let before = line.split_once(&format!(" ({door})")).map(|(before, _)| before)?;
            Some(before.rsplit_once("://")?.1.to_owned())
        };
        let (Some(partners), Some(desk), Some(enrolment), Some(local)) =
            (address("partners"), address("desk"), address("enrolment"), address("local"))
        else {
            panic!("the gateway did not start: {}", self.log())
        };
        let at_localhost =
            |address: &str| format!("https://localhost:{}", address.rsplit(':').next().unwrap());
        self.url = at_localhost(&partners);
        self.desk = at_localhost(&desk);
        self.enrolment = at_localhost(&enrolment);
        self.local = format!("http://{local}");
        // So that commands which tell the running gateway find it.
        self.answer_locally_at(&local);
        self.process = Some(process);
    }

    fn spawn(&self) -> (Child, String) {
        let log = std::fs::File::options().append(true).create(true).open(self.log_path()).unwrap();
        let mut process =
            self.command(&["serve"]).stdout(Stdio::piped()).stderr(log).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.take().unwrap()).read_line(&mut line).unwrap();
        (process, line)
    }

    fn answer_locally_at(&self, address: &str) {
        let path = self.home().join("gateway.toml");
        let settings = std::fs::read_to_string(&path).unwrap();
        let told = settings
            .lines()
            .map(|line| match line.starts_with("local = ") {
                true => format!("local = \"{address}\"\n"),
                false => format!("{line}\n"),
            })
            .collect::<String>();
        std::fs::write(&path, told).unwrap();
    }

    /// Stops it in order, and checks that it ended well.
    pub(crate) fn stop(&mut self) {
        let mut process = self.process.take().unwrap();
        let killed = Command::new("kill").arg(process.id().to_string()).status().unwrap();
        assert!(killed.success());
        assert!(process.wait().unwrap().success(), "{}", self.log());
    }

    /// Ends it as a power cut would.
    pub(crate) fn kill(&mut self) {
        let mut process = self.process.take().unwrap();
        process.kill().unwrap();
        process.wait().unwrap();
    }

    /// Stops it, or not, and starts it again.
    pub(crate) fn restart(&mut self) {
        self.stop();
        self.serve();
    }

    /// The process, while it runs.
    pub(crate) fn pid(&self) -> u32 {
        self.process.as_ref().unwrap().id()
    }

    pub(crate) fn home(&self) -> PathBuf {
        self.folder.path().join("home")
    }

    /// Where the agencies' keys and certificates are.
    pub(crate) fn agencies(&self) -> PathBuf {
        self.folder.path().join("agencies")
    }

    /// A place for a test's own files.
    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// What the gateway has logged so far.
    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }

    pub(crate) fn database(&self) -> PathBuf {
        self.home().join("data/gateway.db")
    }

    /// Runs a command of the binary in this home.
    pub(crate) fn run(&self, arguments: &[&str]) -> Output {
        self.command(arguments).output().unwrap()
    }

    /// Begins to run a command of the binary in this home.
    pub(crate) fn begin(&self, arguments: &[&str]) -> Child {
        self.command(arguments).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap()
    }

    /// Runs a command of the binary in this home by another clock: `-4d`, `+25h`.
    pub(crate) fn run_at(&self, clock: &str, arguments: &[&str]) -> Output {
        self.command_at(Some(clock), arguments).output().unwrap()
    }

    fn command(&self, arguments: &[&str]) -> Command {
        self.command_at(self.clock, arguments)
    }

    fn command_at(&self, clock: Option<&str>, arguments: &[&str]) -> Command {
        let binary = env!("CARGO_BIN_EXE_mash-gateway");
        let mut command = Command::new(binary);
        if let Some(clock) = clock {
            // What `faketime -f` does, without a process between us and this one.
            let library = "/usr/$LIB/faketime/libfaketime.so.1";
            command.env("LD_PRELOAD", library).env("FAKETIME", clock);
        }
        command.args(arguments).arg("--home").arg(self.home()).current_dir(self.folder.path());
        if let Some(filter) = self.log_filter {
            command.env("MASH_GATEWAY_LOG", filter);
        }
        // Read by nobody but a token module, which a home of its own names.
        command.env("SOFTHSM2_CONF", self.folder.path().join("softhsm2.conf"));
        command
    }

    fn log_path(&self) -> PathBuf {
        self.folder.path().join("gateway.log")
    }

    /// Has a key made by openssl certified, as an agency would.
    pub(crate) fn certify(&self, agency: &str) {
        let folder = self.agencies();
        std::fs::create_dir_all(&folder).unwrap();
        let (key, csr) =
            (folder.join(format!("{agency}.key")), folder.join(format!("{agency}.csr")));
        let made = Command::new("openssl")
            .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .arg("-keyout")
            .arg(&key)
            .arg("-out")
            .arg(&csr)
            .args(["-subj", "/CN=any"])
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
        let issued = self.run(&[
            "cert",
            "issue",
            agency,
            "--csr",
            csr.to_str().unwrap(),
            "--out",
            folder.to_str().unwrap(),
        ]);
        assert!(issued.status.success(), "{}", text(&issued.stderr));
    }

    /// Makes a key and a request for it with openssl, `NAME.key` and `NAME.csr`.
    pub(crate) fn request(&self, name: &str) {
        let made = Command::new("openssl")
            .args(["req", "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes"])
            .args(["-keyout", &format!("{name}.key"), "-out", &format!("{name}.csr")])
            .args(["-subj", "/CN=any"])
            .current_dir(self.folder())
            .output()
            .unwrap();
        assert!(made.status.success(), "{}", text(&made.stderr));
    }

    /// A person in this role at this agency, with a new certificate; who waits until the running
    /// gateway knows it.
    pub(crate) fn desk(&self, agency: &str, role: Role) -> Agency {
        let name = format!("{agency}.{}", role.as_str());
        self.request(&name);
        let issued = self.run(&[
            "cert",
            "issue",
            agency,
            "--csr",
            &format!("{name}.csr"),
            "--desk",
            "Wilhelmina Tarn",
            "--role",
            role.as_str(),
        ]);
        assert!(issued.status.success(), "{}", text(&issued.stderr));
        let read = |end: &str| {
            std::fs::read_to_string(self.folder().join(format!("{name}.{end}"))).unwrap()
        };
        self.bearer(&read("pem"), &read("key"))
    }

    /// The same person, at the port where the gateway listens now.
    pub(crate) fn moved(&self, agency: Agency) -> Agency {
        Agency { url: self.url.clone(), ..agency }
    }

    /// The same person, at the door where the pages are.
    pub(crate) fn seated(&self, agency: Agency) -> Agency {
        Agency { url: self.desk.clone(), ..agency }
    }

    /// Openssl, connected as this agency: what goes in is said inside TLS, what is heard comes out.
    pub(crate) fn s_client(&self, agency: &str, more: &[&str]) -> Child {
        let folder = self.agencies();
        Command::new("openssl")
            .args(["s_client", "-quiet", "-connect"])
            .arg(self.url.trim_start_matches("https://"))
            .arg("-CAfile")
            .arg(folder.join("ca.pem"))
            .arg("-cert")
            .arg(folder.join(format!("{agency}.pem")))
            .arg("-key")
            .arg(folder.join(format!("{agency}.key")))
            .args(more)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap()
    }

    /// Says these bytes inside TLS, as this agency, and returns what comes until the gateway closes.
    pub(crate) fn raw(&self, agency: &str, bytes: &[u8]) -> String {
        let mut process = self.s_client(agency, &[]);
        // Held open until the gateway has closed: an end of input would end the connection too.
        let mut stdin = process.stdin.take().unwrap();
        let _ = std::io::Write::write_all(&mut stdin, bytes);
        let mut answer = Vec::new();
        process.stdout.take().unwrap().read_to_end(&mut answer).unwrap();
        drop(stdin);
        process.wait().unwrap();
        text(&answer)
    }

    /// An agency that speaks to this gateway with its own certificate.
    pub(crate) fn agency(&self, agency: &str) -> Agency {
        let read = |name: String| std::fs::read_to_string(self.agencies().join(name)).unwrap();
        self.bearer(&read(format!("{agency}.pem")), &read(format!("{agency}.key")))
    }

    /// Whoever bears this certificate.
    pub(crate) fn bearer(&self, chain: &str, key: &str) -> Agency {
        let roots = std::fs::read_to_string(self.agencies().join("ca.pem")).unwrap();
        let material = ClientMaterial { chain, key, roots: &roots };
        Agency::with(&self.url, tls::client_config(material, MinTls::Tls12).unwrap())
    }

    /// The authority that the gateway issues agencies' certificates with, in a thief's hands.
    pub(crate) fn stolen_authority(&self) -> TestAuthority {
        self.unsealed_authority("keys/authority-identity.txt", "certs/agency-ca")
    }

    /// The same, of whichever authority this identity unseals.
    pub(crate) fn unsealed_authority(&self, identity: &str, name: &str) -> TestAuthority {
        let key = self.age_decrypt(identity, &format!("{name}.key.age"));
        let pem = std::fs::read_to_string(self.home().join(format!("{name}.pem"))).unwrap();
        TestAuthority::stolen(&pem, &text(&key.unwrap()))
    }

    /// What Debian's `age -d` makes of a file, both in the home; none when it refuses.
    pub(crate) fn age_decrypt(&self, identity: &str, file: &str) -> Option<Vec<u8>> {
        let opened = Command::new("age")
            .args(["-d", "-i", identity, file])
            .current_dir(self.home())
            .output()
            .unwrap();
        opened.status.success().then_some(opened.stdout)
    }

    /// What the local door says at `path`.
    pub(crate) fn local(&self, path: &str) -> String {
        let asked = Command::new("curl")
            .args(["--silent", "--show-error", "--max-time", "60"])
            .arg(format!("{}{path}", self.local))
            .output()
            .unwrap();
        assert!(asked.status.success(), "{}", text(&asked.stderr));
        text(&asked.stdout)
    }

    /// The value of a metric's line; nought when there is none.
    pub(crate) fn metric(&self, line: &str) -> u64 {
        let metrics = self.local("/metrics");
        let value = metrics.lines().find_map(|l| l.strip_prefix(line)?.strip_prefix(' '));
        value.map_or(0, |value| value.parse().unwrap())
    }

    /// The fields of every entry in the log.
    pub(crate) fn entries(&self) -> Vec<Value> {
        let shown = self.run(&["log", "show", "--json"]);
        assert!(shown.status.success(), "{}", text(&shown.stderr));
        let shown: Value = serde_json::from_slice(&shown.stdout).unwrap();
        shown["entries"].as_array().unwrap().iter().map(|entry| entry["fields"].clone()).collect()
    }

    /// That the whole log verifies.
    #[track_caller]
    pub(crate) fn verify_log(&self) {
        let verified = self.run(&["log", "verify"]);
        assert!(verified.status.success(), "{}", text(&verified.stderr));
    }

    /// Every file below the home, and the gateway's log file.
    pub(crate) fn files(&self) -> Vec<PathBuf> {
        let (mut found, mut folders) = (vec![self.log_path()], vec![self.home()]);
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).unwrap() {
                let path = entry.unwrap().path();
                // The issuer's socket is neither.
                if path.is_dir() {
                    folders.push(path);
                } else if path.is_file() {
                    found.push(path);
                }
            }
        }
        found
    }

    /// Fails if any of these is in any file, as it stands.
    #[track_caller]
    pub(crate) fn holds_nowhere(&self, phrases: &[&str]) {
        self.holds_nowhere_but(&[], phrases);
    }

    /// The same, but for the files whose names begin so.
    #[track_caller]
    pub(crate) fn holds_nowhere_but(&self, but: &[&str], phrases: &[&str]) {
        for file in self.files() {
            let name = file.file_name().unwrap().to_string_lossy().into_owned();
            if but.iter().any(|beginning| name.starts_with(beginning)) {
                continue;
            }
            let bytes = std::fs::read(&file).unwrap();
            for phrase in phrases {
                let is_there = bytes.windows(phrase.len()).any(|w| w == phrase.as_bytes());
                assert!(!is_there, "{} holds {phrase}", file.display());
            }
        }
    }
}

impl Drop for TestGateway {
    fn drop(&mut self) {
        if let Some(mut process) = self.process.take() {
            let _ = process.kill();
            let _ = process.wait();
        }
    }
}

/// Someone who speaks to a gateway.
pub(crate) struct Agency {
    client: Client,
    url: String,
}

/// What a gateway answered.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The body of a success with this status.
    #[track_caller]
    pub(crate) fn ok(self, status: u16) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        self.json()
    }

    /// That it is a problem of this type and status; returns its document.
    #[track_caller]
    pub(crate) fn problem(&self, status: u16, code: &str) -> Value {
        assert_eq!(self.status, status, "{}", self.text());
        assert_eq!(self.headers["content-type"], "application/problem+json");
        let problem = self.json();
        assert_eq!(problem["type"], format!("urn:mash:problem:{code}"));
        problem
    }
}

impl Agency {
    /// With these TLS settings.
    pub(crate) fn with(url: &str, tls: Arc<ClientConfig>) -> Self {
        let limits = Limits {
            connect_timeout: Duration::from_secs(20),
            answer_timeout: Duration::from_secs(60),
            response_bytes_max: 64 << 20,
        };
        Self { client: Client::new(tls, AddressPolicy::AllowAny, limits), url: url.to_owned() }
    }

    /// A connection that stays open.
    pub(crate) async fn connect(&self) -> Connection {
        self.client.connect(&self.url.parse().unwrap()).await.unwrap()
    }

    pub(crate) async fn get(&self, path: &str) -> Answer {
        self.request(Method::GET, path, &[], Vec::new()).await.unwrap()
    }

    pub(crate) async fn get_json(&self, path: &str) -> Value {
        self.get(path).await.ok(200)
    }

    /// Posts a message under a new idempotency key.
    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.post_bytes(path, &uuid::Uuid::new_v4().to_string(), body.to_string()).await
    }

    /// Posts a message under this idempotency key.
    pub(crate) async fn post_bytes(
        &self,
        path: &str,
        key: &str,
        body: impl Into<Vec<u8>>,
    ) -> Answer {
        let headers = [("content-type", "application/json"), ("idempotency-key", key)];
        self.request(Method::POST, path, &headers, body.into()).await.unwrap()
    }

    /// The RFI, sent by the hub; its answer.
    pub(crate) async fn dispatch(&self, recipients: &[&str]) -> Value {
        self.post("/v1/rfis", &case::dispatch(recipients)).await.ok(202)
    }

    /// Collects the message that waits longest.
    pub(crate) async fn collect_first(&self) -> Value {
        let inbox = self.get_json("/v1/inbox").await;
        let id = inbox["messages"][0]["id"].as_str().expect("something waits").to_owned();
        self.get_json(&format!("/v1/messages/{id}")).await
    }

    /// A page of the desk.
    pub(crate) async fn page(&self, path: &str) -> Answer {
        self.ask(Method::GET, path, &[], Vec::new()).await.unwrap()
    }

    /// What a page's form sends, as a browser does.
    pub(crate) async fn fill_in(&self, path: &str, fields: &[(&str, &str)]) -> Answer {
        let mut body = form_urlencoded::Serializer::new(String::new());
        body.extend_pairs(fields);
        let headers = [
            ("content-type", "application/x-www-form-urlencoded"),
            ("sec-fetch-site", "same-origin"),
        ];
        self.ask(Method::POST, path, &headers, body.finish().into_bytes()).await.unwrap()
    }

    /// A request, whose answer is held to the API's description.
    pub(crate) async fn request(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, ClientError> {
        let answer = self.ask(method.clone(), path, headers, body).await?;
        let uri: Uri = format!("{}{path}", self.url).parse().unwrap();
        openapi::hold(&method, uri.path(), &answer);
        Ok(answer)
    }

    /// A request. No answer is to be kept by anybody.
    pub(crate) async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: Vec<u8>,
    ) -> Result<Answer, ClientError> {
        let uri: Uri = format!("{}{path}", self.url).parse().unwrap();
        let headers = headers
            .iter()
            .map(|(name, value)| {
                let name: HeaderName = name.parse().unwrap();
                (name, HeaderValue::from_str(value).unwrap())
            })
            .collect();
        let response = self.client.send(method, &uri, headers, body.into()).await?;
        let answer = Answer {
            status: response.status.as_u16(),
            headers: response.headers,
            body: response.body,
        };
        assert_eq!(answer.headers["cache-control"], "no-store");
        Ok(answer)
    }
}

/// How much memory a process has, in KiB.
pub(crate) fn resident_kib(pid: u32) -> i64 {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).unwrap();
    let line = status.lines().find(|line| line.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse().unwrap()
}

pub(crate) fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

/// Waits until `holds`, by asking again; fails after half a minute.
pub(crate) async fn eventually<F: Future<Output = bool>>(what: &str, mut holds: impl FnMut() -> F) {
    for _ in 0..600 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    panic!("{what}: not within half a minute");
}
