//! The client side: one connection's worth of settings, and requests over mutual TLS.

use std::io;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use hyper::body::{Body, Bytes};
use hyper::header::{self, HeaderMap, HeaderName, HeaderValue};
use hyper::{Method, StatusCode, Uri};
use serde_json::Value;

use super::{Exit, Failure, read_text};
use crate::event;
use crate::http::client::{AddressPolicy, Client, ClientError, Limits, Response};
use crate::message::{MediaType, sha256};
use crate::pki::tls;

/// How to reach the gateway, and as whom.
#[derive(Args, Clone)]
pub(super) struct Connection {
    /// The gateway's address
    #[arg(
        long,
        env = "MASH_GATEWAY_URL",
        default_value = "https://localhost:8443",
        value_name = "URL"
    )]
    gateway: String,
    /// Your agency's certificate (PEM)
    #[arg(long, env = "MASH_GATEWAY_CERT", value_name = "FILE")]
    cert: PathBuf,
    /// Its key (PEM)
    #[arg(long, env = "MASH_GATEWAY_KEY", value_name = "FILE")]
    key: PathBuf,
    /// The authority that vouches for the gateway (PEM)
    #[arg(long, env = "MASH_GATEWAY_CA", value_name = "FILE")]
    ca: PathBuf,
}

/// A gateway that can be asked.
pub(super) struct Gateway {
    client: Client,
    base: String,
    key_pem: zeroize::Zeroizing<String>,
}

impl Connection {
    /// How the agency whose files are in `folder` reaches the gateway at `url`.
    pub(super) fn of(url: String, folder: &Path, agency: &str) -> Self {
        Self {
            gateway: url,
            cert: folder.join(format!("{agency}.pem")),
            key: folder.join(format!("{agency}.key")),
            ca: folder.join("ca.pem"),
        }
    }

    /// With these files.
    pub(super) fn with(gateway: String, cert: PathBuf, key: PathBuf, ca: PathBuf) -> Self {
        Self { gateway, cert, key, ca }
    }

    pub(super) fn open(&self) -> Result<Gateway, Failure> {
        self.open_within(Duration::from_secs(60))
    }

    /// The same for files, which take longer.
    pub(super) fn open_for_files(&self) -> Result<Gateway, Failure> {
        self.open_within(Duration::from_secs(600))
    }

    fn open_within(&self, answer_timeout: Duration) -> Result<Gateway, Failure> {
        let key_pem = zeroize::Zeroizing::new(read_text(&self.key)?);
        let material = tls::ClientMaterial {
            chain: &read_text(&self.cert)?,
            key: &key_pem,
            roots: &read_text(&self.ca)?,
        };
        let config = tls::client_config(material, tls::MinTls::Tls12)?;
        let limits = Limits {
            connect_timeout: Duration::from_secs(10),
            answer_timeout,
            response_bytes_max: 64 << 20,
        };
        let base = self.gateway.trim_end_matches('/').to_owned();
        Ok(Gateway { client: Client::new(config, AddressPolicy::AllowAny, limits), base, key_pem })
    }
}

impl Gateway {
    pub(super) async fn get(&self, path: &str) -> Result<Response, Failure> {
        self.request(Method::GET, path, HeaderMap::new(), Vec::new()).await
    }

    pub(super) async fn get_json(&self, path: &str) -> Result<Value, Failure> {
        Ok(serde_json::from_slice(&self.get(path).await?.body)?)
    }

