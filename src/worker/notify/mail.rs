//! The way to the mail server. Whatever goes wrong is told without an address, and without what the server
//! said: it may repeat one.

use std::io;
use std::time::Duration;

use anyhow::Context as _;
use jiff::Timestamp;
use lettre::message::Mailbox;
use lettre::message::header::{ContentType, HeaderName, HeaderValue};
use lettre::transport::smtp::authentication::Credentials;
use lettre::transport::smtp::client::{Certificate, CertificateStore, Tls, TlsParameters};
use lettre::transport::smtp::extension::ClientId;
use lettre::transport::smtp::{self, AsyncSmtpTransport};
use lettre::{Address, AsyncTransport as _, Message, Tokio1Executor};
use uuid::Uuid;
use zeroize::Zeroizing;

use super::text::SUBJECT;
use crate::config::notices::{Encryption, MailServer};
use crate::config::{Config, Home};

/// Whoever posts.
pub struct Mailer {
    transport: AsyncSmtpTransport<Tokio1Executor>,
    from: Address,
    /// What the gateway calls itself, and its messages' ids end in: not the machine's name.
    domain: String,
}

/// Why a notice was not taken.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum Unsent {
    /// The address cannot be written to.
    #[error("the address is not one")]
    Address,
    /// The server has no TLS to be asked for, or no way to log in that we know.
    #[error("the mail server does not offer what the settings ask for: STARTTLS, or a login")]
    NotOffered,
    /// The server answered with this code that it does not take it.
    #[error("the mail server refuses, with code {0}")]
    Refused(u16),
    /// The server did not answer, or broke off.
    #[error("the mail server does not answer")]
    Unreachable,
    /// The server's certificate is not to be trusted.
    #[error("the mail server's certificate is not trusted, or it speaks no TLS")]
    Untrusted,
}

impl Unsent {
    /// Whether it is the one notice that is not taken, and not every one.
    pub fn is_addressees(self) -> bool {
        match self {
            Self::Address => true,
            // It shuts down, or does not let us in: RFC 5321 and RFC 4954.
            Self::Refused(code) => !matches!(code, 421 | 454 | 530 | 534 | 535 | 538),
            Self::NotOffered | Self::Unreachable | Self::Untrusted => false,
        }
    }
}

impl Mailer {
    /// To the server that the settings name; none when they name none. Reads the password and the
    /// authorities; an error is a reason not to start.
    pub fn new(home: &Home, config: &Config) -> anyhow::Result<Option<Self>> {
        let Some(server) = &config.notices.server else { return Ok(None) };
        let from = config.notices.from.parse::<Address>();
        let from = from.context("from under [notices] in gateway.toml is no address")?;
        let mut builder = AsyncSmtpTransport::<Tokio1Executor>::builder_dangerous(&server.host)
            .port(server.port)
            .hello_name(ClientId::Domain(config.domain.clone()))
            .timeout(Some(CONNECT_TIMEOUT))
            .tls(tls(home, server)?);
        if let Some((user, path)) = &server.login {
            let path = home.resolve(path);
            let read = std::fs::read_to_string(&path);
            let text =
                Zeroizing::new(read.with_context(|| format!("cannot read {}", path.display()))?);
            let password = text.trim_end_matches(['\n', '\r']);
            anyhow::ensure!(!password.is_empty(), "{} is empty", path.display());
            builder = builder.credentials(Credentials::new(user.clone(), password.to_owned()));
        }
        Ok(Some(Self { transport: builder.build(), from, domain: config.domain.clone() }))
    }

    /// Posts one notice to one address.
    pub(super) async fn send(&self, to: &str, body: &str, at: Timestamp) -> Result<(), Unsent> {
        let to = to.parse::<Address>().map_err(|_| Unsent::Address)?;
        let automatic = HeaderName::new_from_ascii_str("Auto-Submitted");
        let message = Message::builder()
            .from(Mailbox::new(None, self.from.clone()))
            .to(Mailbox::new(None, to))
            .subject(SUBJECT)
            .date(at.into())
            .message_id(Some(format!("<{}@{}>", Uuid::new_v4(), self.domain)))
            // So that no holiday notice answers it (RFC 3834).
            .raw_header(HeaderValue::new(automatic, "auto-generated".to_owned()))
            .header(ContentType::TEXT_PLAIN)
            .body(body.to_owned())
            .map_err(|_| Unsent::Address)?;
        let sent = tokio::time::timeout(NOTICE_TIMEOUT, self.transport.send(message)).await;
        sent.map_err(|_| Unsent::Unreachable)?.map_err(|error| why(&error))?;
        Ok(())
    }

    /// Whether the server answers, is who it should be, and lets the gateway in.
    pub async fn look(&self) -> Result<(), Unsent> {
        let looked = tokio::time::timeout(NOTICE_TIMEOUT, self.transport.test_connection()).await;
        match looked.map_err(|_| Unsent::Unreachable)? {
            Ok(true) => Ok(()),
            Ok(false) => Err(Unsent::Unreachable),
            Err(error) => Err(why(&error)),
        }
    }
}

fn tls(home: &Home, server: &MailServer) -> anyhow::Result<Tls> {
    let mut parameters = TlsParameters::builder(server.host.clone());
    if let Some(path) = &server.authorities {
        let path = home.resolve(path);
        let named = || format!("cannot use {}", path.display());
        let pem = std::fs::read(&path).with_context(named)?;
        anyhow::ensure!(
            pem.windows(BEGIN.len()).any(|bytes| bytes == BEGIN),
            "{} has no certificate in it",
            path.display()
        );
        let authorities = Certificate::from_pem(&pem).with_context(named)?;
        parameters =
            parameters.certificate_store(CertificateStore::None).add_root_certificate(authorities);
    }
    let parameters = parameters.build().context("TLS to the mail server")?;
    Ok(match server.encryption {
        Encryption::None => Tls::None,
        Encryption::StartTls => Tls::Required(parameters),
        Encryption::Tls => Tls::Wrapper(parameters),
    })
}

fn why(error: &smtp::Error) -> Unsent {
    if let Some(code) = error.status() {
        return Unsent::Refused(code.into());
    }
    if error.is_client() {
        return Unsent::NotOffered;
    }
    // So does what we use say that a handshake failed by its content.
    let mut source = std::error::Error::source(error);
    while let Some(cause) = source {
        let kind = cause.downcast_ref::<io::Error>().map(io::Error::kind);
        if kind == Some(io::ErrorKind::InvalidData) {
            return Unsent::Untrusted;
        }
        source = cause.source();
    }
    Unsent::Unreachable
}

const BEGIN: &[u8] = b"-----BEGIN CERTIFICATE-----";

/// How long one address of the server may take to be reached; it may have several.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// How many seconds one notice may take, from connecting to its being taken.
const NOTICE_TIMEOUT_S: u64 = 20;

const NOTICE_TIMEOUT: Duration = Duration::from_secs(NOTICE_TIMEOUT_S);
