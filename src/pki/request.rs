//! What a home asks of the root: that it certify the key of an issuing authority.
//!
//! A text that a person carries to the machine where the root's key is, and can read: a PKCS#10
//! request, and above it in words what it asks. The words are made from the request and have to
//! agree with it to the letter. There is never a private key in it.

use rcgen::{CertificateParams, DnType, ExtendedKeyUsagePurpose, SanType};
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::extensions::{GeneralName, ParsedExtension};
use x509_parser::prelude::{FromDer, X509CertificationRequest};

use crate::message::hex;
use crate::pki::ca::{
    CaError, CsrError, IssuingFor, NAME_LENGTH_MAX, Published, SubjectKey, is_dns_name,
    one_pem_block, pem,
};
use crate::pki::key::AuthorityKey;

/// A request for an issuing authority's certificate, whose key its maker has shown to hold.
#[derive(Clone, Debug)]
pub struct AuthorityRequest {
    issuing_for: IssuingFor,
    name: String,
    published: Option<Published>,
    key: SubjectKey,
    csr_pem: String,
}

impl AuthorityRequest {
    /// Makes a request for the certificate of the authority that has this key.
    pub fn new(
        key: &AuthorityKey,
        issuing_for: &IssuingFor,
        name: &str,
        published: Option<&Published>,
    ) -> Result<Self, AuthorityRequestError> {
        let mut params = CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, name);
        let (purpose, domains) = match issuing_for {
            IssuingFor::Agencies => (ExtendedKeyUsagePurpose::ClientAuth, &[][..]),
            IssuingFor::GatewayServers { domains } => {
                (ExtendedKeyUsagePurpose::ServerAuth, domains.as_slice())
            }
        };
        params.extended_key_usages = vec![purpose];
        // As names of its own, for want of a place for constraints and addresses in a request.
        let domain = |domain: &String| Ok(SanType::DnsName(domain.as_str().try_into()?));
        let published = published.map(|url| Ok(SanType::URI(url.as_str().try_into()?)));
        params.subject_alt_names = domains
            .iter()
            .map(domain)
            .chain(published)
            .collect::<Result<_, rcgen::Error>>()
            .map_err(|_| AuthorityRequestError::Names)?;
        let csr = params.serialize_request(key).map_err(CaError::Signing)?;
        Self::read(&pem("CERTIFICATE REQUEST", csr.der()))
    }

    /// Reads what [`AuthorityRequest::text`] wrote; line ends may have changed on the way.
    pub fn parse(text: &str) -> Result<Self, AuthorityRequestError> {
        let text = text.replace("\r\n", "\n");
        let request = Self::read(&text)?;
        if request.text().trim_end() == text.trim_end() {
            Ok(request)
        } else {
            Err(AuthorityRequestError::Words)
        }
    }

    /// The request, as it is written and read.
    pub fn text(&self) -> String {
        let names = match &self.issuing_for {
            IssuingFor::Agencies => String::new(),
            IssuingFor::GatewayServers { domains } if domains.is_empty() => {
                "  for hosts  none by name, only by address\n".to_owned()
            }
            IssuingFor::GatewayServers { domains } => {
                format!("  for hosts  {} and below\n", domains.join(", "))
            }
        };
        format!(
            "A request to the root for an issuing authority's certificate. No private key is in it.\n\
             Sign it where the root's key is: mash-gateway root sign\n\n\
             \x20 purpose    {purpose}\n\
             \x20 name       {name}\n\
             {names}\
             \x20 lists at   {published}\n\
             \x20 key        {key}\n\n\
             {csr}",
            purpose = self.purpose(),
            name = self.name,
            published = self.published.as_ref().map_or("(not said)", Published::as_str),
            key = hex(&self.key.key_id()),
            csr = self.csr_pem,
        )
    }

    /// What the authority is to issue for.
    pub fn issuing_for(&self) -> &IssuingFor {
        &self.issuing_for
    }

    /// The same in a word, as the command line has it.
    pub fn purpose(&self) -> &'static str {
        self.issuing_for.name()
    }

    /// The name it is to have.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Where its certificate says that its root's list is to be had.
    pub fn published(&self) -> Option<&Published> {
        self.published.as_ref()
    }

    /// Its key.
    pub fn key(&self) -> &SubjectKey {
        &self.key
    }

    // Whatever is asked is on this page, or refused: nobody signs what they were not shown.
    fn read(text: &str) -> Result<Self, AuthorityRequestError> {
        let key = SubjectKey::from_csr_pem(text)?;
        if !key.is_for_authorities() {
            return Err(AuthorityRequestError::KeyType);
        }
        let (_, der) = one_pem_block(text).ok_or(CsrError::NotOneRequest)?;
        let (_, csr) = X509CertificationRequest::from_der(&der).map_err(|_| CsrError::Malformed)?;
        let info = &csr.certification_request_info;
        let mut subject = info.subject.iter_attributes();
        let name = subject.next().and_then(|name| name.as_str().ok()).unwrap_or_default();
        let is_common_name = info.subject.iter_common_name().count() == 1;
        // Plain characters only: what is read aloud is what is signed.
        let is_plain = name.bytes().all(|c| c.is_ascii_graphic() || c == b' ')
            && (1..=NAME_LENGTH_MAX).contains(&name.len())
            && name.trim() == name;
        if !is_common_name || subject.next().is_some() || !is_plain {
            return Err(AuthorityRequestError::Name);
        }
        let mut purpose = None;
        let (mut names, mut published) = (Vec::new(), None);
        let mut has_names = false;
        for attribute in info.iter_attributes() {
            let ParsedCriAttribute::ExtensionRequest(asked) = attribute.parsed_attribute() else {
                return Err(AuthorityRequestError::AsksMore);
            };
            for extension in &asked.extensions {
                match extension.parsed_extension() {
                    ParsedExtension::ExtendedKeyUsage(usage) if purpose.is_none() => {
                        let is_one = !usage.any
                            && !usage.code_signing
                            && !usage.email_protection
                            && !usage.time_stamping
                            && !usage.ocsp_signing
                            && usage.other.is_empty();
                        purpose = match (usage.client_auth, usage.server_auth) {
                            (true, false) if is_one => Some(ExtendedKeyUsagePurpose::ClientAuth),
                            (false, true) if is_one => Some(ExtendedKeyUsagePurpose::ServerAuth),
                            _ => return Err(AuthorityRequestError::Purpose),
                        };
                    }
                    ParsedExtension::SubjectAlternativeName(san) if !has_names => {
                        has_names = true;
                        for name in &san.general_names {
                            match name {
                                GeneralName::DNSName(name) if is_dns_name(name) => {
                                    names.push((*name).to_owned());
                                }
                                GeneralName::URI(url) if published.is_none() => {
                                    published = Some(Published::parse(url)?);
                                }
                                _ => return Err(AuthorityRequestError::Names),
                            }
                        }
                    }
                    _ => return Err(AuthorityRequestError::AsksMore),
                }
            }
        }
        let issuing_for = match purpose {
            Some(ExtendedKeyUsagePurpose::ClientAuth) if names.is_empty() => IssuingFor::Agencies,
            Some(ExtendedKeyUsagePurpose::ServerAuth) => {
                IssuingFor::GatewayServers { domains: names }
            }
            _ => return Err(AuthorityRequestError::Purpose),
        };
        let csr_pem = pem("CERTIFICATE REQUEST", &der).to_string();
        Ok(Self { issuing_for, name: name.to_owned(), published, key, csr_pem })
    }
}

/// Why a request for an authority's certificate was not made or not read.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityRequestError {
    /// It asks for something besides a purpose and hosts.
    #[error("the request asks for more than an authority of ours has; nothing was signed")]
    AsksMore,
    /// It could not be made.
    #[error(transparent)]
    Ca(#[from] CaError),
    /// It is no request, or was not made by the holder of the key.
    #[error(transparent)]
    Csr(#[from] CsrError),
    /// The key is of a kind that authorities do not have.
    #[error("an authority's key is P-384, and this is not")]
    KeyType,
    /// The name is none that can be read aloud.
    #[error("an authority has one common name, of 1 to 64 plain characters, and no other name")]
    Name,
    /// Hosts that cannot be certified.
    #[error("the hosts an authority certifies are lower-case DNS names, and nothing else")]
    Names,
    /// Neither of our two purposes, or both.
    #[error("an authority is for agencies or for gateway servers, not for both or anything else")]
    Purpose,
    /// The words above the request say something else.
    #[error("the words in the request file are not what the request says: somebody changed it")]
    Words,
}
