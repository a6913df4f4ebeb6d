//! Copies bytes between a client and a replica after an upgrade, until one side ends or the drain's policy does.
//! Of a WebSocket it knows where frames begin, so that both sides can be told the end (1001); understands nothing else.

use crate::claim::Claim;
use crate::client::Busy;
use crate::frames::{Frames, GOING_AWAY, GOING_AWAY_MASKED};
use crate::limits;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;
use std::io;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, split};
use tokio::sync::watch;

/// Bytes on their way in one direction; most WebSocket messages fit.
const BUFFER: usize = 8 * 1024;

/// What the two sides speak from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Spoken {
    WebSocket,
    Unknown,
}

/// Joins the two sides and holds the claim until they end.
pub(crate) async fn splice(
    client: OnUpgrade,
    replica: OnUpgrade,
    spoken: Spoken,
    claim: Claim,
    _busy: Option<Busy>,
) {
    let (end, ended) = watch::channel(false);
    let copying = async {
        let (client, replica) = tokio::try_join!(client, replica).ok()?;
        // How it ends concerns the two sides only: the outcome was known at the upgrade.
        join(TokioIo::new(client), TokioIo::new(replica), &ended).await.ok()
    };
    let mut copying = std::pin::pin!(copying);
    tokio::select! {
        _ = &mut copying => return,
        () = claim.cancelled() => {}
    }
    if spoken == Spoken::WebSocket {
        end.send_replace(true);
        // Who does not listen hears no farewell.
        let _ = tokio::time::timeout(limits::FAREWELL, copying).await;
    }
}

async fn join(
    client: impl AsyncRead + AsyncWrite,
    replica: impl AsyncRead + AsyncWrite,
    ended: &watch::Receiver<bool>,
) -> io::Result<()> {
    let ((from_client, to_client), (from_replica, to_replica)) = (split(client), split(replica));
    tokio::try_join!(
        copy(from_client, to_replica, ended.clone(), &GOING_AWAY_MASKED),
        copy(from_replica, to_client, ended.clone(), &GOING_AWAY),
    )?;
    Ok(())
}

/// Copies until the reader ends; once the connection is to end, up to the end of a frame, then the farewell. After that it
/// waits for the reader's own farewell: a socket closed with bytes unread resets what was said.
async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut ended: watch::Receiver<bool>,
    farewell: &[u8],
) -> io::Result<()> {
    let (mut frames, mut buffer, mut told) = (Frames::default(), vec![0; BUFFER], false);
    loop {
        let ends = *ended.borrow_and_update();
        if ends && !told && frames.is_between() {
            to.write_all(farewell).await?;
            to.flush().await?;
            told = true;
        }
        let count = tokio::select! {
            count = from.read(&mut buffer) => count?,
            changed = ended.changed(), if !ends => match changed {
                Ok(()) => continue,
                Err(_) => return Ok(()),
            },
        };
        if count == 0 {
            return to.shutdown().await;
        }
        if told {
            frames.pass(&buffer[..count], false);
            if frames.has_closed() {
                return to.shutdown().await;
            }
            continue;
        }
        let ends = *ended.borrow();
        let passed = frames.pass(&buffer[..count], ends);
        to.write_all(&buffer[..passed]).await?;
        to.flush().await?;
    }
}
