//! `demo`: the whole job on this machine, with invented people and real mutual TLS.
//!
//! Nothing in it is staged: it makes a home as `init` does, issues certificates as `cert issue`
//! does, runs the gateway as `serve` does, and speaks to it as any agency would. Each step checks
//! what it shows; the first that does not hold ends the demonstration with its reason.

mod case;
mod endpoint;

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use secrecy::ExposeSecret as _;
use serde::Serialize;
use serde_json::{Value, json};
use tokio_rustls::rustls::ServerConfig;

use super::cert::Office;
use super::client::{Connection, Gateway};
use super::serve::{Running, Signals};
use super::{Context, Exit, Failure, block_on, init, log, read_text};
use crate::audit::checkpoint::LogVerifier;
use crate::audit::receipt;
use crate::config::{Home, write_synced};
use crate::message::{AgencyId, Role, now};
use crate::pki::ca::{Authority, Domain, IssuingFor, LEAF_VALID_FOR, Profile, Terms, generate_key};
use crate::pki::holder::Holder;
use crate::pki::p12;
use crate::pki::tls::{self, ClientCertificate, MinTls, ServerMaterial};
use crate::seal::{self, Identities};
use crate::store::sqlite::Sqlite;
use crate::telemetry;
use case::{HUB, POLICE, SURGERY, TRUST};
use endpoint::Endpoint;

/// Show the whole job on this machine, with invented people and real mutual TLS.
#[derive(Args)]
#[command(after_help = "Examples:
  mash-gateway demo
  mash-gateway demo --serve      leave it running, to look around in
  mash-gateway demo --json       the same story for a program

The folder is made anew each time. A folder that is not a demonstration's is never touched.")]
pub(super) struct Demo {
    /// The throw-away folder
    #[arg(long, default_value = "mash-gateway-demo", value_name = "DIR")]
    dir: PathBuf,
    /// Leave the gateway running until it is interrupted
    #[arg(long)]
    serve: bool,
}

impl Demo {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let folder = claim(&self.dir)?;
        let log_file = fs::File::create(folder.join("gateway.log"))?;
        telemetry::init_logging_to(log_file)?;
        let global = context.global.clone();
        let context = Context { home: Home::new(folder.join("home"))?, global };
        let story = Story { context: &context, folder, steps: Vec::new(), telling: Vec::new() };
        block_on(story.tell(self.serve))
    }
}

/// The demonstration as it goes along.
struct Story<'a> {
    context: &'a Context,
    folder: PathBuf,
    steps: Vec<Step>,
    /// What must not be found in any file.
    telling: Vec<String>,
}

/// One step of it, as told.
#[derive(Serialize)]
struct Step {
    title: &'static str,
    shown: Vec<String>,
}

/// A sender or recipient, and what it was given for what it sent.
struct Party {
    gateway: Gateway,
    answers: Vec<String>,
}

