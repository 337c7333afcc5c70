//! `witness`: an agency watches that the gateway's log only grows, and says so with a key of its own.
//!
//! It asks; nobody asks it. What it has seen is on the disk before anybody gets its word for it, so
//! that it never vouches for two logs that contradict each other, whenever it is killed.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use jiff::Timestamp;
use serde_json::{Value, json};

use super::client::{Connection, Gateway};
use super::log::{TELL, hashes};
use super::{Context, Exit, Failure, block_on, read_text};
use crate::audit::checkpoint::{Checkpoint, LogVerifier};
use crate::audit::cosignature::{WitnessKey, WitnessVerifier};
use crate::audit::growth::{Kept, verify_growth};
use crate::audit::tree::Tree;
use crate::config::write_synced;
use crate::message::{hex, now, rfc3339, sha256};

/// Watch, as an agency, that the gateway's log only grows, and cosign it.
#[derive(Subcommand)]
pub(super) enum Witness {
    /// Make a witness: its key, and what it remembers; prints the public key for the hub's operator
    #[command(after_help = "Example:
  mash-gateway witness init --name police.example.org/witness

The operator writes the line it prints into witness_keys under [log] in the gateway's gateway.toml.
Other agencies want it too: with it they see that you vouch for what they were shown.")]
    Init(Init),
    /// Ask the gateway every few minutes, and cosign what its log has grown to; exit 3 if it did not grow
    #[command(after_help = "Examples:
  mash-gateway witness run --log-key log-key.txt \\
      --gateway https://mash.example.org:8443 --cert police.pem --key police.key --ca ca.pem
  mash-gateway witness run --once …       from cron, or to try it

A log that is shorter than it was, or is another one, was cut, put back or forged. Then nothing is
cosigned; both checkpoints and what the gateway gave for proof are kept in a file beside the state.

Exit codes: 1 the gateway could not be asked or did not take it (only with --once: without, it goes on
and tries again), 3 the log is not the one that was seen before.")]
    Run(Run),
}

#[derive(Args)]
pub(super) struct Init {
    /// Its name for ever: like a URL of your agency's without the scheme
    #[arg(long)]
    name: String,
    #[command(flatten)]
    files: Files,
}

#[derive(Args)]
pub(super) struct Run {
    /// The log's public key, as it came with your certificate
    #[arg(long, value_name = "FILE")]
    log_key: PathBuf,
    /// How long to wait between questions, in seconds
    #[arg(long, default_value_t = 300, value_name = "SECONDS",
          value_parser = clap::value_parser!(u32).range(1..=86_400))]
    interval: u32,
    /// Ask once, and end
    #[arg(long)]
    once: bool,
    #[command(flatten)]
    files: Files,
    #[command(flatten)]
    connection: Connection,
}

/// Where a witness keeps what is its own.
#[derive(Args)]
struct Files {
    /// Its signing key; only its user can read it
    #[arg(long, default_value = "witness.key", value_name = "FILE")]
    signing_key: PathBuf,
    /// What it has seen; never to be deleted or put back from a backup
    #[arg(long, default_value = "witness.state", value_name = "FILE")]
    state: PathBuf,
}

impl Witness {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Init(init) => init.run(context),
            Self::Run(run) => block_on(run.run(context)),
        }
    }
}

impl Init {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let Files { signing_key, state } = &self.files;
        for path in [signing_key, state] {
            if path.exists() {
                let message = format!("{} is there already", path.display());
                return Err(Failure::new(Exit::Misused, message)
                    .hint("a witness is made once; another one gets files and a name of its own"));
            }
        }
        let key =
            WitnessKey::generate(&self.name).map_err(|error| Failure::new(Exit::Misused, error))?;
        // The state last: with a key and no state nothing is ever signed.
        write_synced(signing_key, key.to_text().as_bytes(), 0o600)?;
        write_synced(state, NOTHING_SEEN.as_bytes(), 0o600)?;
        let public_key = key.verifier().to_string();
        context.result(&json!({ "publicKey": public_key }), &public_key);
        context.say(format!(
            "\nMade {} and {}. Keep both where only this witness's user can read and write them.\n\
             Send the line above to the hub's operator, and run: mash-gateway witness run --help",
            signing_key.display(),
            state.display()
        ));
        Ok(())
    }
}

impl Run {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let Files { signing_key, state } = &self.files;
        let key = WitnessKey::parse(&read_text(signing_key)?)?;
        // Two at once would each vouch for what they see, and not see the same.
        let file = std::fs::File::open(signing_key)?;
        file.try_lock().map_err(|_| {
            let message = format!("another witness runs with {}", signing_key.display());
            Failure::new(Exit::Failed, message)
        })?;
        let log = LogVerifier::parse(read_text(&self.log_key)?.trim())?;
        let memory = Memory::read(state, &log, &key.verifier())?;
        let gateway = self.connection.open()?;
        let mut watch = Watch { gateway, log, key, path: state.clone(), memory };
        loop {
            match watch.look(now()).await {
                Ok(seen) => seen.show(context),
                Err(failure) if self.once || failure.exit == Exit::VerificationFailed => {
                    return Err(failure);
                }
                Err(failure) => failure.print(),
            }
            if self.once {
                return Ok(());
            }
            tokio::time::sleep(Duration::from_secs(self.interval.into())).await;
        }
    }
}

/// The latest that the witness vouched for.
struct Memory {
    checkpoint: Checkpoint,
    /// The note with its own cosignature; none before the first.
    cosigned: Option<(String, Timestamp)>,
}

