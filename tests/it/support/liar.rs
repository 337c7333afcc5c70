//! A push endpoint that does not do what an endpoint should, once for each connection, in the order
//! it is told to; then it is honest.

use std::collections::VecDeque;
use std::io;
use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use mash_gateway::pki::tls::{self, ClientCertificate, MinTls, ServerMaterial};
use rustls::ServerConfig;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;

use super::authority::TestAuthority;

/// What is done on one connection.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(crate) enum Lie {
    /// The connection is closed in the middle of the handshake.
    ClosesInHandshake,
    /// The certificate has expired.
    Expired,
    /// The certificate is for another name.
    WrongName,
    /// The certificate is of another authority.
    WrongAuthority,
    /// 200, and a reset before the answer has ended.
    Resets,
    /// 200, and ten gigabytes.
    Endless,
    /// 200, a byte each second.
    Drips,
    /// 302, to where everything is taken.
    Redirects,
}

/// What was seen of one connection.
#[derive(Clone, Debug, Default)]
pub(crate) struct Seen {
    /// What was to be done; none once it was honest.
    pub(crate) lie: Option<Lie>,
    /// What came inside TLS.
    pub(crate) heard: Vec<u8>,
    /// Whether the handshake came to its end.
    pub(crate) is_established: bool,
}

/// Such an endpoint. It listens until the test ends.
pub(crate) struct Liar {
    pub(crate) port: u16,
    authority: TestAuthority,
    listener: Option<std::net::TcpListener>,
    lies: Arc<Mutex<VecDeque<Lie>>>,
    seen: Arc<Mutex<Vec<Seen>>>,
    /// How much of an endless answer was taken off its hands.
    pub(crate) sent: Arc<AtomicU64>,
    /// How often somebody came to where it redirects to.
    pub(crate) followed: Arc<AtomicU64>,
}

impl Liar {
    /// One that lies so, in this order; it does not listen yet.
    pub(crate) fn new(lies: &[Lie]) -> Self {
        let listener = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        listener.set_nonblocking(true).unwrap();
        Self {
            port: listener.local_addr().unwrap().port(),
            authority: TestAuthority::new("Endpoints"),
            listener: Some(listener),
            lies: Arc::new(Mutex::new(lies.iter().copied().collect())),
            seen: Arc::default(),
            sent: Arc::default(),
            followed: Arc::default(),
        }
    }

    /// The directory's lines for it, without a mailbox to fall back on.
    pub(crate) fn lines(&self) -> String {
        format!(
            "endpoints = [{{ kind = \"push\", url = \"https://localhost:{}/in\", \
             ca = \"certs/endpoint.pem\" }}]\n",
            self.port
        )
    }

    /// Begins to listen.
    pub(crate) fn start(&mut self, home: &Path) {
        std::fs::write(home.join("certs/endpoint.pem"), self.authority.pem()).unwrap();
        let read = |name: &str| std::fs::read_to_string(home.join(name)).unwrap();
        let (authorities, crls) = (read("certs/agency-ca.pem"), read("certs/agency-ca.crl.pem"));
        let config = |(chain, key): (String, String)| {
            let material = ServerMaterial {
                chain: &chain,
                key: &key,
                agency_authorities: &authorities,
                crls: &crls,
            };
            tls::server_config(material, ClientCertificate::Required, MinTls::Tls13).unwrap()
        };
        let names = ["localhost"];
        let ended = |params: &mut rcgen::CertificateParams| {
            params.not_before = rcgen::date_time_ymd(2020, 1, 1);
            params.not_after = rcgen::date_time_ymd(2021, 1, 1);
        };
        let configs = Configs {
            good: config(self.authority.server(&names)),
            expired: config(self.authority.server_with(&names, ended)),
            wrong_name: config(self.authority.server(&["elsewhere.example"])),
            wrong_authority: config(TestAuthority::named_like(&self.authority).server(&names)),
        };
        let elsewhere = std::net::TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
        elsewhere.set_nonblocking(true).unwrap();
        let location = format!("https://localhost:{}/", elsewhere.local_addr().unwrap().port());
        let elsewhere = TcpListener::from_std(elsewhere).unwrap();
        let followed = Arc::clone(&self.followed);
        tokio::spawn(async move {
            while elsewhere.accept().await.is_ok() {
                followed.fetch_add(1, Ordering::Relaxed);
            }
        });
        let listener = TcpListener::from_std(self.listener.take().unwrap()).unwrap();
        let (lies, seen) = (Arc::clone(&self.lies), Arc::clone(&self.seen));
        let sent = Arc::clone(&self.sent);
        tokio::spawn(async move {
            while let Ok((tcp, _)) = listener.accept().await {
                let lie = lies.lock().unwrap().pop_front();
                let mut connection = Seen { lie, ..Seen::default() };
                let ended = lied(&mut connection, tcp, &configs, &location, &sent).await;
                // However it ends: what was seen is what is asserted.
                drop(ended);
                seen.lock().unwrap().push(connection);
            }
        });
    }

