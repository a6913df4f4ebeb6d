//! Shell scripts that deploy: they stop at errors, pass on what they read, and prove what they say.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::At;
use crate::lint::facts::text;
use crate::lint::read::shell::{Command, Joint};
use crate::lint::value::is_environment_name;

pub const RULES: &[Rule] = &[
    Rule {
        id: "script/goes-on-after-errors",
        severity: Severity::High,
        says: "A script that changes something stops at the first error.",
        why: "Without `set -e` the script goes on with what the failed command did not say, and ends with success.",
        instead: "`set -euo pipefail` as its first command",
        check: goes_on,
    },
    Rule {
        id: "script/container-by-place",
        severity: Severity::High,
        says: "A container is chosen by its name.",
        why: "The first container may be a sidecar: it then gets the application's image, and the application keeps the old one.",
        instead: "`.containerDefinitions |= map(if .name == $name then .image = $image else . end)`",
        check: by_place,
    },
    Rule {
        id: "script/unquoted-document",
        severity: Severity::High,
        says: "A document in a variable is quoted where it is used.",
        why: "The shell splits it at blanks and replaces `*` by the names of files: what arrives is another document.",
        instead: "`printf '%s' \"$NAME\"`, or a file",
        check: unquoted,
    },
    Rule {
        id: "script/probe-without-deadline",
        severity: Severity::High,
        says: "A request of a script has a deadline.",
        why: "curl waits for ever by itself: a service that accepts connections and does not answer stops the deployment, and its rollback.",
        instead: "`curl --max-time 5 --fail`",
        check: no_deadline,
    },
    Rule {
        id: "script/fixed-address",
        severity: Severity::High,
        says: "A script for several environments asks the one it deploys.",
        why: "A deployment to staging is then judged by production's answers.",
        instead: "the address from the environment's name",
        check: fixed_address,
    },
    Rule {
        id: "script/rollback-not-awaited",
        severity: Severity::High,
        says: "A rollback is waited for and proved.",
        why: "The script ends while the broken version still serves; nobody learns whether the way back worked.",
        instead: "wait for the service, and ask it, before the script ends",
        check: rollback_not_awaited,
    },
    Rule {
        id: "script/never-called",
        severity: Severity::Medium,
        says: "A script that deploys is what the pipeline calls.",
        why: "Two ways to deploy differ by the day they are needed; the one that is never run does not work.",
        instead: "call it from the workflow, or delete it",
        check: never_called,
    },
];

/// Words of commands that change what serves.
fn deploys(command: &Command) -> bool {
    command.says(&["ecs", "update-service"])
        || command.says(&["ecs", "register-task-definition"])
        || command.says(&["ecs", "create-deployment"])
        || command.says(&["deploy", "create-deployment"])
        || command.is(&["kubectl", "apply"])
        || command.is(&["kubectl", "set", "image"])
        || command.is(&["kubectl", "rollout"])
        || command.is(&["helm", "upgrade"])
        || command.is(&["terraform", "apply"])
        || command.is(&["docker", "push"])
        || command.is(&["docker", "compose", "up"])
        || command.is(&["docker", "stack", "deploy"])
        || command.is(&["az", "containerapp", "update"])
        || command.is(&["gcloud", "run", "deploy"])
        || command.is(&["az", "webapp", "deploy"])
        || command.is(&["aws", "lambda", "update-function-code"])
        || command.is(&["aws", "s3", "sync"])
}

/// Whether a command is one that changes what serves.
pub fn is_deploy(command: &Command) -> bool {
    deploys(command)
}

fn strict(commands: &[Command], text: &str) -> bool {
    let set = commands.iter().any(|command| {
        command.is(&["set"])
            && command.words.iter().skip(1).any(|word| {
                word.text == "errexit"
                    || word.text.starts_with('-') && !word.text.starts_with("--") && word.text.contains('e')
            })
    });
    let first = text.lines().next().unwrap_or_default();
    set || first.starts_with("#!") && first.contains(" -e")
}

fn goes_on(out: &mut Out<'_>) {
    for (file, commands) in &out.graph.sources.scripts {
        let Some(changing) = commands.iter().find(|command| deploys(command) || migrates(command)) else {
            continue;
        };
        let text = &out.graph.sources.files[*file].text;
        if !strict(commands, text) {
            let line = text.find('\n').unwrap_or(text.len());
            out.say(At::new(*file, 0, line), "the script goes on after an error")
                .against(changing.at, "and changes what serves");
        }
    }
}

