//! `init`: a new home.

use std::fs::Permissions;
use std::net::{IpAddr, Ipv6Addr};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::PathBuf;

use clap::Args;
use jiff::Timestamp;
use secrecy::{ExposeSecret as _, SecretString};
use serde_json::json;

use super::cert::Office;
use super::{Context, Exit, Failure, block_on};
use crate::audit::checkpoint::LogKey;
use crate::audit::entry::Grant;
use crate::config::{Config, Home, TEMPLATE_DOMAIN, write_synced};
use crate::directory::Directory;
use crate::directory::parse::ParseOptions;
use crate::issuer::IssuedChain;
use crate::message::{AgencyId, now};
use crate::pki::ca::{
    Authority, Domain, Issued, IssuingFor, LEAF_VALID_FOR, Profile, Published, Terms, generate_key,
};
use crate::pki::crl;
use crate::pki::fingerprint::fingerprint;
use crate::seal;
use crate::store::sqlite::Sqlite;

/// Make a new home: authorities, certificates, keys, settings, directory.
#[derive(Args)]
#[command(after_help = "Examples:
  mash-gateway init --home H --gateway-host localhost
  mash-gateway init --home /srv/mash --gateway-host mash.example.org --domain mash.example.org
  mash-gateway init --home /srv/mash --gateway-host mash.example.org \\
      --root-recipient age1… --root-recipient age1…

An existing home is never overwritten.")]
pub(super) struct Init {
    /// A name or address by which agencies reach the gateway; may be given more than once
    #[arg(long, required = true, value_name = "NAME", num_args = 1..)]
    gateway_host: Vec<String>,
    /// The hub's id in the directory
    #[arg(long, default_value = DEFAULT_HUB, value_name = "ID")]
    hub: String,
    /// The trust domain that every certificate names [default: the first host with a dot in it]
    #[arg(long, value_name = "DOMAIN")]
    domain: Option<String>,
    /// Who can open the root's key: an age recipient of two people or more, who keep what opens it.
    /// Without it, two identities are made here that open it, to be taken elsewhere
    #[arg(long, value_name = "RECIPIENT", num_args = 1..)]
    root_recipient: Vec<String>,
    /// Where anybody can fetch revocation lists without TLS, written into every certificate
    /// [default: the enrolment door, http://HOST:8445/pki]
    #[arg(long, value_name = "URL")]
    published_url: Option<String>,
}

impl Init {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let at = now();
        let domain = self.domain.as_deref();
        let made = make(
            &context.home,
            &self.gateway_host,
            &self.hub,
            domain,
            self.published_url.as_deref(),
            &self.root_recipient,
            at,
        )?;
        block_on(enter(context, &made, at))?;
        let home = context.home.folder().display();
        let root_identity = made.has_root_identity.then(|| context.home.resolve(ROOT_IDENTITY));
        let take_away = match &root_identity {
            Some(_) => format!(
                "  {home}/{RECOVERY_IDENTITY}  to a safe: it opens everything if this machine is lost\n\
                 \x20 {home}/{ROOT_IDENTITY}  to another person's: with it the root's key opens too\n\
                 \x20 {home}/{ROOT_KEY}  to both: the root's key, which either of the two opens"
            ),
            None => format!(
                "  {home}/{RECOVERY_IDENTITY}  to a safe: it opens everything if this machine is lost\n\
                 \x20 {home}/{ROOT_KEY}  to those who can open it: the root's key"
            ),
        };
        context.result(
            &json!({
                "certificateAuthority": made.root_sha256,
                "domain": made.domain,
                "home": context.home.folder(),
                "recoveryIdentity": context.home.resolve(RECOVERY_IDENTITY),
                "rootIdentity": root_identity,
                "rootKey": context.home.resolve(ROOT_KEY),
            }),
            format!(
                "Made a new home in {home} for the domain {domain}.\n\
                 \x20 root certificate  SHA256 {root}\n\
                 \x20 settings          {home}/gateway.toml\n\
                 \x20 directory         {home}/partners.toml\n\n\
                 Do now: take these off this machine, which needs none of them.\n\
                 {take_away}\n\n\
                 Next:\n\
                 \x20 edit {home}/partners.toml, then  mash-gateway partner check --home {home}\n\
                 \x20 mash-gateway cert issue AGENCY --csr FILE --home {home}\n\
                 \x20 mash-gateway serve --home {home}",
                domain = made.domain,
                root = made.root_sha256,
            ),
        );
        Ok(())
    }
}

