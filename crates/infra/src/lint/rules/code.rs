//! What programs tell and claim: metrics that name people, calls that do nothing.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::At;
use crate::lint::facts::app::is_test;
use crate::lint::read::code::{Call, Function, Language, Lexeme, Source};

pub const RULES: &[Rule] = &[
    Rule {
        id: "code/url-in-metric",
        severity: Severity::Critical,
        says: "A metric's dimension has few values, and none that names a person.",
        why: "A URL with its identifiers and query makes a billed series of each request, and carries personal data into the monitoring (GDPR art. 5.1.c, 32; CNIL guide, sheet 10).",
        instead: "the route's template: `/patients/[id]`",
        check: url_in_metric,
    },
    Rule {
        id: "code/metric-in-request",
        severity: Severity::Medium,
        says: "Measuring a request does not make it wait.",
        why: "Each request waits for the monitoring service, and a stall of that service becomes ours; a client made per request connects and logs in each time.",
        instead: "one client for the process, counters in memory, flushed every 10 seconds off the path; or log lines in embedded metric format",
        check: metric_in_request,
    },
    Rule {
        id: "code/does-nothing",
        severity: Severity::High,
        says: "What is called to act, acts.",
        why: "A rollback, alert or check that only writes a log line is believed to have happened.",
        instead: "do it, or do not claim it: throw until it is written",
        check: does_nothing,
    },
    Rule {
        id: "code/method-missing",
        severity: Severity::High,
        says: "A method that is called on `this` exists.",
        why: "The call throws the first time it is reached.",
        instead: "write the method, or call the one there is",
        check: method_missing,
    },
];

/// What a request says of itself without a bound.
const UNBOUNDED: &[&str] = &[
    "req.url",
    "request.url",
    "req.originalUrl",
    "request.originalUrl",
    "req.path",
    "request.path",
    "ctx.url",
    "ctx.request.url",
    "event.rawPath",
    "request.full_path",
    "request.url.path",
    "req.query",
    "r.URL.Path",
    "r.RequestURI",
    "r.URL.String",
    "request.nextUrl.pathname",
    "req.nextUrl.pathname",
    "userId",
    "user.id",
    "patientId",
    "req.ip",
    "email",
    "user_id",
    "patient_id",
    "user.email",
    "req.user.id",
    "request.user.id",
];

fn sources<'g>(out: &Out<'g>) -> Vec<&'g Source> {
    out.graph
        .sources
        .code
        .iter()
        .filter(|source| !is_test(&out.graph.sources.files[source.file].path))
        .collect()
}

/// Tokens where a metric's dimensions or labels are given, in a range.
fn dimensions(source: &Source, range: std::ops::Range<usize>) -> Vec<std::ops::Range<usize>> {
    let mut found = Vec::new();
    for at in range {
        let name = source.tokens[at].text.as_str();
        // `Dimensions: […]`, `dimensions=[…]`, and `"Dimensions": […]` of a dictionary.
        let key = matches!(name, "Dimensions" | "dimensions" | "labels" | "attributes" | "tags")
            && (source.tokens[at].lexeme == Lexeme::Name || source.is(at + 1, ":"));
        if key
            && (source.is(at + 1, ":") || source.is(at + 1, "="))
            && let Some(end) = (at + 2..(at + 4).min(source.tokens.len()))
                .find(|open| source.is(*open, "[") || source.is(*open, "{"))
                .and_then(|open| source.matching(open))
        {
            found.push(at + 2..end);
        }
    }
    found
}

/// Calls that record a metric by their name.
fn records(call: &Call) -> bool {
    let name = call.name.to_lowercase();
    name.contains("metric")
        || matches!(
            name.as_str(),
            "observe"
                | "labels"
                | "inc"
                | "increment"
                | "timing"
                | "histogram"
                | "gauge"
                | "distribution"
                | "put_metric_data"
                | "putmetricdata"
                | "starttimer"
                | "withlabelvalues"
                | "with"
                | "getmetricwith"
        )
}

/// Parameters of functions that end up in a metric's dimension: function name to parameter index.
fn sinks(source: &Source) -> Vec<(String, usize, At)> {
    let mut found: Vec<(String, usize, At)> = Vec::new();
    loop {
        let before = found.len();
        for function in &source.functions {
            for (index, param) in function.params.iter().enumerate() {
                if found.iter().any(|known| known.0 == function.name && known.1 == index) {
                    continue;
                }
                if let Some(at) = reaches(source, function, param, &found) {
                    found.push((function.name.clone(), index, at));
                }
            }
        }
        if found.len() == before {
            return found;
        }
    }
}

fn reaches(source: &Source, function: &Function, param: &str, sinks: &[(String, usize, At)]) -> Option<At> {
    let names = |range: &std::ops::Range<usize>| {
        range.clone().find(|at| {
            source.tokens[*at].lexeme == Lexeme::Name
                && source.tokens[*at].text == param
                && !source.is(at + 1, ":")
        })
    };
    for range in dimensions(source, function.body.clone()) {
        if let Some(at) = names(&range) {
            return Some(source.tokens[at].at);
        }
    }
    for call in source.calls(function.body.clone()) {
        for (index, arg) in call.args.iter().enumerate() {
            // An object of dimensions handed to a function that records.
            let object = records(&call) && source.is(arg.start, "{");
            let known = sinks.iter().any(|sink| sink.0 == call.name && sink.1 == index);
            if (object || known)
                && let Some(at) = names(arg)
            {
                return Some(source.tokens[at].at);
            }
        }
    }
    None
}

