//! Tells what happens in an environment, event by event, for as long as it is up. See `follow` for one deployment.

use crate::client::{Client, ClientError, with_query};
use crate::sse::Stream;
use crate::{output, render};
use rollout::event::EventRecord;
use rollout::names::{DeploymentId, Millis};
use serde::Deserialize;
use std::time::Duration;

/// Between two attempts to connect to an engine that starts again.
const RETRY: Duration = Duration::from_millis(200);

/// Reads one record of the stream; None when its kind is of a newer engine.
pub fn parse(text: &str) -> Option<EventRecord> {
    serde_json::from_str(text).ok()
}

/// Returns the deployment a record is about, also when its kind is of a newer engine.
pub fn deployment(text: &str) -> Option<DeploymentId> {
    #[derive(Deserialize)]
    struct About {
        deployment: Option<DeploymentId>,
    }
    serde_json::from_str::<About>(text).ok()?.deployment
}

/// Shows the events from `since` on; connects again whenever the engine comes back. Never ends by itself.
pub async fn tell(client: Client, since: Millis, json: bool) {
    let mut cursor: Option<String> = None;
    loop {
        // The engine being away is no event of its own: the supervisor says so.
        let _ = read(&client, since, json, &mut cursor).await;
        tokio::time::sleep(RETRY).await;
    }
}

async fn read(
    client: &Client,
    since: Millis,
    json: bool,
    cursor: &mut Option<String>,
) -> Result<(), ClientError> {
    let body = client.stream(&with_query("/v1/events", &[("after", cursor.clone())])).await?;
    let mut stream = Stream::new(body);
    while let Some(message) = stream.next().await? {
        if let Some(id) = message.id {
            *cursor = Some(id);
        }
        let Some(record) = parse(&message.data) else { continue };
        if record.at < since {
            continue;
        }
        if json {
            output::told(&message.data);
        } else {
            output::told(&render::text::event(&record));
        }
    }
    Ok(())
}
