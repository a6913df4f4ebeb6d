//! GitHub workflows: what they trust, what they may, and what they say of themselves.

use super::migration::{deploy_action, deploys};
use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{At, Node};
use crate::lint::facts::pipeline::Job;

pub const RULES: &[Rule] = &[
    Rule {
        id: "workflow/action-unpinned",
        severity: Severity::Critical,
        says: "An action from outside is pinned to a commit.",
        why: "Whoever can move its branch or tag runs code with the workflow's secrets: in March 2026 76 tags of aquasecurity/trivy-action were moved to a stealer of credentials (CVE-2026-33634).",
        instead: "`uses: OWNER/NAME@COMMIT # TAG`",
        check: action_unpinned,
    },
    Rule {
        id: "workflow/long-lived-keys",
        severity: Severity::Critical,
        says: "A pipeline logs in for one run.",
        why: "A key that is stored is stolen once and used for ever. https://docs.github.com/actions/security-for-github-actions/security-hardening-your-deployments",
        instead: "`id-token: write` and `role-to-assume`, with a role that trusts this repository's environment",
        check: long_lived_keys,
    },
    Rule {
        id: "workflow/no-environment",
        severity: Severity::High,
        says: "A job that deploys names its environment.",
        why: "Approval, branch rules and secrets of their own hang on the environment: without one, whoever can push deploys to production.",
        instead: "`environment: production`, with required reviewers",
        check: no_environment,
    },
    Rule {
        id: "workflow/permissions-missing",
        severity: Severity::High,
        says: "A workflow says what it may do.",
        why: "Without `permissions` its token has the repository's default, which may write everything (checkov CKV2_GHA_1).",
        instead: "`permissions: {}` at the top, and the least for each job",
        check: permissions_missing,
    },
    Rule {
        id: "workflow/scan-never-fails",
        severity: Severity::High,
        says: "A scan that finds something stops the pipeline.",
        why: "Trivy ends with 0 whatever it finds, unless told otherwise.",
        instead: "`exit-code: 1`, `severity: CRITICAL,HIGH`, and a scan of the image that is deployed",
        check: scan_never_fails,
    },
    Rule {
        id: "workflow/upload-not-permitted",
        severity: Severity::High,
        says: "A job that uploads findings may do so, and does so when the scan fails.",
        why: "Without `security-events: write` the upload is refused; without `if: always()` it is skipped exactly when there is something to show.",
        instead: "`permissions: { security-events: write }` and `if: ${{ !cancelled() }}`",
        check: upload,
    },
    Rule {
        id: "workflow/own-status",
        severity: Severity::High,
        says: "A notification tells how the job it waits for ended.",
        why: "`job.status` is the status of the job it stands in: the notification says success when the deployment failed.",
        instead: "`needs.JOB.result`",
        check: own_status,
    },
    Rule {
        id: "workflow/action-archived",
        severity: Severity::Medium,
        says: "An action is still kept up.",
        why: "Nobody repairs an archived action (state of November 2026).",
        instead: "a call of the service itself, or an action that is kept up",
        check: archived,
    },
    Rule {
        id: "workflow/no-concurrency",
        severity: Severity::High,
        says: "Two deployments of one environment never run at once.",
        why: "The older one may end last: what serves is then not what was merged last.",
        instead: "`concurrency: { group: deploy-ENV, cancel-in-progress: false }`",
        check: no_concurrency,
    },
    Rule {
        id: "workflow/untrusted-text",
        severity: Severity::Critical,
        says: "What strangers write does not become a command.",
        why: "A title or branch name is put into the script before the shell reads it: whoever opens a pull request runs commands with the job's token. https://docs.github.com/actions/security-for-github-actions/security-guides/security-hardening-for-github-actions",
        instead: "through `env:`, and `\"$NAME\"` in the script",
        check: untrusted_text,
    },
];

fn action_unpinned(out: &mut Out<'_>) {
    for (_, _, step) in out.graph.steps() {
        let Some((uses, at)) = &step.uses else { continue };
        if uses.starts_with('.') || uses.starts_with("docker://") {
            continue;
        }
        let reference = uses.split_once('@').map(|(_, reference)| reference);
        let pinned = reference.is_some_and(|reference| {
            reference.len() == 40 && reference.chars().all(|c| c.is_ascii_hexdigit())
        });
        if pinned {
            continue;
        }
        let version = reference.is_some_and(|reference| {
            reference.trim_start_matches('v').starts_with(|c: char| c.is_ascii_digit())
        });
        let own = [
            "actions/",
            "github/",
            "aws-actions/",
            "docker/",
            "azure/",
            "google-github-actions/",
            "hashicorp/",
        ]
        .iter()
        .any(|owner| uses.starts_with(owner));
        let severity = match (version, own) {
            (false, _) => Severity::Critical,
            (true, false) => Severity::High,
            (true, true) => Severity::Low,
        };
        let what = if version { "a tag" } else { "a branch" };
        out.say(*at, format!("`{uses}` is {what}, which its owner, or whoever has its keys, can move"))
            .severity(severity);
    }
}

