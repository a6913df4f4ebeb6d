//! Hides what nobody needs in order to judge again: values of the environment, arguments that may be secrets, what programs
//! wrote, folders. Never a number, a name the judge uses, or who asked. In doubt it hides.

use super::Before;
use crate::event::{Event, Requested, ReturnReason};
use crate::judge::FailingRequest;
use crate::plan::{Ask, MonitorAsk, RolloutSettings};
use crate::release::{Placed, ReleaseSpec};

/// What stands for something hidden.
pub const HIDDEN: &str = "…";
/// What stands for a hidden part of a path, as the edge writes it.
const HIDDEN_SEGMENT: &str = "{…}";
/// Bytes of a word that may be shown.
const WORD_BYTES_MAX: usize = 32;
/// Digits of a number that may be shown: a port, a count; a telephone number has more.
const DIGITS_MAX: usize = 5;
/// Parts of names whose values are hidden whatever they look like.
const SECRET_NAMES: [&str; 11] =
    ["auth", "cookie", "cred", "dsn", "key", "pass", "pwd", "secret", "session", "token", "user"];

pub(super) fn before(mut before: Before) -> Before {
    before.stable.iter_mut().chain(&mut before.hot).for_each(placed);
    before
}

/// Hides what an event has no need to tell. Twice is once.
pub(super) fn event(event: &mut Event) {
    match event {
        Event::DeploymentRequested(requested) => request(requested),
        Event::HookRan { output, .. } | Event::CheckRan { output, .. } => hide(output),
        Event::EvidenceAdded { record } => record.failures.iter_mut().for_each(failing),
        Event::VerdictReached { evidence, why, .. } => {
            evidence.failures.iter_mut().for_each(failing);
            reason(why);
        }
        Event::ReturnStarted { why } => reason(why),
        Event::DeploymentFinished { reason: Some(reason), .. } => text(reason),
        Event::ChecksAnswered { round } => round.answers.iter_mut().for_each(|answer| text(&mut answer.why)),
        // Numbers, names and the engine's own words.
        _ => {}
    }
}

fn request(requested: &mut Requested) {
    placed(&mut requested.candidate);
    settings(&mut requested.settings);
    hide(&mut requested.folder);
    hide(&mut requested.key);
}

fn placed(placed: &mut Placed) {
    let ReleaseSpec { artifact: _, command, env, resources: _, health, expand } = &mut placed.spec;
    arguments(command);
    arguments(expand);
    env.values_mut().for_each(hide);
    health.live.iter_mut().chain(&mut health.ready).for_each(path);
}

fn settings(settings: &mut RolloutSettings) {
    arguments(&mut settings.hooks.before_deploy);
    arguments(&mut settings.hooks.after_deploy);
    for check in &mut settings.checks {
        match &mut check.ask {
            Ask::Command(command) => arguments(command),
            Ask::Url(asked) => path(asked),
        }
    }
    for check in settings.monitor.iter_mut().flat_map(|monitor| &mut monitor.checks) {
        match &mut check.ask {
            MonitorAsk::Url(asked) => path(asked),
            MonitorAsk::ErrorRate(_) => {}
        }
    }
    settings.judge.probes.iter_mut().for_each(|probes| path(&mut probes.path));
    // Whoever knows the value sees the candidate.
    settings.allow.iter_mut().for_each(|allow| allow.values.iter_mut().for_each(hide));
}

fn reason(why: &mut ReturnReason) {
    if let ReturnReason::LaunchRefused { why } = why {
        text(why);
    }
}

/// The edge has hidden what may name a person; what does not look as it writes it is hidden again.
fn failing(request: &mut FailingRequest) {
    route(&mut request.route);
    if request.method.len() > 10 || !request.method.bytes().all(|byte| byte.is_ascii_uppercase()) {
        hide(&mut request.method);
    }
    let said = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || b"_-() ".contains(&byte);
    if request.failure.len() > WORD_BYTES_MAX || !request.failure.bytes().all(said) {
        hide(&mut request.failure);
    }
}

fn hide(text: &mut String) {
    if !text.is_empty() {
        HIDDEN.clone_into(text);
    }
}

