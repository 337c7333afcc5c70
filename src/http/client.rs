//! One bounded HTTPS request over mutual TLS: how a push leaves, and how the command line asks.
//!
//! Everything a server could stretch has a limit. The address that was checked is the one connected
//! to; redirects, proxies and the environment are not followed. Says what happened, not whose fault
//! it is: that is for the caller.

use std::error::Error;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use http_body_util::combinators::BoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::body::{Body, Bytes, Incoming};
use hyper::client::conn::http1;
use hyper::header::{HOST, HeaderMap, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use rustls::{AlertDescription, CertificateError, ClientConfig};
use tokio::net::{TcpStream, lookup_host};
use tokio::time::timeout;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_util::task::AbortOnDropHandle;
use zeroize::Zeroizing;

/// A way to ask servers things, within limits.
#[derive(Clone)]
pub struct Client {
    tls: TlsConnector,
    addresses: AddressPolicy,
    limits: Limits,
}

impl Client {
    /// A client that shows the certificate in `tls` and trusts whom `tls` trusts.
    pub fn new(tls: Arc<ClientConfig>, addresses: AddressPolicy, limits: Limits) -> Self {
        let mut tls = Arc::unwrap_or_clone(tls);
        // It speaks nothing newer, whatever the settings it shares would offer.
        tls.alpn_protocols = vec![b"http/1.1".to_vec()];
        Self { tls: TlsConnector::from(Arc::new(tls)), addresses, limits }
    }

    /// Sends one request on a connection of its own.
    pub async fn send(
        &self,
        method: Method,
        url: &Uri,
        headers: HeaderMap,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Response, ClientError> {
        let mut connection = self.connect(url).await?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let response = connection.send(method, path, headers, body).await?;
        connection.close().await;
        Ok(response)
    }

    /// The same with a body that is made as it is sent.
    pub async fn send_piecewise(
        &self,
        method: Method,
        url: &Uri,
        headers: HeaderMap,
        body: impl Body<Data = Bytes, Error = io::Error> + Send + Sync + 'static,
    ) -> Result<Response, ClientError> {
        let mut connection = self.connect(url).await?;
        let path = url.path_and_query().map_or("/", |path| path.as_str());
        let response = connection.send_body(method, path, headers, body.boxed()).await?;
        connection.close().await;
        Ok(response)
    }

    /// Connects to the server of `url`; its path is not used.
    pub async fn connect(&self, url: &Uri) -> Result<Connection, ClientError> {
        let origin = Origin::parse(url)?;
        let stream = timeout(self.limits.connect_timeout, self.establish(&origin))
            .await
            .map_err(|_| ClientError::ConnectTimeout)??;
        let (sender, driver) = http1::Builder::new()
            .max_buf_size(HEAD_BYTES_MAX)
            .handshake(TokioIo::new(stream))
            .await
            .map_err(|error| classify(&error))?;
        Ok(Connection {
            sender,
            driver: Some(AbortOnDropHandle::new(tokio::spawn(driver))),
            host: origin.authority,
            limits: self.limits,
        })
    }

    async fn establish(&self, origin: &Origin) -> Result<TlsStream<TcpStream>, ClientError> {
        let mut addresses: Vec<SocketAddr> = lookup_host((origin.host.as_str(), origin.port))
            .await
            .map_err(ClientError::Resolve)?
            .collect();
        // All of them: a name that leads here at all was not meant to, or was meant badly.
        if addresses.iter().any(|address| !self.addresses.allows(address.ip())) {
            return Err(ClientError::ForbiddenAddress);
        }
        addresses.truncate(ADDRESSES_MAX);
        let stream = self.connect_any(&addresses).await?;
        // A push is one small write after another; waiting to fill a packet only delays it.
        stream.set_nodelay(true).map_err(ClientError::Connect)?;
        let stream = self.tls.connect(origin.server_name.clone(), stream).await;
        stream.map_err(|error| classify(&error))
    }

    async fn connect_any(&self, addresses: &[SocketAddr]) -> Result<TcpStream, ClientError> {
        let mut last = ClientError::Resolve(io::ErrorKind::NotFound.into());
        for address in addresses {
            // A share each, so that one dead address does not use up the time of the others.
            let share = self.limits.connect_timeout / addresses.len().try_into().unwrap_or(1);
            last = match timeout(share, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => return Ok(stream),
                Ok(Err(error)) => ClientError::Connect(error),
                Err(_) => ClientError::ConnectTimeout,
            };
        }
        Err(last)
    }
}

type Pieces = BoxBody<Bytes, io::Error>;

/// A connection to one server, for several requests one after another.
pub struct Connection {
    sender: http1::SendRequest<Pieces>,
    /// Moves the bytes; ends with the connection. None once its ending has been looked at.
    driver: Option<AbortOnDropHandle<hyper::Result<()>>>,
    host: HeaderValue,
    limits: Limits,
}

impl Connection {
    /// Sends one request. `path` begins with `/` and may hold a query.
    ///
    /// After an error the connection is not to be used again. The body is wiped once sent.
    pub async fn send(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Zeroizing<Vec<u8>>,
    ) -> Result<Response, ClientError> {
        let body = Full::new(Bytes::from_owner(body)).map_err(|never| match never {});
        self.send_body(method, path, headers, body.boxed()).await
    }

    async fn send_body(
        &mut self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Pieces,
    ) -> Result<Response, ClientError> {
        let mut request = hyper::Request::new(body);
        *request.method_mut() = method;
        *request.uri_mut() = parse_path(path)?;
        *request.headers_mut() = headers;
        request.headers_mut().insert(HOST, self.host.clone());
        let answer = timeout(self.limits.answer_timeout, self.answer(request)).await;
        answer.map_err(|_| ClientError::AnswerTimeout)?
    }

    /// Says goodbye, so that the server does not take the end for a fault.
    pub async fn close(self) {
        let Self { sender, driver, .. } = self;
        drop(sender);
        if let Some(driver) = driver {
            // However it ends: there is nothing left to lose.
            let _ = timeout(GOODBYE_TIMEOUT, driver).await;
        }
    }

    async fn answer(&mut self, request: hyper::Request<Pieces>) -> Result<Response, ClientError> {
        if let Err(error) = self.sender.ready().await {
            return Err(self.cause(&error).await);
        }
        let response = match self.sender.send_request(request).await {
            Ok(response) => response,
            Err(error) => return Err(self.cause(&error).await),
        };
        let (head, body) = response.into_parts();
        let body = collect(body, self.limits.response_bytes_max).await?;
        Ok(Response { status: head.status, headers: head.headers, body })
    }

    /// In TLS 1.3 a refused certificate is only heard of after the handshake; the request then
    /// merely fails, and why is known to the driver.
    async fn cause(&mut self, error: &hyper::Error) -> ClientError {
        match (classify(error), self.driver.take()) {
            (ClientError::Closed, Some(driver)) => match driver.await {
                Ok(Err(error)) => classify(&error),
                Ok(Ok(())) | Err(_) => ClientError::Closed,
            },
            (cause, _) => cause,
        }
    }
}

/// What bounds a request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// For resolving, connecting and the TLS handshake together.
    pub connect_timeout: Duration,
    /// From the first byte of the request to the last of the response.
    pub answer_timeout: Duration,
    /// Of the response's body.
    pub response_bytes_max: usize,
}

/// Which addresses may be connected to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum AddressPolicy {
    /// Any: the operator chose the address, or it is a demonstration on one machine.
    AllowAny,
    /// None that leads to this machine, its own link, or the cloud it runs in: a directory entry
    /// must not reach what a partner could not. Private networks are allowed; partners have them.
    RefuseLocal,
}

