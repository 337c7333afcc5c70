//! `enquiry`: what the hub does of an enquiry as a whole.

use std::path::PathBuf;

use clap::{Args, Subcommand};

use super::client::{Connection, Gateway};
use super::exchange::{read_bytes, text};
use super::{Context, Failure, block_on};
use crate::message::Reference;

/// An enquiry as a whole.
#[derive(Subcommand)]
pub(super) enum Enquiry {
    /// Record that whoever referred the child was told that the threshold is not met
    #[command(after_help = "Example:
  mash-gateway enquiry referrer-told RFI-2026-000001-H told.json \\
      --cert hub.pem --key hub.key --ca ca.pem

The file says how, when and by whom: {\"channel\": \"letter\", \"toldAt\": …, \"toldBy\": …}; channel is letter or
telephone. What is printed is a paragraph for the child's record, which the gateway does not keep.")]
    ReferrerTold(ReferrerTold),
}

#[derive(Args)]
pub(super) struct ReferrerTold {
    /// The enquiry, by its id or by the reference of one of its exchanges
    enquiry: String,
    /// How, when and by whom, JSON
    file: PathBuf,
    #[command(flatten)]
    connection: Connection,
}

impl Enquiry {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::ReferrerTold(told) => block_on(told.run(context)),
        }
    }
}

impl ReferrerTold {
    async fn run(self, context: &Context) -> Result<(), Failure> {
        let gateway = self.connection.open()?;
        let body = read_bytes(&self.file)?;
        let enquiry = enquiry_id(&gateway, self.enquiry).await?;
        let path = format!("/v1/enquiries/{enquiry}/referrer-contacts");
        let recorded = gateway.post_bytes(&path, body).await?;
        context.result(
            &recorded,
            format!(
                "recorded at {}, entry {}\nfor the child's record:\n  {}",
                text(&recorded, "recordedAt"),
                recorded["entry"],
                text(&recorded, "textForRecord")
            ),
        );
        Ok(())
    }
}

// People have an exchange's reference at hand, and an id hardly ever.
async fn enquiry_id(gateway: &Gateway, name: String) -> Result<String, Failure> {
    if Reference::parse(&name).is_err() {
        return Ok(name);
    }
    let exchange = gateway.get_json(&format!("/v1/exchanges/{name}")).await?;
    Ok(text(&exchange, "enquiry").to_owned())
}