fn long_lived_keys(out: &mut Out<'_>) {
    for workflow in &out.graph.workflows {
        let mut found: Option<(At, String)> = None;
        workflow.node.walk(&mut |node| {
            for entry in node.entries() {
                let text = entry.value.scalar().unwrap_or_default();
                let key = entry.key.to_lowercase().replace('-', "_");
                let names = [
                    "aws_access_key_id",
                    "aws_secret_access_key",
                    "azure_credentials",
                    "creds",
                    "credentials_json",
                    "gcp_sa_key",
                ];
                if text.contains("secrets.") && names.contains(&key.as_str()) {
                    found.get_or_insert((entry.value.at, entry.key.clone()));
                }
            }
        });
        if let Some((at, name)) = found {
            out.say(at, format!("`{name}` comes from a stored key"));
        }
    }
}

/// Whether a job changes what serves, by a command or an action.
fn is_deploying(job: &Job) -> Option<At> {
    job.steps.iter().find_map(|step| {
        deploys(step).map(|command| command.at).or_else(|| deploy_action(step).then_some(step.at))
    })
}

fn no_environment(out: &mut Out<'_>) {
    for workflow in out.graph.workflows.iter().filter(|workflow| !workflow.is_action) {
        if workflow.trigger("workflow_call").is_some() {
            continue;
        }
        for job in &workflow.jobs {
            if let Some(at) = is_deploying(job).filter(|_| job.node.get("environment").is_none()) {
                out.say(
                    job.at,
                    format!("`{}` deploys, but names no environment: nobody has to agree", job.id),
                )
                .against(at, "deployed here");
            }
        }
    }
}

fn permissions_missing(out: &mut Out<'_>) {
    for workflow in out.graph.workflows.iter().filter(|workflow| !workflow.is_action) {
        if workflow.node.get("permissions").is_some() {
            if let Some(node) =
                workflow.node.get("permissions").filter(|node| node.text() == Some("write-all"))
            {
                out.say(node.at, "the workflow may write everything");
            }
            continue;
        }
        let without: Vec<&Job> =
            workflow.jobs.iter().filter(|job| job.node.get("permissions").is_none()).collect();
        if let Some(job) = without.first() {
            let at = workflow.node.entry("on").map_or(job.at, |entry| entry.key_at);
            out.say(at, "the workflow does not say what it may do")
                .against(job.at, format!("`{}` has the default of the repository", job.id));
        }
    }
}

fn scan_never_fails(out: &mut Out<'_>) {
    for (_, job, step) in out.graph.steps() {
        let action = step.action();
        let trivy = action == "aquasecurity/trivy-action";
        if trivy && step.with("exit-code").and_then(Node::scalar).is_none_or(|code| code == "0") {
            let at = step.uses.as_ref().map_or(step.at, |uses| uses.1);
            let files = step.with("scan-type").and_then(Node::scalar).is_some_and(|kind| kind == "fs");
            let and = if files { ", and looks at files, not at the image that is deployed" } else { "" };
            let told = out.say(at, format!("the scan never fails{and}"));
            if let Some(kind) = step.with("scan-type") {
                told.against(kind.at, "what it scans");
            }
        }
        let command = step.own.iter().find(|command| {
            let trivy =
                command.is(&["trivy"]) && command.option("--exit-code").is_none_or(|code| code.text == "0");
            let ignored = command.then == crate::lint::read::shell::Joint::Or
                && (command.is(&["grype"])
                    || command.is(&["npm", "audit"])
                    || command.is(&["snyk"])
                    || command.is(&["npx", "snyk"])
                    || command.is(&["pip-audit"])
                    || command.is(&["cargo", "audit"])
                    || command.is(&["trivy"]));
            trivy && !command.says(&["convert"]) || ignored
        });
        if let Some(command) = command {
            out.say(command.at, "the scan never fails");
        }
        if step.node.get("continue-on-error").and_then(Node::truth) == Some(true)
            && (trivy || step.label().to_lowercase().contains("scan"))
        {
            let at = step.node.entry("continue-on-error").map_or(step.at, |entry| entry.key_at);
            out.say(at, "the pipeline goes on when the scan finds something");
        }
        let _ = job;
    }
}

