//! Runs Debian's `pebble`, an ACME server for tests, with a name server that says every name is on this machine. Both on
//! loopback, both gone when dropped.

use std::fs;
use std::io::Write;
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

const PEBBLE: &str = "/usr/bin/pebble";
const NAMES: &str = "/usr/bin/pebble-challtestsrv";

/// A program that is killed when dropped.
struct Program(Child);

impl Program {
    fn start(command: &mut Command, log: &Path) -> Self {
        let log = fs::File::options().create(true).append(true).open(log).unwrap();
        let errors = log.try_clone().unwrap();
        Self(command.stdin(Stdio::null()).stdout(log).stderr(errors).spawn().unwrap())
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An ACME server that checks names on the ports of an edge.
pub struct Pebble {
    programs: Option<[Program; 2]>,
    folder: PathBuf,
    /// Of the names' server.
    names: u16,
    port: u16,
    pub management: u16,
    /// The URL of its directory.
    pub directory: String,
}

/// A certificate for `localhost` and its key, of the server itself: PEM files.
pub struct Identity {
    pub cert: PathBuf,
    pub key: PathBuf,
}

/// Whether `pebble` is there; says so where it is not, past the capture of tests that pass.
pub fn is_installed() -> bool {
    let there = Path::new(PEBBLE).exists() && Path::new(NAMES).exists();
    if !there {
        let test = std::thread::current().name().unwrap_or_default().to_owned();
        let _ =
            writeln!(std::io::stderr(), "skipped: {test}: pebble is not installed (apt-get install pebble)");
    }
    there
}

pub fn free_port() -> u16 {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port()
}

impl Pebble {
    /// Starts one that asks on these ports instead of 443 and 80; its certificates last `seconds`.
    pub fn start(folder: &Path, identity: &Identity, tls_port: u16, http_port: u16, seconds: u64) -> Self {
        let names = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
        let (port, management) = (free_port(), free_port());
        let (cert, key) = (identity.cert.display(), identity.key.display());
        let config = format!(
            r#"{{ "pebble": {{ "listenAddress": "127.0.0.1:{port}", "managementListenAddress": "127.0.0.1:{management}",
            "certificate": "{cert}", "privateKey": "{key}", "httpPort": {http_port}, "tlsPort": {tls_port},
            "ocspResponderURL": "", "externalAccountBindingRequired": false, "certificateValidityPeriod": {seconds} }} }}"#
        );
        fs::write(folder.join("pebble.json"), config).unwrap();
        let directory = format!("https://localhost:{port}/dir");
        let mut server =
            Self { programs: None, folder: folder.to_owned(), names, port, management, directory };
        server.run();
        server
    }

    /// Starts it again where it was, with no account and another authority: it keeps nothing.
    pub fn run(&mut self) {
        self.stop();
        let names = format!("127.0.0.1:{}", self.names);
        let management = format!("127.0.0.1:{}", free_port());
        let mut resolver = Command::new(NAMES);
        resolver.args(["-defaultIPv4", "127.0.0.1", "-defaultIPv6", "", "-dns01", &names]);
        resolver.args(["-http01", "", "-https01", "", "-tlsalpn01", "", "-management", &management]);
        let mut pebble = Command::new(PEBBLE);
        pebble.arg("-config").arg(self.folder.join("pebble.json")).args(["-dnsserver", &names]);
        // Without its deliberate delays; it still refuses some nonces, as servers may.
        pebble.env("PEBBLE_VA_NOSLEEP", "1").current_dir(&self.folder);
        let log = self.folder.join("pebble.log");
        self.programs = Some([Program::start(&mut resolver, &log), Program::start(&mut pebble, &log)]);
        let deadline = Instant::now() + Duration::from_secs(20);
        while TcpStream::connect(("127.0.0.1", self.port)).is_err() {
            assert!(Instant::now() < deadline, "pebble does not listen: {}", self.log());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    pub fn stop(&mut self) {
        self.programs = None;
    }

    /// Returns what both have said.
    pub fn log(&self) -> String {
        fs::read_to_string(self.folder.join("pebble.log")).unwrap_or_default()
    }
}
