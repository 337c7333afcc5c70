//! What is left of a request's body when it has been answered without it.
//!
//! Who has not sent all when the answer comes goes on sending. The library closes a connection whose
//! body nobody has read: the next request on it fails, which nothing said, and what arrives at a
//! closed connection can cost the sender even the answer. So what is on its way is passed over, and
//! where that is not all, the answer says that the connection ends.

use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use http_body_util::BodyExt as _;
use hyper::body::{Body, Bytes, Frame, SizeHint};

/// A body that is lent to whoever answers.
#[derive(Debug)]
pub(crate) struct Lent<B>(Arc<Mutex<State<B>>>);

#[derive(Debug)]
struct State<B> {
    body: B,
    is_over: bool,
}

impl<B: Body<Data = Bytes> + Unpin> Lent<B> {
    /// Lends a body; also returns what it is taken back with.
    pub(crate) fn new(body: B) -> (Self, Rest<B>) {
        let is_over = body.is_end_stream();
        let state = Arc::new(Mutex::new(State { body, is_over }));
        (Self(Arc::clone(&state)), Rest(Self(state)))
    }

    fn lock(&self) -> MutexGuard<'_, State<B>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<B: Body<Data = Bytes> + Unpin> Body for Lent<B> {
    type Data = Bytes;
    type Error = B::Error;

    fn poll_frame(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, B::Error>>> {
        let mut state = self.lock();
        let polled = Pin::new(&mut state.body).poll_frame(context);
        state.is_over = matches!(polled, Poll::Ready(None)) || state.body.is_end_stream();
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.lock().is_over
    }

    fn size_hint(&self) -> SizeHint {
        self.lock().body.size_hint()
    }
}

/// A lent body when the answer is there.
#[derive(Debug)]
pub(crate) struct Rest<B>(Lent<B>);

impl<B: Body<Data = Bytes> + Unpin> Rest<B> {
    /// Whether nothing is left of it.
    pub(crate) fn is_over(&self) -> bool {
        self.0.is_end_stream()
    }

    /// Passes over what comes soon, if it is not too much; whether that was all.
    pub(crate) async fn pass_over(mut self) -> bool {
        let passing = async {
            let mut passed = 0;
            while let Some(Ok(frame)) = self.0.frame().await {
                passed += frame.data_ref().map_or(0, Bytes::len);
                if passed > BYTES_MAX {
                    break;
                }
            }
            self.is_over()
        };
        tokio::time::timeout(SOON, passing).await.unwrap_or(false)
    }
}

/// As long as anything that was sent before the answer came may be on its way.
const SOON: Duration = Duration::from_secs(1);
const BYTES_MAX: usize = 1 << 20;

#[cfg(test)]
mod tests {
    use std::convert::Infallible;

    use http_body_util::Full;

    use super::*;

    /// Always another piece like this; without one, never any.
    struct Endless(Option<Bytes>);

    impl Body for Endless {
        type Data = Bytes;
        type Error = Infallible;

        fn poll_frame(
            self: Pin<&mut Self>,
            _: &mut Context<'_>,
        ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
            self.0.clone().map_or(Poll::Pending, |piece| Poll::Ready(Some(Ok(Frame::data(piece)))))
        }
    }

    #[tokio::test]
    async fn what_is_on_its_way_is_passed_over_and_neither_waited_for_nor_followed_for_ever() {
        let (lent, rest) = Lent::new(Full::new(Bytes::from_static(b"all of it")));
        assert!(!rest.is_over());
        drop(lent);
        assert!(rest.pass_over().await);

        let (mut lent, rest) = Lent::new(Full::new(Bytes::from_static(b"read already")));
        while lent.frame().await.is_some() {}
        assert!(rest.is_over());

        for piece in [None, Some(Bytes::from_static(&[0; 65_536]))] {
            let (_, rest) = Lent::new(Endless(piece));
            assert!(!rest.is_over());
            assert!(!rest.pass_over().await);
        }
    }
}
