//! Says what holds for any body of a command. Built for `script/test` and `script/fuzz` only.
//! Goes as far as the journal: what a body asks is put to the state machine, and what follows is walked.

use super::body::decode;
use super::wire::{ApiError, CommandRequest, DeployRequest, SettingsRequest, ShutdownRequest};
use super::{events, get, post};
use rollout::event::Event;
use rollout::machine::{Answer, DeployIntent, Fact, OperatorCommand, State, World};
use rollout::names::{Actor, Millis, Release, Target};
use rollout::release::ReleaseSpec;

/// Events that may follow from one command in a world where nothing runs.
const FOLLOWING_MAX: usize = 100;

/// Any body is answered: carried out, or refused in three parts and never as a bug of ours.
///
/// # Panics
///
/// Where that does not hold.
pub fn bodies(input: &[u8]) {
    body::<DeployRequest>(input, |request| {
        post::check(&request.service)?;
        walk(&[
            OperatorCommand::Settings(request.service.target.clone()),
            OperatorCommand::Deploy(Box::new(intent(request))),
        ]);
        Ok(())
    });
    body::<SettingsRequest>(input, |request| {
        for service in request.services {
            post::check(&service)?;
            walk(&[OperatorCommand::Settings(service.target)]);
        }
        Ok(())
    });
    body::<CommandRequest>(input, |request| {
        let target = Target::new(request.service.clone(), "local");
        walk(&[post::operator_command(request.command, &target, &Actor::from("uid:0"), Millis(1))]);
        Ok(())
    });
    body::<ShutdownRequest>(input, |_| Ok(()));
    if let Ok(text) = std::str::from_utf8(input) {
        drop(events::parse(text));
        get::weights(text).map_err(|error| in_three_parts(&error)).ok();
    }
}

fn body<T: serde::de::DeserializeOwned>(input: &[u8], each: impl FnOnce(T) -> Result<(), ApiError>) {
    if let Err(error) = decode::<T>(input).and_then(each) {
        in_three_parts(&error);
        assert_ne!(error.exit, 1, "{error:?}");
    }
}

fn in_three_parts(error: &ApiError) {
    let said = [Some(&error.error), error.cause.as_ref(), error.next.as_ref()];
    assert!(said.iter().all(|part| part.is_some_and(|part| !part.is_empty())), "{error:?}");
}

fn intent(request: DeployRequest) -> DeployIntent {
    let service = request.service;
    DeployIntent {
        key: request.key,
        release: Release::new("ab".repeat(32)),
        label: request.label,
        spec: ReleaseSpec {
            artifact: None,
            command: service.command,
            env: service.env,
            resources: service.resources,
            health: service.health,
            expand: service.expand,
        },
        settings: service.rollout,
        folder: request.folder.display().to_string(),
        supersede: request.supersede,
    }
}

/// Carries commands out on a target nothing runs of, and lets a day pass.
fn walk(commands: &[OperatorCommand]) {
    let mut state = State::new(Target::new("web", "local"));
    for command in commands {
        match state.command(command) {
            Ok(Answer::Event(event) | Answer::Supersede(event)) => apply(&mut state, &event),
            Ok(Answer::Known { .. } | Answer::Nothing | Answer::Wait) => {}
            Err(refusal) => {
                assert!([&refusal.what, &refusal.why, &refusal.next].iter().all(|part| !part.is_empty()));
            }
        }
        for hours in [0, 1, 24] {
            let now = Millis::seconds(hours * 3600);
            let mut left = FOLLOWING_MAX;
            while let Some(event) = state.decide(&Fact::World(Box::default()), now) {
                apply(&mut state, &event);
                left = left.checked_sub(1).expect("events follow without end");
            }
            let _ = (state.desired(), state.wake_at(), state.routes(&World::default(), now));
        }
    }
}

fn apply(state: &mut State, event: &Event) {
    state.apply(event, state.seq + 1, state.at);
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
        "\"\"",
        "[]",
        "{}",
        "\"../../x\"",
        "\"a/b\"",
        "\\u0000",
        "\\ud800",
        "\"steps\":[]",
        "\"steps\":[100,5]",
        "\"min\":0",
        "\"bake\":18446744073709551615",
        "\"command\":\"scale\"",
        "\"command\":\"rollback\"",
        "\"to\":\"\"",
        "\"hold\":18446744073709551615",
        "é",
    ];

    /// Mutations of what cannot be read would show nothing.
    #[test]
    fn the_corpus_is_of_bodies_that_are_carried_out() {
        let file = include_bytes!("../../../../fuzz/corpus/api_bodies/deploy.json");
        let request: DeployRequest = decode(file).unwrap();
        assert!(post::check(&request.service).is_ok());

        let outside = include_bytes!("../../../../fuzz/corpus/api_bodies/name-outside.json");
        let request: DeployRequest = decode(outside).unwrap();
        let error = post::check(&request.service).unwrap_err();
        assert_eq!((error.exit, error.error.as_str()), (2, "take on the service `../x`"));
    }

    #[test]
    fn any_body_is_carried_out_or_refused_in_three_parts() {
        Target { name: "api_bodies", words: WORDS, runs: 4_000 }.hold(bodies);
    }
}
