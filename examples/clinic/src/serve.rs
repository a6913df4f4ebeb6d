//! Lives the life of the server: listen, serve, and after SIGTERM finish what was begun. Owns every connection,
//! because a keep-alive connection ended at the wrong moment costs its client a request; see `drain`.

use crate::app::{App, Life, Open, router};
use crate::cache::Cache;
use crate::config::Config;
use crate::store::{Migration, Store};
use crate::trouble::Trouble;
use crate::{complain, faults, say};
use axum::Router;
use hyper::server::conn::http1;
use hyper_util::rt::{TokioIo, TokioTimer};
use hyper_util::service::TowerToHyperService;
use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;
use tokio::net::{TcpListener, TcpStream};
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::time::{Instant, sleep, sleep_until, timeout};

/// Idle connections and slow request heads end after this; proxies keep theirs for up to a minute.
const HEAD_TIMEOUT: Duration = Duration::from_secs(75);
/// Open connections; the next one waits in the kernel. Descriptors are limited to 1024 by default.
const CONNECTIONS_MAX: usize = 900;
/// How long a new connection may take to bring its first request when the server is closing.
const FIRST_REQUEST: Duration = Duration::from_millis(100);
/// Pause after a failed accept (descriptors used up), so that it does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Serves until SIGTERM or SIGINT, then drains. An error means that it never listened.
pub async fn serve(config: Config) -> Result<(), Trouble> {
    let mut stop = Stop::new()?;
    let store = Store::new(&config.store)?;
    let cache = config.redis_url.as_deref().map(Cache::new).transpose()?;
    if store.is_file() {
        // A file has no administrator who would have prepared it.
        store.migrate(Migration::Expand).await.map_err(|error| {
            Trouble::new(format!("open the store {}", store.kind()), &error, error.next())
        })?;
    }
    let app = App::new(config, store, cache);
    if !start_late(app.config.faults.start, &mut stop).await {
        return Ok(());
    }
    if let Some(after) = app.config.faults.crash_after {
        tokio::spawn(faults::crash_later(after));
    }
    let server = Server::listen(app).await?;
    server.accept_until(async { stop.asked().await }).await;
    server.drain().await;
    Ok(())
}

/// Waits before listening; false when told to stop meanwhile.
async fn start_late(delay: Duration, stop: &mut Stop) -> bool {
    tokio::select! {
        () = stop.asked() => false,
        () = sleep(delay) => true,
    }
}

/// The two signals that ask for the end.
struct Stop {
    terminate: Signal,
    interrupt: Signal,
}

impl Stop {
    fn new() -> Result<Self, Trouble> {
        let listen =
            |kind| signal(kind).map_err(|error| Trouble::new("listen for signals", error, "start again"));
        Ok(Self { terminate: listen(SignalKind::terminate())?, interrupt: listen(SignalKind::interrupt())? })
    }

    async fn asked(&mut self) {
        tokio::select! {
            _ = self.terminate.recv() => {}
            _ = self.interrupt.recv() => {}
        }
    }
}

struct Server {
    app: Arc<App>,
    router: Router,
    listener: TcpListener,
}

impl Server {
    async fn listen(app: Arc<App>) -> Result<Self, Trouble> {
        let wanted = app.config.listen;
        let trouble = |error| {
            Trouble::new(format!("listen on {wanted}"), error, "set PORT to a free port, or stop who has it")
        };
        let listener = TcpListener::bind(wanted).await.map_err(trouble)?;
        let address: SocketAddr = listener.local_addr().map_err(trouble)?;
        let version = app.config.version.to_str().unwrap_or_default();
        say(&format!("clinic {version} listens on http://{address}, store {}", app.store.kind()));
        Ok(Self { router: router(app.clone()), app, listener })
    }

    /// Accepts connections until the future is done.
    async fn accept_until(&self, done: impl Future<Output = ()>) {
        let mut done = pin!(done);
        loop {
            tokio::select! {
                biased;
                () = &mut done => return,
                accepted = self.accept() => match accepted {
                    Ok(stream) => self.spawn(stream),
                    Err(_) => sleep(ACCEPT_PAUSE).await,
                }
            }
        }
    }

    /// Accepts the next connection once there is room for it.
    async fn accept(&self) -> std::io::Result<TcpStream> {
        while self.app.open_count() >= CONNECTIONS_MAX {
            sleep(ACCEPT_PAUSE).await;
        }
        self.listener.accept().await.map(|(stream, _)| stream)
    }

    fn spawn(&self, stream: TcpStream) {
        let (open, router) = (self.app.open(), self.router.clone());
        tokio::spawn(connection(self.app.clone(), open, router, stream));
    }

    /// Finishes without losing a request, in three moves: answer everything for a while and ask each connection to
    /// close; take what already waits in the kernel and stop listening; end idle connections and wait for the rest.
    async fn drain(self) {
        let deadline = Instant::now() + self.app.config.drain;
        self.app.enter(Life::Draining);
        say("clinic: draining");
        let linger = sleep(self.app.config.linger.min(self.app.config.drain));
        self.accept_until(async {
            tokio::select! {
                () = linger => {}
                () = self.app.empty() => {}
            }
        })
        .await;
        while let Ok(Ok((stream, _))) = timeout(Duration::ZERO, self.listener.accept()).await {
            self.spawn(stream);
        }
        drop(self.listener);
        self.app.enter(Life::Closing);
        tokio::select! {
            () = self.app.empty() => say("clinic: stopped, every request was finished"),
            () = sleep_until(deadline) => {
                let open = self.app.open_count();
                complain(&format!("clinic: stopped at the end of CLINIC_DRAIN_MS with {open} connections open"));
            }
        }
    }
}

/// Serves one connection to its end.
async fn connection(app: Arc<App>, open: Open, router: Router, stream: TcpStream) {
    let since = Instant::now();
    // Small answers must not wait for the acknowledgement of earlier ones. A socket that cannot is already gone.
    stream.set_nodelay(true).unwrap_or(());
    let serving = http1::Builder::new()
        .timer(TokioTimer::new())
        .header_read_timeout(HEAD_TIMEOUT)
        .serve_connection(TokioIo::new(stream), TowerToHyperService::new(router))
        .with_upgrades();
    let mut serving = pin!(serving);
    tokio::select! {
        // What ends a connection early is the client's business; requests that fail are answered.
        _ = &mut serving => {}
        () = closing(&app, since) => {
            serving.as_mut().graceful_shutdown();
            serving.await.unwrap_or(());
        }
    }
    drop(open);
}

/// Waits until a connection that is idle may be ended.
async fn closing(app: &App, since: Instant) {
    app.reached(Life::Closing).await;
    sleep_until(since + FIRST_REQUEST).await;
}