fn migrates(command: &Command) -> bool {
    super::migration::is_migration(command)
}

/// All commands, of scripts and of steps.
fn commands<'g>(out: &Out<'g>) -> Vec<&'g Command> {
    out.graph.commands()
}

fn by_place(out: &mut Out<'_>) {
    for command in commands(out) {
        for word in &command.words {
            let compact: String = word.text.chars().filter(|c| !c.is_whitespace()).collect();
            let by_number = ["containerDefinitions[0]", "containers[0]", "containerDefinitions[1]"]
                .iter()
                .find(|what| compact.contains(**what));
            // Reading one field of a task with one container is another matter than writing.
            if let Some(what) = by_number
                && (compact.contains(&format!("{what}.image="))
                    || compact.contains(&format!("{what}.image|="))
                    || compact.contains(&format!("{what}|="))
                    || compact.contains(&format!("{what}.environment"))
                    || compact.contains(&format!("{what}.image\"]")))
            {
                out.say(word.at, format!("the image is put into `{what}`, whichever container that is"));
            }
        }
    }
}

fn unquoted(out: &mut Out<'_>) {
    let all = commands(out);
    // Variables that hold what a command printed as JSON.
    let mut documents: Vec<(usize, String, At)> = Vec::new();
    for command in &all {
        for (name, word) in &command.sets {
            let json = word.text.starts_with("$(")
                && (word.text.contains("--output json")
                    || word.text.contains("jq ")
                        && !word.text.contains("jq -r")
                        && !word.text.contains("--raw-output")
                    || word.text.contains("describe-task-definition")
                        && !word.text.contains("--output text"));
            if json {
                documents.push((word.at.file, name.clone(), word.at));
            }
        }
    }
    for command in all {
        for word in command.words.iter().skip(1).filter(|word| word.splits && !word.quoted) {
            let name = word.text.trim_start_matches('$').trim_matches(['{', '}']);
            if let Some((_, _, at)) =
                documents.iter().find(|known| known.0 == word.at.file && known.1 == name)
            {
                out.say(word.at, format!("the document in `{name}` is split and globbed by the shell"))
                    .against(*at, "a JSON document")
                    .instead(format!("`\"${name}\"`"))
                    .fix(word.at, format!("\"{}\"", word.text));
            }
        }
    }
}

fn no_deadline(out: &mut Out<'_>) {
    let files: Vec<(usize, Vec<&Command>)> =
        out.graph.sources.scripts.iter().map(|(file, commands)| (*file, commands.iter().collect())).collect();
    let steps = out.graph.steps().map(|(_, _, step)| (step.at.file, step.own.iter().collect::<Vec<_>>()));
    let groups: Vec<_> = files.into_iter().chain(steps).collect();
    for (_, commands) in groups {
        let deploying = commands.iter().any(|command| deploys(command) || command.says(&["ecs", "wait"]));
        for command in commands {
            if !command.is(&["curl"]) {
                continue;
            }
            let bounded = ["--max-time", "-m", "--connect-timeout"].iter().any(|option| command.has(option))
                || wrapped(command)
                || short_flag(command, 'm');
            let downloads = command.has("-o") && !command.words.iter().any(|word| word.text == "/dev/null")
                || command.has("-O")
                || command
                    .words
                    .iter()
                    .any(|word| word.text.starts_with("-fsSL") || word.text.contains("-LO"))
                || command.then == Joint::Pipe;
            let probes = command.loops > 0
                || command.condition
                || deploying
                || command
                    .words
                    .iter()
                    .any(|word| word.text.contains("health") || word.text.contains("http_code"));
            if !bounded && probes && !downloads {
                out.say(command.at, "the request may last for ever: curl has no deadline of its own");
            }
        }
    }
}

fn wrapped(command: &Command) -> bool {
    command.words.first().is_some_and(|word| word.text == "timeout")
}

fn short_flag(command: &Command, flag: char) -> bool {
    command.words.iter().any(|word| {
        word.text.starts_with('-')
            && !word.text.starts_with("--")
            && word.text.contains(flag)
            && word.text.len() <= 6
    })
}

