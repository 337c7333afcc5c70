//! How authorities and roots follow one another, without anybody being shut out in between.
//!
//! Each change is found good first, as a [`Plan`], and then made file by file, in an order in which
//! every state between is one that a gateway can start with: keys and lists are there before the
//! certificates that need them, and go after them. Making a change twice is harmless.

use std::io;
use std::path::PathBuf;

use jiff::Timestamp;
use zeroize::Zeroizing;

use super::{Issuer, IssuerError, Line, read_text};
use crate::config::write_synced;
use crate::message::hex;
use crate::pki::ca::{
    self, Authority, AuthorityCertificate, CaError, IssuingFor, authority_certificates,
    is_signed_by,
};
use crate::pki::crl::{self, Crl, CrlError};
use crate::pki::key::AuthorityKey;
use crate::pki::request::{AuthorityRequest, AuthorityRequestError};
use crate::seal;

/// Which of the two kinds of issuing authority.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Purpose {
    /// For agencies, and for the gateway as a client.
    Agencies,
    /// For the gateway's listeners.
    GatewayServers,
}

impl Purpose {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Agencies, Self::GatewayServers];

    /// The name it has on the command line and in entries.
    pub fn name(self) -> &'static str {
        match self {
            Self::Agencies => "agencies",
            Self::GatewayServers => "gateway-servers",
        }
    }

    /// The words an authority's own name has for it.
    fn words(self) -> &'static str {
        match self {
            Self::Agencies => "agencies",
            Self::GatewayServers => "gateway servers",
        }
    }

    fn of(issuing_for: &IssuingFor) -> Self {
        match issuing_for {
            IssuingFor::Agencies => Self::Agencies,
            IssuingFor::GatewayServers { .. } => Self::GatewayServers,
        }
    }
}

/// Where a new key is kept.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum KeepKey {
    /// In the token, which never gives it out.
    InToken,
    /// In the home, sealed.
    Sealed,
}

/// An issuing authority, as a home has it.
#[derive(Clone, Debug)]
pub struct Generation {
    /// What it issues for.
    pub purpose: Purpose,
    /// Its name.
    pub name: String,
    /// The identifier of its key, lower-case hex.
    pub key_id: String,
    /// Whether new certificates come from it.
    pub is_issuing: bool,
    /// The trusted roots that vouch for it, by name.
    pub roots: Vec<String>,
    /// The last second it may sign.
    pub not_after: Timestamp,
}

/// A root, as a home has it.
#[derive(Clone, Debug)]
pub struct Root {
    /// Its name.
    pub name: String,
    /// The identifier of its key, lower-case hex.
    pub key_id: String,
    /// The last second it is good.
    pub not_after: Timestamp,
    /// When its revocation list has to be followed by the next; none when there is no list.
    pub next_update: Option<Timestamp>,
    /// Other trusted roots that vouch for it, by name.
    pub vouched_for_by: Vec<String>,
}

/// A change that was found good, and not yet made.
#[derive(Debug)]
#[must_use]
pub struct Plan {
    /// The name of the authority or root it is about.
    pub name: String,
    /// The identifier of its key, lower-case hex.
    pub key_id: String,
    /// Its certificate's serial, lower-case hex.
    pub serial: String,
    /// What it issues for; none when it is a root.
    pub purpose: Option<Purpose>,
    /// The identifier of the key of the root that signed it, for an installation.
    pub root: Option<String>,
    /// The last second it is good.
    pub not_after: Timestamp,
    before: Vec<Write>,
    after: Vec<Write>,
}

impl Plan {
    /// Whether everything is as the change would make it.
    pub fn is_made(&self) -> bool {
        let is_as_is = |write: &Write| match write {
            Write::Remove(path) => !path.exists(),
            Write::Replace(path, bytes) => std::fs::read(path).is_ok_and(|is| is == *bytes),
        };
        // What is sealed anew differs each time: the certificates are what tells.
        self.after.iter().all(is_as_is)
    }

    /// Writes what has to be there first. It changes nothing by itself.
    pub fn prepare(&self) -> io::Result<()> {
        self.before.iter().try_for_each(Write::make)
    }

