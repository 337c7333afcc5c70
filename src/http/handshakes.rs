//! Where handshakes are calculated: on threads of their own.
//!
//! A handshake costs a thousand times what another byte of a request costs. Whoever begins hundreds at once
//! would have everybody's requests wait behind them in one queue; on threads of their own the system
//! shares the processor between them and the rest.

use std::thread::available_parallelism;

use tokio::runtime::{Builder, Runtime};
use tokio_util::task::AbortOnDropHandle;

/// The threads on which handshakes run, of every door.
pub struct Handshakes(Option<Runtime>);

impl Handshakes {
    /// Starts the threads: half as many as there are processors.
    pub fn start() -> std::io::Result<Self> {
        let processors = available_parallelism().map_or(1, usize::from);
        let runtime = Builder::new_multi_thread()
            .worker_threads((processors / 2).max(1))
            .thread_name("handshakes")
            .enable_time()
            .build()?;
        Ok(Self(Some(runtime)))
    }

    /// What this comes to; none if it panicked. It ends when whoever waits for it does.
    pub(super) async fn run<T: Send + 'static>(
        &self,
        handshake: impl Future<Output = T> + Send + 'static,
    ) -> Option<T> {
        let runtime = self.0.as_ref()?;
        AbortOnDropHandle::new(runtime.spawn(handshake)).await.ok()
    }
}

impl Drop for Handshakes {
    fn drop(&mut self) {
        // Dropped by a task, it must not wait for threads.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_background();
        }
    }
}
