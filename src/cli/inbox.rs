//! `inbox`: an agency's side of the mailbox.

use std::path::PathBuf;

use clap::{Args, Subcommand};
use serde_json::Value;

use super::client::Connection;
use super::exchange::text;
use super::{Context, Failure, block_on};

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
      --cert surgery.pem --key surgery.key --ca ca.pem")]
    Collect(Collect),
    /// Say that a message is in your agency's own record: it leaves the list
    #[command(after_help = "Example:
  mash-gateway inbox acknowledge MESSAGE --cert surgery.pem --key surgery.key --ca ca.pem")]
    Acknowledge(Acknowledge),
}

#[derive(Args)]
pub(super) struct Collect {
    /// The message's id
    id: String,
    /// Where to write it [default: standard output]
    #[arg(long, short, value_name = "FILE")]
    output: Option<PathBuf>,
    #[command(flatten)]
    connection: Connection,
}

#[derive(Args)]
pub(super) struct Acknowledge {
    /// The message's id
    id: String,
    #[command(flatten)]
    connection: Connection,
}

impl Inbox {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        block_on(async {
            match self {
                Self::Collect(collect) => collect.run(context).await,
                Self::List { connection } => list(context, &connection).await,
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
        let document = self.connection.open()?.get(&path).await?.body;
        match &self.output {
            Some(file) => {
                write_private(file, &document)?;
                context.say(format!("wrote {}; when it is in your own record:", file.display()));
                context.say(format!("  mash-gateway inbox acknowledge {}", self.id));
            }
            None => {
                let document: Value = serde_json::from_slice(&document)?;
                super::print(format_args!("{document:#}"));
            }
        }
        Ok(())
    }
}

impl Acknowledge {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let path = format!("/v1/messages/{}/saved", self.id);
        let saved = self.connection.open()?.post(&path).await?;
        context.result(&saved, format!("saved, entry {} of the log", saved["entry"]));
        Ok(())
    }
}

// A collected message is personal data: nobody else on the machine may read the file.
fn write_private(path: &std::path::Path, bytes: &[u8]) -> Result<(), Failure> {
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