    /// Makes the change.
    pub fn complete(&self) -> io::Result<()> {
        self.after.iter().try_for_each(Write::make)
    }

    fn of(authority: &AuthorityCertificate) -> Self {
        Self {
            name: authority.name.clone(),
            key_id: hex(&authority.key_id),
            serial: authority.serial.clone(),
            purpose: authority.issuing_for.as_ref().map(Purpose::of),
            root: None,
            not_after: authority.not_after,
            before: Vec::new(),
            after: Vec::new(),
        }
    }
}

#[derive(Debug)]
enum Write {
    Remove(PathBuf),
    Replace(PathBuf, Vec<u8>),
}

impl Write {
    fn make(&self) -> io::Result<()> {
        match self {
            Self::Remove(path) => match std::fs::remove_file(path) {
                Err(error) if error.kind() != io::ErrorKind::NotFound => Err(error),
                Ok(()) | Err(_) => Ok(()),
            },
            Self::Replace(path, bytes) => write_synced(path, bytes, 0o644),
        }
    }
}

impl Issuer {
    /// The issuing authorities, those that issue first of their kind.
    pub fn generations(&self) -> Result<Vec<Generation>, SuccessionError> {
        let roots = self.trusted()?;
        let mut generations: Vec<Generation> = Vec::new();
        for purpose in Purpose::ALL {
            let bundle = self.bundle(purpose)?;
            for authority in &bundle {
                let key_id = hex(&authority.key_id);
                if generations.iter().any(|known| known.key_id == key_id) {
                    continue;
                }
                let of_the_key = bundle.iter().filter(|one| one.key_id == authority.key_id);
                generations.push(Generation {
                    purpose,
                    name: authority.name.clone(),
                    key_id,
                    is_issuing: bundle.first().is_some_and(|one| one.key_id == authority.key_id),
                    roots: of_the_key
                        .filter_map(|one| signer(&one.der, &roots))
                        .map(|root| root.name.clone())
                        .collect(),
                    not_after: authority.not_after,
                });
            }
        }
        Ok(generations)
    }

    /// The trusted roots.
    pub fn roots(&self) -> Result<Vec<Root>, SuccessionError> {
        let roots = self.trusted()?;
        let lists = self.root_lists()?;
        let vouchers = self.vouchers()?;
        let root = |root: &AuthorityCertificate| Root {
            name: root.name.clone(),
            key_id: hex(&root.key_id),
            not_after: root.not_after,
            next_update: lists
                .iter()
                .find(|list| list.is_signed_by(&root.der))
                .map(|list| list.next_update),
            vouched_for_by: vouchers
                .iter()
                .filter(|voucher| voucher.key_id == root.key_id)
                .filter_map(|voucher| signer(&voucher.der, &roots))
                .map(|root| root.name.clone())
                .collect(),
        };
        Ok(roots.iter().map(root).collect())
    }

    /// Whether a next authority's key was made that has no certificate yet.
    pub fn is_pending(&self, purpose: Purpose) -> bool {
        self.line(purpose).next_keys.exists()
    }

