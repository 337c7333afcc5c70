//! The command line: one binary, noun then verb.
//!
//! Results go to standard output, everything else to standard error. Exit codes: 0 done, 1 failed,
//! 2 misused, 3 verification failed, 4 not found, 5 unhealthy.

mod apd;
mod attach;
mod authority;
mod cert;
mod client;
mod connect;
mod dead_letter;
mod demo;
mod doctor;
mod enquiry;
mod evidence;
mod exchange;
mod inbox;
mod init;
mod issuer;
mod log;
mod open;
mod partner;
mod person_search;
mod reading;
mod receipt;
mod reconcile;
mod release;
mod report;
mod retention;
mod root;
mod running;
mod schema;
pub mod serve;
mod sound;
mod store;
mod witness;

use std::fmt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};

use clap::{Args, Parser, Subcommand};

use crate::config::{Config, Home};
use crate::store::StoreError;
use sound::Unsound;

/// Runs the command line and returns its exit code.
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    crate::telemetry::install_panic_hook();
    let is_json = cli.global.json;
    let ran = Home::new(&cli.global.home)
        .map_err(Failure::from)
        .and_then(|home| cli.command.run(&Context { home, global: cli.global }));
    match ran {
        Ok(()) if IS_LOST.load(Ordering::Relaxed) => Exit::Failed.into(),
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            if let Some(document) = failure.document.as_ref().filter(|_| is_json) {
                print(format_args!("{document:#}"));
            }
            failure.print();
            failure.exit.into()
        }
    }
}

/// The gateway through which a safeguarding hub asks its partners what they know about a child at
/// risk, and gets their answers back, safely.
#[derive(Parser)]
#[command(
    name = "mash-gateway",
    version,
    max_term_width = 100,
    arg_required_else_help = true,
    after_help = "Examples:
  mash-gateway demo                                    see the whole thing work on this machine
  mash-gateway init --gateway-host localhost --home H  make a new home
  mash-gateway serve --home H                          run the gateway
  mash-gateway receipt verify my.receipt               check a receipt, offline

Exit codes: 0 done, 1 failed, 2 misused, 3 verification failed, 4 not found, 5 unhealthy."
)]
struct Cli {
    #[command(flatten)]
    global: Global,
    #[command(subcommand)]
    command: Command,
}

