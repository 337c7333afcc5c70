//! What a connection has in hand, and when something of it last moved.
//!
//! A peer that sends or takes a byte now and then keeps every shorter wait from running out. It does
//! not get past this one: a request that ends, or a piece of a body, in so much time.

use std::collections::BTreeMap;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use hyper::body::{Body, Bytes, Frame, SizeHint};
use tokio::time::Instant;

/// The requests of one connection.
#[derive(Debug)]
pub(crate) struct Work {
    requests: Mutex<Requests>,
}

#[derive(Debug)]
struct Requests {
    begun: u64,
    /// When each of those in hand last moved.
    moved: BTreeMap<u64, Instant>,
    /// When the connection was opened, or a request last ended.
    ended: Instant,
}

impl Work {
    /// None yet.
    pub(crate) fn new() -> Arc<Self> {
        let requests = Requests { begun: 0, moved: BTreeMap::new(), ended: Instant::now() };
        Arc::new(Self { requests: Mutex::new(requests) })
    }

    /// A request begins; it ends when what is returned is dropped.
    pub(crate) fn begin(self: &Arc<Self>) -> Arc<InHand> {
        let mut requests = self.lock();
        requests.begun += 1;
        let number = requests.begun;
        requests.moved.insert(number, Instant::now());
        drop(requests);
        Arc::new(InHand { work: Arc::clone(self), number })
    }

    /// Waits until nothing has moved for so long: neither anything at all, nor one of those in hand.
    pub(crate) async fn stalled(&self, limit: Duration) {
        loop {
            let end = self.since() + limit;
            if end <= Instant::now() {
                return;
            }
            tokio::time::sleep_until(end).await;
        }
    }

    fn since(&self) -> Instant {
        let requests = self.lock();
        requests.moved.values().min().copied().unwrap_or(requests.ended)
    }

    fn lock(&self) -> MutexGuard<'_, Requests> {
        self.requests.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// One request in hand.
#[derive(Debug)]
pub(crate) struct InHand {
    work: Arc<Work>,
    number: u64,
}

impl InHand {
    fn moved(&self) {
        if let Some(moved) = self.work.lock().moved.get_mut(&self.number) {
            *moved = Instant::now();
        }
    }
}

impl Drop for InHand {
    fn drop(&mut self) {
        let mut requests = self.work.lock();
        requests.moved.remove(&self.number);
        requests.ended = Instant::now();
    }
}

/// A body whose every piece shows that its request moves, and which keeps it in hand.
#[derive(Debug)]
pub(crate) struct Moving<B> {
    body: B,
    in_hand: Arc<InHand>,
}

impl<B> Moving<B> {
    pub(crate) fn new(body: B, in_hand: Arc<InHand>) -> Self {
        Self { body, in_hand }
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Moving<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(context);
        if polled.is_ready() {
            self.in_hand.moved();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