/// The unbounded expression in a range of tokens, with its place.
fn unbounded(source: &Source, range: std::ops::Range<usize>) -> Option<(String, At)> {
    for at in range.clone() {
        if source.tokens[at].lexeme == Lexeme::Text {
            // `${req.url}` in a template.
            let inner = UNBOUNDED
                .iter()
                .find(|name| name.contains('.') && source.tokens[at].text.contains(&format!("${{{name}")));
            if let Some(name) = inner {
                return Some(((*name).to_owned(), source.tokens[at].at));
            }
            continue;
        }
        for name in UNBOUNDED {
            let parts: Vec<&str> = name.split('.').collect();
            let length = parts.len() * 2 - 1;
            let fits = parts.iter().enumerate().all(|(index, part)| {
                source.is(at + index * 2, part)
                    && (index == 0
                        || source.is(at + index * 2 - 1, ".")
                        || source.is(at + index * 2 - 1, "?."))
            });
            let starts = at == 0 || !source.is(at - 1, ".");
            // `userId ? 'yes' : 'no'` is two values; `key:` is no value; `req.route.path` is a template.
            let asked = source.is(at + length, "?") && !source.is(at + length, "?.");
            let key = source.is(at + length, ":") || source.is(at + length, "=");
            let deeper = source.is(at + length, ".")
                && !matches!(
                    source.tokens.get(at + length + 1).map(|token| token.text.as_str()),
                    Some("toString" | "slice" | "split" | "toLowerCase")
                );
            if fits && starts && !asked && !key && !deeper && at + length <= range.end {
                let mut place = source.tokens[at].at;
                place.span.end = source.tokens[at + length - 1].at.span.end;
                return Some(((*name).to_owned(), place));
            }
        }
    }
    None
}

fn url_in_metric(out: &mut Out<'_>) {
    let sources = sources(out);
    let all: Vec<(String, usize, At)> = sources.iter().flat_map(|source| sinks(source)).collect();
    for source in sources {
        let mut told: Vec<At> = Vec::new();
        for range in dimensions(source, 0..source.tokens.len()) {
            if let Some((name, at)) = unbounded(source, range.clone())
                && !told.contains(&at)
            {
                told.push(at);
                out.say(at, format!("`{name}` becomes a metric's dimension"))
                    .against(source.tokens[range.start.saturating_sub(2)].at, "the dimensions");
            }
        }
        for call in source.calls(0..source.tokens.len()) {
            for (index, arg) in call.args.iter().enumerate() {
                let sink = all.iter().find(|sink| sink.0 == call.name && sink.1 == index);
                let measured =
                    matches!(call.name.as_str(), "add" | "record") && index == 1 && source.is(arg.start, "{");
                let direct = measured
                    || records(&call)
                        && (source.is(arg.start, "{")
                            || source.is(arg.start, "[")
                            || matches!(call.name.as_str(), "labels" | "WithLabelValues" | "With"));
                if sink.is_none() && !direct {
                    continue;
                }
                if let Some((name, at)) = unbounded(source, arg.clone())
                    && !told.contains(&at)
                {
                    told.push(at);
                    let told = out.say(at, format!("`{name}` becomes a metric's dimension"));
                    if let Some((function, _, place)) = sink {
                        told.against(*place, format!("`{function}` puts it into the dimensions"));
                    }
                }
            }
        }
    }
}

/// Clients of monitoring services that are expensive to make.
const CLIENTS: &[&str] =
    &["CloudWatch", "CloudWatchClient", "StatsD", "MetricsCollector", "InfluxDB", "CloudWatchLogs"];

fn metric_in_request(out: &mut Out<'_>) {
    let sources = sources(out);
    // Functions that send, directly or through others.
    let mut senders: Vec<(String, At)> = Vec::new();
    loop {
        let before = senders.len();
        for source in &sources {
            for function in &source.functions {
                if senders.iter().any(|known| known.0 == function.name) {
                    continue;
                }
                let sends = source.calls(function.body.clone()).into_iter().find(|call| {
                    let direct = matches!(
                        call.name.as_str(),
                        "putMetricData" | "PutMetricDataCommand" | "put_metric_data"
                    );
                    let awaited = source
                        .tokens
                        .get(call.token.saturating_sub(call.path.matches('.').count() * 2 + 1))
                        .is_some_and(|token| token.text == "await");
                    direct || (awaited && senders.iter().any(|known| known.0 == call.name))
                });
                if let Some(call) = sends {
                    senders.push((function.name.clone(), call.at));
                }
            }
        }
        if senders.len() == before {
            break;
        }
    }
    for source in sources {
        for at in 0..source.tokens.len() {
            if !source.is(at, "await") {
                continue;
            }
            let calls = source.calls(at..(at + 12).min(source.tokens.len()));
            let Some(call) =
                calls.into_iter().next().filter(|call| senders.iter().any(|known| known.0 == call.name))
            else {
                continue;
            };
            if !in_handler(source, at) {
                continue;
            }
            let place = senders.iter().find(|known| known.0 == call.name).map(|known| known.1);
            let per_request = (0..at).rev().take(120).any(|before| {
                source.is(before, "new") && CLIENTS.iter().any(|client| source.is(before + 1, client))
            });
            let and = if per_request { ", through a client that is made for it" } else { "" };
            let told = out.say(
                call.at,
                format!("each request waits until `{}` has sent its measurement{and}", call.name),
            );
            if let Some(place) = place {
                told.against(place, "sent here");
            }
            break;
        }
    }
}

