//! `attach`: uploads a file, to be named in a message.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context as TaskContext, Poll};

use clap::Args;
use hyper::body::{Body, Bytes, Frame, SizeHint};
use indicatif::ProgressBar;
use ring::digest;
use serde_json::Value;

use super::client::Connection;
use super::exchange::text;
use super::log::progress;
use super::{Context, Exit, Failure, block_on};
use crate::message::MediaType;

/// Upload a file, to be sent with a message
#[derive(Args)]
#[command(after_help = "Examples:
  mash-gateway attach consent.pdf --cert hub.pem --key hub.key --ca ca.pem
  mash-gateway attach scan --type image/jpeg --json \\
      --cert surgery.pem --key surgery.key --ca ca.pem

What is printed is how the message names it, under \"attachments\". Uploading the same file again does
nothing more and prints the same. A file that no message names within a day is destroyed; nobody but
the recipient of the message gets it, and its name on this machine goes nowhere.")]
pub(super) struct Attach {
    /// A PDF, PNG, JPEG or UTF-8 text file
    file: PathBuf,
    /// What it is [default: by the end of its name]
    #[arg(long, value_name = "TYPE", value_parser = media_type)]
    r#type: Option<MediaType>,
    #[command(flatten)]
    connection: Connection,
}

fn media_type(name: &str) -> Result<MediaType, String> {
    MediaType::parse(name).ok_or_else(|| {
        let all = MediaType::ALL.map(MediaType::as_str).join(", ");
        format!("one of {all}")
    })
}

impl Attach {
    pub(super) fn run(self, context: &Context) -> Result<(), Failure> {
        let media_type = match self.r#type {
            Some(media_type) => media_type,
            None => by_name(&self.file).ok_or_else(|| {
                let message = "what the file is cannot be told by its name";
                Failure::new(Exit::Misused, message).hint("say it: --type application/pdf")
            })?,
        };
        let (size, digest) = measure(&self.file)?;
        let bar = match context.global.quiet {
            true => ProgressBar::hidden(),
            false => progress(size, "bytes"),
        };
        let body = FileBody { file: open(&self.file)?, left: size, bar: bar.clone() };
        let named = block_on(async {
            let gateway = self.connection.open_for_files()?;
            gateway.upload(media_type, &digest, body).await
        })?;
        bar.finish_and_clear();
        let named: Value = serde_json::from_str(&named)?;
        context.result(
            &named,
            format!(
                "uploaded {}; the message names it so:\n  \"attachments\": [{named}]",
                text(&named, "id")
            ),
        );
        Ok(())
    }
}

fn by_name(path: &Path) -> Option<MediaType> {
    let end = path.extension()?.to_str()?.to_ascii_lowercase();
    let end = if end == "jpeg" { "jpg" } else { &*end };
    MediaType::ALL.into_iter().find(|media_type| media_type.extension() == end)
}

fn open(path: &Path) -> Result<File, Failure> {
    File::open(path).map_err(|error| {
        let is_missing = error.kind() == io::ErrorKind::NotFound;
        let exit = if is_missing { Exit::NotFound } else { Exit::Failed };
        Failure::new(exit, format!("cannot read {}: {error}", path.display()))
    })
}

// Its length and its SHA-256, piece by piece: it may be larger than memory.
fn measure(path: &Path) -> Result<(u64, [u8; 32]), Failure> {
    let (mut file, mut piece) = (open(path)?, vec![0; PIECE_BYTES]);
    let (mut size, mut hash) = (0, digest::Context::new(&digest::SHA256));
    loop {
        let length = file.read(&mut piece)?;
        if length == 0 {
            break;
        }
        size += length as u64;
        hash.update(&piece[..length]);
    }
    let mut sha256 = [0; 32];
    sha256.copy_from_slice(hash.finish().as_ref());
    Ok((size, sha256))
}

/// A file as the body of a request, which shows how far it is.
struct FileBody {
    file: File,
    left: u64,
    bar: ProgressBar,
}

impl Body for FileBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut TaskContext<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        // As it was measured: a file that grows meanwhile is sent as it was.
        let wanted = self.left.min(PIECE_BYTES as u64);
        if wanted == 0 {
            return Poll::Ready(None);
        }
        let mut piece = Vec::new();
        let read = (&self.file).take(wanted).read_to_end(&mut piece);
        Poll::Ready(Some(read.and_then(|length| {
            if length == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.left -= length as u64;
            self.bar.inc(length as u64);
            Ok(Frame::data(piece.into()))
        })))
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::with_exact(self.left)
    }
}

const PIECE_BYTES: usize = 64 << 10;
