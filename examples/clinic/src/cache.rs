//! Keeps the list of appointments and a count of requests in Redis. Never fails a request: without Redis, answers come
//! from the store. Readiness asks it all the same, because a load that needs the cache would break the store.

use crate::store::Depth;
use crate::trouble::Trouble;
use redis::aio::MultiplexedConnection;
use redis::{AsyncConnectionConfig, Client, FromRedisValue, Pipeline, RedisError, pipe};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use thiserror::Error;
use tokio::time::timeout;

/// A request waits this long for the cache and then does without it.
const DEADLINE: Duration = Duration::from_millis(150);
/// How long requests leave Redis alone after it failed; checks ask it always.
const REST: Duration = Duration::from_millis(500);
/// A list is never older than this, even if forgetting it was lost.
const LIST_SECONDS: u64 = 1;
/// How long the count of one second is kept.
const RATE_SECONDS: i64 = 10;
const LIST: &str = "clinic:list";
const PROBE: &str = "clinic:probe";

pub struct Cache {
    client: Client,
    link: Mutex<Link>,
    /// Requests for the list in the second before the last one, from all replicas.
    rate: AtomicU64,
}

#[derive(Default)]
struct Link {
    connection: Option<MultiplexedConnection>,
    rests_until: Option<Instant>,
}

#[derive(Debug, Error)]
pub enum CacheError {
    #[error("{0}")]
    Redis(#[from] RedisError),
    #[error("no answer within {} ms", DEADLINE.as_millis())]
    Late,
    #[error("what was written is not what is read")]
    Lost,
}

impl Cache {
    pub fn new(url: &str) -> Result<Self, Trouble> {
        let client = Client::open(url).map_err(|error| {
            Trouble::new("use REDIS_URL", error, "write redis://HOST:PORT or redis+unix:///PATH")
        })?;
        Ok(Self { client, link: Mutex::default(), rate: AtomicU64::new(0) })
    }

    /// Counts one request for the list and returns the list if it is kept.
    pub async fn list(&self) -> Option<String> {
        if self.rests() {
            return None;
        }
        let second = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let (now, before) = (rate_key(second), rate_key(second.saturating_sub(1)));
        let mut ask = pipe();
        ask.incr(&now, 1).ignore().expire(&now, RATE_SECONDS).ignore().get(&before).get(LIST);
        let (rate, list): (Option<u64>, Option<String>) = self.ask_soon(&ask).await?;
        self.rate.store(rate.unwrap_or(0), Ordering::Relaxed);
        list
    }

    pub async fn keep_list(&self, text: &str) {
        let mut ask = pipe();
        ask.set_ex(LIST, text, LIST_SECONDS).ignore();
        self.ask_soon::<()>(&ask).await.unwrap_or(());
    }

    pub async fn forget_list(&self) {
        let mut ask = pipe();
        ask.del(LIST).ignore();
        self.ask_soon::<()>(&ask).await.unwrap_or(());
    }

    /// Returns requests for the list in the last full second, as seen at the last request.
    pub fn rate(&self) -> u64 {
        self.rate.load(Ordering::Relaxed)
    }

    /// Asks for a sign of life, or writes and reads. The caller brings the deadline.
    pub async fn check(&self, depth: Depth) -> Result<(), CacheError> {
        let mut ask = pipe();
        match depth {
            Depth::Reachable => Ok(self.ask::<()>(ask.ping().ignore()).await?),
            Depth::Working => {
                ask.set_ex(PROBE, "1", LIST_SECONDS).ignore().get(PROBE);
                let (read,): (Option<String>,) = self.ask(&ask).await?;
                if read.as_deref() == Some("1") { Ok(()) } else { Err(CacheError::Lost) }
            }
        }
    }

    /// Asks on behalf of a request: soon or not at all.
    async fn ask_soon<T: FromRedisValue>(&self, ask: &Pipeline) -> Option<T> {
        if self.rests() {
            return None;
        }
        let answer = timeout(DEADLINE, self.ask(ask)).await.unwrap_or(Err(CacheError::Late));
        if answer.is_err() {
            self.with_link(|link| {
                *link = Link { connection: None, rests_until: Some(Instant::now() + REST) }
            });
        }
        answer.ok()
    }

    async fn ask<T: FromRedisValue>(&self, ask: &Pipeline) -> Result<T, CacheError> {
        let mut connection = self.connection().await?;
        let answer = ask.query_async(&mut connection).await;
        if answer.is_err() {
            self.with_link(|link| link.connection = None);
        }
        Ok(answer?)
    }

    async fn connection(&self) -> Result<MultiplexedConnection, CacheError> {
        if let Some(connection) = self.with_link(|link| link.connection.clone()) {
            return Ok(connection);
        }
        let config = AsyncConnectionConfig::new()
            .set_connection_timeout(Some(DEADLINE))
            .set_response_timeout(Some(DEADLINE));
        // Several requests may connect at once; the last connection stays and the others end with their request.
        let connection = self.client.get_multiplexed_async_connection_with_config(&config).await?;
        self.with_link(|link| *link = Link { connection: Some(connection.clone()), rests_until: None });
        Ok(connection)
    }

    fn rests(&self) -> bool {
        self.with_link(|link| link.rests_until.is_some_and(|until| Instant::now() < until))
    }

    fn with_link<T>(&self, work: impl FnOnce(&mut Link) -> T) -> T {
        work(&mut self.link.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

fn rate_key(second: u64) -> String {
    format!("clinic:rate:{second}")
}