/// Whether a token stands where requests are handled: near `req`, `res`, `ctx` or `request` as parameters.
fn in_handler(source: &Source, token: usize) -> bool {
    let function = source.around(token);
    let named = function.is_some_and(|function| {
        function.params.iter().any(|param| matches!(param.as_str(), "req" | "request" | "ctx" | "res"))
    });
    named
        || (0..token).rev().take(160).any(|at| {
            source.is(at, "(")
                && source
                    .tokens
                    .get(at + 1)
                    .is_some_and(|token| matches!(token.text.as_str(), "req" | "request" | "ctx"))
                && (source.is(at + 2, ",") || source.is(at + 2, ":") || source.is(at + 2, ")"))
        })
}

/// Verbs that promise an effect.
const ACTS: &[&str] = &[
    "rollback",
    "rollBack",
    "revert",
    "failover",
    "failOver",
    "sendAlert",
    "send_alert",
    "notify",
    "alert",
    "page",
    "restore",
    "backup",
    "quarantine",
    "shutdown",
    "drain",
    "promote",
    "abort",
];

fn does_nothing(out: &mut Out<'_>) {
    for source in sources(out) {
        // In Rust and Go a body may be one value, and traits want empty methods.
        if !matches!(source.language, Language::Script | Language::Python) {
            continue;
        }
        for function in &source.functions {
            let name = function.name.to_lowercase();
            if !ACTS.iter().any(|verb| name.contains(&verb.to_lowercase()))
                || name.contains("should")
                || name.starts_with("on")
                || name.starts_with("is")
                || function.body.is_empty() && source.language != Language::Script
            {
                continue;
            }
            let calls = source.calls(function.body.clone());
            let logs = |call: &Call| {
                call.path.starts_with("console.")
                    || call.path.contains("logger.")
                    || call.path.contains("log.")
                    || matches!(call.name.as_str(), "print" | "println" | "log" | "info" | "warn")
            };
            let acts = calls.iter().any(|call| !logs(call))
                || function.body.clone().any(|at| {
                    ["throw", "raise", "await", "return", "=", "yield", "panic", "new"]
                        .iter()
                        .any(|word| source.is(at, word))
                });
            if acts {
                continue;
            }
            let called = source.calls(0..source.tokens.len()).into_iter().find(|call| {
                call.name == function.name && !function.body.contains(&call.token) && call.at != function.at
            });
            let what = if calls.is_empty() { "does nothing" } else { "only writes a log line" };
            let told = out.say(function.at, format!("`{}` {what}", function.name));
            if let Some(call) = called {
                told.against(call.at, "called here as if it acted");
            }
        }
    }
}

fn method_missing(out: &mut Out<'_>) {
    for source in sources(out).into_iter().filter(|source| source.language == Language::Script) {
        for (open, end, extends) in classes(source) {
            if extends {
                continue;
            }
            for call in source.calls(open..end) {
                let Some(method) = call.path.strip_prefix("this.").filter(|method| !method.contains('.'))
                else {
                    continue;
                };
                let assigned = (open..end).any(|at| {
                    source.tokens[at].text == method
                        && source.tokens[at].lexeme == Lexeme::Name
                        && at != call.token
                        && !is_call_of_this(source, at)
                });
                if !assigned {
                    let exists = source.functions.iter().any(|function| {
                        function.name == method && function.body.start > open && function.body.end <= end
                    });
                    if !exists {
                        out.say(
                            call.at,
                            format!("`this.{method}` is called, but the class has no such method"),
                        )
                        .against(source.tokens[open].at, "the class");
                    }
                }
            }
        }
    }
}

fn is_call_of_this(source: &Source, at: usize) -> bool {
    at >= 2 && source.is(at - 1, ".") && source.is(at - 2, "this") && source.is(at + 1, "(")
}

/// The bodies of classes, and whether each builds on another one.
fn classes(source: &Source) -> Vec<(usize, usize, bool)> {
    let mut found = Vec::new();
    for at in 0..source.tokens.len() {
        if !source.is(at, "class") {
            continue;
        }
        let Some(open) = (at..(at + 16).min(source.tokens.len())).find(|open| source.is(*open, "{")) else {
            continue;
        };
        let extends = (at..open).any(|at| source.is(at, "extends"));
        if let Some(end) = source.matching(open) {
            found.push((open, end, extends));
        }
    }
    found
}