    /// Asks for the next authority's certificate. Its key is made and sealed the first time; while
    /// that waits for its certificate, the same key is asked for.
    pub fn request_next(
        &self,
        purpose: Purpose,
        hosts: Option<Vec<String>>,
        keep: KeepKey,
    ) -> Result<AuthorityRequest, SuccessionError> {
        let bundle = self.bundle(purpose)?;
        let line = self.line(purpose);
        let mut issuing_for = issues(&bundle).ok_or(SuccessionError::NoAuthority)?.clone();
        if let (IssuingFor::GatewayServers { domains }, Some(hosts)) = (&mut issuing_for, hosts) {
            *domains = hosts;
        }
        self.certifies_own_names(&issuing_for)?;
        let number = |name: &str| name.rsplit(' ').next()?.parse::<u32>().ok();
        let last = bundle.iter().filter_map(|authority| number(&authority.name)).max();
        let number = last.unwrap_or(1).saturating_add(1);
        let name = format!("{} {} {number}", self.config.domain, purpose.words());
        let published = self.config.published_url.as_ref();
        if let Some(key) = self.pending(&line)? {
            return Ok(AuthorityRequest::new(&key, &issuing_for, &name, published)?);
        }
        let key = match keep {
            KeepKey::Sealed => AuthorityKey::generate()?,
            KeepKey::InToken => {
                let token = self.token()?.ok_or(SuccessionError::NoToken)?;
                AuthorityKey::in_token(token.generate().map_err(CaError::Token)?)
            }
        };
        let request = AuthorityRequest::new(&key, &issuing_for, &name, published)?;
        // A key in a token is remembered by its identifier.
        let pem = key.pem();
        let sealed = match pem.as_str() {
            "" => self.sealed(&format!("{IN_TOKEN}{}\n", hex(&key.key_id())))?,
            pem => self.sealed(pem)?,
        };
        let path = &line.next_keys;
        write_synced(path, &sealed, 0o644).map_err(|error| SuccessionError::write(path, error))?;
        Ok(request)
    }

    /// Asks for another certificate of the authority that issues now: by another root.
    pub fn request_again(&self, purpose: Purpose) -> Result<AuthorityRequest, SuccessionError> {
        let authorities = self.open(&self.line(purpose))?;
        let authority = authorities.first().ok_or(SuccessionError::NoAuthority)?;
        let published = self.config.published_url.as_ref();
        let issuing_for = authority.issuing_for().ok_or(SuccessionError::NoAuthority)?;
        Ok(AuthorityRequest::new(authority.key(), issuing_for, authority.name(), published)?)
    }

    /// Takes the root's answer to a request: the next authority, or another root's certificate for
    /// one that is there.
    pub fn install(&self, answer_pem: &str, now: Timestamp) -> Result<Plan, SuccessionError> {
        let answer = only_one(answer_pem)?;
        let issuing_for = answer.issuing_for.clone().ok_or(SuccessionError::NotIssuing)?;
        let purpose = Purpose::of(&issuing_for);
        let line = self.line(purpose);
        let roots = self.trusted()?;
        let root = signer(&answer.der, &roots).ok_or(SuccessionError::ForeignRoot)?;
        is_current(&answer, now)?;
        let mut bundle = self.bundle(purpose)?;
        let mut keys = self.keys(&line.keys)?;
        let is_its = |key: &AuthorityKey| key.is_of(&answer.public_key);
        let pending = self.pending(&line)?.filter(is_its);
        let is_pending = pending.is_some();
        if !is_pending && !bundle.iter().any(|one| one.public_key == answer.public_key) {
            return Err(SuccessionError::OtherRequest);
        }
        let pem = one_pem(&answer);
        if let Some(key) = pending {
            // Where both have it, an installation was cut short.
            if Authority::from_pem(&pem, &keys, None).is_err() {
                keys = Zeroizing::new(format!("{}{}", key.pem().as_str(), keys.as_str()));
            }
        }
        let token = self.token()?;
        let opened = Authority::from_pem(&pem, &keys, token.as_ref())?;
        let opened = opened.first().ok_or(SuccessionError::OtherRequest)?;
        let is_namesake = |one: &AuthorityCertificate| {
            one.name == answer.name && one.public_key != answer.public_key
        };
        if bundle.iter().any(is_namesake) {
            return Err(SuccessionError::NameTaken);
        }
        self.certifies_own_names(&issuing_for)?;

        let mut lists = self.lists(&line.lists)?;
        if !lists.iter().any(|list| list.is_signed_by(&answer.der)) {
            let number = crl::number(None, now);
            let list = crl::build(opened, &[], number, now, crl::CRL_VALID_FOR)?;
            lists.push(crl::parse(&list)?);
        }
        if !bundle.iter().any(|one| one.der == answer.der) {
            // The same root's word again replaces its word before.
            bundle.retain(|one| {
                one.public_key != answer.public_key
                    || one.authority_key_id != answer.authority_key_id
            });
            let same_key = bundle.iter().position(|one| one.public_key == answer.public_key);
            bundle.insert(same_key.unwrap_or(0), answer.clone());
        }
        let mut plan = Plan::of(&answer);
        plan.root = Some(hex(&root.key_id));
        plan.before = vec![
            Write::Replace(line.keys, self.sealed(&keys)?),
            Write::Replace(line.lists, lists_pem(&lists)),
        ];
        plan.after = vec![Write::Replace(line.certificates, bundle_pem(&bundle))];
        if is_pending {
            plan.after.push(Write::Remove(line.next_keys));
        }
        Ok(plan)
    }

