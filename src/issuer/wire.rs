//! One request and one answer for each connection: JSON, each ended by closing that direction.

use std::io;
use std::os::unix::fs::FileTypeExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::Mutex;

use super::{Answer, Ask, Issuer, IssuerError};

/// Asks an issuer that runs elsewhere.
#[derive(Clone, Debug)]
pub struct Client {
    socket: PathBuf,
}

impl Client {
    /// The issuer that listens on this socket.
    pub fn new(socket: PathBuf) -> Self {
        Self { socket }
    }

    /// Whether somebody listens.
    pub async fn is_there(&self) -> bool {
        UnixStream::connect(&self.socket).await.is_ok()
    }

    /// Asks, and waits for the answer.
    pub async fn ask(&self, ask: &Ask) -> Result<Answer, IssuerError> {
        let asked = tokio::time::timeout(TIMEOUT, self.exchange(ask)).await;
        let answered = match asked {
            Ok(answered) => answered,
            Err(_) => Err(io::Error::from(io::ErrorKind::TimedOut)),
        };
        answered.unwrap_or_else(|error| {
            Err(IssuerError::Unavailable(format!(
                "the issuer does not answer on {}: {error}",
                self.socket.display()
            )))
        })
    }

    // An issuer that is being started again is waited for.
    async fn connect(&self) -> io::Result<UnixStream> {
        let mut tries_left = CONNECT_TRIES;
        loop {
            match UnixStream::connect(&self.socket).await {
                Err(_) if tries_left > 0 => tries_left -= 1,
                connected => return connected,
            }
            tokio::time::sleep(CONNECT_PAUSE).await;
        }
    }

    async fn exchange(&self, ask: &Ask) -> io::Result<Result<Answer, IssuerError>> {
        let mut stream = self.connect().await?;
        stream.write_all(&serde_json::to_vec(ask)?).await?;
        stream.shutdown().await?;
        let mut answer = Vec::new();
        stream.take(BYTES_MAX).read_to_end(&mut answer).await?;
        Ok(serde_json::from_slice(&answer)?)
    }
}

/// Answers on this socket, one request at a time, for as long as it is polled. A socket that an
/// issuer before left behind is replaced; one that somebody answers on is not, nor any other file.
pub async fn serve(socket: &Path, issuer: Issuer, clock: fn() -> Timestamp) -> io::Result<()> {
    if UnixStream::connect(socket).await.is_ok() {
        let message = "another issuer answers there already";
        return Err(io::Error::new(io::ErrorKind::AddrInUse, message));
    }
    if std::fs::symlink_metadata(socket).is_ok_and(|file| file.file_type().is_socket()) {
        std::fs::remove_file(socket)?;
    }
    let listener = UnixListener::bind(socket)?;
    let issuer = Arc::new(Mutex::new(issuer));
    loop {
        let (stream, _) = listener.accept().await?;
        let issuer = Arc::clone(&issuer);
        tokio::spawn(async move {
            let answered = tokio::time::timeout(TIMEOUT, answer(stream, &issuer, clock)).await;
            match answered {
                Ok(Ok(())) => {}
                Ok(Err(error)) => tracing::warn!(error = %error, "a request was not answered"),
                Err(_) => tracing::warn!("a request did not arrive in time"),
            }
        });
    }
}

async fn answer(
    mut stream: UnixStream,
    issuer: &Mutex<Issuer>,
    clock: fn() -> Timestamp,
) -> io::Result<()> {
    let mut asked = Vec::new();
    (&mut stream).take(BYTES_MAX).read_to_end(&mut asked).await?;
    // Somebody who only looked whether we are here.
    if asked.is_empty() {
        return Ok(());
    }
    let answer = match serde_json::from_slice::<Ask>(&asked) {
        Ok(ask) => {
            let what = match &ask {
                Ask::Issue { profile, .. } => profile.name(),
                Ask::SignLists { .. } => "revocation-lists",
                Ask::Status => "status",
            };
            let answer = issuer.lock().await.answer(ask, clock());
            match &answer {
                Ok(Answer::Issued(issued)) => {
                    tracing::info!(what, certificate.serial = issued.serial, "signed");
                }
                Ok(Answer::Lists { .. }) => tracing::info!(what, "signed"),
                Ok(Answer::Status(_)) => {}
                Err(error) => tracing::warn!(what, error = %error, "not signed"),
            }
            answer
        }
        Err(error) => Err(IssuerError::Refused(format!("not a request: {error}"))),
    };
    stream.write_all(&serde_json::to_vec(&answer)?).await?;
    stream.shutdown().await
}

/// A request with ten thousand revocations is under 2 MiB.
const BYTES_MAX: u64 = 16 << 20;
const TIMEOUT: Duration = Duration::from_secs(10);
/// For as long as starting an issuer takes.
const CONNECT_TRIES: u32 = 20;
const CONNECT_PAUSE: Duration = Duration::from_millis(100);