    /// Every connection so far, in order.
    pub(crate) fn seen(&self) -> Vec<Seen> {
        self.seen.lock().unwrap().clone()
    }
}

struct Configs {
    good: Arc<ServerConfig>,
    expired: Arc<ServerConfig>,
    wrong_name: Arc<ServerConfig>,
    wrong_authority: Arc<ServerConfig>,
}

async fn lied(
    seen: &mut Seen,
    mut tcp: TcpStream,
    configs: &Configs,
    location: &str,
    sent: &AtomicU64,
) -> io::Result<()> {
    let config = match seen.lie {
        Some(Lie::ClosesInHandshake) => {
            let mut hello = [0; 64];
            tcp.read_exact(&mut hello).await?;
            return Ok(());
        }
        Some(Lie::Expired) => &configs.expired,
        Some(Lie::WrongName) => &configs.wrong_name,
        Some(Lie::WrongAuthority) => &configs.wrong_authority,
        Some(Lie::Resets | Lie::Endless | Lie::Drips | Lie::Redirects) | None => &configs.good,
    };
    let mut stream = TlsAcceptor::from(Arc::clone(config)).accept(tcp).await?;
    seen.is_established = true;
    hear(&mut stream, &mut seen.heard).await?;
    let ok = "HTTP/1.1 200 OK\r\nContent-Length: ";
    match seen.lie {
        Some(Lie::Resets) => {
            stream.write_all(format!("{ok}100\r\n\r\nhalf of it").as_bytes()).await?;
            stream.flush().await?;
            stream.get_ref().0.set_zero_linger()?;
        }
        Some(Lie::Endless) => {
            stream.write_all(format!("{ok}{TEN_GIGABYTES}\r\n\r\n").as_bytes()).await?;
            let piece = vec![b'x'; 64 << 10];
            while sent.load(Ordering::Relaxed) < TEN_GIGABYTES {
                stream.write_all(&piece).await?;
                sent.fetch_add(piece.len() as u64, Ordering::Relaxed);
            }
        }
        Some(Lie::Drips) => {
            for byte in format!("{ok}0\r\n\r\n").bytes() {
                stream.write_all(&[byte]).await?;
                stream.flush().await?;
                tokio::select! {
                    () = tokio::time::sleep(Duration::from_secs(1)) => {}
                    // It had enough.
                    _ = stream.read_u8() => return Ok(()),
                }
            }
        }
        Some(Lie::Redirects) => {
            let answer =
                format!("HTTP/1.1 302 Found\r\nLocation: {location}\r\nContent-Length: 0\r\n\r\n");
            stream.write_all(answer.as_bytes()).await?;
            stream.shutdown().await?;
        }
        _ => {
            stream.write_all(b"HTTP/1.1 204 No Content\r\n\r\n").await?;
            stream.shutdown().await?;
        }
    }
    Ok(())
}

// A whole request: its header, and as much as that says.
async fn hear(stream: &mut TlsStream<TcpStream>, heard: &mut Vec<u8>) -> io::Result<()> {
    let mut piece = vec![0; 16 << 10];
    loop {
        let head = heard.windows(4).position(|four| four == b"\r\n\r\n");
        if let Some(end) = head {
            let text = String::from_utf8_lossy(&heard[..end]).to_ascii_lowercase();
            let length = text.lines().find_map(|line| line.strip_prefix("content-length: "));
            let length: usize = length.unwrap().parse().unwrap();
            if heard.len() >= end + 4 + length {
                return Ok(());
            }
        }
        match stream.read(&mut piece).await? {
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            read => heard.extend_from_slice(&piece[..read]),
        }
    }
}

const TEN_GIGABYTES: u64 = 10 << 30;