/// What [`make`] made.
pub(super) struct Made {
    pub(super) domain: String,
    pub(super) root_sha256: String,
    has_root_identity: bool,
    /// The gateway's own certificates, still to be entered in the register.
    own: Vec<(Profile, IssuedChain)>,
}

/// Enters the gateway's own certificates in the new home's register.
pub(super) async fn enter(context: &Context, made: &Made, at: Timestamp) -> Result<(), Failure> {
    let office = Office::open(context).await?;
    for (profile, issued) in &made.own {
        office.register.enter(profile, issued, Grant::Operator, at).await?;
    }
    Ok(())
}

/// Makes a new home. Everything is made before anything is written, and `gateway.toml` is written
/// last: a home without it was never finished, and making it again is safe.
pub(super) fn make(
    home: &Home,
    hosts: &[String],
    hub: &str,
    domain: Option<&str>,
    published: Option<&str>,
    root_recipients: &[String],
    now: Timestamp,
) -> Result<Made, Failure> {
    if home.config().exists() {
        let message = format!("{} is a home already; it was not touched", home.folder().display());
        return Err(Failure::new(Exit::Misused, message)
            .hint("choose another folder with --home, or remove that one yourself"));
    }
    // Keys that something may have been sealed to are never replaced.
    let has_something = |name: &str| {
        std::fs::read_dir(home.folder().join(name)).is_ok_and(|mut files| files.next().is_some())
    };
    if ["keys", "data"].into_iter().any(has_something) {
        let message = format!(
            "{} has keys or data but no gateway.toml; it was not touched",
            home.folder().display()
        );
        return Err(Failure::new(Exit::Misused, message).hint(
            "put its gateway.toml back; or, if an init was cut short and nothing in it is needed, \
             remove the folder",
        ));
    }
    AgencyId::parse(hub).map_err(|error| Failure::new(Exit::Misused, format!("--hub: {error}")))?;
    let domain = domain.map_or_else(|| default_domain(hosts), str::to_owned);
    let settings = Config::template().replace(TEMPLATE_DOMAIN, &domain);

    let trust_domain = Domain::parse(&domain)?;
    let published = match published {
        Some(url) => url.to_owned(),
        None => format!("http://{}:{ENROLMENT_PORT}/pki", in_url(&hosts[0])),
    };
    let settings = settings.replace(
        &PUBLISHED_TEMPLATE.replace(TEMPLATE_DOMAIN, &domain),
        &format!("published_url = \"{}\"", published.trim_end_matches('/')),
    );
    let published = Some(
        Published::parse(&published)
            .map_err(|error| Failure::new(Exit::Misused, format!("--published-url: {error}")))?,
    );
    let published = published.as_ref();
    let terms = Terms { domain: &trust_domain, published, valid_for: LEAF_VALID_FOR };
    let is_address = |host: &&String| host.parse::<IpAddr>().is_ok();
    let domains = hosts.iter().filter(|host| !is_address(host)).cloned().collect();

    let root = Authority::new_root(&format!("{domain} root"), now)?;
    let agencies =
        root.new_issuing(&IssuingFor::Agencies, &format!("{domain} agencies 1"), published, now)?;
    let servers = root.new_issuing(
        &IssuingFor::GatewayServers { domains },
        &format!("{domain} gateway servers 1"),
        published,
        now,
    )?;
    let tls_key = generate_key()?;
    let profile = Profile::GatewayServer { names: hosts.to_vec() };
    let tls = servers.issue(&profile, &tls_key.public, &terms, now)?;
    let push_key = generate_key()?;
    let push = agencies.issue(&Profile::GatewayClient, &push_key.public, &terms, now)?;

    let (at_rest, _) = seal::generate_identity("mash-gateway at-rest identity: opens payloads");
    let (authority, authority_recipient) =
        seal::generate_identity("mash-gateway authority identity: opens the issuing keys");
    let (recovery, recovery_recipient) = seal::generate_identity(
        "mash-gateway recovery identity: opens everything. Keep it off this machine.",
    );
    let (root_identity, root_recipient) = seal::generate_identity(
        "mash-gateway root identity: opens the root's key. Another person keeps it, elsewhere.",
    );
    let has_root_identity = root_recipients.is_empty();
    let root_recipients = match has_root_identity {
        true => vec![recovery_recipient.clone(), root_recipient],
        false => several(root_recipients)?,
    };
    let settings = settings.replace(
        "# recovery_recipients = []",
        &format!("recovery_recipients = [\"{recovery_recipient}\"]"),
    );
    let config = Config::parse(&settings)?;
    let partners = Directory::template().replace(DEFAULT_HUB, hub);
    Directory::parse(&partners, ParseOptions::default(), now)?;

    let log_key = LogKey::generate(&config.log.origin)?;
    let sealed = |recipients: &[String], authority: &Authority| {
        seal::wrap_secret(recipients, authority.key_pem().as_bytes())
    };
    let authority_recipient = [authority_recipient];
    let crl = |authority: &Authority, valid_for| {
        crl::build(authority, &[], crl::number(None, now), now, valid_for)
    };
    let chain = |leaf: &str, issuer: &Authority| format!("{leaf}{}", issuer.certificate_pem());

    let mut files = Files::new(home);
    files.secret(RECOVERY_IDENTITY, recovery);
    if has_root_identity {
        files.secret(ROOT_IDENTITY, root_identity);
    }
    files.secret(AUTHORITY_IDENTITY, authority);
    files.secret("keys/at-rest-identity.txt", at_rest);
    files.secret("keys/tls-key.pem", SecretString::from(tls_key.key_pem.as_str()));
    files.secret("keys/push-key.pem", SecretString::from(push_key.key_pem.as_str()));
    files.secret("keys/log-key.pem", SecretString::from(log_key.to_pem().as_str()));
    files.public("certs/root.pem", &root.certificate_pem());
    files.public("certs/root.crl.pem", &crl(&root, crl::ROOT_CRL_VALID_FOR)?);
    files.bytes(ROOT_KEY, sealed(&root_recipients, &root)?);
    files.public("certs/agency-ca.pem", &agencies.certificate_pem());
    files.public("certs/agency-ca.crl.pem", &crl(&agencies, crl::CRL_VALID_FOR)?);
    files.bytes(AGENCY_CA_KEY, sealed(&authority_recipient, &agencies)?);
    files.public("certs/server-ca.pem", &servers.certificate_pem());
    files.public("certs/server-ca.crl.pem", &crl(&servers, crl::CRL_VALID_FOR)?);
    files.bytes("certs/server-ca.key.age", sealed(&authority_recipient, &servers)?);
    files.public("certs/gateway.pem", &chain(&tls.pem, &servers));
    files.public("certs/push.pem", &chain(&push.pem, &agencies));
    files.public("certs/log-key.txt", &format!("{}\n", log_key.verifier()));
    files.public("partners.toml", &partners);
    files.public("gateway.toml", &settings);
    files.write(&config)?;
    let own = |profile, issued: Issued, issuer: &Authority| {
        let Issued { pem, serial, sha256, not_before, not_after, der: _ } = issued;
        let issuer_pem = issuer.certificate_pem();
        (profile, IssuedChain { pem, issuer_pem, serial, sha256, not_before, not_after })
    };
    Ok(Made {
        domain,
        root_sha256: fingerprint(&root.certificate_sha256()),
        has_root_identity,
        own: vec![own(profile, tls, &servers), own(Profile::GatewayClient, push, &agencies)],
    })
}