/// What every command takes.
#[derive(Args, Clone)]
struct Global {
    /// The folder that holds settings, directory, certificates, keys and data
    #[arg(long, global = true, env = "MASH_GATEWAY_HOME", default_value = ".", value_name = "DIR")]
    home: PathBuf,
    /// Print results as JSON
    #[arg(long, global = true)]
    json: bool,
    /// Print results only
    #[arg(long, global = true)]
    quiet: bool,
    /// Never ask; fail instead
    #[arg(long, global = true)]
    no_input: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Show the whole job on this machine, with invented people and real mutual TLS
    Demo(demo::Demo),
    /// Make a new home: authorities, certificates, keys, settings, directory
    Init(init::Init),
    /// Run the gateway until SIGTERM; SIGHUP takes changed files into use
    Serve(serve::Serve),
    Issuer(issuer::IssuerCommand),
    /// Check everything an operator would; exit 5 if something needs a person
    Doctor(doctor::Doctor),
    /// The directory of agencies
    #[command(subcommand)]
    Partner(partner::Partner),
    /// Agencies' appropriate policy documents
    #[command(subcommand)]
    Apd(apd::Apd),
    /// Certificates: issue, enrol, list, show, renew, revoke
    #[command(subcommand)]
    Cert(cert::Cert),
    /// The authorities that issue certificates, and the roots above them
    #[command(subcommand)]
    Authority(authority::AuthorityCommand),
    /// The root's own work, off line: needs no home
    #[command(subcommand)]
    Root(root::Root),
    /// The hub's requests for information
    #[command(subcommand)]
    Rfi(exchange::Rfi),
    /// Answer a request
    #[command(after_help = "Examples:
  mash-gateway respond RFI-2026-000001-H answer.json \\
      --cert surgery.pem --key surgery.key --ca ca.pem
  mash-gateway schema validate response answer.json      check it first, offline

Before you share: which power and which basis in data protection law is there (lawfulBasis)? Is it necessary
and proportionate, as a family's private life asks (proportionality)? Is a confidence broken, and why may it be
(confidenceGateway)?")]
    Respond(exchange::Reply),
    /// Add to an answer, or correct it
    #[command(after_help = "Examples:
  mash-gateway supplement RFI-2026-000001-H more.json \\
      --cert surgery.pem --key surgery.key --ca ca.pem")]
    Supplement(exchange::Reply),
    /// Ask about a request or an answer, or answer such a question
    #[command(after_help = "Example:
  mash-gateway clarify RFI-2026-000001-H question.json \\
      --cert surgery.pem --key surgery.key --ca ca.pem

The file says who asks, and asks or answers: {\"from\": …, \"question\": …}. inReplyTo names what it is
about; without it, that is the request.")]
    Clarify(exchange::Reply),
    /// Report an incident or a near miss to the other party, or say what became of one
    #[command(after_help = "Examples:
  mash-gateway incident RFI-2026-000001-H lost.json --cert surgery.pem --key surgery.key --ca ca.pem
  mash-gateway cert show SERIAL --home H                  what a stolen key was used for

The file says what happened, when it was found, whether it was a near miss, whether it is serious, and who
was told: {\"status\": \"open\", \"foundAt\": …, \"nearMiss\": false, …}. It goes to the other party of the
exchange: from an agency to the hub, whose Operational Lead sees to it, and from the hub to the agency whose
information it is. Later ones say what became of it, with inReplyTo naming the first, until it is closed.")]
    Incident(exchange::Reply),
    /// Say again what the family may be told of an answer
    #[command(after_help = "Example:
  mash-gateway confirm-disclosure RFI-2026-000001-H may-be-told.json \\
      --cert police.pem --key police.key --ca ca.pem")]
    ConfirmDisclosure(exchange::Reply),
    /// The MASH Team Manager's decision to go on without consent
    #[command(subcommand)]
    Override(exchange::Override),
    /// What the hub does of an enquiry as a whole
    #[command(subcommand)]
    Enquiry(enquiry::Enquiry),
    /// What may be released to somebody who asks for what is held about them
    #[command(subcommand)]
    SubjectAccess(exchange::SubjectAccess),
    /// The hub's outcomes
    #[command(subcommand)]
    Outcome(exchange::Outcome),
    Attach(attach::Attach),
    /// Messages waiting for your agency
    #[command(subcommand)]
    Inbox(inbox::Inbox),
    /// Receipts, checked offline
    #[command(subcommand)]
    Receipt(receipt::Receipt),
    Reconcile(reconcile::Reconcile),
    /// Messages that went back to their sender: list them, deliver them again, give one up
    #[command(subcommand)]
    DeadLetter(dead_letter::DeadLetter),
    /// The tamper-evident log
    #[command(subcommand)]
    Log(log::Log),
    Evidence(evidence::Evidence),
    /// Figures, samples and access lists, for whoever sees to it that it is done as agreed
    #[command(subcommand)]
    Report(report::Report),
    /// Watch, as an agency, that the gateway's log only grows, and cosign it
    #[command(subcommand)]
    Witness(witness::Witness),
    /// What is destroyed when its time has come, and what is kept from that
    #[command(subcommand)]
    Retention(retention::Retention),
    /// The database: copies of it, put back and checked
    #[command(subcommand)]
    Store(store::StoreCommand),
    /// The contract, offline
    #[command(subcommand)]
    Schema(schema::Schema),
    /// Open a sealed payload, as its custodian
    Open(open::Open),
    /// Print the API's description (OpenAPI 3.1)
    #[command(after_help = "Example:
  mash-gateway openapi > openapi.json")]
    Openapi,
}

impl Command {
    fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Apd(command) => command.run(context),
            Self::Attach(command) => command.run(context),
            Self::Authority(command) => command.run(context),
            Self::Cert(command) => command.run(context),
            Self::Clarify(command) => command.run(context, crate::message::Kind::Clarification),
            Self::ConfirmDisclosure(command) => {
                command.run(context, crate::message::Kind::OnwardDisclosure)
            }
            Self::DeadLetter(command) => command.run(context),
            Self::Demo(command) => command.run(context),
            Self::Doctor(command) => command.run(context),
            Self::Enquiry(command) => command.run(context),
            Self::Evidence(command) => command.run(context),
            Self::Inbox(command) => command.run(context),
            Self::Incident(command) => command.run(context, crate::message::Kind::Incident),
            Self::Init(command) => command.run(context),
            Self::Issuer(command) => command.run(context),
            Self::Log(command) => command.run(context),
            Self::Open(command) => command.run(context),
            Self::Openapi => {
                print(crate::http::api::OPENAPI.trim_end());
                Ok(())
            }
            Self::Outcome(command) => command.run(context),
            Self::Override(command) => command.run(context),
            Self::Partner(command) => command.run(context),
            Self::Receipt(command) => command.run(context),
            Self::Reconcile(command) => command.run(context),
            Self::Report(command) => command.run(context),
            Self::Respond(command) => command.run(context, crate::message::Kind::Response),
            Self::Retention(command) => command.run(context),
            Self::Rfi(command) => command.run(context),
            Self::Root(command) => command.run(context),
            Self::Schema(command) => command.run(context),
            Self::Serve(command) => command.run(context),
            Self::Store(command) => command.run(context),
            Self::SubjectAccess(command) => command.run(context),
            Self::Supplement(command) => command.run(context, crate::message::Kind::Supplement),
            Self::Witness(command) => command.run(context),
        }
    }
}

