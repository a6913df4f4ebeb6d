//! Keeps the Unix sockets of an edge where others look for them: one whose file somebody removed is bound again.
//! Replaces no socket a successor has put in its place.

use crate::complain::complain;
use crate::stop::Stop;
use std::fs::{self, Permissions};
use std::io;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::sync::watch;

/// Between looks whether the file is still there: well within the time after which an edge that cannot be asked counts
/// as hanging.
const LOOK: Duration = Duration::from_millis(500);

/// A Unix socket's place on disk, and how to know it again.
#[derive(Debug, Clone)]
pub(crate) struct SocketFile {
    path: PathBuf,
    inode: Arc<AtomicU64>,
    /// Until somebody serves it.
    listener: Arc<Mutex<Option<UnixListener>>>,
}

impl SocketFile {
    /// Binds a Unix socket only its owner may use, in place of one a dead edge left behind.
    pub(crate) fn bind(path: &Path) -> io::Result<Self> {
        let (listener, inode) = bind(path)?;
        Ok(Self {
            path: path.to_owned(),
            inode: Arc::new(AtomicU64::new(inode)),
            listener: Arc::new(Mutex::new(Some(listener))),
        })
    }

    /// Whether the place belongs to somebody else by now.
    pub(crate) fn is_replaced(&self) -> bool {
        self.path.exists() && !self.is_ours()
    }

    fn is_ours(&self) -> bool {
        fs::metadata(&self.path).is_ok_and(|file| file.ino() == self.inode.load(Ordering::SeqCst))
    }

    /// Removes the file, unless a successor has put its own in this place.
    pub(crate) fn remove(self) {
        if self.is_ours()
            && let Err(error) = fs::remove_file(&self.path)
        {
            complain(format_args!("cannot remove {}: {error}", self.path.display()));
        }
    }
}

/// Serves a socket for ever, and again whenever its file is gone; a stopping edge leaves the place to its successor.
pub(crate) async fn keep<Serving: Future<Output = ()> + 'static>(
    file: SocketFile,
    stop: watch::Receiver<Stop>,
    serve: impl Fn(tokio::net::UnixListener) -> Serving,
) {
    let first = file.listener.lock().expect("BUG: nobody panics with this lock").take();
    let begin = |listener: UnixListener| match tokio::net::UnixListener::from_std(listener) {
        Ok(listener) => drop(tokio::task::spawn_local(serve(listener))),
        Err(error) => complain(format_args!("cannot serve {}: {error}", file.path.display())),
    };
    first.into_iter().for_each(&begin);
    loop {
        tokio::time::sleep(LOOK).await;
        if stop.borrow().is_asked() {
            return;
        }
        // What is there and is not ours is a successor's.
        if fs::symlink_metadata(&file.path).is_ok_and(|found| is_socket(&found)) {
            continue;
        }
        match bind(&file.path) {
            Ok((listener, inode)) => {
                file.inode.store(inode, Ordering::SeqCst);
                complain(format_args!("the socket {} was gone; it is there again", file.path.display()));
                begin(listener);
            }
            // On a full or read-only disk: tried again.
            Err(_) => continue,
        }
    }
}

fn is_socket(found: &fs::Metadata) -> bool {
    use std::os::unix::fs::FileTypeExt;
    found.file_type().is_socket()
}

fn bind(path: &Path) -> io::Result<(UnixListener, u64)> {
    if let Some(folder) = path.parent() {
        fs::create_dir_all(folder)?;
    }
    match fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    fs::set_permissions(path, Permissions::from_mode(0o600))?;
    listener.set_nonblocking(true)?;
    Ok((listener, fs::metadata(path)?.ino()))
}
