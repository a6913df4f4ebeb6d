//! Serves the API on the engine's Unix socket, and binds it again where somebody removed its file: commands would find no
//! engine until it restarts. Replaces nothing that is there.

use super::access::Peer;
use axum::Router;
use std::future::IntoFuture;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;
use tokio::net::UnixListener;

/// Between looks whether the file is still there.
const LOOK: Duration = Duration::from_millis(500);

/// Binds the socket for its owner alone, in place of what a dead engine left; the lock says that none runs.
pub fn bind(path: &Path) -> io::Result<UnixListener> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder)?;
    }
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let listener = UnixListener::bind(path)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600))?;
    Ok(listener)
}

/// Serves for ever.
pub async fn keep(path: PathBuf, first: UnixListener, router: Router) {
    let begin = |listener: UnixListener| {
        let service = router.clone().into_make_service_with_connect_info::<Peer>();
        tokio::spawn(axum::serve(listener, service).into_future());
    };
    begin(first);
    loop {
        tokio::time::sleep(LOOK).await;
        // On a full or read-only disk: tried again.
        if std::fs::symlink_metadata(&path).is_err()
            && let Ok(listener) = bind(&path)
        {
            crate::log(&format!("the socket {} was gone; it is there again", path.display()));
            begin(listener);
        }
    }
}