impl AddressPolicy {
    /// Whether `address` may be connected to.
    pub fn allows(self, address: IpAddr) -> bool {
        match self {
            Self::AllowAny => true,
            Self::RefuseLocal => match address {
                IpAddr::V4(v4) => !is_local_v4(v4),
                IpAddr::V6(v6) => !is_local_v6(v6),
            },
        }
    }
}

/// What a server answered.
#[derive(Debug)]
pub struct Response {
    /// Its status; a redirect is returned like any other.
    pub status: StatusCode,
    /// Its headers.
    pub headers: HeaderMap,
    /// Its body, whole.
    pub body: Vec<u8>,
}

/// Why there is no response.
#[derive(Debug, thiserror::Error)]
pub enum ClientError {
    /// No whole response in the time allowed. The server may have acted on the request.
    #[error("the server did not answer in time")]
    AnswerTimeout,
    /// The connection ended without a whole response, or the server spoke before it was asked. It
    /// may have acted on the request.
    #[error(
        "the server closed the connection without answering; some do so to refuse a certificate"
    )]
    Closed,
    /// No address of the server took the connection.
    #[error("could not connect to the server")]
    Connect(#[source] io::Error),
    /// No connection in the time allowed.
    #[error("could not connect to the server in time")]
    ConnectTimeout,
    /// The server's name leads to an address that must not be connected to.
    #[error("the server's name resolves to an address that is not allowed")]
    ForbiddenAddress,
    /// The answer is not HTTP/1.1.
    #[error("the server's answer is not valid HTTP")]
    Protocol,
    /// The server's name has no address.
    #[error("could not resolve the server's name")]
    Resolve(#[source] io::Error),
    /// The response is larger than allowed.
    #[error("the response is larger than allowed")]
    ResponseTooLarge,
    /// TLS failed.
    #[error(transparent)]
    Tls(TlsFault),
    /// The URL is not one that can be asked.
    #[error("not an https:// URL with a host and no user name")]
    Url,
}

impl ClientError {
    /// The stable code, for entries and logs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::AnswerTimeout => "answer-timeout",
            Self::Closed => "connection-closed",
            Self::Connect(_) => "cannot-connect",
            Self::ConnectTimeout => "connect-timeout",
            Self::ForbiddenAddress => "forbidden-address",
            Self::Protocol => "not-http",
            Self::Resolve(_) => "cannot-resolve",
            Self::ResponseTooLarge => "response-too-large",
            Self::Tls(fault) => fault.code(),
            Self::Url => "endpoint-url",
        }
    }
}

