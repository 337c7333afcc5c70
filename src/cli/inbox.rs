//! `inbox`: an agency's side of the mailbox.

use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::{Connection, Gateway};
use super::exchange::{read_bytes, text};
use super::reading::reading;
use super::{Context, Exit, Failure, block_on};
use crate::event::content_digest;
use crate::message::{AttachmentId, MediaType, sha256};

/// Messages waiting for your agency.
#[derive(Subcommand)]
pub(super) enum Inbox {
    /// List what waits, oldest first
    #[command(after_help = "Example:
  mash-gateway inbox list --cert surgery.pem --key surgery.key --ca ca.pem")]
    List {
        #[command(flatten)]
        connection: Connection,
    },
    /// Fetch a message; it stays in the list until it is saved
    #[command(after_help = "Examples:
  mash-gateway inbox collect MESSAGE --output asked.json \\
      --cert surgery.pem --key surgery.key --ca ca.pem

Files that came with the message are written beside it, under names made of their ids. Of a file that
only your agency's own age key opens, ID.key.age is what that key opens, and it opens ID.age.")]
    Collect(Collect),
    /// Fetch a message and show it as a person reads it: what must be known first, and what may be told
    #[command(after_help = "Examples:
  mash-gateway inbox read MESSAGE --cert surgery.pem --key surgery.key --ca ca.pem
  mash-gateway inbox read MESSAGE --cert … --key … --ca … | less")]
    Read {
        /// The message's id
        id: String,
        #[command(flatten)]
        connection: Connection,
    },
    /// Say that a message is in your agency's own record: it leaves the list
    #[command(after_help = "Examples:
  mash-gateway inbox acknowledge MESSAGE --cert surgery.pem --key surgery.key --ca ca.pem
  mash-gateway inbox acknowledge MESSAGE --record saved.json --cert hub.pem --key hub.key --ca ca.pem

The file says who saved it, when, and what the record is found by: {\"savedBy\": …, \"savedAt\": …,
\"recordRef\": …}. It is kept sealed, for your agency alone.")]
    Acknowledge(Acknowledge),
}

#[derive(Args)]
pub(super) struct Collect {
    /// The message's id
    id: String,
    /// Where to write it [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    /// Where to write the files that came with it [default: the folder of --output]
    #[arg(long, value_name = "DIR")]
    attachments: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Acknowledge {
    /// The message's id
    id: String,
    /// Who saved it, when and where, JSON
    #[arg(long, value_name = "FILE")]
    record: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

impl Inbox {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        block_on(async {
            match self {
                Self::Collect(collect) => collect.run(context).await,
                Self::List { connection } => list(context, &connection).await,
                Self::Read { id, connection } => {
                    let gateway = connection.open()?;
                    let document = gateway.get_json(&format!("/v1/messages/{id}")).await?;
                    context.result(&document, reading(&document));
                    Ok(())
                }
                Self::Acknowledge(acknowledge) => acknowledge.run(context).await,
            }
        })
    }
}

async fn list(context: &Context, connection: &Connection) -> Result<(), Failure> {
    let inbox = connection.open()?.get_json("/v1/inbox").await?;
    let messages = inbox["messages"].as_array().cloned().unwrap_or_default();
    let lines: Vec<_> = messages
        .iter()
        .map(|message| {
            format!(
                "{}  {}  {} from {}  {}  {}",
                text(message, "id"),
                text(message, "reference"),
                text(message, "kind"),
                text(message, "sender"),
                text(message, "time"),
                text(message, "state"),
            )
        })
        .collect();
    let shown = if lines.is_empty() { "nothing waits".to_owned() } else { lines.join("\n") };
    context.result(&inbox, shown);
    Ok(())
}

impl Collect {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let path = format!("/v1/messages/{}", self.id);
        let gateway = self.connection.open_for_files()?;
        let document = gateway.get(&path).await?.body;
        let parsed: Value = serde_json::from_slice(&document)?;
        let files: Vec<_> = text(&parsed, "attachments").split_whitespace().collect();
        match &self.output {
            Some(file) => write_private(file, &document)?,
            None => super::print(format_args!("{parsed:#}")),
        }
        let beside = self.output.as_ref().and_then(|file| file.parent()).map(Path::to_owned);
        match self.attachments.clone().or(beside) {
            Some(folder) => {
                for id in files {
                    for file in collect_file(&gateway, &folder, id).await? {
                        context.say(format!("wrote {}", file.display()));
                    }
                }
            }
            None if files.is_empty() => {}
            None => eprintln!("{} files came with it: say where with --attachments", files.len()),
        }
        if let Some(file) = &self.output {
            context.say(format!("wrote {}; when it is in your own record:", file.display()));
            context.say(format!("  mash-gateway inbox acknowledge {}", self.id));
        }
        Ok(())
    }
}

// Fetches a file, and writes what came of it.
async fn collect_file(gateway: &Gateway, folder: &Path, id: &str) -> Result<Vec<PathBuf>, Failure> {
    // It becomes a name on this machine: an id, and nothing else that somebody may have written.
    let id: AttachmentId = id.parse()?;
    let response = gateway.get(&format!("/v1/attachments/{id}")).await?;
    let header = |name: &str| response.headers.get(name).and_then(|value| value.to_str().ok());
    if header("content-digest") != Some(&*content_digest(&sha256(&response.body))) {
        return Err(Failure::new(Exit::VerificationFailed, "the file is not what was announced"));
    }
    let media_type = header("content-type").unwrap_or_default();
    let media_type = MediaType::parse(media_type.split(';').next().unwrap_or_default());
    let file = folder.join(format!("{id}.{}", media_type.map_or("age", MediaType::extension)));
    write_private(&file, &response.body)?;
    let mut written = vec![file];
    if let Some(key) = header("attachment-key") {
        let file = folder.join(format!("{id}.key.age"));
        write_private(&file, &STANDARD.decode(key.trim_matches(':'))?)?;
        written.push(file);
    }
    Ok(written)
}

impl Acknowledge {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let path = format!("/v1/messages/{}/saved", self.id);
        let gateway = self.connection.open()?;
        let saved = match &self.record {
            Some(file) => gateway.post_bytes(&path, read_bytes(file)?).await?,
            None => gateway.post(&path).await?,
        };
        context.result(&saved, format!("saved, entry {} of the log", saved["entry"]));
        Ok(())
    }
}

// A collected message is personal data: nobody else on the machine may read the file.
fn write_private(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    use std::io::Write as _;
    use std::os::unix::fs::OpenOptionsExt as _;
    let mut file = std::fs::OpenOptions::new()
        .write(true)
        .create(true)
        .truncate(true)
        .mode(0o600)
        .open(path)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    Ok(())
}