/// The recipients a root's key is sealed to: of two people or more, so that none is its only keeper.
pub(super) fn several(recipients: &[String]) -> Result<Vec<String>, Failure> {
    let mut different: Vec<String> = Vec::new();
    for recipient in recipients {
        seal::check_recipient(recipient).map_err(|_| {
            Failure::new(Exit::Misused, format!("{recipient} is not an age recipient (age1…)"))
                .hint("age-keygen -o identity.txt makes one and prints its recipient")
        })?;
        if !different.contains(recipient) {
            different.push(recipient.clone());
        }
    }
    if different.len() < 2 {
        let message = "the root's key is sealed to two recipients or more; nothing was made";
        return Err(Failure::new(Exit::Misused, message)
            .hint("one for each of two people: if one is gone, the other can still open it"));
    }
    Ok(different)
}

/// The authority identity's place in a home: opens the issuing authorities' keys.
pub(super) const AUTHORITY_IDENTITY: &str = "keys/authority-identity.txt";

/// The sealed key of the agencies' authority.
pub(super) const AGENCY_CA_KEY: &str = "certs/agency-ca.key.age";

/// The recovery identity's place until it is moved off the machine.
pub(super) const RECOVERY_IDENTITY: &str = "keys/recovery-identity.txt";

/// The root identity's place until another person has it.
pub(super) const ROOT_IDENTITY: &str = "keys/root-identity.txt";