fn upload(out: &mut Out<'_>) {
    for (workflow, job, step) in out.graph.steps() {
        if step.action() != "github/codeql-action/upload-sarif" {
            continue;
        }
        let at = step.uses.as_ref().map_or(step.at, |uses| uses.1);
        let permission = [&job.node, &workflow.node].into_iter().find_map(|node| node.get("permissions"));
        let may = permission.is_some_and(|node| {
            node.text() == Some("write-all")
                || node.get("security-events").and_then(Node::text) == Some("write")
        });
        let condition = step.node.get("if").and_then(Node::scalar).unwrap_or_default();
        let always = condition.contains("always()")
            || condition.contains("!cancelled()")
            || condition.contains("success() || failure()");
        if !may {
            let told = out.say(at, "the job may not upload findings: `security-events: write` is missing");
            if let Some(node) = permission {
                told.against(node.at, "what it may do");
            }
        } else if !always {
            out.say(at, "the upload is skipped when the scan finds something");
        }
    }
}

fn own_status(out: &mut Out<'_>) {
    for (_, job, step) in out.graph.steps() {
        if job.needs.is_empty() {
            continue;
        }
        // A job that does something else may tell its own end.
        let only_tells =
            job.steps.iter().all(|other| std::ptr::eq(other, step) || other.action().contains("checkout"));
        let condition = job.node.get("if").and_then(Node::scalar).unwrap_or_default();
        let only_tells = only_tells || condition.contains("always()") || condition.contains("failure()");
        let mut found = None;
        step.node.walk(&mut |node| {
            if let Some(text) = node.text()
                && text.contains("job.status")
                && !text.contains("needs.")
            {
                found.get_or_insert(node.at);
            }
        });
        if let Some(at) = found.filter(|_| only_tells) {
            let (needed, place) = &job.needs[0];
            out.say(at, format!("`job.status` is the status of `{}` itself, not of `{needed}`", job.id))
                .against(*place, format!("it waits for `{needed}`"))
                .instead(format!("`${{{{ needs.{needed}.result }}}}`"));
        }
    }
}

/// Actions whose repository is archived.
const ARCHIVED: &[&str] = &[
    "8398a7/action-slack",
    "actions-rs/toolchain",
    "actions-rs/cargo",
    "actions/create-release",
    "actions/upload-release-asset",
    "google-github-actions/setup-gcloud-legacy",
    "actions-rs/clippy-check",
    "technote-space/get-diff-action",
    "marvinpinto/action-automatic-releases",
    "satackey/action-docker-layer-caching",
    "whelk-io/maven-settings-xml-action",
];

fn archived(out: &mut Out<'_>) {
    for (_, _, step) in out.graph.steps() {
        if let Some((_, at)) = step.uses.as_ref().filter(|_| ARCHIVED.contains(&step.action())) {
            out.say(*at, format!("`{}` is archived", step.action()));
        }
    }
}

fn no_concurrency(out: &mut Out<'_>) {
    for workflow in out.graph.workflows.iter().filter(|workflow| !workflow.is_action) {
        for job in &workflow.jobs {
            let Some(at) = is_deploying(job) else { continue };
            let group = job.node.get("concurrency").or_else(|| workflow.node.get("concurrency"));
            match group {
                None => {
                    out.say(job.at, format!("two runs of `{}` may deploy at once", job.id))
                        .against(at, "deployed here");
                }
                Some(node) if node.get("cancel-in-progress").and_then(Node::truth) == Some(true) => {
                    let place = node.entry("cancel-in-progress").map_or(node.at, |entry| entry.value.at);
                    out.say(place, format!("a newer run ends `{}` in the middle of its deployment", job.id))
                        .against(at, "deployed here")
                        .fix(place, "false");
                }
                Some(_) => {}
            }
        }
    }
}

/// What strangers choose.
const UNTRUSTED: &[&str] = &[
    "github.event.pull_request.title",
    "github.event.pull_request.body",
    "github.event.issue.title",
    "github.event.issue.body",
    "github.event.comment.body",
    "github.event.review.body",
    "github.head_ref",
    "github.event.pull_request.head.ref",
    "github.event.head_commit.message",
    "github.event.commits",
    "github.event.discussion.title",
    "github.event.discussion.body",
];

fn untrusted_text(out: &mut Out<'_>) {
    for (_, _, step) in out.graph.steps() {
        let Some(run) = step
            .node
            .get("run")
            .or_else(|| if step.action() == "actions/github-script" { step.with("script") } else { None })
        else {
            continue;
        };
        let Some(text) = run.text() else { continue };
        let found = UNTRUSTED.iter().find(|name| {
            text.match_indices("${{").any(|(at, _)| {
                let inside = &text[at..at + text[at..].find("}}").unwrap_or(text.len() - at)];
                inside.contains(**name)
            })
        });
        if let Some(name) = found {
            // The place within the script, not the whole of it.
            let written = out.graph.sources.slice(run.at);
            let place = written.find(name).map_or(run.at, |at| {
                At::new(run.at.file, run.at.span.start + at, run.at.span.start + at + name.len())
            });
            out.say(place, format!("`{name}` is written by strangers, and becomes part of the script"));
        }
    }
}