/// Keeps the program, names of options, plain words, paths and small numbers.
fn arguments(command: &mut [String]) {
    let mut after_secret = false;
    for (place, argument) in command.iter_mut().enumerate() {
        let names_secret = is_secret_name(argument) && argument.starts_with('-') && !argument.contains('=');
        if after_secret {
            hide(argument);
        } else if place > 0 || !is_path(argument) {
            shown_argument(argument);
        }
        // `-p` may stand for a password as well as for a port: what follows it is shown only as a number.
        after_secret = names_secret && !after_secret;
    }
    hide_after_single_letters(command);
}

fn hide_after_single_letters(command: &mut [String]) {
    for place in 1..command.len() {
        let is_letter = command[place - 1].len() == 2 && command[place - 1].starts_with('-');
        if is_letter && !is_small_number(&command[place]) && !is_placeholder(&command[place]) {
            hide(&mut command[place]);
        }
    }
}

fn shown_argument(argument: &mut String) {
    if let Some((name, value)) = argument.split_once('=') {
        let shown = !is_secret_name(name) && is_harmless(value);
        let value = if shown { value } else { HIDDEN };
        let name = if is_option(name) || is_word(name) { name } else { HIDDEN };
        *argument = format!("{name}={value}");
    } else if !is_option(argument) && !is_harmless(argument) {
        hide(argument);
    }
}

fn is_secret_name(name: &str) -> bool {
    let name = name.to_ascii_lowercase();
    SECRET_NAMES.iter().any(|secret| name.contains(secret))
}

fn is_option(text: &str) -> bool {
    text.strip_prefix("--").is_some_and(is_word) || (text.len() == 2 && text.starts_with('-'))
}

fn is_harmless(text: &str) -> bool {
    is_small_number(text) || is_placeholder(text) || is_path(text)
}

fn is_small_number(text: &str) -> bool {
    (1..=DIGITS_MAX).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_digit())
}

/// Tells whether it is filled in when a replica starts.
fn is_placeholder(text: &str) -> bool {
    matches!(text, "${PORT}" | "${HOST}" | "${HOST}:${PORT}" | ":${PORT}")
}

fn is_path(text: &str) -> bool {
    text.split('/').all(|part| part.is_empty() || part.bytes().all(|byte| byte == b'.') || is_word(part))
}

/// Tells whether it is made of letters alone, or of a word and the version of an interface (`v2`).
fn is_word(text: &str) -> bool {
    let said = |byte: u8| byte.is_ascii_alphabetic() || matches!(byte, b'-' | b'_' | b'.');
    let version = text.strip_prefix('v').is_some_and(|number| is_small_number(number) && number.len() <= 2);
    version || (!text.is_empty() && text.len() <= WORD_BYTES_MAX && text.bytes().all(said))
}

/// Keeps the parts of a path that are words or templates; of a query, the names.
fn path(text: &mut String) {
    // Without an equals sign it may be a value as well as a name.
    shown_path(text, |_| HIDDEN.to_owned());
}

/// The same of a request, whose query the edge has cut down to names already.
fn route(text: &mut String) {
    shown_path(text, |name| if is_word(name) { name.to_owned() } else { HIDDEN.to_owned() });
}

fn shown_path(text: &mut String, alone: impl Fn(&str) -> String) {
    let (path, query) =
        text.split_once('?').map_or((text.as_str(), None), |(path, query)| (path, Some(query)));
    let part = |part: &str| {
        let inside = part.strip_prefix('{').and_then(|part| part.strip_suffix('}'));
        let template = inside.is_some_and(|name| name == HIDDEN || is_word(name));
        let shown = part.is_empty() || part == "*" || template || is_word(part);
        if shown { part.to_owned() } else { HIDDEN_SEGMENT.to_owned() }
    };
    let mut shown = path.split('/').map(part).collect::<Vec<_>>().join("/");
    if let Some(query) = query {
        let names = query.split('&').map(|pair| match pair.split_once('=') {
            Some((name, _)) if is_word(name) => format!("{name}={HIDDEN}"),
            Some(_) => HIDDEN.to_owned(),
            None => alone(pair),
        });
        shown.push('?');
        shown.push_str(&names.collect::<Vec<_>>().join("&"));
    }
    *text = shown;
}