    /// Takes an authority that no longer issues out of use, with its key and its list. Whether
    /// anybody still depends on it is for the register to say.
    pub fn retire(&self, which: &str) -> Result<Plan, SuccessionError> {
        for purpose in Purpose::ALL {
            let bundle = self.bundle(purpose)?;
            let Some(authority) = find(which, &bundle)? else { continue };
            if bundle.first().is_some_and(|issuing| issuing.key_id == authority.key_id) {
                return Err(SuccessionError::Issuing(purpose));
            }
            let line = self.line(purpose);
            let kept: Vec<_> =
                bundle.iter().filter(|one| one.key_id != authority.key_id).cloned().collect();
            let mut lists = self.lists(&line.lists)?;
            lists.retain(|list| !list.is_signed_by(&authority.der));
            let keys = self.keys(&line.keys)?;
            let mut kept_keys = Zeroizing::new(String::new());
            let mut seen: Vec<&[u8]> = Vec::new();
            let token = self.token()?;
            let authorities = Authority::from_pem(&text_of(&kept), &keys, token.as_ref())?;
            for one in &authorities {
                if !seen.contains(&one.key_id()) {
                    seen.push(one.key_id());
                    kept_keys.push_str(&one.key_pem());
                }
            }
            let mut plan = Plan::of(authority);
            plan.after = vec![
                Write::Replace(line.certificates, bundle_pem(&kept)),
                Write::Replace(line.lists, lists_pem(&lists)),
                Write::Replace(line.keys, self.sealed(&kept_keys)?),
            ];
            return Ok(plan);
        }
        Err(SuccessionError::Unknown)
    }

    /// Trusts a root, with its revocation list and, if there is one, the certificate by which a
    /// root that is trusted already vouches for it. A root that is trusted gets the newer list.
    pub fn trust(
        &self,
        root_pem: &str,
        list_pem: &str,
        voucher_pem: Option<&str>,
        now: Timestamp,
    ) -> Result<Plan, SuccessionError> {
        let root = only_one(root_pem)?;
        if root.issuing_for.is_some() || !is_signed_by(&root.der, &root.der) {
            return Err(SuccessionError::NotRoot);
        }
        is_current(&root, now)?;
        let mut roots = self.trusted()?;
        if roots.iter().any(|one| one.name == root.name && one.public_key != root.public_key) {
            return Err(SuccessionError::NameTaken);
        }
        let list = crl::parse(list_pem)?;
        if !list.is_signed_by(&root.der) {
            return Err(SuccessionError::WrongList);
        }
        let mut lists = self.root_lists()?;
        let is_older = |known: &Crl| known.is_signed_by(&root.der) && known.number > list.number;
        if list.next_update <= now || lists.iter().any(is_older) {
            return Err(SuccessionError::OldList);
        }
        let mut vouchers = self.vouchers()?;
        if let Some(pem) = voucher_pem {
            let voucher = only_one(pem)?;
            let is_for_it = voucher.public_key == root.public_key
                && voucher.name == root.name
                && voucher.der != root.der
                && signer(&voucher.der, &roots).is_some();
            if !is_for_it {
                return Err(SuccessionError::WrongVoucher);
            }
            is_current(&voucher, now)?;
            vouchers.retain(|one| {
                one.key_id != voucher.key_id || one.authority_key_id != voucher.authority_key_id
            });
            vouchers.push(voucher);
        }
        lists.retain(|known| !known.is_signed_by(&root.der));
        lists.push(list);
        if !roots.iter().any(|one| one.der == root.der) {
            roots.push(root.clone());
        }
        let mut plan = Plan::of(&root);
        plan.after = vec![
            Write::Replace(self.home.root_crl(), lists_pem(&lists)),
            Write::Replace(self.home.root_vouchers(), bundle_pem(&vouchers)),
            Write::Replace(self.home.resolve(&self.config.paths.root), bundle_pem(&roots)),
        ];
        Ok(plan)
    }

