//! Copies bytes between a client and a replica after an upgrade, until one side ends or the drain's policy does.
//! Understands none of them.

use crate::claim::Claim;
use crate::client::Busy;
use hyper::upgrade::OnUpgrade;
use hyper_util::rt::TokioIo;

/// Bytes on their way in one direction; most WebSocket messages fit.
const BUFFER: usize = 8 * 1024;

/// Joins the two sides and holds the claim until they end.
pub(crate) async fn splice(client: OnUpgrade, replica: OnUpgrade, claim: Claim, _busy: Option<Busy>) {
    let copying = async {
        let (client, replica) = tokio::try_join!(client, replica).ok()?;
        let (mut client, mut replica) = (TokioIo::new(client), TokioIo::new(replica));
        // How it ends concerns the two sides only: the outcome was known at the upgrade.
        tokio::io::copy_bidirectional_with_sizes(&mut client, &mut replica, BUFFER, BUFFER).await.ok()
    };
    tokio::select! {
        _ = copying => {}
        () = claim.cancelled() => {}
    }
}