impl Memory {
    fn read(path: &Path, log: &LogVerifier, witness: &WitnessVerifier) -> Result<Self, Failure> {
        let unusable = |why: &str| {
            let message = format!("{} cannot be used: {why}", path.display());
            Failure::new(Exit::VerificationFailed, message).hint(
                "a witness that forgot what it saw is a new one: witness init, under another name",
            )
        };
        let note = match read_text(path) {
            Ok(note) if note == NOTHING_SEEN => {
                let checkpoint = Checkpoint { size: 0, root: Tree::empty().root() };
                return Ok(Self { checkpoint, cosigned: None });
            }
            Ok(note) => note,
            Err(failure) if failure.exit == Exit::NotFound => return Err(unusable("it is gone")),
            Err(failure) => return Err(failure),
        };
        let checkpoint = Kept::note(note.as_str().into(), log)
            .map_err(|error| unusable(&error.to_string()))?
            .checkpoint;
        match witness.cosignature(&note) {
            Ok(Some(own)) => Ok(Self { checkpoint, cosigned: Some((note, own.at)) }),
            Ok(None) | Err(_) => Err(unusable("this witness did not cosign what is in it")),
        }
    }
}

/// A witness at work.
struct Watch {
    gateway: Gateway,
    log: LogVerifier,
    key: WitnessKey,
    path: PathBuf,
    memory: Memory,
}

/// What one look came to.
enum Seen {
    /// The log has grown, or was seen for the first time, and the gateway has our word for it.
    Cosigned { from: u64, size: u64, at: Timestamp },
    /// Nothing new, and the gateway had our word already.
    Nothing { size: u64 },
}

impl Watch {
    async fn look(&mut self, at: Timestamp) -> Result<Seen, Failure> {
        let served = String::from_utf8(self.gateway.get("/v1/log/checkpoint").await?.body)?;
        let from = self.memory.checkpoint;
        let today = match Kept::note(served.as_str().into(), &self.log) {
            Ok(today) => today.checkpoint,
            Err(error) => return Err(self.accuse(&served, &Value::Null, &error.to_string())),
        };
        let proof = if 0 < from.size && from.size < today.size {
            let path = format!("/v1/log/proof?from={}&to={}", from.size, today.size);
            self.gateway.get_json(&path).await?
        } else {
            json!({ "hashes": [] })
        };
        let hashes = hashes(&proof).unwrap_or_default();
        if let Err(error) = verify_growth(&from, &today, &hashes) {
            return Err(self.accuse(&served, &proof, &error.to_string()));
        }
        let has_ours = self.key.verifier().cosignature(&served).is_ok_and(|ours| ours.is_some());
        let (note, at) = match &self.memory.cosigned {
            Some(_) if from == today && has_ours => return Ok(Seen::Nothing { size: today.size }),
            // It was killed, or the gateway was, before the gateway had our word.
            Some((note, at)) if from == today => (note.clone(), *at),
            _ => (self.remember(&served, today, at)?, at),
        };
        self.gateway.post_json("/v1/log/cosignatures", &json!({ "note": note })).await?;
        Ok(Seen::Cosigned { from: from.size, size: today.size, at })
    }

    // On the disk before it goes anywhere.
    fn remember(
        &mut self,
        served: &str,
        today: Checkpoint,
        at: Timestamp,
    ) -> Result<String, Failure> {
        if self.memory.cosigned.as_ref().is_some_and(|(_, last)| at < *last) {
            return Err(Failure::new(
                Exit::Failed,
                "this machine's clock is behind its last cosignature",
            )
            .hint("set the clock, and keep it set (chrony or systemd-timesyncd)"));
        }
        let note = self
            .key
            .cosign(served, self.log.origin(), at)
            .ok_or_else(|| Failure::new(Exit::Failed, "this machine's clock is before 1970"))?;
        write_synced(&self.path, note.as_bytes(), 0o600)?;
        self.memory = Memory { checkpoint: today, cosigned: Some((note.clone(), at)) };
        Ok(note)
    }

    // Keeps what shows that the log is not the one that was seen, and says whom to tell.
    fn accuse(&self, served: &str, proof: &Value, why: &str) -> Failure {
        let kept = self.memory.cosigned.as_ref().map(|(note, _)| note.as_str());
        let evidence = json!({ "kept": kept, "proof": proof, "served": served, "why": why });
        let text = format!("{evidence:#}\n");
        // The same evidence once, however often it is seen.
        let name = &hex(&sha256(text.as_bytes()))[..16];
        let path = self.path.with_added_extension(format!("evidence-{name}.json"));
        let mut message = format!("the log is not the one that was seen before: {why}");
        match path.exists() || write_synced(&path, text.as_bytes(), 0o600).is_ok() {
            true => message.push_str(&format!("\n  the evidence is in {}", path.display())),
            false => message.push_str(&format!("\n  the evidence could not be written:\n{text}")),
        }
        Failure::new(Exit::VerificationFailed, message)
            .hint(format!("nothing was cosigned. Tell your agency's contact officer; {TELL}"))
    }
}

impl Seen {
    fn show(&self, context: &Context) {
        match self {
            Self::Cosigned { from, size, at } => context.result(
                &json!({ "cosigned": true, "from": from, "size": size, "time": rfc3339(*at) }),
                format!("{}: the log grew from {from} to {size} entries: cosigned", rfc3339(*at)),
            ),
            Self::Nothing { size } => context.result(
                &json!({ "cosigned": false, "from": size, "size": size }),
                format!("nothing new after {size} entries"),
            ),
        }
    }
}

/// The state of a witness that has seen nothing: written by `init`, so that a state that is gone is
/// not taken for one.
const NOTHING_SEEN: &str = "nothing seen yet\n";
