//! `issuer`: the process that holds the issuing authorities' keys. `serve` starts one as its child.

use std::os::fd::AsFd as _;
use std::process::Stdio;
use std::time::Duration;

use clap::Args;
use tokio::io::AsyncReadExt as _;
use tokio::net::unix::pipe::Receiver;
use tokio::process::{Child, Command};
use tokio_util::sync::CancellationToken;

use super::serve::Signals;
use super::{Context, Failure, block_on};
use crate::config::{Config, Home};
use crate::issuer::{self, Access, Answer, Ask, Issuer};
use crate::message::{now, rfc3339};
use crate::telemetry::{self, LogFormat};

/// Hold the issuing authorities' keys, and sign what the register enters
#[derive(Args)]
#[command(after_help = "Example, as another user than the gateway's:
  mash-gateway issuer --home H

\"serve\" starts one by itself, unless gateway.toml says start = false under [issuer].")]
pub(super) struct IssuerCommand {
    /// End when standard input does: how serve sees to it that it does not outlive it
    #[arg(long, hide = true)]
    child: bool,
}

impl IssuerCommand {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        telemetry::init_logging(LogFormat::detect())?;
        block_on(async {
            let config = super::config(&context.home)?;
            let issuer = Issuer::new(&context.home, &config);
            // Better now than with the first request.
            let Answer::Status(authorities) = issuer.answer(Ask::Status, now())? else {
                return Err(Failure::new(super::Exit::Failed, "the issuer is confused"));
            };
            for authority in &authorities {
                let until = rfc3339(authority.not_after);
                tracing::info!(authority.name = authority.name, until, "the issuer has this key");
            }
            let socket = context.home.resolve(&config.issuer.socket);
            let mut signals = Signals::listen()?;
            let parent = match self.child {
                true => {
                    Some(Receiver::from_owned_fd(std::io::stdin().as_fd().try_clone_to_owned()?)?)
                }
                false => None,
            };
            tokio::select! {
                ended = issuer::serve(&socket, issuer, now) => ended.map_err(|error| {
                    Failure::new(
                        super::Exit::Failed,
                        format!("cannot listen on {}: {error}", socket.display()),
                    )
                    .hint("socket under [issuer] in gateway.toml; a path of at most 100 letters")
                }),
                () = signals.end() => Ok(()),
                () = parent_gone(parent) => Ok(()),
            }
        })
    }
}

// Standard input is a pipe that the parent holds and never writes to. Polled and not read by a thread
// of its own, for which an issuer that has failed would wait as long as its parent lives.
async fn parent_gone(input: Option<Receiver>) {
    let Some(mut input) = input else { return std::future::pending().await };
    let _ = input.read(&mut [0]).await;
}

/// Keeps an issuer running as a child until `stop`, and starts it again when it ends. Returns when
/// it first answers, or has not within a few seconds: then the gateway runs without, and says so.
pub(super) async fn keep_running(home: &Home, config: &Config, stop: CancellationToken) {
    if !config.issuer.start {
        return;
    }
    let supervised = home.clone();
    tokio::spawn(async move {
        while !stop.is_cancelled() {
            match start(&supervised) {
                Ok(mut child) => {
                    // Taken, because waiting would close it; it ends the child when it is dropped.
                    let stdin = child.stdin.take();
                    tokio::select! {
                        () = stop.cancelled() => {
                            drop(stdin);
                            let _ = child.wait().await;
                            return;
                        }
                        ended = child.wait() => {
                            let status = ended.map(|status| status.to_string());
                            let status = status.unwrap_or_default();
                            tracing::error!(status, "the issuer ended, and is started again");
                        }
                    }
                }
                Err(error) => tracing::error!(error = %error, "the issuer could not be started"),
            }
            tokio::time::sleep(PAUSE).await;
        }
    });
    let access = Access::for_gateway(home, config);
    let answers = async {
        while access.ask(Ask::Status, now()).await.is_err() {
            tokio::time::sleep(PAUSE / 20).await;
        }
    };
    if tokio::time::timeout(PATIENCE, answers).await.is_err() {
        tracing::error!("the issuer does not answer: nothing can be issued, and no list be signed");
    }
}

fn start(home: &Home) -> std::io::Result<Child> {
    Command::new(std::env::current_exe()?)
        .args(["issuer", "--child", "--home"])
        .arg(home.folder())
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        // Ctrl-C is for the gateway, which ends it in order.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
}

const PAUSE: Duration = Duration::from_secs(1);
/// How long a gateway waits for its issuer before it opens its doors without.
const PATIENCE: Duration = Duration::from_secs(10);