/// What failed in TLS: the server's certificate (our finding), ours (the server's), or the rest.
#[derive(Clone, Copy, Debug, Eq, PartialEq, thiserror::Error)]
pub enum TlsFault {
    /// Nothing of the certificates: versions, ciphers, a broken message.
    #[error("the TLS handshake failed")]
    Handshake,
    /// What answers does not speak TLS.
    #[error("the server does not speak TLS on this port")]
    NotTls,
    /// The server says our certificate has expired.
    #[error("the server refused our certificate: it has expired; renew it")]
    OurCertificateExpired,
    /// The server refused our certificate, and only hints why.
    #[error(
        "the server refused our certificate: it may be of an authority the server does not trust, \
         not be registered there, or lack what the server asks of it"
    )]
    OurCertificateRefused,
    /// The server wants a certificate and we have none that fits.
    #[error("the server asked for a certificate and was shown none: configure one it will accept")]
    OurCertificateRequired,
    /// The server says our certificate is revoked.
    #[error("the server refused our certificate: it has been revoked; ask for a new one")]
    OurCertificateRevoked,
    /// The server's certificate has expired, or our clock is wrong.
    #[error("the server's certificate has expired")]
    ServerCertificateExpired,
    /// The server's certificate is otherwise not acceptable.
    #[error("the server's certificate is not valid")]
    ServerCertificateInvalid,
    /// The server's certificate names another server.
    #[error("the server's certificate is for another name")]
    ServerCertificateName,
    /// The server's certificate is not valid yet, or our clock is wrong.
    #[error("the server's certificate is not valid yet; check this machine's clock")]
    ServerCertificateNotYetValid,
    /// The server's certificate is revoked.
    #[error("the server's certificate has been revoked")]
    ServerCertificateRevoked,
    /// Nothing current says whether the server's certificate is revoked.
    #[error("whether the server's certificate is revoked cannot be told: no current list")]
    ServerCertificateUnchecked,
    /// The server's certificate is of an authority we do not trust.
    #[error("the server's certificate is of an authority that is not trusted here")]
    ServerCertificateUntrusted,
}

impl TlsFault {
    fn code(self) -> &'static str {
        match self {
            Self::Handshake => "tls-handshake",
            Self::NotTls => "not-tls",
            Self::OurCertificateExpired => "our-certificate-expired",
            Self::OurCertificateRefused => "our-certificate-refused",
            Self::OurCertificateRequired => "our-certificate-required",
            Self::OurCertificateRevoked => "our-certificate-revoked",
            Self::ServerCertificateExpired => "server-certificate-expired",
            Self::ServerCertificateInvalid => "server-certificate-invalid",
            Self::ServerCertificateName => "server-certificate-name",
            Self::ServerCertificateNotYetValid => "server-certificate-not-yet-valid",
            Self::ServerCertificateRevoked => "server-certificate-revoked",
            Self::ServerCertificateUnchecked => "server-certificate-unchecked",
            Self::ServerCertificateUntrusted => "server-certificate-untrusted",
        }
    }

    fn of(error: &rustls::Error) -> Self {
        match error {
            rustls::Error::AlertReceived(alert) => Self::of_alert(*alert),
            rustls::Error::InvalidCertificate(error) => Self::of_server_certificate(error),
            rustls::Error::InvalidMessage(_) => Self::NotTls,
            _ => Self::Handshake,
        }
    }

    fn of_alert(alert: AlertDescription) -> Self {
        match alert {
            AlertDescription::AccessDenied
            | AlertDescription::BadCertificate
            | AlertDescription::CertificateUnknown
            // What it says when our authority only has the name of the one it trusts.
            | AlertDescription::DecryptError
            | AlertDescription::UnknownCA
            | AlertDescription::UnsupportedCertificate => Self::OurCertificateRefused,
            AlertDescription::CertificateExpired => Self::OurCertificateExpired,
            AlertDescription::CertificateRequired | AlertDescription::NoCertificate => {
                Self::OurCertificateRequired
            }
            AlertDescription::CertificateRevoked => Self::OurCertificateRevoked,
            _ => Self::Handshake,
        }
    }

    fn of_server_certificate(error: &CertificateError) -> Self {
        match error {
            CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
                Self::ServerCertificateExpired
            }
            CertificateError::ExpiredRevocationList
            | CertificateError::ExpiredRevocationListContext { .. }
            | CertificateError::UnknownRevocationStatus => Self::ServerCertificateUnchecked,
            CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
                Self::ServerCertificateName
            }
            CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
                Self::ServerCertificateNotYetValid
            }
            CertificateError::Revoked => Self::ServerCertificateRevoked,
            // webpki answers BadSignature when another authority has our authority's name.
            CertificateError::BadSignature | CertificateError::UnknownIssuer => {
                Self::ServerCertificateUntrusted
            }
            _ => Self::ServerCertificateInvalid,
        }
    }
}