fn fixed_address(out: &mut Out<'_>) {
    for (file, commands) in &out.graph.sources.scripts {
        // A parameter that tells environments apart.
        let parameter = commands.iter().flat_map(|command| &command.sets).find(|(name, word)| {
            is_environment_name(name)
                && (word.text.starts_with("$1")
                    || word.text.starts_with("${1")
                    || word.text.starts_with("$2")
                    || word.text.starts_with("${2")
                    || word.text.contains("ENV"))
        });
        let Some((parameter, parameter_at)) = parameter.map(|(name, word)| (name.clone(), word.at)) else {
            continue;
        };
        for command in commands {
            let named =
                command.sets.iter().map(|(_, word)| word).filter(|word| word.text.starts_with("http"));
            let asked = command.words.iter().filter(|word| {
                (command.is(&["curl"]) || command.is(&["wget"])) && word.text.starts_with("http")
            });
            for word in named.chain(asked) {
                let value = text::value(&word.text);
                let Some(url) = value.known() else { continue };
                let local = [
                    "localhost",
                    "127.0.0.1",
                    "169.254",
                    "github.com",
                    "githubusercontent",
                    "hooks.slack.com",
                    "amazonaws.com/",
                ]
                .iter()
                .any(|host| url.contains(host));
                let chosen = command.branches > 0;
                if !local && !chosen && url.matches('/').count() >= 2 {
                    out.say(word.at, format!("`{url}` is asked whatever `{parameter}` is"))
                        .against(parameter_at, format!("`{parameter}` is given"));
                }
            }
        }
        let _ = file;
    }
}

/// An update of a service back to what ran before: in a branch, after a check, with what was current.
fn rollback_not_awaited(out: &mut Out<'_>) {
    let scripts = out.graph.sources.scripts.iter().map(|(_, commands)| commands.as_slice());
    let steps = out.graph.steps().map(|(_, _, step)| step.own.as_slice());
    let groups: Vec<&[Command]> = scripts.chain(steps).collect();
    for commands in groups {
        for (index, command) in commands.iter().enumerate() {
            let back = command.says(&["ecs", "update-service"])
                || command.is(&["kubectl", "rollout", "undo"])
                || command.is(&["helm", "rollback"]);
            let old = command.words.iter().any(|word| {
                let upper = word.text.to_uppercase();
                ["CURRENT", "PREVIOUS", "OLD", "LAST", "PREV", "STABLE", "ROLLBACK"]
                    .iter()
                    .any(|name| upper.contains(name))
            });
            let is_back = back && (old || command.is(&["kubectl"]) || command.is(&["helm"]));
            if !is_back || command.branches == 0 && command.condition {
                continue;
            }
            let waits = |later: &Command| {
                later.says(&["ecs", "wait"])
                    || later.is(&["kubectl", "rollout", "status"])
                    || later.says(&["describe-services"])
                    || later.says(&["describe-service-deployments"])
                    || later.is(&["curl"])
            };
            let until =
                commands[index + 1..].iter().position(|later| later.is(&["exit"]) || later.is(&["return"]));
            let after = &commands[index + 1..until.map_or(commands.len(), |end| index + 1 + end)];
            let atomic = command.has("--wait");
            if !atomic && !after.iter().any(waits) && (until.is_some() || after.is_empty()) {
                let end = until.map(|end| commands[index + 1 + end].at);
                let told = out.say(command.at, "the rollback is not waited for");
                if let Some(end) = end {
                    told.against(end, "the script ends here");
                }
            }
        }
    }
}

fn never_called(out: &mut Out<'_>) {
    let graph = out.graph;
    let pipelines: Vec<&Command> = graph
        .steps()
        .flat_map(|(_, _, step)| &step.all)
        .filter(|command| deploys(command) && !command.is(&["docker", "push"]))
        .collect();
    let Some(other) = pipelines.first() else { return };
    for (file, commands) in &graph.sources.scripts {
        let path = &graph.sources.files[*file].path;
        let Some(deploying) =
            commands.iter().find(|command| deploys(command) && !command.is(&["docker", "push"]))
        else {
            continue;
        };
        let name = crate::tree::file_name(path);
        let called =
            graph.sources.files.iter().any(|other| {
                other.path != *path && !other.path.ends_with(".md") && other.text.contains(name)
            });
        if !called {
            let text = &graph.sources.files[*file].text;
            let line = text.find('\n').unwrap_or(text.len());
            let _ = deploying;
            out.say(At::new(*file, 0, line), format!("nothing calls `{path}`, which deploys"))
                .against(other.at, "the pipeline deploys in another way");
        }
    }
}
