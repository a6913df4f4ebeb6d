//! Tells what happens in an environment, event by event, for as long as it is up. See `follow` for one deployment.

use crate::client::{Client, ClientError, with_query};
use crate::sse::Stream;
use crate::{output, render};
use rollout::event::EventRecord;
use rollout::names::Millis;
use std::time::Duration;

/// Between two attempts to connect to an engine that starts again.
const RETRY: Duration = Duration::from_millis(200);

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
        let Ok(record) = serde_json::from_str::<EventRecord>(&message.data) else { continue };
        if record.at < since {
            continue;
        }
        if json {
            output::line(&message.data);
        } else {
            output::line(&render::text::event(&record));
        }
    }
    Ok(())
}