    /// Posts a message. Without a key of the caller's own, the same body to the same path is the
    /// same submission: running a command twice sends once and shows the first receipt.
    pub(super) async fn post_message(
        &self,
        path: &str,
        body: Vec<u8>,
        idempotency_key: Option<uuid::Uuid>,
    ) -> Result<String, Failure> {
        let key = idempotency_key.unwrap_or_else(|| self.idempotency_key(path, &body));
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static("application/json")),
            (
                HeaderName::from_static("content-digest"),
                HeaderValue::from_str(&event::content_digest(&sha256(&body)))?,
            ),
            (HeaderName::from_static("idempotency-key"), HeaderValue::from_str(&key.to_string())?),
        ]);
        let response = self.request(Method::POST, path, headers, body).await?;
        Ok(String::from_utf8(response.body)?)
    }

    /// Uploads a file with this digest. The same file is the same upload.
    pub(super) async fn upload(
        &self,
        media_type: MediaType,
        digest: &[u8; 32],
        body: impl Body<Data = Bytes, Error = io::Error> + Send + Sync + 'static,
    ) -> Result<String, Failure> {
        let path = "/v1/attachments";
        let key = self.idempotency_key(&format!("{path} {}", media_type.as_str()), digest);
        let headers = HeaderMap::from_iter([
            (header::CONTENT_TYPE, HeaderValue::from_static(media_type.as_str())),
            (
                HeaderName::from_static("content-digest"),
                HeaderValue::from_str(&event::content_digest(digest))?,
            ),
            (HeaderName::from_static("idempotency-key"), HeaderValue::from_str(&key.to_string())?),
        ]);
        let sent = self.client.send_piecewise(Method::POST, &self.uri(path)?, headers, body).await;
        let response = sent.map_err(unreachable)?;
        match response.status.is_success() {
            true => Ok(String::from_utf8(response.body)?),
            false => Err(refused(&response)),
        }
    }

    /// Posts what is no message: posted twice, it does no more than once.
    pub(super) async fn post_json(&self, path: &str, body: &Value) -> Result<Value, Failure> {
        self.post_bytes(path, body.to_string().into_bytes()).await
    }

    // The same, of what is JSON already, as it stands in a file.
    pub(super) async fn post_bytes(&self, path: &str, body: Vec<u8>) -> Result<Value, Failure> {
        let json = HeaderValue::from_static("application/json");
        let headers = HeaderMap::from_iter([(header::CONTENT_TYPE, json)]);
        let response = self.request(Method::POST, path, headers, body).await?;
        Ok(serde_json::from_slice(&response.body)?)
    }

    pub(super) async fn post(&self, path: &str) -> Result<Value, Failure> {
        let response = self.request(Method::POST, path, HeaderMap::new(), Vec::new()).await?;
        Ok(serde_json::from_slice(&response.body)?)
    }

    async fn request(
        &self,
        method: Method,
        path: &str,
        headers: HeaderMap,
        body: Vec<u8>,
    ) -> Result<Response, Failure> {
        let sent = self.client.send(method, &self.uri(path)?, headers, body.into()).await;
        let response = sent.map_err(unreachable)?;
        if response.status.is_success() { Ok(response) } else { Err(refused(&response)) }
    }

    fn uri(&self, path: &str) -> Result<Uri, Failure> {
        format!("{}{path}", self.base).parse().map_err(|_| {
            Failure::new(Exit::Misused, "the gateway's address is not a URL")
                .hint("for example --gateway https://mash.example.org:8443")
        })
    }

    // Keyed by our own private key, so that nobody who sees the id can test a guess of the contents.
    fn idempotency_key(&self, path: &str, body: &[u8]) -> uuid::Uuid {
        let key = ring::hmac::Key::new(ring::hmac::HMAC_SHA256, self.key_pem.as_bytes());
        let mut context = ring::hmac::Context::with_key(&key);
        context.update(path.as_bytes());
        context.update(&[0]);
        context.update(body);
        let mut bytes = [0; 16];
        bytes.copy_from_slice(&context.sign().as_ref()[..16]);
        uuid::Builder::from_custom_bytes(bytes).into_uuid()
    }
}

fn unreachable(error: ClientError) -> Failure {
    Failure::new(Exit::Failed, format!("the gateway could not be asked: {error}"))
        .hint("check --gateway, --cert, --key and --ca; the gateway's log names its reason")
}

fn refused(response: &Response) -> Failure {
    let problem: Value = serde_json::from_slice(&response.body).unwrap_or_default();
    let text = |name: &str| problem[name].as_str().unwrap_or_default();
    let mut message = format!("refused: {} {}", response.status.as_u16(), text("title"));
    if !text("detail").is_empty() {
        message.push_str(&format!("\n  {}", text("detail")));
    }
    for error in problem["errors"].as_array().into_iter().flatten() {
        let part = |name: &str| error[name].as_str().unwrap_or_default();
        let pointer = if part("pointer").is_empty() { "(the whole)" } else { part("pointer") };
        message.push_str(&format!("\n  {pointer}  {}  [{}]", part("message"), part("code")));
    }
    if !text("instance").is_empty() {
        message.push_str(&format!("\n  {}", text("instance")));
    }
    let exit = if response.status == StatusCode::NOT_FOUND { Exit::NotFound } else { Exit::Failed };
    let failure = Failure { document: Some(problem.clone()), ..Failure::new(exit, message) };
    if text("remedy").is_empty() { failure } else { failure.hint(text("remedy")) }
}
