//! `root`: the root's own work, on a machine that has its key and no home, and needs no network.

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use secrecy::SecretString;
use serde_json::json;
use zeroize::Zeroizing;

use super::init::several;
use super::{Context, Exit, Failure, read_text};
use crate::config::write_synced;
use crate::message::{now, rfc3339, sha256};
use crate::pki::ca::{
    Authority, IssuingFor, Published, authority_certificates, certificate_pem, certificates,
};
use crate::pki::crl::{self, Reason, Revoked};
use crate::pki::fingerprint::fingerprint;
use crate::pki::request::AuthorityRequest;
use crate::seal::{self, Identities};

/// The root's own work, off line: needs no home.
#[derive(Subcommand)]
pub(super) enum Root {
    /// Certify the authority that a request file asks for
    #[command(after_help = "Example, where the root's key is:
  mash-gateway root sign request.txt --certificate root.pem --key root.key.age \\
      --identity officer.txt --confirm \"mash.example.org agencies 2\" --out answer.pem

Then, in the home:
  mash-gateway authority install answer.pem --home H

Without --confirm it shows what it would sign, and signs nothing.")]
    Sign(Sign),
    /// Sign the root's next revocation list, and revoke an authority
    #[command(after_help = "Examples:
  mash-gateway root crl --certificate root.pem --key root.key.age --identity officer.txt \\
      --previous root.crl.pem --out new.crl.pem
  mash-gateway root crl --certificate root.pem --key root.key.age --identity officer.txt \\
      --previous root.crl.pem --revoke 57d3… --reason key-compromise --out new.crl.pem

Then, in the home:
  mash-gateway authority trust root.pem --crl new.crl.pem --home H")]
    Crl(Crl),
    /// Make a new root, to follow another
    #[command(after_help = "Example:
  mash-gateway root new --name \"mash.example.org root 2\" \\
      --recipient age1… --recipient age1… --out new-root

Then, with the root before:
  mash-gateway root vouch new-root/root.pem --certificate root.pem --key root.key.age \\
      --identity officer.txt --confirm \"mash.example.org root 2\" --out voucher.pem")]
    New(New),
    /// Vouch for another root, so that whoever trusts only this one accepts what that one signs
    #[command(after_help = "Example:
  mash-gateway root vouch new-root/root.pem --certificate root.pem --key root.key.age \\
      --identity officer.txt --confirm \"mash.example.org root 2\" --out voucher.pem

Then, in the home:
  mash-gateway authority trust new-root/root.pem --crl new-root/root.crl.pem \\
      --voucher voucher.pem --home H")]
    Vouch(Vouch),
}

impl Root {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        match self {
            Self::Crl(crl) => crl.run(context),
            Self::New(new) => new.run(context),
            Self::Sign(sign) => sign.run(context),
            Self::Vouch(vouch) => vouch.run(context),
        }
    }
}

/// A root's certificate, its sealed key, and what opens that.
#[derive(Args)]
struct RootFiles {
    /// The root's certificate (PEM)
    #[arg(long, value_name = "FILE")]
    certificate: PathBuf,
    /// The root's key, sealed
    #[arg(long, value_name = "FILE")]
    key: PathBuf,
    /// The age identity that opens the key
    #[arg(long, value_name = "FILE")]
    identity: PathBuf,
}

impl RootFiles {
    fn open(&self) -> Result<Authority, Failure> {
        let certificates = certificates(&read_text(&self.certificate)?)?;
        let identity = Zeroizing::new(read_text(&self.identity)?);
        let identities = Identities::parse(&SecretString::from(identity.as_str()))?;
        let sealed = std::fs::read(&self.key).map_err(|error| {
            Failure::new(Exit::NotFound, format!("cannot read {}: {error}", self.key.display()))
        })?;
        let key = seal::unwrap_secret(&identities, &sealed).map_err(|error| {
            Failure::new(Exit::Failed, format!("{}: {error}", self.key.display()))
                .hint("--identity is to be one of those that the root's key was sealed to")
        })?;
        let key = std::str::from_utf8(&key)
            .map_err(|_| Failure::new(Exit::Failed, "there is no key in the sealed file"))?;
        // A home's bundle holds several roots while one follows another.
        let root = certificates.iter().find_map(|certificate| {
            Authority::from_pem(&certificate_pem(certificate), key, None).ok()?.pop()
        });
        let root = root.ok_or_else(|| {
            Failure::new(Exit::Misused, "the key does not belong to the certificate")
                .hint("--certificate and --key are to be of the same root")
        })?;
        match root.issuing_for() {
            None => Ok(root),
            Some(_) => Err(Failure::new(Exit::Misused, "this is an issuing authority, not a root")),
        }
    }
}

