//! Names every bound of the edge and says why it has that value. Decides nothing; the rooms that wait or queue read it.

use rollout::names::Millis;
use std::time::Duration;

/// Bounds of a number drawn for each anew.
#[derive(Debug, Clone, Copy)]
pub struct Jitter {
    pub least: u64,
    pub most: u64,
}

/// A request's head arrives within this time of its first byte: slow-loris clients hold a socket no longer.
pub const CLIENT_HEAD: Duration = Duration::from_secs(10);
/// An idle client connection is kept longer than the 60 s of common load balancers, so that they close first.
pub const CLIENT_IDLE: Duration = Duration::from_secs(75);
/// A client that stops sending its body, or stops acknowledging ours, is given up after this.
pub const CLIENT_STALL: Duration = Duration::from_secs(60);
/// The kernel asks a silent client whether it is still there.
pub const CLIENT_KEEPALIVE: Duration = Duration::from_secs(60);
/// A PROXY header of version 2 after its first 16 bytes: addresses and some extensions. haproxy sends 536 at most.
pub const PROXY_HEADER_BYTES: usize = 2048;
/// A TLS handshake ends within this time of its connection's beginning; a browser needs two round trips.
pub const CLIENT_HANDSHAKE: Duration = Duration::from_secs(10);
/// Unfinished handshakes of one worker, a fifth of its connections: who opens connections and says nothing takes no more.
pub const CLIENT_HANDSHAKES: usize = 4_000;
/// How often certificates are looked at for newer ones: two calls of the system for each.
pub const CERTIFICATE_LOOK: Duration = Duration::from_secs(1);
/// A certificate the edge made for itself is replaced when this little of its year is left.
pub const SELF_SIGNED_RENEW: Millis = Millis(30 * 24 * 3600 * 1000);
/// One attempt to get a certificate takes no longer: an order, its proof, and some patience of the server.
pub const ACME_ATTEMPT: Duration = Duration::from_secs(120);
/// Orders for the hosts of services under way at a time: servers take few from one account.
pub const ACME_ORDERS: usize = 2;
/// The pause after a failed attempt, doubled by each: Let's Encrypt forgives five failures of a name an hour;
pub const ACME_PAUSE: Duration = Duration::from_secs(60);
/// it is no longer than this: certificates are renewed weeks before they end.
pub const ACME_PAUSE_MAX: Millis = Millis::seconds(6 * 3600);
/// An edge that starts again asks for a name that failed no later than this: somebody may have mended what was wrong.
pub const ACME_PAUSE_RESTART: Millis = Millis::seconds(15 * 60);
/// How long at most until it is looked again whether a certificate is due.
pub const ACME_LOOK: Duration = Duration::from_secs(600);
/// Whoever allows names answers within this time (E18): a client waits meanwhile.
pub const ON_DEMAND_ASK: Duration = Duration::from_secs(2);
/// How long a name is allowed whose order failed, before it is asked about again;
pub const ON_DEMAND_ALLOWED: Duration = Duration::from_secs(600);
/// how long one is refused: who has just been added somewhere waits no longer;
pub const ON_DEMAND_REFUSED: Duration = Duration::from_secs(60);
/// and how long one about which nobody answered.
pub const ON_DEMAND_SILENT: Duration = Duration::from_secs(5);
/// Names about which something is remembered, some 200 bytes each; strangers may ask for any.
pub const ON_DEMAND_NAMES: usize = 4_096;
/// Names that wait for their turn,
pub const ON_DEMAND_QUEUE: usize = 64;
/// of which so many are asked about or ordered at a time.
pub const ON_DEMAND_ORDERS: usize = 4;
/// Clients that wait for a certificate, over all workers: a sixteenth of one worker's handshakes.
pub const ON_DEMAND_WAITING: usize = 256;
/// Certificates of names that no service has: some 10 MB.
pub const ON_DEMAND_CERTIFICATES: usize = 2_000;
/// Of these, so many with which something is wrong are named in the status.
pub const ON_DEMAND_PROBLEMS: usize = 20;
/// Bytes of one request's head, and of one connection's read buffer. nginx: 4 × 8 KiB.
pub const CLIENT_HEAD_BYTES: usize = 64 * 1024;
/// Header fields of one request; hyper answers 431 beyond.
pub const CLIENT_HEADERS: usize = 128;
/// Client connections of one worker. More wait in the listener's backlog instead of exhausting descriptors.
pub const CLIENT_CONNECTIONS: usize = 20_000;
/// Bytes read at a time of a client that sends plain requests: a head fits, and so does a browser's bundle of cookies.
pub const PLAIN_READ: usize = 16 * 1024;
/// A head that has not come whole after so many reads is hyper's: nothing is read again and again.
pub const PLAIN_READS: usize = 8;
/// Streams of one HTTP/2 connection; what browsers expect at least is 100.
pub const CLIENT_STREAMS: u32 = 250;
/// Bytes written to one HTTP/2 connection that are sent together: two frames of the usual size.
pub const CLIENT_GATHERED: usize = 33 * 1024;
/// HTTP/2 pings find dead peers of silent connections.
pub const CLIENT_PING: Duration = Duration::from_secs(30);