impl Story<'_> {
    async fn tell(mut self, stays: bool) -> Result<(), Failure> {
        self.step("A new gateway: its authorities, keys, settings and directory");
        let (police_listener, police_port) = endpoint::listen().await?;
        let (trust_listener, trust_port) = endpoint::listen().await?;
        let trust_identity = self.make_home(police_port, trust_port).await?;
        self.line(format!("in {}", self.context.home.folder().display()));

        self.step("A certificate for each agency; each made its own key");
        self.certify().await?;

        self.step("The gateway starts, and two contact officers' endpoints");
        let domain = Domain::parse(DOMAIN)?;
        let tls = self.endpoint_tls(&domain)?;
        let mut police_endpoint =
            Endpoint::start(police_listener, Arc::clone(&tls), domain.clone());
        let mut trust_endpoint = Endpoint::start(trust_listener, tls, domain);
        let running = Running::start(&self.context.home).await?;
        let url = format!("https://localhost:{}", running.partner_api.port());
        self.line(format!("listening on {url}"));
        let mut hub = self.party(&url, HUB)?;
        let mut police = self.party(&url, POLICE)?;
        let mut trust = self.party(&url, TRUST)?;
        let mut surgery = self.party(&url, SURGERY)?;
        let whoami = hub.gateway.get_json("/v1/whoami").await?;
        expect(whoami["agency"] == HUB, "the gateway did not know the hub by its certificate")?;

        let mut dispatch = case::dispatch(now());
        self.telling.extend(case::telling(&dispatch));
        self.step("Nobody has consented: the Team Manager decides, with a certificate of her own");
        let refused = hub.send("/v1/rfis", &dispatch).await;
        let refusal = refused.err().map(|refusal| format!("{:#}", refusal.error));
        let refusal = refusal.filter(|refusal| refusal.contains("override-not-recorded"));
        expect(refusal.is_some(), "an override that nobody recorded was taken")?;
        let rfi = &dispatch["rfi"];
        let decided = json!({
            "consent": rfi["consent"], "override": rfi["override"], "persons": rfi["persons"],
        });
        let is_refused = hub.gateway.post_json("/v1/overrides", &decided).await.is_err();
        expect(is_refused, "the hub's system could decide for the Team Manager")?;
        let manager = self.party(&url, MANAGER)?;
        let recorded = manager.gateway.post_json("/v1/overrides", &decided).await?;
        dispatch["rfi"]["override"]["decisionCode"] = recorded["decisionCode"].clone();
        self.line(format!("refused until it was on record; entry {} says so", recorded["entry"]));

        self.step("The hub asks the police, a trust and a surgery about a child");
        let answer = hub.send("/v1/rfis", &dispatch).await?;
        for exchange in answer["exchanges"].as_array().into_iter().flatten() {
            self.line(format!("{}  to {}", text(exchange, "reference"), text(exchange, "agency")));
        }

        self.step("The RFI reaches each: two by push, one collected from its mailbox");
        let asked_police = police_endpoint.next().await?;
        let asked_trust = trust_endpoint.next().await?;
        let asked_surgery = surgery.collect().await?;
        self.check_narrowed(&asked_police, &asked_trust, &asked_surgery, &trust_identity)?;

        self.step("The surgery answers something it was not asked, and is told so");
        let rfi = text(&asked_surgery, "id").to_owned();
        let bad = case::bad_response(&rfi);
        self.telling.extend(case::telling(&bad));
        let path = replies(&asked_surgery, "responses");
        match surgery.send(&path, &bad).await {
            Ok(_) => return Err(Failure::new(Exit::Failed, "a bad response was accepted")),
            Err(refusal) => self.line(format!("{:#}", refusal.error)),
        }
        // What belongs to others does not exist for it.
        let others = replies(&asked_police, "responses");
        let is_hidden = surgery
            .send(&others, &case::response(POLICE, text(&asked_police, "id")))
            .await
            .is_err_and(|refusal| refusal.exit == Exit::NotFound);
        expect(is_hidden, "an agency could see another agency's exchange")?;
        self.line(
            "and to the police's exchange it has no answer at all: 404, as if there were none",
        );

        self.step("All three answer; each keeps a receipt");
        for (party, agency, asked) in [
            (&mut police, POLICE, &asked_police),
            (&mut trust, TRUST, &asked_trust),
            (&mut surgery, SURGERY, &asked_surgery),
        ] {
            let response = case::response(agency, text(asked, "id"));
            self.telling.extend(case::telling(&response));
            let accepted = party.send(&replies(asked, "responses"), &response).await?;
            self.line(format!("{}  from {agency}", text(&accepted, "reference")));
        }

        self.step("The hub collects the answers, and tells each agency the outcome");
        for _ in 0..3 {
            let answer = hub.collect().await?;
            let is_whole = answer["data"]["result"] == "complete";
            expect(is_whole, "an answer did not reach the hub as it was sent")?;
        }
        let outcome = case::outcome(now());
        self.telling.extend(case::telling(&outcome));
        for asked in [&asked_police, &asked_trust, &asked_surgery] {
            hub.send(&replies(asked, "outcomes"), &outcome).await?;
        }
        let told = police_endpoint.next().await?;
        expect(told["data"] == outcome, "the outcome did not reach the police as it was sent")?;
        let told = opened(&trust_endpoint.next().await?, &trust_identity)?;
        expect(told == outcome, "the outcome did not reach the trust as it was sent")?;
        let told = surgery.collect().await?;
        expect(told["data"] == outcome, "the outcome did not reach the surgery as it was sent")?;
        let board = hub.gateway.get_json("/v1/exchanges").await?;
        for exchange in board["exchanges"].as_array().into_iter().flatten() {
            expect(text(exchange, "state") == "completed", "an exchange is not completed")?;
            self.line(super::exchange::status_line(exchange));
        }

        if stays {
            let again = manager.gateway.post_json("/v1/overrides", &decided).await?;
            dispatch["rfi"]["override"]["decisionCode"] = again["decisionCode"].clone();
            let why = "The child is registered at this surgery.";
            dispatch["recipients"] = json!([{ "agency": SURGERY, "why": why }]);
            hub.send("/v1/rfis", &dispatch).await?;
            return self.stay(running, &url).await;
        }
        self.step("The gateway stops. Every receipt is checked without it");
        running.stop().await;
        let log_key = LogVerifier::parse(read_text(&self.context.home.log_key_public())?.trim())?;
        let mut count = 0;
        for answer in [&hub, &police, &trust, &surgery].into_iter().flat_map(|p| &p.answers) {
            count += receipt::verify_answer(answer, &log_key)?.len();
            let changed = answer.replacen("RFI-2", "RFI-3", 1);
            let is_caught = receipt::verify_answer(&changed, &log_key).is_err();
            expect(is_caught, "a changed receipt was not noticed")?;
        }
        self.line(format!("{count} receipts verified; each with one byte changed was refused"));

        self.step("The whole log is recomputed");
        let store = Sqlite::open(&self.context.home.resolve("data/gateway.db"))?;
        let verified = log::verify(&store, &log_key, None, false).await?;
        drop(store);
        self.line(format!("{} entries, {} messages", verified.entries, verified.messages));

        self.step("Every file is searched for the invented people and what was said of them");
        self.search()?;
        let home = self.context.home.folder().display();
        self.context.result(
            &json!({ "held": true, "home": home.to_string(), "steps": self.steps }),
            format!(
                "\nAll of it held. Look around in {}:\n  mash-gateway log show --home {home}\n  \
                 mash-gateway log verify --home {home}",
                self.folder.display()
            ),
        );
        Ok(())
    }

    async fn make_home(&self, police_port: u16, trust_port: u16) -> Result<Identities, Failure> {
        let home = &self.context.home;
        let at = now();
        let made = init::make(home, &["localhost".to_owned()], HUB, Some(DOMAIN), None, &[], at)?;
        init::enter(self.context, &made, at).await?;
        let (identity, recipient) = seal::generate_identity("the demonstration trust's own key");
        fs::create_dir_all(self.agencies())?;
        let path = self.agencies().join(format!("{TRUST}-identity.txt"));
        write_synced(&path, identity.expose_secret().as_bytes(), 0o600)?;
        let partners = case::partners(police_port, trust_port, &recipient);
        write_synced(&home.partners(), partners.as_bytes(), 0o644)?;
        // Ports of the system's choice, so that it runs beside whatever else does.
        let settings = read_text(&home.config())?
            .replace("# partner_api = \"0.0.0.0:8443\"", "partner_api = \"127.0.0.1:0\"")
            .replace("# desk = \"0.0.0.0:8444\"", "desk = \"127.0.0.1:0\"")
            .replace("# enrolment = \"0.0.0.0:8445\"", "enrolment = \"127.0.0.1:0\"")
            .replace("# local = \"127.0.0.1:8446\"", "local = \"127.0.0.1:0\"")
            .replace("# allow_loopback = false", "allow_loopback = true");
        write_synced(&home.config(), settings.as_bytes(), 0o644)?;
        Ok(Identities::parse(&identity)?)
    }

    async fn certify(&mut self) -> Result<(), Failure> {
        let office = Office::open(self.context).await?;
        for agency in [HUB, POLICE, TRUST, SURGERY] {
            let key = generate_key()?;
            let folder = self.agencies();
            write_synced(&folder.join(format!("{agency}.key")), key.key_pem.as_bytes(), 0o600)?;
            let id = AgencyId::parse(agency)?;
            let profile = Profile::Agency(id.clone());
            let issued = office.issue(agency, &profile, &key.csr_pem, &folder).await?;
            self.line(format!("{agency:<12}  serial {}", issued.serial));
        }
        let key = generate_key()?;
        let folder = self.agencies();
        write_synced(&folder.join(format!("{MANAGER}.key")), key.key_pem.as_bytes(), 0o600)?;
        let profile = Profile::Desk {
            agency: AgencyId::parse(HUB)?,
            role: Role::TeamManager,
            holder: Holder::parse("Imogen Fablewright")?,
        };
        let issued = office.issue(MANAGER, &profile, &key.csr_pem, &folder).await?;
        self.line(format!("{:<12}  serial {}", "the manager", issued.serial));
        for (agency, role, name) in
            [(SURGERY, Role::ContactOfficer, OFFICER), (HUB, Role::HealthRepresentative, HEALTH)]
        {
            self.give_file(&office, agency, role, name).await?;
        }
        Ok(())
    }

    // A file to import into a browser, and beside it the password that opens it.
    async fn give_file(
        &self,
        office: &Office<'_>,
        agency: &str,
        role: Role,
        name: &str,
    ) -> Result<(), Failure> {
        let key = generate_key()?;
        let folder = self.agencies();
        let holder = Holder::parse("Tobiah Larkmoor")?;
        let profile = Profile::Desk { agency: AgencyId::parse(agency)?, role, holder };
        let issued = office.issue(name, &profile, &key.csr_pem, &folder).await?;
        let root = read_text(&self.context.home.certs().join("root.pem"))?;
        let chain = format!("{}{}{root}", issued.pem, issued.issuer_pem);
        let password = uuid::Uuid::new_v4().simple().to_string();
        let file = p12::write(name, &key.key_pem, &chain, &password, p12::Format::Modern)?;
        write_synced(&folder.join(format!("{name}.p12")), &file, 0o600)?;
        write_synced(&folder.join(format!("{name}.password")), password.as_bytes(), 0o600)?;
        Ok(())
    }

    // The endpoints' certificates come from an authority of their own: partners bring theirs.
    fn endpoint_tls(&self, domain: &Domain) -> Result<Arc<ServerConfig>, Failure> {
        let names = vec!["localhost".to_owned()];
        let root = Authority::new_root("Demonstration partners root", now())?;
        let issuing_for = IssuingFor::GatewayServers { domains: names.clone() };
        let issuing = root.new_issuing(&issuing_for, "Demonstration partners", None, now())?;
        let key = generate_key()?;
        let terms = Terms { domain, published: None, valid_for: LEAF_VALID_FOR };
        let issued =
            issuing.issue(&Profile::GatewayServer { names }, &key.public, &terms, now())?;
        let home = &self.context.home;
        let path = home.certs().join("demo-endpoints.pem");
        write_synced(&path, root.certificate_pem().as_bytes(), 0o644)?;
        let material = ServerMaterial {
            chain: &format!("{}{}", issued.pem, issuing.certificate_pem()),
            key: &key.key_pem,
            agency_authorities: &read_text(&home.certs().join("agency-ca.pem"))?,
            crls: &read_text(&home.certs().join("agency-ca.crl.pem"))?,
        };
        Ok(tls::server_config(material, ClientCertificate::Required, MinTls::Tls13)?)
    }

    fn check_narrowed(
        &mut self,
        police: &Value,
        trust: &Value,
        surgery: &Value,
        trust_identity: &Identities,
    ) -> Result<(), Failure> {
        // The gateway keeps the trust's copy sealed to the trust alone.
        let trust_payload = opened(trust, trust_identity)?;
        let asked = [
            (POLICE, &police["data"], 2),
            (TRUST, &trust_payload, 1),
            (SURGERY, &surgery["data"], 2),
        ];
        for (agency, payload, count) in asked {
            let categories = payload["informationRequired"]["categories"].as_array();
            let is_narrowed = categories.is_some_and(|categories| categories.len() == count);
            expect(is_narrowed, "an agency was asked more than it should have been")?;
            self.line(format!("{agency:<12}  asked for {count} of 5 categories"));
        }
        Ok(())
    }

    fn search(&mut self) -> Result<(), Failure> {
        self.telling.sort();
        self.telling.dedup();
        let mut files = Vec::new();
        files_below(&self.folder, &mut files)?;
        for path in &files {
            let bytes = fs::read(path)?;
            let finder = |needle: &&String| {
                bytes.windows(needle.len()).any(|window| window == needle.as_bytes())
            };
            if self.telling.iter().any(|needle| finder(&needle)) {
                let message = format!("{} holds what was said of the people", path.display());
                return Err(Failure::new(Exit::VerificationFailed, message));
            }
        }
        self.line(format!("{} phrases in {} files: none found", self.telling.len(), files.len()));
        Ok(())
    }

    async fn stay(&self, running: Running, url: &str) -> Result<(), Failure> {
        let agencies = self.agencies();
        let agencies = agencies.display();
        let desk = format!("https://localhost:{}", running.desk.port());
        self.context.result(
            &json!({
                "agencies": agencies.to_string(), "desk": desk, "steps": self.steps, "url": url,
            }),
            format!(
                "\nThe gateway keeps running until you press Ctrl-C. Try:\n  curl --cacert \
                 {agencies}/ca.pem --cert {agencies}/{SURGERY}.pem \\\n       \
                 --key {agencies}/{SURGERY}.key {url}/v1/whoami\n\n\
                 In a browser: import one of these files, each with the password beside it, let the \
                 browser trust {agencies}/ca.pem, and open {desk}\n  \
                 {agencies}/{OFFICER}.p12   the surgery's contact officer, whom a request waits for\n  \
                 {agencies}/{HEALTH}.p12   the health representative at the hub"
            ),
        );
        running.until_stopped(Signals::listen()?).await;
        Ok(())
    }

    fn party(&self, url: &str, agency: &str) -> Result<Party, Failure> {
        let connection = Connection::of(url.to_owned(), &self.agencies(), agency);
        Ok(Party { gateway: connection.open()?, answers: Vec::new() })
    }

    fn agencies(&self) -> PathBuf {
        self.folder.join("agencies")
    }

    fn step(&mut self, title: &'static str) {
        self.steps.push(Step { title, shown: Vec::new() });
        self.context.say(format!("\n{:>2}  {title}", self.steps.len()));
    }

    fn line(&mut self, what: impl std::fmt::Display) {
        for line in what.to_string().lines() {
            self.context.say(format!("      {line}"));
            if let Some(step) = self.steps.last_mut() {
                step.shown.push(line.to_owned());
            }
        }
    }
}

