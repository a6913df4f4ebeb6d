//! Says what holds for any event and any bundle somebody hands us. Built for `script/test` and `script/fuzz` only.

use crate::bundle::Bundle;
use crate::event::Event;

/// Events beyond this make a replay slow, and say nothing new.
const EVENTS_MAX: usize = 2_000;

/// An event that can be read is read the same again when it is written.
///
/// # Panics
///
/// Where that does not hold.
pub fn event(input: &[u8]) {
    let Ok(event) = serde_json::from_slice::<Event>(input) else { return };
    let text = serde_json::to_string(&event).expect("every event can be written as JSON");
    let again: Event = serde_json::from_str(&text).expect("what was written can be read");
    // As text: a number that is none differs from itself.
    assert_eq!(text, serde_json::to_string(&again).expect("every event can be written as JSON"));
    assert!(text.starts_with(&format!("{{\"kind\":\"{}\"", event.kind())), "{text}");
}

/// A bundle that can be read is judged, twice the same, whatever it claims.
///
/// # Panics
///
/// Where that does not hold.
pub fn bundle(input: &[u8]) {
    let Ok(mut bundle) = serde_json::from_slice::<Bundle>(input) else { return };
    bundle.events.truncate(EVENTS_MAX);
    let told = |bundle: &Bundle| serde_json::to_string(&bundle.replay()).expect("a replay has a JSON form");
    assert_eq!(told(&bundle), told(&bundle));
    let _ = (bundle.requested().is_some(), bundle.judged().is_some());
}

#[cfg(test)]
mod tests {
    use super::*;
    use noise::Target;

    const WORDS: &[&str] = &[
        "\"",
        "{",
        "}",
        "[",
        "]",
        ",",
        ":",
        "null",
        "true",
        "\"kind\":\"paused\"",
        "\"kind\":\"promoted\"",
        "\"kind\":\"deployment_finished\",\"outcome\":\"promoted\"",
        "\"kind\":\"return_started\",\"why\":{\"reason\":\"worse\"}",
        "\"candidate_requests\":18446744073709551615",
        "\"stable_errors\":18446744073709551615",
        "\"second\":18446744073709551615",
        "\"steps\":[]",
        "\"at\":18446744073709551615",
        "\"revision\":18446744073709551615",
        "1e308",
        "-0.0",
    ];

    /// Mutations of what cannot be read would show nothing.
    #[test]
    fn the_corpus_is_of_bundles_that_are_judged() {
        let file = include_bytes!("../../../fuzz/corpus/bundle/rolled-back.json");

        let bundle: Bundle = serde_json::from_slice(file).unwrap();

        assert!(!bundle.replay().decisions.is_empty() && bundle.requested().is_some());
    }

    #[test]
    fn any_event_is_read_the_same_again() {
        Target { name: "event", words: WORDS, runs: 20_000 }.hold(event);
    }

    #[test]
    fn any_bundle_is_judged_whatever_it_claims() {
        Target { name: "bundle", words: WORDS, runs: 3_000 }.hold(bundle);
    }
}