/// What every command knows.
struct Context {
    home: Home,
    global: Global,
}

impl Context {
    // What a command of ours is to be given so that it works in the same home.
    fn at_home(&self) -> String {
        if self.global.home == std::path::Path::new(".") {
            String::new()
        } else {
            format!(" --home {}", self.global.home.display())
        }
    }

    // A sentence for the person, not for a program: left out with --quiet and --json.
    fn say(&self, text: impl fmt::Display) {
        if !self.global.quiet && !self.global.json {
            print(text);
        }
    }

    // A result: as JSON when asked for, else as text.
    fn result(&self, json: &serde_json::Value, text: impl fmt::Display) {
        if self.global.json {
            print(format_args!("{json:#}"));
        } else {
            print(text);
        }
    }
}

/// Whether a result could not be written: then the command has failed, whatever it did.
static IS_LOST: AtomicBool = AtomicBool::new(false);

// On standard output. A reader who has seen enough, as `head` has, is no failure.
fn print(text: impl fmt::Display) {
    use std::io::Write as _;
    match writeln!(std::io::stdout().lock(), "{text}") {
        Err(error) if error.kind() != std::io::ErrorKind::BrokenPipe => {
            eprintln!("error: the result could not be written: {error}");
            IS_LOST.store(true, Ordering::Relaxed);
        }
        Ok(()) | Err(_) => {}
    }
}

/// A command that did not do what it was asked.
struct Failure {
    error: anyhow::Error,
    hint: Option<String>,
    exit: Exit,
    /// What a gateway answered, for a program that asked for JSON.
    document: Option<serde_json::Value>,
}

/// How a command ends when it fails.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Exit {
    Failed,
    Misused,
    NotFound,
    Unhealthy,
    VerificationFailed,
}

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(match exit {
            Exit::Failed => 1,
            Exit::Misused => 2,
            Exit::VerificationFailed => 3,
            Exit::NotFound => 4,
            Exit::Unhealthy => 5,
        })
    }
}

impl Failure {
    fn new(exit: Exit, error: impl fmt::Display) -> Self {
        Self { error: anyhow::anyhow!("{error}"), hint: None, exit, document: None }
    }

    fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    fn print(&self) {
        eprintln!("error: {:#}", self.error);
        if let Some(hint) = &self.hint {
            eprintln!("hint: {hint}");
        }
    }
}

impl<E: Into<anyhow::Error>> From<E> for Failure {
    fn from(error: E) -> Self {
        let error: anyhow::Error = error.into();
        let hint = match error.downcast_ref() {
            Some(StoreError::Corrupt(_)) => Some(KEEP_IT),
            Some(StoreError::Newer) => Some("this version would misread it"),
            Some(
                StoreError::Full { .. } | StoreError::NotFound | StoreError::Unavailable { .. },
            ) => None,
            None => error.downcast_ref::<Unsound>().map(Unsound::next),
        };
        let exit = if hint.is_some() { Exit::VerificationFailed } else { Exit::Failed };
        Self { error, hint: hint.map(str::to_owned), exit, document: None }
    }
}

/// What to do with a database that is damaged.
const KEEP_IT: &str = "stop the gateway, keep the database as it is, and compare with the last backup \
                       and with agencies' receipts; store restore puts a backup in its place";

// Commands that talk to a gateway or a store need a runtime; the others do not start one.
fn block_on<T>(future: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
    tokio::runtime::Builder::new_current_thread().enable_all().build()?.block_on(future)
}

// A home's settings, or what a home is.
fn config(home: &Home) -> Result<Config, Failure> {
    let path = home.config();
    if !path.exists() {
        let message = format!("{} is not a home: it has no gateway.toml", home.folder().display());
        return Err(Failure::new(Exit::NotFound, message).hint(
            "say which with --home, or make one: mash-gateway init --home DIR --gateway-host NAME",
        ));
    }
    Ok(Config::parse(&read_text(&path)?)?)
}

// The text of a file, or why not, with its name.
fn read_text(path: &std::path::Path) -> Result<String, Failure> {
    std::fs::read_to_string(path).map_err(|error| {
        let exit = if error.kind() == std::io::ErrorKind::NotFound {
            Exit::NotFound
        } else {
            Exit::Failed
        };
        Failure::new(exit, format!("cannot read {}: {error}", path.display()))
    })
}