impl Party {
    async fn send(&mut self, path: &str, body: &Value) -> Result<Value, Failure> {
        let body = body.to_string().into_bytes();
        let answer = self.gateway.post_message(path, body, None).await?;
        let parsed = serde_json::from_str(&answer)?;
        self.answers.push(answer);
        Ok(parsed)
    }

    // The oldest message waiting: fetched, and then said to be in the agency's own record.
    async fn collect(&self) -> Result<Value, Failure> {
        let inbox = self.gateway.get_json("/v1/inbox").await?;
        let id = text(&inbox["messages"][0], "id").to_owned();
        expect(!id.is_empty(), "nothing waits where something should")?;
        let document = self.gateway.get_json(&format!("/v1/messages/{id}")).await?;
        self.gateway.post(&format!("/v1/messages/{id}/saved")).await?;
        Ok(document)
    }
}

// The payload of a document that only its recipient's own key opens.
fn opened(document: &Value, identity: &Identities) -> Result<Value, Failure> {
    expect(document.get("data").is_none(), "the gateway could open what it should not")?;
    let sealed = STANDARD.decode(text(document, "data_base64"))?;
    Ok(serde_json::from_slice(&seal::open_with(identity, &sealed)?.body)?)
}

fn replies(document: &Value, kinds: &str) -> String {
    format!("/v1/exchanges/{}/{kinds}", text(document, "subject"))
}

