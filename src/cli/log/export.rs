//! `log export`: every entry that the caller may read, with what it takes to check it. An agency's own log,
//! from the gateway (R54); or all of it, from a home.

use std::path::PathBuf;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::Args;
use serde_json::{Value, json};

use super::{PAGE, Remote, TELL, open, signed_today};
use crate::audit::checkpoint::{Checkpoint, LogVerifier};
use crate::audit::entry::{Fields, commitment};
use crate::audit::tree::{Hash, Tree};
use crate::cli::client::{Connection, Gateway};
use crate::cli::{Context, Exit, Failure, print, read_text};
use crate::store::Store;

#[derive(Args)]
pub(in crate::cli) struct Export {
    /// The log's public key [default: certs/log-key.txt in the home]
    #[arg(long, value_name = "FILE")]
    log_key: Option<PathBuf>,
    #[command(flatten)]
    remote: Remote,
}

impl Export {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let path = self.log_key.unwrap_or_else(|| context.home.log_key_public());
        let log = LogVerifier::parse(read_text(&path)?.trim())?;
        let Remote { gateway, cert, key, ca } = self.remote;
        let (checkpoint, read) = match (gateway, cert, key, ca) {
            (Some(gateway), Some(cert), Some(key), Some(ca)) => {
                ask(&Connection::with(gateway, cert, key, ca).open()?, &log).await?
            }
            _ => all(&*open(context)?, &log).await?,
        };
        if (read.tree.size(), read.tree.root()) != (checkpoint.size, checkpoint.root) {
            return Err(wrong("the entries are not those of the checkpoint that was signed"));
        }
        if !context.global.quiet {
            eprintln!(
                "verified: {} entries to read, of a log of {}, under its signed checkpoint",
                read.shown, checkpoint.size
            );
        }
        Ok(())
    }
}

/// What was read so far: the tree of every entry, and how many could be shown.
struct Read {
    tree: Tree,
    shown: u64,
}

impl Read {
    fn begin() -> Self {
        Self { tree: Tree::empty(), shown: 0 }
    }

    // Prints the entry, if its words are known; they have to be those that the tree holds.
    fn entry(
        &mut self,
        leaf: &Hash,
        fields: Option<&Fields>,
        salt: Option<[u8; 32]>,
    ) -> Result<(), Failure> {
        let index = self.tree.size();
        self.tree = self.tree.extend(&[*leaf]).tree().clone();
        let Some((fields, salt)) = fields.zip(salt) else { return Ok(()) };
        if commitment(&salt, &fields.to_string()) != *leaf {
            return Err(wrong(&format!("entry {index} is not what the tree holds of it")));
        }
        self.shown += 1;
        print(json!({
            "fields": fields.to_json(), "index": index, "leafHash": STANDARD.encode(leaf.as_bytes()),
            "salt": STANDARD.encode(salt),
        }));
        Ok(())
    }
}

async fn all(store: &dyn Store, log: &LogVerifier) -> Result<(Checkpoint, Read), Failure> {
    let head = store.head().await?;
    let head = head.ok_or_else(|| Failure::new(Exit::NotFound, "the log has no entries yet"))?;
    let checkpoint = signed_today(head.note, log)?.checkpoint;
    let mut read = Read::begin();
    loop {
        let page = store.entries(read.tree.size(), PAGE).await?;
        if page.is_empty() {
            return Ok((checkpoint, read));
        }
        for entry in &page {
            let Some(leaf) = entry.nodes.first() else { return Err(wrong("an entry has no hash")) };
            let fields = entry.fields.as_deref().and_then(Fields::parse);
            read.entry(leaf, fields.as_ref(), entry.salt)?;
        }
    }
}

// The hash of every entry and the words of one's own, as the gateway gives them.
async fn ask(gateway: &Gateway, log: &LogVerifier) -> Result<(Checkpoint, Read), Failure> {
    let note = String::from_utf8(gateway.get("/v1/log/checkpoint").await?.body)
        .map_err(|_| wrong("the checkpoint is not text"))?;
    let checkpoint = signed_today(note.into(), log)?.checkpoint;
    let mut read = Read::begin();
    while read.tree.size() < checkpoint.size {
        let path = match read.tree.size() {
            0 => format!("/v1/log/entries?limit={PAGE}"),
            next => format!("/v1/log/entries?after={}&limit={PAGE}", next - 1),
        };
        let page = gateway.get_json(&path).await?;
        let before = read.tree.size();
        for entry in page["entries"].as_array().into_iter().flatten() {
            if read.tree.size() == checkpoint.size {
                break;
            }
            if entry["index"].as_u64() != Some(read.tree.size()) {
                return Err(wrong("an entry is missing"));
            }
            let leaf = bytes(&entry["leafHash"]).ok_or_else(|| wrong("an entry has no hash"))?;
            let fields = entry["fields"].as_object().cloned().map(Fields::from_json);
            read.entry(&Hash::from_bytes(leaf), fields.as_ref(), bytes(&entry["salt"]))?;
        }
        if read.tree.size() == before {
            return Err(wrong("the log ends before its checkpoint does"));
        }
    }
    Ok((checkpoint, read))
}

fn bytes(text: &Value) -> Option<[u8; 32]> {
    STANDARD.decode(text.as_str()?).ok()?.try_into().ok()
}

fn wrong(what: &str) -> Failure {
    Failure::new(Exit::VerificationFailed, format!("the log does not verify: {what}")).hint(TELL)
}
