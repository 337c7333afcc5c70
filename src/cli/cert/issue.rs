//! `cert issue`: certifies an agency's key, or that of a person at an agency.

use std::io::Write as _;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use zeroize::Zeroizing;

use super::Office;
use super::office::read_request;
use super::password::{self, Password};
use super::show::aloud;
use crate::audit::entry::Grant;
use crate::cli::connect;
use crate::cli::{Context, Exit, Failure, read_text};
use crate::directory::{Partner, permission};
use crate::issuer::IssuedChain;
use crate::message::{AgencyId, Role, now, rfc3339};
use crate::pki::ca::{GeneratedKey, Profile, generate_key};
use crate::pki::fingerprint::{fingerprint, spoken};
use crate::pki::holder::Holder;
use crate::pki::p12::{self, Format};
use crate::register::Told;

#[derive(Args)]
pub(in crate::cli) struct Issue {
    /// The agency, as the directory names it
    agency: AgencyId,
    /// The signing request (PEM or DER) made where the key is: the key never leaves
    #[arg(
        long,
        value_name = "FILE",
        required_unless_present = "p12",
        conflicts_with_all = ["p12", "password_file", "format"]
    )]
    csr: Option<PathBuf>,
    /// Make the key here, and write it with its certificate to this PKCS#12 file
    #[arg(long, value_name = "FILE")]
    p12: Option<PathBuf>,
    /// The PKCS#12 file's password; made and written there when there is no such file
    #[arg(long, value_name = "FILE", requires = "p12")]
    password_file: Option<PathBuf>,
    /// How the PKCS#12 file is encrypted: modern, or legacy-3des for systems that read nothing newer
    #[arg(long, value_name = "FORMAT", requires = "p12", value_parser = format)]
    format: Option<Format>,
    /// For a person at the agency: the name
    #[arg(long, value_name = "NAME", requires = "role")]
    desk: Option<String>,
    /// What the person is there for
    #[arg(long, requires = "desk", value_parser = role)]
    role: Option<Role>,
    /// Where to write the certificate and what else the agency needs
    #[arg(long, default_value = ".", value_name = "DIR")]
    out: PathBuf,
}

impl Issue {
    pub(super) async fn run(self, context: &Context) -> Result<(), Failure> {
        let office = Office::open(context).await?;
        let (directory, partner) = office.partner(&self.agency)?;
        let profile = self.profile(partner)?;
        // Agency ids have no dots, so that no agency has this name.
        let name = match profile.role() {
            Some(role) => format!("{}.{}", self.agency, role.as_str()),
            None => self.agency.to_string(),
        };
        // First: what could fail in it must not fail once a certificate is on the register. A person
        // connects with a browser.
        if profile.role().is_none() {
            connect::write(context, directory, partner, &self.out)?;
        }
        let (issued, wrote) = match (&self.csr, &self.p12) {
            (Some(csr), _) => self.certify(&office, &profile, csr, &name).await?,
            (None, Some(p12)) => self.pack(&office, &profile, p12, &name, context).await?,
            (None, None) => {
                return Err(Failure::new(Exit::Misused, "give --csr FILE or --p12 FILE"));
            }
        };
        if !partner.is_active(now()) {
            eprintln!(
                "note: {} is {} in the directory: until it is active it can only be tested",
                self.agency,
                partner.status_at(now()).as_str()
            );
        }
        let told = office.tell_gateway().await;
        let spoken = spoken(&issued.sha256);
        let mut view = json!({
            "agency": self.agency,
            "notAfter": rfc3339(issued.not_after),
            "serial": issued.serial,
            "sha256": fingerprint(&issued.sha256),
            "spoken": spoken,
        });
        let desk = match profile.role() {
            Some(role) => {
                view["desk"] = json!(role);
                format!("'s {}", role.title())
            }
            None => String::new(),
        };
        for (name, path) in &wrote.files {
            view[*name] = json!(path);
        }
        let roots = connect::root_fingerprints(context)?;
        let aloud: Vec<_> = aloud(&spoken).map(|line| format!("  {line}")).collect();
        context.result(
            &view,
            format!(
                "Issued to {}{desk} ({})  serial {}  valid to {}\n  fingerprint  SHA256 {}\n{}\n\
                 {roots}\n{}{}",
                self.agency,
                partner.name,
                issued.serial,
                rfc3339(issued.not_after),
                fingerprint(&issued.sha256),
                aloud.join("\n"),
                wrote.said,
                match told {
                    Told::InUse { .. } | Told::NotRunning => "",
                    Told::Failed => "\nThe running gateway will notice within seconds.",
                }
            ),
        );
        Ok(())
    }

