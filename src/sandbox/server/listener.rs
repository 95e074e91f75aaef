//! Connections that cannot be held for nothing: only so many at once, and time limits on both directions.
//!
//! `axum::serve` has no time limits of its own, and gives a connection's handlers no say in it. So each connection counts
//! its requests: while one is being worked on, silence is as it should be.

use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::task::{Context, Poll, ready};
use std::time::Duration;

use axum::extract::connect_info::Connected;
use axum::serve::{IncomingStream, Listener};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore};
use tokio::time::{Instant, Sleep, sleep};

/// What is left of that time once the service goes down.
const LAST_PATIENCE: Duration = Duration::from_secs(1);

/// Wait after a failed accept: the usual cause is that no file descriptors are left.
const ACCEPT_PAUSE: Duration = Duration::from_millis(200);

/// Accepts at most so many connections at once; the others wait in the kernel's queue.
pub(super) struct Connections {
    listener: TcpListener,
    places: Arc<Semaphore>,
    patience: Duration,
    draining: Arc<AtomicBool>,
}

impl Connections {
    /// `patience` is the time from connecting, or from the end of the last answer, to the next request's complete head,
    /// and the time without any progress of an answer. `draining` is set once the service goes down.
    pub fn new(listener: TcpListener, most: usize, patience: Duration, draining: Arc<AtomicBool>) -> Self {
        let places = Arc::new(Semaphore::new(most.min(Semaphore::MAX_PERMITS)));
        Self { listener, places, patience, draining }
    }
}

impl Listener for Connections {
    type Io = Connection;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Connection, SocketAddr) {
        loop {
            let place = Arc::clone(&self.places).acquire_owned().await.ok();
            match self.listener.accept().await {
                Ok((stream, address)) => {
                    // Answers are written in one go; waiting to fill packets would only delay them.
                    let _ = stream.set_nodelay(true);
                    return (Connection::new(stream, place, self), address);
                }
                Err(error) => {
                    tracing::warn!("cannot accept a connection: {error}");
                    sleep(ACCEPT_PAUSE).await;
                }
            }
        }
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.listener.local_addr()
    }
}

/// The requests of one connection, shared with their handlers.
#[derive(Debug, Clone, Default)]
pub(super) struct Requests(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    begun: AtomicU64,
    ended: AtomicU64,
}

impl Requests {
    /// Counts a request until the guard is dropped.
    pub fn begin(&self) -> impl Drop + use<> {
        self.0.begun.fetch_add(1, Ordering::Relaxed);
        Begun(Arc::clone(&self.0))
    }

    fn ended(&self) -> u64 {
        self.0.ended.load(Ordering::Relaxed)
    }

    fn is_idle(&self) -> bool {
        self.0.begun.load(Ordering::Relaxed) == self.ended()
    }
}

struct Begun(Arc<Counts>);

impl Drop for Begun {
    fn drop(&mut self) {
        self.0.ended.fetch_add(1, Ordering::Relaxed);
    }
}

impl Connected<IncomingStream<'_, Connections>> for Requests {
    fn connect_info(stream: IncomingStream<'_, Connections>) -> Self {
        stream.io().requests.clone()
    }
}

/// One connection.
pub(super) struct Connection {
    stream: TcpStream,
    requests: Requests,
    patience: Duration,
    draining: Arc<AtomicBool>,
    /// Requests that had ended when `head_deadline` was set.
    ended: u64,
    head_deadline: Pin<Box<Sleep>>,
    /// Set while the other side takes nothing.
    write_deadline: Option<Pin<Box<Sleep>>>,
    _place: Option<OwnedSemaphorePermit>,
}

impl Connection {
    fn new(stream: TcpStream, place: Option<OwnedSemaphorePermit>, of: &Connections) -> Self {
        let patience = of.patience;
        Self {
            stream,
            requests: Requests::default(),
            patience,
            draining: Arc::clone(&of.draining),
            ended: 0,
            head_deadline: Box::pin(sleep(patience)),
            write_deadline: None,
            _place: place,
        }
    }

    fn give_time(&mut self) {
        self.head_deadline.as_mut().reset(Instant::now() + self.patience);
    }

    /// Shortens the wait for a request once the service goes down.
    fn hurry(&mut self) {
        let last = Instant::now() + LAST_PATIENCE;
        if self.draining.load(Ordering::Relaxed) && self.head_deadline.deadline() > last {
            self.head_deadline.as_mut().reset(last);
        }
    }

    /// `written` with the deadline put to it.
    fn written(
        &mut self,
        context: &mut Context<'_>,
        written: Poll<io::Result<usize>>,
    ) -> Poll<io::Result<usize>> {
        if written.is_ready() {
            self.write_deadline = None;
            self.give_time();
            return written;
        }
        let patience = self.patience;
        let deadline = self.write_deadline.get_or_insert_with(|| Box::pin(sleep(patience)));
        ready!(deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for Connection {
    fn poll_read(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = self.get_mut();
        let read = Pin::new(&mut this.stream).poll_read(context, buffer);
        if read.is_ready() || !this.requests.is_idle() {
            return read;
        }
        let ended = this.requests.ended();
        if ended != this.ended {
            this.ended = ended;
            this.give_time();
        }
        this.hurry();
        ready!(this.head_deadline.as_mut().poll(context));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncWrite for Connection {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write(context, bytes);
        this.written(context, written)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let this = self.get_mut();
        let written = Pin::new(&mut this.stream).poll_write_vectored(context, bytes);
        this.written(context, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_flush(context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_shutdown(context)
    }
}