fn text<'a>(value: &'a Value, name: &str) -> &'a str {
    value[name].as_str().unwrap_or_default()
}

fn expect(holds: bool, otherwise: &str) -> Result<(), Failure> {
    if holds { Ok(()) } else { Err(Failure::new(Exit::Failed, otherwise)) }
}

// An empty folder of our own: new, or that of an earlier demonstration however it ended.
fn claim(folder: &Path) -> Result<PathBuf, Failure> {
    let folder = std::path::absolute(folder)?;
    let mark = folder.join(MARK);
    let is_empty = || Ok::<_, std::io::Error>(fs::read_dir(&folder)?.next().is_none());
    if folder.exists() && !mark.exists() && !is_empty()? {
        let message = format!("{} is not a demonstration's folder", folder.display());
        return Err(Failure::new(Exit::Misused, message)
            .hint("nothing in it was touched; choose another with --dir"));
    }
    fs::create_dir_all(&folder).map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot make {}: {error}", folder.display()))
            .hint("choose another folder with --dir")
    })?;
    // The mark is made first and never removed, so that a folder half made is still known as ours.
    fs::write(&mark, "This folder was made by mash-gateway demo and is made anew by it.\n")?;
    for entry in fs::read_dir(&folder)? {
        let path = entry?.path();
        if path.is_dir() {
            fs::remove_dir_all(&path)?;
        } else if path != mark {
            fs::remove_file(&path)?;
        }
    }
    Ok(folder)
}

fn files_below(folder: &Path, found: &mut Vec<PathBuf>) -> Result<(), Failure> {
    for entry in fs::read_dir(folder)? {
        let path = entry?.path();
        if path.is_dir() {
            files_below(&path, found)?;
        } else if path.is_file() {
            found.push(path);
        }
    }
    Ok(())
}

const DOMAIN: &str = "mash.demo.example";
/// Under which name the Team Manager's certificate is kept.
const MANAGER: &str = "team-manager";
/// Under which names the files for browsers are.
const OFFICER: &str = "surgery-contact-officer";
const HEALTH: &str = "hub-health-representative";
const MARK: &str = ".mash-gateway-demo";