    /// Trusts a root no longer, once nothing that the gateway shows depends on it.
    pub fn distrust(&self, which: &str) -> Result<Plan, SuccessionError> {
        let roots = self.trusted()?;
        let root = find(which, &roots)?.ok_or(SuccessionError::Unknown)?;
        let remaining: Vec<_> =
            roots.iter().filter(|one| one.key_id != root.key_id).cloned().collect();
        if remaining.is_empty() {
            return Err(SuccessionError::LastRoot);
        }
        let stands = |one: &AuthorityCertificate| signer(&one.der, &remaining).is_some();
        let mut plan = Plan::of(root);
        for purpose in Purpose::ALL {
            let bundle = self.bundle(purpose)?;
            let stands_otherwise = |one: &AuthorityCertificate| {
                bundle.iter().any(|other| other.key_id == one.key_id && stands(other))
            };
            if !bundle.first().is_some_and(stands_otherwise) {
                return Err(SuccessionError::NotVouchedFor(purpose));
            }
            // An earlier generation, which no other root vouches for, stays until it is retired.
            let kept: Vec<_> = bundle
                .iter()
                .filter(|one| stands(one) || !stands_otherwise(one))
                .cloned()
                .collect();
            let path = self.line(purpose).certificates;
            plan.after.push(Write::Replace(path, bundle_pem(&kept)));
        }
        for path in [&self.config.paths.tls_certificate, &self.config.paths.push_certificate] {
            let shown = ca::certificates(&read_text(&self.home.resolve(path))?)?;
            if !shown.iter().any(|one| signer(one, &remaining).is_some()) {
                return Err(SuccessionError::StillShown);
            }
        }
        let mut vouchers = self.vouchers()?;
        vouchers
            .retain(|one| stands(one) && remaining.iter().any(|root| root.key_id == one.key_id));
        let mut lists = self.root_lists()?;
        lists.retain(|list| remaining.iter().any(|root| list.is_signed_by(&root.der)));
        plan.after.extend([
            Write::Replace(self.home.root_vouchers(), bundle_pem(&vouchers)),
            Write::Replace(self.home.resolve(&self.config.paths.root), bundle_pem(&remaining)),
            Write::Replace(self.home.root_crl(), lists_pem(&lists)),
        ]);
        Ok(plan)
    }

    /// The certificates above one that this authority issued, in order: its own by the root that
    /// was trusted last, and then how an earlier root vouches for that one.
    ///
    /// In order and without branches, because OpenSSL and GnuTLS take the first certificate of an
    /// authority that they are shown and never look for a second.
    pub(super) fn chain(&self, authorities: &[Authority]) -> Result<String, IssuerError> {
        let Some(issuing) = authorities.first() else { return Ok(String::new()) };
        let vouchers =
            self.vouchers().map_err(|error| IssuerError::Unavailable(error.to_string()))?;
        let above = vouchers
            .iter()
            .filter(|voucher| Some(&voucher.key_id[..]) == issuing.authority_key_id())
            .map(one_pem);
        Ok(std::iter::once(issuing.certificate_pem()).chain(above).collect())
    }

    // The next authority's key, while it waits.
    fn pending(&self, line: &Line) -> Result<Option<AuthorityKey>, SuccessionError> {
        if !line.next_keys.exists() {
            return Ok(None);
        }
        let text = self.keys(&line.next_keys)?;
        let Some(key_id) = text.strip_prefix(IN_TOKEN) else {
            return Ok(Some(AuthorityKey::from_pem(&text)?));
        };
        let token = self.token()?.ok_or(SuccessionError::NoToken)?;
        let key = token.find(&unhex(key_id.trim())).map_err(CaError::Token)?;
        Ok(Some(AuthorityKey::in_token(key.ok_or(SuccessionError::NotInToken)?)))
    }