/// The part of a URL that says which server.
struct Origin {
    authority: HeaderValue,
    host: String,
    port: u16,
    server_name: ServerName<'static>,
}

impl Origin {
    fn parse(url: &Uri) -> Result<Self, ClientError> {
        let authority = url.authority().ok_or(ClientError::Url)?;
        if url.scheme_str() != Some("https") || authority.as_str().contains('@') {
            return Err(ClientError::Url);
        }
        let host = authority.host();
        // Read here: asked for its port, an authority answers none when the port is no number.
        let port = match authority.as_str().strip_prefix(host).ok_or(ClientError::Url)? {
            "" => HTTPS_PORT,
            port => parse_port(port).ok_or(ClientError::Url)?,
        };
        let host = host.trim_start_matches('[').trim_end_matches(']').to_owned();
        let server_name = ServerName::try_from(host.clone()).map_err(|_| ClientError::Url)?;
        let authority = HeaderValue::from_str(authority.as_str()).map_err(|_| ClientError::Url)?;
        Ok(Self { authority, host, port, server_name })
    }
}

fn parse_port(text: &str) -> Option<u16> {
    let digits = text.strip_prefix(':')?;
    if digits.bytes().all(|c| c.is_ascii_digit()) { digits.parse().ok() } else { None }
}

fn parse_path(path: &str) -> Result<Uri, ClientError> {
    // Otherwise it could parse as the name of another server.
    if !path.starts_with('/') {
        return Err(ClientError::Url);
    }
    let uri: Uri = path.parse().map_err(|_| ClientError::Url)?;
    if uri.authority().is_none() { Ok(uri) } else { Err(ClientError::Url) }
}

async fn collect(body: Incoming, bytes_max: usize) -> Result<Vec<u8>, ClientError> {
    match Limited::new(body, bytes_max).collect().await {
        Ok(body) => Ok(body.to_bytes().into()),
        Err(error) if error.is::<LengthLimitError>() => Err(ClientError::ResponseTooLarge),
        Err(error) => Err(classify(&*error)),
    }
}