/// A replica is on this machine or next door: no connection after this means it is not there.
pub const UPSTREAM_CONNECT: Duration = Duration::from_secs(2);
/// From the last byte of the request sent to the head of the answer.
pub const UPSTREAM_HEAD: Duration = Duration::from_secs(60);
/// A plain answer that has begun goes on within this time. Event streams and WebSockets may be silent for ever.
pub const UPSTREAM_SILENCE: Duration = Duration::from_secs(300);
/// Requests that must not be repeated go only on connections idle for less: the shortest keep-alive timeout
/// seen in common servers is one second, so the replica's own timer cannot fire while the request is on its way.
pub const UPSTREAM_IDLE_UNSAFE: Duration = Duration::from_millis(500);
/// Other requests may try an older connection, because they can be repeated when it turns out closed.
pub const UPSTREAM_IDLE: Duration = Duration::from_secs(60);
/// Idle connections to one replica that a worker keeps.
pub const UPSTREAM_IDLE_CONNECTIONS: usize = 256;
/// After the answer's end the connection becomes reusable at once, or it is given up.
pub const UPSTREAM_SETTLE: Duration = Duration::from_secs(1);
/// Bytes read ahead from one replica's connection, and of an answer's head.
pub const UPSTREAM_BUFFER: usize = 256 * 1024;
/// Header fields of an answer, as many as hyper takes;
pub const UPSTREAM_HEADERS: usize = 100;
/// and of its trailers.
pub const TRAILERS: usize = 32;
/// Bytes read at once where an answer begins: its head and a small content, which need no more;
pub const UPSTREAM_READ_HEAD: usize = 8 * 1024;
/// and where it goes on.
pub const UPSTREAM_READ: usize = 64 * 1024;
/// Bytes of a chunk's size with its extensions, and of all trailers.
pub const CHUNK_LINE_BYTES: usize = 16 * 1024;

/// Requests at a time on one HTTP/2 connection to a replica; Go's and Java's servers allow 100 to 250 by default.
pub const UPSTREAM_STREAMS: usize = 100;
/// Bytes of one answer read ahead from an HTTP/2 replica,
pub const UPSTREAM_STREAM_WINDOW: u32 = 256 * 1024;
/// and of all answers on one connection: a slow client holds no more memory than that.
pub const UPSTREAM_CONNECTION_WINDOW: u32 = 4 * 1024 * 1024;

/// Requests kept waiting by one target's maintenance, over all workers. Each costs a socket and some 10 KiB.
pub const HELD_REQUESTS: usize = 10_000;
/// What `Retry-After` says when the end of the maintenance is unknown.
pub const RETRY_AFTER_SECONDS: u64 = 5;

/// A sticky key lives one week: longer than a rollout, shorter than a habit.
pub const STICKY_MAX_AGE_SECONDS: u64 = 7 * 24 * 3600;
/// Characters of an inbound request id that are believed.
pub const REQUEST_ID_CHARS: usize = 128;

/// Requests a target's shield may send again at once: a total failure of a thousand requests a second is hidden for the two
/// seconds the judge needs at least;
pub const SHIELD_BURST: u64 = 2_000;
/// after that, a share of the target's requests in percent: what is broken for both releases gets no second storm.
pub const SHIELD_PERCENT: u64 = 30;