    fn line(&self, purpose: Purpose) -> Line {
        match purpose {
            Purpose::Agencies => self.agencies(),
            Purpose::GatewayServers => self.gateway_servers(),
        }
    }

    fn bundle(&self, purpose: Purpose) -> Result<Vec<AuthorityCertificate>, SuccessionError> {
        Ok(authority_certificates(&read_text(&self.line(purpose).certificates)?)?)
    }

    fn trusted(&self) -> Result<Vec<AuthorityCertificate>, SuccessionError> {
        let path = self.home.resolve(&self.config.paths.root);
        Ok(authority_certificates(&read_text(&path)?)?)
    }

    // Most homes have none.
    fn vouchers(&self) -> Result<Vec<AuthorityCertificate>, SuccessionError> {
        let text = read_text(&self.home.root_vouchers()).unwrap_or_default();
        match text.trim() {
            "" => Ok(Vec::new()),
            text => Ok(authority_certificates(text)?),
        }
    }

    fn root_lists(&self) -> Result<Vec<Crl>, SuccessionError> {
        self.lists(&self.home.root_crl())
    }

    fn lists(&self, path: &std::path::Path) -> Result<Vec<Crl>, SuccessionError> {
        Ok(crl::parse_all(&read_text(path)?)?)
    }

    fn sealed(&self, keys: &str) -> Result<Vec<u8>, SuccessionError> {
        let recipients = self.identities()?.recipients();
        seal::wrap_secret(&recipients, keys.as_bytes())
            .map_err(|error| SuccessionError::Issuer(IssuerError::Unavailable(error.to_string())))
    }

    // An authority that could not certify the gateway's own names would be found out at the worst
    // time: when the gateway renews its certificate.
    fn certifies_own_names(&self, issuing_for: &IssuingFor) -> Result<(), SuccessionError> {
        let IssuingFor::GatewayServers { domains } = issuing_for else { return Ok(()) };
        let own = read_text(&self.home.resolve(&self.config.paths.tls_certificate))?;
        let (names, _, _) = ca::server_certificate(&own)?;
        Ok(ca::may_certify(&names, domains)?)
    }
}

