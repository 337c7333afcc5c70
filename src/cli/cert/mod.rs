//! `cert`: certificates from issue to revocation.

mod issue;
mod list;
mod office;
mod password;
mod renew;
mod revoke;
pub(super) mod serial;
mod show;
mod token;

use clap::Subcommand;

use super::{Context, Failure, block_on};
use issue::Issue;
use list::List;
pub(super) use office::{Office, refused};
use renew::Renew;
use revoke::Revoke;
pub(super) use revoke::reason;
use show::Show;
use token::{Approve, Token};

/// Certificates: issue, enrol, list, show, renew, revoke.
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
    /// Make a one-time token, with which an agency gets its certificate by itself
    #[command(after_help = "Examples:
  mash-gateway cert token demo-surgery --home H
  mash-gateway cert token demo-surgery --approval --valid-hours 24 --home H")]
    Token(Token),
    /// Approve the key that an agency presented with a token; without an agency, list what waits
    #[command(after_help = "Examples:
  mash-gateway cert approve --home H
  mash-gateway cert approve demo-surgery --key 7d2a91c4 --home H")]
    Approve(Approve),
    /// Replace an agency's certificate by one for a new key; the old one stays good to its end
    #[command(after_help = "Example:
  mash-gateway cert renew demo-surgery --csr new.csr --home H")]
    Renew(Renew),
    /// Replace the gateway's own certificates, with new keys; it does so itself in good time
    #[command(after_help = "Example:
  mash-gateway cert gateway --home H")]
    Gateway,
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
    /// Sign new revocation lists; the gateway has it done each day
    #[command(after_help = "Example:
  mash-gateway cert crl --home H")]
    Crl,
}

impl Cert {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        block_on(async {
            match self {
                Self::Approve(approve) => approve.run(context).await,
                Self::Crl => revoke::sign_lists(context).await,
                Self::Gateway => renew::gateway(context).await,
                Self::Issue(issue) => issue.run(context).await,
                Self::List(list) => list.run(context).await,
                Self::Renew(renew) => renew.run(context).await,
                Self::Show(show) => show.run(context).await,
                Self::Revoke(revoke) => revoke.run(context).await,
                Self::Token(token) => token.run(context).await,
            }
        })
    }
}
