//! `cert`: issue, list, show, revoke.

mod issue;
mod list;
mod office;
mod password;
mod revoke;
mod show;

use clap::Subcommand;

use super::{Context, Failure, block_on};
use issue::Issue;
use list::List;
pub(super) use office::Office;
use revoke::Revoke;
use show::Show;

/// Certificates: issue, list, show, revoke.
#[derive(Subcommand)]
pub(super) enum Cert {
    /// Certify an agency's key, or a person's there; only the key is taken from the request
    #[command(after_help = "Example, on the agency's machine and then here:
  openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes \\
      -keyout demo-surgery.key -out demo-surgery.csr -subj /CN=demo-surgery
  mash-gateway cert issue demo-surgery --csr demo-surgery.csr --home H
For a person who works in a browser, with a key made here:
  mash-gateway cert issue demo-surgery --desk \"A. Example\" --role contact-officer \\
      --p12 officer.p12 --password-file officer.txt --home H")]
    Issue(Issue),
    /// Every certificate ever issued, newest first
    #[command(after_help = "Examples:
  mash-gateway cert list --home H
  mash-gateway cert list --expiring 30 --home H")]
    List(List),
    /// One certificate: whose, how it stands, its fingerprint to be read aloud
    #[command(after_help = "Example:
  mash-gateway cert show 57d3a1f0 --home H               the first eight digits are enough")]
    Show(Show),
    /// Make certificates worthless, at once
    #[command(after_help = "Examples:
  mash-gateway cert revoke demo-surgery --reason key-compromise \\
      --confirm demo-surgery --home H
  mash-gateway cert revoke --serial 57d3… --reason superseded \\
      --confirm demo-surgery --home H")]
    Revoke(Revoke),
    /// Sign a new revocation list
    #[command(after_help = "Example:
  mash-gateway cert crl --home H          each day, well before the last one ends")]
    Crl,
}

impl Cert {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        block_on(async {
            match self {
                Self::Crl => revoke::sign_crl(context).await,
                Self::Issue(issue) => issue.run(context).await,
                Self::List(list) => list.run(context).await,
                Self::Show(show) => show.run(context).await,
                Self::Revoke(revoke) => revoke.run(context).await,
            }
        })
    }
}