/// Why a change of authorities or roots was not made. Nothing was changed.
#[derive(Debug, thiserror::Error)]
pub enum SuccessionError {
    /// Several have this name or beginning of a key.
    #[error("several authorities are meant by this; give the whole name or key id")]
    Ambiguous,
    /// A certificate is not what it has to be.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// A list is not what it has to be.
    #[error(transparent)]
    Crl(#[from] CrlError),
    /// A root signed it that this home does not trust.
    #[error("no root in certs/root.pem signed this certificate")]
    ForeignRoot,
    /// The keys cannot be used.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// New certificates come from it.
    #[error("this authority issues: install its successor first")]
    Issuing(Purpose),
    /// Nobody would be left to trust.
    #[error("this is the only root; trust its successor first")]
    LastRoot,
    /// Lists are matched to authorities by name.
    #[error("another authority here has this name; each has a name of its own")]
    NameTaken,
    /// There is none to follow.
    #[error("there is no authority of this kind")]
    NoAuthority,
    /// No token is set up.
    #[error("no token is set up: pkcs11_module under [issuer] in gateway.toml")]
    NoToken,
    /// The key that waits is gone.
    #[error("the key that waits for its certificate is not in the token any more")]
    NotInToken,
    /// It is some other certificate.
    #[error("this is not an issuing authority's certificate")]
    NotIssuing,
    /// It is not good at this time.
    #[error("the certificate is good from {not_before} to {not_after}, which is not now")]
    NotNow {
        /// The first second.
        not_before: Timestamp,
        /// The last second.
        not_after: Timestamp,
    },
    /// More or fewer than one.
    #[error("there has to be exactly one certificate in the file")]
    NotOne,
    /// It is some other certificate.
    #[error("this is not a root: a root is an authority's certificate that it signed itself")]
    NotRoot,
    /// Agencies that trust the remaining roots only could not check the gateway.
    #[error("no other root vouches for the authority that issues for {}", .0.name())]
    NotVouchedFor(Purpose),
    /// The list is over, or an older one than is here.
    #[error("the revocation list has run out, or is older than the one here")]
    OldList,
    /// Its key is not one that was asked for.
    #[error("this answers another request: its key is not the one that waits, nor one in use")]
    OtherRequest,
    /// The request was not made or is not to be trusted.
    #[error(transparent)]
    Request(#[from] AuthorityRequestError),
    /// The gateway still shows what only this root vouches for.
    #[error("the gateway's own certificates still lead to this root only")]
    StillShown,
    /// Nothing has this name.
    #[error("there is no such authority here")]
    Unknown,
    /// A file could not be written.
    #[error("cannot write {path}")]
    Write {
        /// Which.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// The certificate is not one by which a trusted root vouches for this one.
    #[error("by this certificate no root in certs/root.pem vouches for the new one")]
    WrongVoucher,
    /// The list is another's.
    #[error("the revocation list was not signed by this root")]
    WrongList,
}

impl SuccessionError {
    fn write(path: &std::path::Path, source: io::Error) -> Self {
        Self::Write { path: path.to_owned(), source }
    }
}

// The one with this name, or whose key identifier begins so.
fn find<'a>(
    which: &str,
    all: &'a [AuthorityCertificate],
) -> Result<Option<&'a AuthorityCertificate>, SuccessionError> {
    let is_meant = |one: &&AuthorityCertificate| {
        one.name == which || (which.len() >= KEY_ID_MIN && hex(&one.key_id).starts_with(which))
    };
    let mut meant = all.iter().filter(is_meant);
    let first = meant.next();
    match meant.find(|other| first.is_some_and(|first| first.key_id != other.key_id)) {
        Some(_) => Err(SuccessionError::Ambiguous),
        None => Ok(first),
    }
}

fn signer<'a>(der: &[u8], roots: &'a [AuthorityCertificate]) -> Option<&'a AuthorityCertificate> {
    roots.iter().find(|root| is_signed_by(der, &root.der))
}

fn issues(bundle: &[AuthorityCertificate]) -> Option<&IssuingFor> {
    bundle.first()?.issuing_for.as_ref()
}

fn only_one(pem: &str) -> Result<AuthorityCertificate, SuccessionError> {
    let mut all = authority_certificates(pem)?;
    match (all.pop(), all.is_empty()) {
        (Some(one), true) => Ok(one),
        (Some(_) | None, _) => Err(SuccessionError::NotOne),
    }
}

fn is_current(certificate: &AuthorityCertificate, now: Timestamp) -> Result<(), SuccessionError> {
    let AuthorityCertificate { not_before, not_after, .. } = *certificate;
    match (not_before..=not_after).contains(&now) {
        true => Ok(()),
        false => Err(SuccessionError::NotNow { not_before, not_after }),
    }
}

fn one_pem(certificate: &AuthorityCertificate) -> String {
    ca::certificate_pem(&certificate.der)
}

fn text_of(bundle: &[AuthorityCertificate]) -> String {
    bundle.iter().map(one_pem).collect()
}

fn bundle_pem(bundle: &[AuthorityCertificate]) -> Vec<u8> {
    text_of(bundle).into_bytes()
}

fn lists_pem(lists: &[Crl]) -> Vec<u8> {
    lists.iter().map(Crl::pem).collect::<String>().into_bytes()
}

// Only ever of what hex() wrote.
fn unhex(text: &str) -> Vec<u8> {
    let pair = |at| text.get(at..at + 2).and_then(|pair| u8::from_str_radix(pair, 16).ok());
    (0..text.len()).step_by(2).map_while(pair).collect()
}

/// What a sealed file says in the place of a key that is in a token; its identifier follows.
const IN_TOKEN: &str = "pkcs11 ";
/// Fewer characters of a key identifier are too easily another's.
const KEY_ID_MIN: usize = 8;