/// Rules of one target's guard. Each is asked for every request; a rule engine is one of them.
pub const GUARD_RULES: usize = 32;
/// How often the files of country databases are looked at.
pub const DATABASE_LOOK: Duration = Duration::from_secs(5);
/// A slow body has this long before its rate is looked at: phones wake their radio, servers their disks.
pub const BODY_GRACE: Duration = Duration::from_secs(5);
/// A watched body is looked at this often.
pub const BODY_LOOK: Duration = Duration::from_secs(1);

/// Closed seconds kept for the engine.
pub const COUNT_SECONDS: usize = 120;
/// Failing requests of one target and revision kept of a second: a handful says what is wrong, all would be a second log.
pub const FAILURES_OF_ARM: usize = 3;
/// Failing requests in one second's record: 20 arms with all of theirs, some 15 kB.
pub const FAILURES: usize = 60;
/// How long an error of a user on an endpoint stands for those that follow (rollback.md, 3.6).
pub const REPEAT: Duration = Duration::from_secs(10);
/// Errors remembered for that, some 3 MB; beyond, the oldest is forgotten and would be counted again.
pub const REPEATS: usize = 65_536;
/// The longest long-poll of the samples.
pub const SAMPLES_WAIT: Duration = Duration::from_secs(30);

/// Access-log lines waiting for the disk; more are dropped and counted.
pub const LOG_QUEUE: usize = 8192;
/// The access log is rotated at this size,
pub const LOG_BYTES: u64 = 64 * 1024 * 1024;
/// and this many old ones are kept.
pub const LOG_KEPT: usize = 3;

/// Bytes of one table sent by the engine: about 20,000 replicas.
pub const ADMIN_BODY_BYTES: usize = 4 * 1024 * 1024;
/// An admin connection that says nothing is closed.
pub const ADMIN_IDLE: Duration = Duration::from_secs(300);
/// Orders waiting for the one who changes tables.
pub const ADMIN_QUEUE: usize = 64;
/// Every worker takes a new table within this time, or the engine is told to send it again.
pub const WORKER_ACKNOWLEDGE: Duration = Duration::from_secs(5);
/// Commands waiting for one worker.
pub const WORKER_QUEUE: usize = 64;
/// A proof is an ordinary request to the health path.
pub const PROVE: Duration = Duration::from_secs(5);

/// A replica that gave no answer to so many requests in a row is passed over.
pub const OUTLIER_FAILURES: u32 = 5;
/// For so long the first time, then twice as long, until an answer.
pub const OUTLIER_FIRST: Millis = Millis::seconds(1);
/// So often: half a minute at most, in which the engine replaces one that is truly broken.
pub const OUTLIER_DOUBLINGS: u32 = 5;

/// Copies of requests on their way in one worker; more are dropped and counted.
pub const MIRROR_AT_ONCE: usize = 64;
/// A copy is compared in this time, or not at all.
pub const MIRROR: Duration = Duration::from_secs(30);
/// Bytes of a copy's answer that are read; a longer one is not compared.
pub const MIRROR_BODY: usize = 8 * 1024 * 1024;

/// Another release answers for a hashed file in this time, or the first answer stays.
pub const ASSET_HEAD: Duration = Duration::from_secs(2);

/// A stopping edge lets an idle client send one more request, answered with `Connection: close`, before it hangs up.
pub const STOP_IDLE: Duration = Duration::from_secs(2);
/// A WebSocket or event stream that is ended has this long to come to the end of a message and to hear so.
pub const FAREWELL: Duration = Duration::from_secs(1);
/// What `retry:` tells the clients of an event stream that ends, at least and at most, in milliseconds: a thousand of them
/// come back over four seconds, not in one moment.
pub const SSE_RETRY_MS: Jitter = Jitter { least: 1_000, most: 5_000 };
/// A stopping edge lets requests finish this long.
pub const STOP_DRAIN: Duration = Duration::from_secs(30);

/// How often the main thread looks whether a replaced edge has finished.
pub const LIFE_LOOK: Duration = Duration::from_millis(50);
/// So many looks in a row at which nobody serves in its place end it: a successor that is started again is back sooner.
pub const LIFE_LOOKS_ALONE: u32 = 100;

/// Listening sockets handed over in one message; Linux carries at most 253.
pub const HANDOVER_SOCKETS: usize = 128;
/// The other side of a hand-over answers in this time.
pub const HANDOVER_WAIT: Duration = Duration::from_secs(5);

/// How long an accept loop rests when descriptors have run out.
pub const ACCEPT_REST: Duration = Duration::from_millis(50);