    fn profile(&self, partner: &Partner) -> Result<Profile, Failure> {
        let agency = self.agency.clone();
        let (Some(name), Some(role)) = (&self.desk, self.role) else {
            return Ok(Profile::Agency(agency));
        };
        if !permission::exists_at(role, partner.kind) {
            let roles = permission::roles_at(partner.kind);
            let names: Vec<_> = roles.iter().map(|role| role.as_str()).collect();
            let message = format!("{agency} has no {}; nothing was issued", role.title());
            let hint = format!("--role is one of {} there", names.join(", "));
            return Err(Failure::new(Exit::Misused, message).hint(hint));
        }
        let holder = Holder::parse(name).map_err(|error| Failure::new(Exit::Misused, error))?;
        Ok(Profile::Desk { agency, role, holder })
    }

    async fn certify(
        &self,
        office: &Office<'_>,
        profile: &Profile,
        csr: &Path,
        name: &str,
    ) -> Result<(IssuedChain, Wrote), Failure> {
        let issued = office.sign(profile, &read_request(csr)?, Grant::Operator, now()).await?;
        let certificate = office.write(&issued, &self.out, name)?;
        let is_person = profile.role().is_some();
        let said = format!(
            "Wrote {}, ca.pem, {}: safe to e-mail; the key never left {}.",
            certificate.display(),
            if is_person { "log-key.txt" } else { "log-key.txt and CONNECT.txt" },
            if is_person { "its holder" } else { "the agency" },
        );
        Ok((issued, Wrote { said, files: vec![("certificate", certificate)] }))
    }

    async fn pack(
        &self,
        office: &Office<'_>,
        profile: &Profile,
        path: &Path,
        name: &str,
        context: &Context,
    ) -> Result<(IssuedChain, Wrote), Failure> {
        let format = self.format.unwrap_or(Format::Modern);
        // Before anything is issued: a certificate whose key is lost would be one to revoke.
        let mut file = Reserved::new(path)?;
        let password = password::obtain(self.password_file.as_deref(), format, context)?;
        if format == Format::Legacy3Des {
            eprintln!(
                "warning: triple DES is weak, and the password alone protects the key: use this \
                 only for old Windows or macOS that does not read the modern format, and send the \
                 password another way"
            );
        }
        let GeneratedKey { key_pem, csr_pem, .. } = generate_key()?;
        let issued = office.sign(profile, &csr_pem, Grant::Operator, now()).await?;
        let root = read_text(&context.home.resolve(&office.config.paths.root))?;
        let chain = format!("{}{}{root}", issued.pem, issued.issuer_pem);
        file.write(&p12::write(name, &key_pem, &chain, &password.text, format)?)?;
        office.write_public(&self.out)?;
        let mut files = vec![("p12", path.to_owned())];
        let said = format!(
            "Wrote {} (the key, its certificate and the chain; {}), ca.pem and log-key.txt.\n{}",
            path.display(),
            format.as_str(),
            self.about(&password),
        );
        if let Some(path) = &self.password_file {
            files.push(("passwordFile", path.clone()));
        }
        Ok((issued, Wrote { said, files }))
    }

    fn about(&self, Password { is_new, .. }: &Password) -> String {
        let at = match (&self.password_file, is_new) {
            (Some(path), true) => format!("Its password is new, in {}. ", path.display()),
            (Some(path), false) => format!("Its password is the one in {}. ", path.display()),
            (None, _) => String::new(),
        };
        format!(
            "{at}Send the password by another way than the file, by telephone for one; delete \
             both here when they have arrived."
        )
    }
}

/// What was written, and what the person is told of it.
struct Wrote {
    said: String,
    files: Vec<(&'static str, PathBuf)>,
}

/// A new file that only its owner can read, taken away again unless it is written.
struct Reserved {
    path: PathBuf,
    file: std::fs::File,
    is_written: bool,
}

impl Reserved {
    fn new(path: &Path) -> Result<Self, Failure> {
        let new = std::fs::OpenOptions::new().write(true).create_new(true).mode(0o600).open(path);
        let file = new.map_err(|error| match error.kind() {
            std::io::ErrorKind::AlreadyExists => {
                Failure::new(Exit::Misused, format!("{} is there already", path.display()))
                    .hint("it may hold somebody's only key: name another file, or move it away")
            }
            _ => Failure::new(Exit::Failed, format!("cannot write {}: {error}", path.display())),
        })?;
        Ok(Self { path: path.to_owned(), file, is_written: false })
    }

    fn write(&mut self, bytes: &Zeroizing<Vec<u8>>) -> Result<(), Failure> {
        self.file.write_all(bytes)?;
        self.file.sync_all()?;
        self.is_written = true;
        Ok(())
    }
}

impl Drop for Reserved {
    fn drop(&mut self) {
        if !self.is_written {
            let _ = std::fs::remove_file(&self.path);
        }
    }
}

fn role(name: &str) -> Result<Role, String> {
    Role::parse(name).ok_or_else(|| format!("one of {}", Role::ALL.map(Role::as_str).join(", ")))
}

fn format(name: &str) -> Result<Format, String> {
    let names = || Format::ALL.map(Format::as_str).join(", ");
    Format::parse(name).ok_or_else(|| format!("one of {}", names()))
}