#[derive(Args)]
pub(super) struct Sign {
    /// The request file that "authority request" wrote
    request: PathBuf,
    #[command(flatten)]
    root: RootFiles,
    /// The name the authority is to have, so that nothing is signed unseen
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    /// Where to write the certificate
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Sign {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let request = AuthorityRequest::parse(&read_text(&self.request)?)
            .map_err(|error| Failure::new(Exit::VerificationFailed, error))?;
        let root = self.root.open()?;
        let hosts = match request.issuing_for() {
            IssuingFor::Agencies => None,
            IssuingFor::GatewayServers { domains } => Some(domains),
        };
        let published = request.published().map(Published::as_str);
        let shown = format!(
            "  root     {}\n  name     {}\n  purpose  {}{}\n  lists    {}\n  key      SHA256 {}",
            root.name(),
            request.name(),
            request.purpose(),
            hosts.map(|hosts| format!(", for {}", hosts.join(", "))).unwrap_or_default(),
            published.unwrap_or("(it will not say where)"),
            fingerprint(&request.key().fingerprint()),
        );
        confirmed(self.confirm.as_deref(), request.name(), &shown)?;
        let der = root.sign_issuing(
            request.issuing_for(),
            request.name(),
            request.key(),
            request.published(),
            now(),
        )?;
        let pem = certificate_pem(&der);
        write(&self.out, &pem)?;
        let signed = authority_certificates(&pem)?.swap_remove(0);
        context.result(
            &json!({
                "certificate": self.out,
                "hosts": hosts,
                "name": signed.name,
                "notAfter": rfc3339(signed.not_after),
                "publishedUrl": published,
                "purpose": request.purpose(),
                "root": root.name(),
                "serial": signed.serial,
                "sha256": fingerprint(&sha256(&signed.der)),
            }),
            format!(
                "Signed until {}\n{shown}\nWrote {out}.\n\nNext, in the home:\n  \
                 mash-gateway authority install {out}",
                rfc3339(signed.not_after),
                out = self.out.display(),
            ),
        );
        Ok(())
    }
}

#[derive(Args)]
pub(super) struct Vouch {
    /// The other root's certificate (PEM)
    other: PathBuf,
    #[command(flatten)]
    root: RootFiles,
    /// The other root's name, so that nothing is signed unseen
    #[arg(long, value_name = "NAME")]
    confirm: Option<String>,
    /// Where to write the certificate
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Vouch {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let others = authority_certificates(&read_text(&self.other)?)?;
        let [other] = others.as_slice() else {
            let message = format!("{} holds several certificates", self.other.display());
            return Err(Failure::new(Exit::Misused, message));
        };
        let root = self.root.open()?;
        let shown = format!(
            "  root        {}\n  vouches for {}\n  SHA256      {}",
            root.name(),
            other.name,
            fingerprint(&sha256(&other.der)),
        );
        confirmed(self.confirm.as_deref(), &other.name, &shown)?;
        let pem = certificate_pem(&root.vouch_for(&other.der, now())?);
        write(&self.out, &pem)?;
        let signed = authority_certificates(&pem)?.swap_remove(0);
        context.result(
            &json!({
                "certificate": self.out,
                "name": signed.name,
                "notAfter": rfc3339(signed.not_after),
                "root": root.name(),
                "serial": signed.serial,
            }),
            format!(
                "Signed until {}\n{shown}\nWrote {out}.\n\nNext, in the home:\n  \
                 mash-gateway authority trust {new} --crl NEW.crl.pem --voucher {out}",
                rfc3339(signed.not_after),
                new = self.other.display(),
                out = self.out.display(),
            ),
        );
        Ok(())
    }
}

#[derive(Args)]
pub(super) struct Crl {
    #[command(flatten)]
    root: RootFiles,
    /// The root's list before, which nothing on it may be lost from
    #[arg(long, value_name = "FILE")]
    previous: PathBuf,
    /// The serial of an authority's certificate to revoke
    #[arg(long, value_name = "SERIAL", requires = "reason")]
    revoke: Option<String>,
    /// key-compromise, affiliation-changed, superseded, cessation-of-operation or
    /// privilege-withdrawn
    #[arg(long, requires = "revoke", value_parser = super::cert::reason)]
    reason: Option<Reason>,
    /// Where to write the list
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
}