/// The root's sealed key, until it is moved off the machine.
pub(super) const ROOT_KEY: &str = "certs/root.key.age";
const DEFAULT_HUB: &str = "sefton-mash";
/// The enrolment door's usual port.
const ENROLMENT_PORT: u16 = 8445;
/// The line of the shipped settings that is replaced by the home's own.
const PUBLISHED_TEMPLATE: &str = "#published_url = \"http://mash.example.org:8445/pki\"";

/// A host as a URL has it: an IPv6 address in brackets.
pub(super) fn in_url(host: &str) -> String {
    match host.parse::<Ipv6Addr>() {
        Ok(address) => format!("[{address}]"),
        Err(_) => host.to_owned(),
    }
}

fn default_domain(hosts: &[String]) -> String {
    let named = |host: &&String| host.contains('.') && host.parse::<IpAddr>().is_err();
    hosts.iter().find(named).map_or_else(|| "mash.internal".to_owned(), |host| host.to_lowercase())
}

// What is to be written, in order, with who may read it.
struct Files {
    folder: PathBuf,
    files: Vec<(String, Contents)>,
}

enum Contents {
    Public(Vec<u8>),
    Secret(SecretString),
}

impl Files {
    fn new(home: &Home) -> Self {
        Self { folder: home.folder().to_owned(), files: Vec::new() }
    }

    fn public(&mut self, path: &str, text: &str) {
        self.files.push((path.to_owned(), Contents::Public(text.as_bytes().to_vec())));
    }

    fn bytes(&mut self, path: &str, bytes: Vec<u8>) {
        self.files.push((path.to_owned(), Contents::Public(bytes)));
    }

    fn secret(&mut self, path: &str, text: SecretString) {
        self.files.push((path.to_owned(), Contents::Secret(text)));
    }

    fn write(self, config: &Config) -> Result<(), Failure> {
        let mut folders = std::fs::DirBuilder::new();
        folders.recursive(true).mode(0o700);
        for folder in ["keys", "certs", "data"] {
            let folder = self.folder.join(folder);
            folders.create(&folder)?;
            // Also when it was there before.
            std::fs::set_permissions(folder, Permissions::from_mode(0o700))?;
        }
        // From here on a database that is not there is one that was lost.
        Sqlite::create(&self.folder.join(&config.store.sqlite))?;
        for (path, contents) in &self.files {
            let path = self.folder.join(path);
            match contents {
                Contents::Public(bytes) => write_synced(&path, bytes, 0o644)?,
                Contents::Secret(text) => {
                    write_synced(&path, text.expose_secret().as_bytes(), 0o600)?;
                }
            }
        }
        Ok(())
    }
}
