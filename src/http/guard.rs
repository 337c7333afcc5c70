//! A connection's bytes on their way to the HTTP library and back, watched for what it lets pass.

use std::io;
use std::pin::Pin;
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::time::{Instant, Sleep};

use crate::http::frames::{Allowance, Frames};
use crate::http::framing::Framing;
use crate::telemetry::{Metrics, ResetBy};

/// A stream that lets through no HTTP/1 that could be read in two ways and no flood of HTTP/2 frames,
/// and that fails when its peer takes nothing of what is written for too long.
pub(crate) struct Guarded<S> {
    stream: S,
    watch: Watch,
    found: Found,
    metrics: Arc<Metrics>,
    write_timeout: Duration,
    /// Runs while a write waits for the peer.
    waiting: Option<Pin<Box<Sleep>>>,
}

/// What was found wrong with a connection, if anything; a code from a closed list.
pub(crate) type Found = Arc<OnceLock<&'static str>>;

enum Watch {
    Http1(Framing),
    Http2 { read: Frames, written: Frames, allowance: Allowance },
}

impl<S> Guarded<S> {
    /// Guards a stream that speaks HTTP/1.
    pub(crate) fn http1(stream: S, write_timeout: Duration, metrics: Arc<Metrics>) -> Self {
        let watch = Watch::Http1(Framing::new());
        Self { stream, watch, found: Found::default(), metrics, write_timeout, waiting: None }
    }

    /// Guards a stream that speaks HTTP/2, whose peer may send so many frames a second that carry
    /// nothing.
    pub(crate) fn http2(
        stream: S,
        write_timeout: Duration,
        metrics: Arc<Metrics>,
        control_frames_per_second: u32,
    ) -> Self {
        let watch = Watch::Http2 {
            read: Frames::of_client(),
            written: Frames::of_server(),
            allowance: Allowance::new(control_frames_per_second, Instant::now()),
        };
        Self { stream, watch, found: Found::default(), metrics, write_timeout, waiting: None }
    }

    /// Where it says what it found.
    pub(crate) fn found(&self) -> Found {
        Arc::clone(&self.found)
    }

    fn or_give_up<T>(
        &mut self,
        context: &mut Context<'_>,
        progress: Poll<io::Result<T>>,
    ) -> Poll<io::Result<T>> {
        if progress.is_ready() {
            self.waiting = None;
            return progress;
        }
        let limit = self.write_timeout;
        let waiting = self.waiting.get_or_insert_with(|| Box::pin(tokio::time::sleep(limit)));
        ready!(waiting.as_mut().poll(context));
        self.found.get_or_init(|| "nothing-read");
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }

    fn written(&mut self, bytes: &[u8]) {
        if let Watch::Http2 { written, .. } = &mut self.watch {
            let resets = written.follow(bytes).resets;
            if resets > 0 {
                self.metrics.http2_resets(ResetBy::Gateway, resets);
            }
        }
    }
}

impl<S: AsyncRead + Unpin> AsyncRead for Guarded<S> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.found.get().is_some() {
            return Poll::Ready(Ok(()));
        }
        let before = buffer.filled().len();
        ready!(Pin::new(&mut this.stream).poll_read(context, buffer))?;
        let read = &buffer.filled()[before..];
        match &mut this.watch {
            Watch::Http1(framing) => {
                if let Err((good, fault)) = framing.follow(read) {
                    this.found.get_or_init(|| fault);
                    // In the place of what could be read in two ways comes what cannot be read at
                    // all: requests before it are answered, this one with 400, and that is the end.
                    buffer.set_filled(before + good);
                    buffer.put_slice(b"\0");
                }
            }
            Watch::Http2 { read: frames, allowance, .. } => {
                let passed = frames.follow(read);
                if passed.resets > 0 {
                    this.metrics.http2_resets(ResetBy::Peer, passed.resets);
                }
                if !allowance.take(passed, Instant::now()) {
                    this.found.get_or_init(|| "control-frames");
                    return Poll::Ready(Err(io::ErrorKind::ConnectionAborted.into()));
                }
            }
        }
        Poll::Ready(Ok(()))
    }
}

impl<S: AsyncWrite + Unpin> AsyncWrite for Guarded<S> {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write(context, bytes);
        if let Poll::Ready(Ok(length)) = progress {
            self.written(&bytes[..length]);
        }
        self.or_give_up(context, progress)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let progress = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        if let Poll::Ready(Ok(mut length)) = progress {
            for slice in slices {
                let here = length.min(slice.len());
                self.written(&slice[..here]);
                length -= here;
            }
        }
        self.or_give_up(context, progress)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_flush(context);
        self.or_give_up(context, progress)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let progress = Pin::new(&mut self.stream).poll_shutdown(context);
        self.or_give_up(context, progress)
    }
}