impl Crl {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let root = self.root.open()?;
        let at = now();
        let lists = crl::parse_all(&read_text(&self.previous)?)?;
        let own = lists.iter().filter(|list| list.is_signed_by(root.certificate_der()));
        let previous = own.max_by_key(|list| list.number).ok_or_else(|| {
            let message = format!("{} holds no list of this root's", self.previous.display());
            Failure::new(Exit::VerificationFailed, message)
        })?;
        let mut revoked = previous.revoked()?;
        if let (Some(serial), Some(reason)) = (self.revoke, self.reason) {
            let serial = serial.to_ascii_lowercase();
            if !revoked.iter().any(|known| known.serial == serial) {
                revoked.push(Revoked { serial, at, reason });
            }
        }
        let number = crl::number(Some(previous.number), at);
        let pem = crl::build(&root, &revoked, number, at, crl::ROOT_CRL_VALID_FOR)?;
        write(&self.out, &pem)?;
        let next_update = crl::parse(&pem)?.next_update;
        context.result(
            &json!({
                "list": self.out,
                "nextUpdate": rfc3339(next_update),
                "revoked": revoked.iter().map(|one| &one.serial).collect::<Vec<_>>(),
                "root": root.name(),
            }),
            format!(
                "Signed the revocation list of {}: {} certificates on it; the next is due by {}.\n\
                 Wrote {out}.\n\nNext, in the home:\n  \
                 mash-gateway authority trust {root} --crl {out}",
                root.name(),
                revoked.len(),
                rfc3339(next_update),
                root = self.root.certificate.display(),
                out = self.out.display(),
            ),
        );
        Ok(())
    }
}

#[derive(Args)]
pub(super) struct New {
    /// Its name, which no root before it had
    #[arg(long)]
    name: String,
    /// Who can open its key: an age recipient of two people or more
    #[arg(long, required = true, value_name = "RECIPIENT", num_args = 1..)]
    recipient: Vec<String>,
    /// The folder to make it in
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
}

impl New {
    fn run(self, context: &Context) -> Result<(), Failure> {
        let at = now();
        let recipients = several(&self.recipient)?;
        let path = |name: &str| self.out.join(name);
        if let Some(there) = ["root.key.age", "root.pem"].map(path).iter().find(|p| p.exists()) {
            let message = format!("{} is there already; nothing was made", there.display());
            return Err(Failure::new(Exit::Misused, message).hint("choose another folder"));
        }
        let root = Authority::new_root(&self.name, at)?;
        let list = crl::build(&root, &[], crl::number(None, at), at, crl::ROOT_CRL_VALID_FOR)?;
        let sealed = seal::wrap_secret(&recipients, root.key_pem().as_bytes())?;
        std::fs::create_dir_all(&self.out)?;
        // The key first: a certificate whose key is lost would be good for nothing.
        write_synced(&path("root.key.age"), &sealed, 0o600)?;
        write_synced(&path("root.crl.pem"), list.as_bytes(), 0o644)?;
        write_synced(&path("root.pem"), root.certificate_pem().as_bytes(), 0o644)?;
        let folder = self.out.display();
        context.result(
            &json!({
                "certificate": path("root.pem"),
                "key": path("root.key.age"),
                "list": path("root.crl.pem"),
                "name": root.name(),
                "notAfter": rfc3339(root.not_after()),
                "sha256": fingerprint(&root.certificate_sha256()),
            }),
            format!(
                "Made {} in {folder}, good until {}\n  fingerprint  SHA256 {}\n\
                 {folder}/root.key.age opens with each of {} identities; keep it off line.\n\n\
                 Next, with the root before:\n  \
                 mash-gateway root vouch {folder}/root.pem --certificate OLD.pem \
                 --key OLD.key.age --identity officer.txt --out voucher.pem",
                root.name(),
                rfc3339(root.not_after()),
                fingerprint(&root.certificate_sha256()),
                recipients.len(),
            ),
        );
        Ok(())
    }
}

/// Writes what a command was asked for, or says which file cannot be written.
pub(super) fn write(path: &Path, text: &str) -> Result<(), Failure> {
    write_synced(path, text.as_bytes(), 0o644).map_err(|error| {
        Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display()))
    })
}

// Nobody signs what they have not read.
fn confirmed(confirm: Option<&str>, name: &str, shown: &str) -> Result<(), Failure> {
    match confirm {
        Some(confirm) if confirm == name => Ok(()),
        Some(_) => {
            eprintln!("{shown}");
            let message = format!("--confirm does not say {name:?}; nothing was signed");
            Err(Failure::new(Exit::Misused, message))
        }
        None => {
            eprintln!("This would be signed:\n{shown}");
            Err(Failure::new(Exit::Misused, "nothing was signed")
                .hint(format!("if that is right, say it again with --confirm {name:?}")))
        }
    }
}