/// Hides words of a sentence that look like secrets: an address with a password, a value after `=`, a long mixed word.
fn text(sentence: &mut String) {
    let word = |word: &str| {
        let has_password = word.contains("://") && word.contains('@');
        let long = |part: &str| part.len() > 2 * DIGITS_MAX && part.bytes().any(|byte| byte.is_ascii_digit());
        let mixed = word.split(|letter: char| !letter.is_ascii_alphanumeric()).any(long);
        match word.split_once('=') {
            Some((name, _)) if is_word(name) => format!("{name}={HIDDEN}"),
            _ if has_password || mixed => HIDDEN.to_owned(),
            _ => word.to_owned(),
        }
    };
    *sentence = sentence.split(' ').map(word).collect::<Vec<_>>().join(" ");
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shown(command: &[&str]) -> Vec<String> {
        let mut command: Vec<String> = command.iter().map(|word| (*word).to_owned()).collect();
        arguments(&mut command);
        command
    }

    #[test]
    fn of_a_command_the_words_and_the_names_of_options_stay() {
        for (command, told) in [
            (&["./clinic", "migrate", "expand"][..], &["./clinic", "migrate", "expand"][..]),
            (&["./web", "--port", "${PORT}", "-w", "4"], &["./web", "--port", "${PORT}", "-w", "4"]),
            (&["./web", "--token", "abc"], &["./web", "--token", "…"]),
            (&["./web", "--token=abc", "--level=info"], &["./web", "--token=…", "--level=info"]),
            (&["psql", "-p", "hunter", "-P", "5432"], &["psql", "-p", "…", "-P", "5432"]),
            (&["env", "API_KEY=x", "MODE=fast", "run"], &["env", "API_KEY=…", "MODE=fast", "run"]),
            (&["curl", "https://u:p@host/x", "Bearer eyJh"], &["curl", "…", "…"]),
            (&["notify", "hunter2", "5551234567"], &["notify", "…", "…"]),
            (&["sh", "-c", "echo secret"], &["sh", "-c", "…"]),
        ] {
            assert_eq!(shown(command), told, "{command:?}");
        }
    }

    #[test]
    fn of_a_path_the_words_and_templates_stay_and_of_a_query_the_names() {
        for (asked, told) in [
            ("/api/v1/appointments/{id}", "/api/v1/appointments/{id}"),
            ("/api/appointments/{…}/notes", "/api/appointments/{…}/notes"),
            ("/users/alice@example.org/17", "/users/{…}/{…}"),
            ("/ready?token=abc&x=1", "/ready?token=…&x=…"),
            ("/ready?abc123", "/ready?…"),
        ] {
            let mut text = asked.to_owned();
            path(&mut text);
            assert_eq!(text, told);
            path(&mut text);
            assert_eq!(text, told, "twice is once");
        }
    }

    #[test]
    fn of_a_failing_request_the_names_of_parameters_stay() {
        for (asked, told) in [
            ("/api/slots?day&from", "/api/slots?day&from"),
            ("/api/slots?day=1&x7", "/api/slots?day=…&…"),
            ("/api/{id}/{not a name}", "/api/{id}/{…}"),
        ] {
            let mut text = asked.to_owned();
            route(&mut text);
            assert_eq!(text, told);
        }
    }

    #[test]
    fn of_a_sentence_what_looks_like_a_secret_goes() {
        let mut sentence =
            "cannot reach postgres://u:hunter2@db/x with password=hunter2 or eyJhbGciOiJIUzI1NiJ9 os error 2"
                .to_owned();
        text(&mut sentence);
        assert_eq!(sentence, "cannot reach … with password=… or … os error 2");
        let mut harmless = "replica appointments-12-3 fails its liveness probe".to_owned();
        text(&mut harmless);
        assert_eq!(harmless, "replica appointments-12-3 fails its liveness probe");
    }
}