/// Looks for the reason below the layers that passed it on.
fn classify(error: &(dyn Error + 'static)) -> ClientError {
    let mut found = ClientError::Closed;
    let mut next = Some(error);
    while let Some(error) = next {
        // An I/O error shows what it wraps here, not as its source.
        let wrapped = error.downcast_ref().and_then(io::Error::get_ref);
        let tls = wrapped.map_or_else(|| error.downcast_ref(), |wrapped| wrapped.downcast_ref());
        if let Some(tls) = tls {
            return ClientError::Tls(TlsFault::of(tls));
        }
        if let Some(http) = error.downcast_ref::<hyper::Error>() {
            if http.is_parse_too_large() {
                found = ClientError::ResponseTooLarge;
            } else if http.is_parse() {
                found = ClientError::Protocol;
            }
        }
        next = error.source();
    }
    found
}

fn is_local_v4(address: Ipv4Addr) -> bool {
    let [a, b, c, _] = address.octets();
    address.is_loopback()
        || address.is_link_local() // holds most clouds' metadata, 169.254.169.254
        || address.is_multicast()
        || address.is_broadcast()
        || a == 0 // "this network": Linux takes it for this machine
        || (a, b, c) == (192, 0, 0) // protocol assignments; one cloud's metadata
        || CLOUD_V4.contains(&address)
}

fn is_local_v6(address: Ipv6Addr) -> bool {
    let [a, b, c, d, e, f, g, h] = address.segments();
    let v4 = |high: u16, low: u16| Ipv4Addr::from_bits(u32::from(high) << 16 | u32::from(low));
    let embedded = match (a, b) {
        (0, 0) if (c, d, e) == (0, 0, 0) => Some(v4(g, h)), // ::/80: mapped, compatible, ::1, ::
        (0, 0) if (c, d, e, f) == (0, 0, 0xffff, 0) => Some(v4(g, h)), // translated
        (0x64, 0xff9b) => Some(v4(g, h)),                   // NAT64
        (0x2002, _) => Some(v4(b, c)),                      // 6to4
        _ => None,
    };
    embedded.is_some_and(is_local_v4)
        || address.is_multicast()
        || (a & 0xffc0) == 0xfe80 // link-local
        || (a & 0xffc0) == 0xfec0 // site-local, as it once was
        || address == CLOUD_V6
}

// Metadata and host services of clouds that are outside the link-local range.
const CLOUD_V4: [Ipv4Addr; 2] =
    [Ipv4Addr::new(100, 100, 100, 200), Ipv4Addr::new(168, 63, 129, 16)];
const CLOUD_V6: Ipv6Addr = Ipv6Addr::new(0xfd00, 0xec2, 0, 0, 0, 0, 0, 0x254);

const ADDRESSES_MAX: usize = 4;
const GOODBYE_TIMEOUT: Duration = Duration::from_secs(1);
const HEAD_BYTES_MAX: usize = 64 * 1024;
const HTTPS_PORT: u16 = 443;

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::net::TcpListener;
    use std::thread::{self, JoinHandle};

    use rcgen::{
        BasicConstraints, CertificateParams, CertificateRevocationListParams, DnType,
        ExtendedKeyUsagePurpose, IsCa, Issuer, KeyIdMethod, KeyPair, KeyUsagePurpose,
        RevokedCertParams, date_time_ymd,
    };
    use rustls::crypto::CryptoProvider;
    use rustls::pki_types::{CertificateDer, PrivateKeyDer};
    use rustls::server::WebPkiClientVerifier;
    use rustls::{RootCertStore, ServerConfig, ServerConnection};

    use super::*;

    #[tokio::test]
    async fn a_request_and_its_response_arrive_whole() {
        let server = Server::start(|stream| {
            let request = read_request(stream);
            stream.write_all(
                b"HTTP/1.1 201 Created\r\nx-answer: yes\r\ncontent-length: 4\r\n\r\nDone",
            )?;
            Ok(request)
        });
        let mut headers = HeaderMap::new();
        headers.insert("x-attempt", HeaderValue::from_static("1"));
        headers.insert(HOST, HeaderValue::from_static("elsewhere.example"));
        let body = b"a body".to_vec().into();
        let client = server.client();
        let response =
            client.send(Method::POST, &server.url("/take?x=1"), headers, body).await.unwrap();
        assert_eq!(response.status, StatusCode::CREATED);
        assert_eq!(response.headers["x-answer"], "yes");
        assert_eq!(response.body, b"Done");

        let host = format!("127.0.0.1:{}", server.port);
        let request = server.heard().unwrap();
        assert!(request.starts_with("POST /take?x=1 HTTP/1.1\r\n"), "{request}");
        assert!(request.contains(&format!("host: {host}\r\n")), "{request}");
        assert!(!request.contains("elsewhere"), "{request}");
        assert!(request.contains("x-attempt: 1\r\n"), "{request}");
        assert!(request.ends_with("\r\n\r\na body"), "{request}");
    }

    #[tokio::test]
    async fn several_requests_share_a_connection() {
        let server = Server::start(|stream| {
            let mut requests = String::new();
            for _ in 0..3 {
                requests += &read_request(stream);
                stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok")?;
            }
            let mut rest = Vec::new();
            // Fails unless the client says goodbye.
            stream.read_to_end(&mut rest)?;
            Ok(requests)
        });
        let mut connection = server.client().connect(&server.url("/")).await.unwrap();
        for path in ["/a", "/b", "/c"] {
            let response = connection.send(Method::GET, path, HeaderMap::new(), nothing()).await;
            assert_eq!(response.unwrap().body, b"ok");
        }
        connection.close().await;
        assert_eq!(server.heard().unwrap().matches("GET /").count(), 3);
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer() {
        let server = Server::start(|stream| {
            let request = read_request(stream);
            stream.write_all(
                b"HTTP/1.1 302 Found\r\nlocation: https://127.0.0.1/\r\ncontent-length: 0\r\n\r\n",
            )?;
            Ok(request)
        });
        let response = server.ask(&server.client()).await.unwrap();
        assert_eq!(response.status, StatusCode::FOUND);
    }

    #[tokio::test]
    async fn a_response_has_a_largest_size() {
        for head in ["content-length: 99999999", "transfer-encoding: chunked"] {
            let server = Server::start(move |stream| {
                let request = read_request(stream);
                write!(stream, "HTTP/1.1 200 OK\r\n{head}\r\n\r\n")?;
                // Until the client has had enough.
                while stream.write_all(b"8\r\n12345678\r\n").is_ok() {}
                Ok(request)
            });
            let error = server.ask(&server.client()).await.unwrap_err();
            assert!(matches!(error, ClientError::ResponseTooLarge), "{error:?}");
        }
        let server = Server::start(|stream| {
            read_request(stream);
            stream.write_all(b"HTTP/1.1 200 OK\r\n")?;
            while stream.write_all(b"x-more: and more\r\n").is_ok() {}
            Ok(String::new())
        });
        let error = server.ask(&server.client()).await.unwrap_err();
        assert!(matches!(error, ClientError::ResponseTooLarge), "{error:?}");
    }

    #[tokio::test]
    async fn an_answer_has_a_latest_time() {
        let silent = Server::start(|stream| {
            let _ = stream.read_to_end(&mut Vec::new());
            Ok(String::new())
        });
        let error = silent.ask(&hasty(silent.client())).await.unwrap_err();
        assert!(matches!(error, ClientError::AnswerTimeout), "{error:?}");

        let endless = Server::start(|stream| {
            read_request(stream);
            // Always something new, never the end of it.
            while stream.write_all(b"HTTP/1.1 100 Continue\r\n\r\n").is_ok() {}
            Ok(String::new())
        });
        let error = endless.ask(&hasty(endless.client())).await.unwrap_err();
        assert!(matches!(error, ClientError::AnswerTimeout), "{error:?}");
    }

    #[tokio::test]
    async fn a_connection_has_a_latest_time() {
        // The system takes the connection; nobody ever answers the handshake.
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let mut client = client(unused_config(), AddressPolicy::AllowAny);
        client.limits.connect_timeout = Duration::from_millis(200);
        let error = get(&client, &url_of(&listener)).await.unwrap_err();
        assert!(matches!(error, ClientError::ConnectTimeout), "{error:?}");
    }

    #[tokio::test]
    async fn what_does_not_answer_properly_is_told_apart() {
        let closing = Server::start(|stream| Ok(read_request(stream)));
        let error = closing.ask(&closing.client()).await.unwrap_err();
        assert!(matches!(error, ClientError::Closed), "{error:?}");

        let garbling = Server::start(|stream| {
            let request = read_request(stream);
            stream.write_all(b"220 mail.example ESMTP\r\n\r\n")?;
            Ok(request)
        });
        let error = garbling.ask(&garbling.client()).await.unwrap_err();
        assert!(matches!(error, ClientError::Protocol), "{error:?}");

        let client = client(unused_config(), AddressPolicy::AllowAny);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = url_of(&listener);
        let plain = thread::spawn(move || {
            let (mut stream, _) = listener.accept().unwrap();
            stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").unwrap();
            // Not closed with anything unread, or the reset could overtake the answer.
            let _ = stream.read_to_end(&mut Vec::new());
        });
        let error = get(&client, &url).await.unwrap_err();
        assert!(matches!(error, ClientError::Tls(TlsFault::NotTls)), "{error:?}");
        plain.join().unwrap();

        // Nobody listens on the port of a listener that is gone.
        let url = url_of(&TcpListener::bind("127.0.0.1:0").unwrap());
        let error = get(&client, &url).await.unwrap_err();
        assert!(matches!(error, ClientError::Connect(_)), "{error:?}");

        let error = get(&client, "https://no-such-host.invalid/").await.unwrap_err();
        assert!(matches!(error, ClientError::Resolve(_)), "{error:?}");
    }

    #[tokio::test]
    async fn a_server_that_cannot_show_who_it_is_gets_nothing() {
        let ours = Authority::new();
        let strange = Authority::named("a strange authority");
        let cases = [
            (Authority::new().issue(Leaf::server()), TlsFault::ServerCertificateUntrusted),
            (strange.issue(Leaf::server()), TlsFault::ServerCertificateUntrusted),
            (
                ours.issue(Leaf { name: "other.example", ..Leaf::server() }),
                TlsFault::ServerCertificateName,
            ),
            (
                ours.issue(Leaf { years: (2000, 2001), ..Leaf::server() }),
                TlsFault::ServerCertificateExpired,
            ),
            (
                ours.issue(Leaf { years: (3999, 4000), ..Leaf::server() }),
                TlsFault::ServerCertificateNotYetValid,
            ),
            (ours.issue(Leaf::client()), TlsFault::ServerCertificateInvalid),
        ];
        for (certificate, expected) in cases {
            let server = Server::with(&ours, certificate, |stream| Ok(read_request(stream)));
            let error = server.ask(&server.client()).await.unwrap_err();
            let ClientError::Tls(fault) = error else { panic!("{error:?}") };
            assert_eq!(fault, expected);
            assert_eq!(server.heard().unwrap(), "");
        }
    }

    #[tokio::test]
    async fn a_refused_certificate_is_explained() {
        let ours = Authority::new();
        let strange = Authority::named("a strange authority");
        let namesake = Authority::new();
        let cases = [
            (
                Some(ours.issue(Leaf { years: (2000, 2001), ..Leaf::client() })),
                TlsFault::OurCertificateExpired,
            ),
            (
                Some(ours.issue(Leaf { serial: REVOKED, ..Leaf::client() })),
                TlsFault::OurCertificateRevoked,
            ),
            (Some(strange.issue(Leaf::client())), TlsFault::OurCertificateRefused),
            (Some(namesake.issue(Leaf::client())), TlsFault::OurCertificateRefused),
            (None, TlsFault::OurCertificateRequired),
        ];
        for (certificate, expected) in cases {
            let server =
                Server::with(&ours, ours.issue(Leaf::server()), |stream| Ok(read_request(stream)));
            let client = client(ours.client_config(certificate), AddressPolicy::AllowAny);
            let error = server.ask(&client).await.unwrap_err();
            let ClientError::Tls(fault) = error else { panic!("{expected:?}: {error:?}") };
            assert_eq!(fault, expected);
        }
    }

    #[tokio::test]
    async fn a_forbidden_address_is_not_connected_to() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        listener.set_nonblocking(true).unwrap();
        let client = client(unused_config(), AddressPolicy::RefuseLocal);
        for host in ["127.0.0.1", "localhost", "[::1]", "[::ffff:127.0.0.1]", "0.0.0.0", "[::]"] {
            let error = get(&client, &format!("https://{host}:{port}/")).await.unwrap_err();
            assert!(matches!(error, ClientError::ForbiddenAddress), "{host}: {error:?}");
        }
        // Other ways to write it: refused as what they resolve to, or as no name at all.
        for host in ["0x7f.1", "2130706433", "127.1", "localhost."] {
            let error = get(&client, &format!("https://{host}:{port}/")).await.unwrap_err();
            let is_refused = matches!(
                error,
                ClientError::ForbiddenAddress | ClientError::Resolve(_) | ClientError::Url
            );
            assert!(is_refused, "{host}: {error:?}");
        }
        assert_eq!(listener.accept().unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }

    #[test]
    fn local_addresses_are_known_in_every_spelling() {
        let refused = [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.255.255.254",
            "169.254.169.254",
            "169.254.0.1",
            "168.63.129.16",
            "100.100.100.200",
            "192.0.0.192",
            "224.0.0.1",
            "239.255.255.255",
            "255.255.255.255",
            "::",
            "::1",
            "::127.0.0.1",
            "::ffff:127.0.0.1",
            "::ffff:0:127.0.0.1",
            "::ffff:169.254.169.254",
            "64:ff9b::7f00:1",
            "64:ff9b:1::a9fe:a9fe",
            "2002:7f00:1::",
            "fe80::1",
            "febf::1",
            "fec0::1",
            "ff02::1",
            "fd00:ec2::254",
        ];
        for address in refused {
            assert!(!AddressPolicy::RefuseLocal.allows(address.parse().unwrap()), "{address}");
            assert!(AddressPolicy::AllowAny.allows(address.parse().unwrap()), "{address}");
        }
        // Public, and private networks, which partners have.
        let allowed = [
            "192.0.2.1",
            "8.8.8.8",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "192.0.1.1",
            "100.64.0.1",
            "2001:db8::1",
            "fd12:3456::1",
            "::ffff:8.8.8.8",
            "64:ff9b::808:808",
        ];
        for address in allowed {
            assert!(AddressPolicy::RefuseLocal.allows(address.parse().unwrap()), "{address}");
        }
    }

    #[tokio::test]
    async fn only_https_urls_without_a_user_are_asked() {
        let client = client(unused_config(), AddressPolicy::AllowAny);
        for url in [
            "http://127.0.0.1/",
            "https://user:password@127.0.0.1/",
            "https://127.0.0.1@evil.example/",
            "//127.0.0.1/",
            "/path",
            "127.0.0.1:1",
            "ftp://127.0.0.1/",
            "https://127.0.0.1:99999/",
            "https://127.0.0.1:/",
            "https://127.0.0.1:+1/",
            "https://under_score..example/",
        ] {
            let Ok(url) = url.parse::<Uri>() else { continue };
            let error = client.connect(&url).await.err().unwrap();
            assert!(matches!(error, ClientError::Url), "{url}: {error:?}");
        }
        for path in ["", "path", "*", "https://127.0.0.1/", "user@host", "/a b", "/a\r\nb: c"] {
            assert!(matches!(parse_path(path), Err(ClientError::Url)), "{path:?}");
        }
        assert_eq!(parse_path("//host/path?q").unwrap().authority(), None);
    }

    const LIMITS: Limits = Limits {
        connect_timeout: Duration::from_secs(20),
        answer_timeout: Duration::from_secs(20),
        response_bytes_max: 1_000,
    };

    fn client(tls: ClientConfig, addresses: AddressPolicy) -> Client {
        Client::new(Arc::new(tls), addresses, LIMITS)
    }

    fn hasty(mut client: Client) -> Client {
        client.limits.answer_timeout = Duration::from_millis(200);
        client
    }

    fn nothing() -> Zeroizing<Vec<u8>> {
        Zeroizing::new(Vec::new())
    }

    async fn get(client: &Client, url: &str) -> Result<Response, ClientError> {
        client.send(Method::GET, &url.parse().unwrap(), HeaderMap::new(), nothing()).await
    }

    fn url_of(listener: &TcpListener) -> String {
        format!("https://{}/", listener.local_addr().unwrap())
    }

    /// Reads one request: its head, and as much body as it announces.
    fn read_request(stream: &mut dyn ReadWrite) -> String {
        let mut request = Vec::new();
        let mut byte = [0];
        while !request.ends_with(b"\r\n\r\n") && stream.read(&mut byte).unwrap_or(0) == 1 {
            request.push(byte[0]);
        }
        let head = String::from_utf8(request).unwrap();
        let announced = head.lines().find_map(|line| line.strip_prefix("content-length: "));
        let mut body = vec![0; announced.map_or(0, |len| len.parse().unwrap())];
        stream.read_exact(&mut body).unwrap();
        head + str::from_utf8(&body).unwrap()
    }

    trait ReadWrite: Read + Write {}
    impl<T: Read + Write> ReadWrite for T {}

    /// A TLS server that takes one connection, in a thread of its own.
    struct Server {
        port: u16,
        client: ClientConfig,
        thread: JoinHandle<io::Result<String>>,
    }

    impl Server {
        fn start(
            serve: impl FnOnce(&mut dyn ReadWrite) -> io::Result<String> + Send + 'static,
        ) -> Self {
            let authority = Authority::new();
            let certificate = authority.issue(Leaf::server());
            Self::with(&authority, certificate, serve)
        }

        fn with(
            authority: &Authority,
            certificate: Issued,
            serve: impl FnOnce(&mut dyn ReadWrite) -> io::Result<String> + Send + 'static,
        ) -> Self {
            let listener = TcpListener::bind("127.0.0.1:0").unwrap();
            let port = listener.local_addr().unwrap().port();
            let tls = Arc::new(authority.server_config(certificate));
            let thread = thread::spawn(move || {
                let (tcp, _) = listener.accept()?;
                let tls = ServerConnection::new(tls).unwrap();
                serve(&mut rustls::StreamOwned::new(tls, tcp))
            });
            let own = authority.issue(Leaf::client());
            Self { port, client: authority.client_config(Some(own)), thread }
        }

        fn client(&self) -> Client {
            client(self.client.clone(), AddressPolicy::AllowAny)
        }

        fn url(&self, path: &str) -> Uri {
            format!("https://127.0.0.1:{}{path}", self.port).parse().unwrap()
        }

        async fn ask(&self, client: &Client) -> Result<Response, ClientError> {
            get(client, &self.url("/").to_string()).await
        }

        fn heard(self) -> io::Result<String> {
            self.thread.join().unwrap()
        }
    }

    struct Authority {
        issuer: Issuer<'static, KeyPair>,
        certificate: CertificateDer<'static>,
    }

    struct Issued {
        chain: Vec<CertificateDer<'static>>,
        key: PrivateKeyDer<'static>,
    }

    impl Authority {
        fn new() -> Self {
            Self::named("an authority")
        }

        fn named(name: &str) -> Self {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::default();
            params.distinguished_name.push(DnType::CommonName, name);
            params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
            params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
            let certificate = params.self_signed(&key).unwrap().der().clone();
            Self { issuer: Issuer::new(params, key), certificate }
        }

        fn issue(&self, leaf: Leaf) -> Issued {
            let key = KeyPair::generate().unwrap();
            let mut params = CertificateParams::new([leaf.name.to_owned()]).unwrap();
            params.serial_number = Some(leaf.serial.into());
            params.not_before = date_time_ymd(leaf.years.0, 1, 1);
            params.not_after = date_time_ymd(leaf.years.1, 1, 1);
            params.extended_key_usages = vec![leaf.purpose];
            let certificate = params.signed_by(&key, &self.issuer).unwrap();
            Issued { chain: vec![certificate.der().clone()], key: key.into() }
        }

        fn roots(&self) -> RootCertStore {
            let mut roots = RootCertStore::empty();
            roots.add(self.certificate.clone()).unwrap();
            roots
        }

        fn server_config(&self, own: Issued) -> ServerConfig {
            let revoked = RevokedCertParams {
                serial_number: REVOKED.into(),
                revocation_time: date_time_ymd(2020, 1, 1),
                reason_code: None,
                invalidity_date: None,
            };
            let crl = CertificateRevocationListParams {
                this_update: date_time_ymd(2020, 1, 1),
                next_update: date_time_ymd(4000, 1, 1),
                crl_number: 1.into(),
                issuing_distribution_point: None,
                revoked_certs: vec![revoked],
                key_identifier_method: KeyIdMethod::Sha256,
            };
            let crl = crl.signed_by(&self.issuer).unwrap().der().clone();
            let roots = Arc::new(self.roots());
            let verifier = WebPkiClientVerifier::builder_with_provider(roots, provider())
                .with_crls([crl])
                .build()
                .unwrap();
            ServerConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_client_cert_verifier(verifier)
                .with_single_cert(own.chain, own.key)
                .unwrap()
        }

        fn client_config(&self, own: Option<Issued>) -> ClientConfig {
            let config = ClientConfig::builder_with_provider(provider())
                .with_safe_default_protocol_versions()
                .unwrap()
                .with_root_certificates(self.roots());
            match own {
                Some(own) => config.with_client_auth_cert(own.chain, own.key).unwrap(),
                None => config.with_no_client_auth(),
            }
        }
    }

    #[derive(Clone)]
    struct Leaf {
        purpose: ExtendedKeyUsagePurpose,
        name: &'static str,
        years: (i32, i32),
        serial: u64,
    }

    impl Leaf {
        fn server() -> Self {
            Self {
                purpose: ExtendedKeyUsagePurpose::ServerAuth,
                name: "127.0.0.1",
                years: (2000, 4000),
                serial: 1,
            }
        }

        fn client() -> Self {
            Self { purpose: ExtendedKeyUsagePurpose::ClientAuth, ..Self::server() }
        }
    }

    const REVOKED: u64 = 13;

    /// For where no handshake is finished.
    fn unused_config() -> ClientConfig {
        Authority::new().client_config(None)
    }

    fn provider() -> Arc<CryptoProvider> {
        Arc::new(rustls::crypto::ring::default_provider())
    }
}
