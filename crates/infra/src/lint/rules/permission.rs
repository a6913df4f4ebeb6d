//! What a job's token may do is enough for what the job does with it.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::doc::{At, Node};
use crate::lint::facts::pipeline::{Job, Workflow};

pub const RULES: &[Rule] = &[
    Rule {
        id: "permission/oidc",
        severity: Severity::Critical,
        says: "A job that logs in with a role may ask for the token that this needs.",
        why: "Without `id-token: write` there is no token to show: the login fails. No default of a repository has it. https://docs.github.com/actions/concepts/security/openid-connect",
        instead: "`permissions: { id-token: write }` at the job",
        check: oidc,
    },
    Rule {
        id: "permission/packages",
        severity: Severity::Critical,
        says: "A job that pushes to ghcr.io may write packages.",
        why: "The push is denied: `permission_denied: write_package`.",
        instead: "`permissions: { packages: write }` at the job",
        check: packages,
    },
    Rule {
        id: "permission/contents",
        severity: Severity::High,
        says: "A job that pushes commits, tags or releases may write contents.",
        why: "The push is refused with 403.",
        instead: "`permissions: { contents: write }` at the job",
        check: contents,
    },
];

/// Whether a job lacks a permission for certain, and where what it has is said.
fn lacks(workflow: &Workflow, job: &Job, name: &str, by_default: bool) -> Option<At> {
    let found = [&job.node, &workflow.node].into_iter().find_map(|node| node.get("permissions"));
    let Some(node) = found else {
        // A called workflow has what its caller gives it.
        let called = workflow.trigger("workflow_call").is_some();
        return (!called && !by_default).then_some(job.at);
    };
    let may = node.text() == Some("write-all") || node.get(name).and_then(Node::text) == Some("write");
    (!may).then_some(node.at)
}

fn oidc(out: &mut Out<'_>) {
    for (workflow, job, step) in out.graph.steps().filter(|(workflow, ..)| !workflow.is_action) {
        let (role, what) = match step.action() {
            "aws-actions/configure-aws-credentials" if step.with("aws-access-key-id").is_none() => {
                (step.with("role-to-assume"), "a role")
            }
            "azure/login" if step.with("creds").is_none() => (step.with("client-id"), "an identity"),
            "google-github-actions/auth" => (step.with("workload_identity_provider"), "an identity"),
            _ => continue,
        };
        let Some(role) = role else { continue };
        if let Some(place) = lacks(workflow, job, "id-token", false) {
            let message = format!(
                "`{}` logs in with {what}, but may not ask for a token: `id-token: write` is missing",
                job.id
            );
            out.say(role.at, message).against(place, "what it may do");
        }
    }
}

fn packages(out: &mut Out<'_>) {
    for (workflow, job, step) in out.graph.steps().filter(|(workflow, ..)| !workflow.is_action) {
        let own_token = |text: &str| text.contains("secrets.GITHUB_TOKEN") || text.contains("github.token");
        let logs_in = job.steps.iter().any(|step| {
            let by_action = step.action() == "docker/login-action"
                && step.with("registry").and_then(Node::scalar).as_deref() == Some("ghcr.io")
                && step.with("password").and_then(Node::scalar).is_some_and(|text| own_token(&text));
            let run = step.node.get("run").and_then(Node::scalar).unwrap_or_default();
            by_action || run.contains("docker login ghcr.io") && own_token(&run)
        });
        if !logs_in {
            continue;
        }
        let pushed = step.own.iter().find(|command| {
            command.is(&["docker", "push"])
                || command.is(&["docker", "buildx", "build"]) && command.has("--push")
        });
        let by_action = step.action() == "docker/build-push-action"
            && step.with("push").and_then(Node::scalar).is_some_and(|push| push == "true");
        let Some(at) = pushed.map(|command| command.at).or(by_action.then_some(step.at)) else { continue };
        if let Some(place) = lacks(workflow, job, "packages", true) {
            out.say(at, format!("`{}` pushes to ghcr.io, but may not write packages", job.id))
                .against(place, "what it may do");
        }
    }
}

fn contents(out: &mut Out<'_>) {
    for (workflow, job, step) in out.graph.steps().filter(|(workflow, ..)| !workflow.is_action) {
        let command = step
            .own
            .iter()
            .find(|command| command.is(&["git", "push"]) || command.is(&["gh", "release", "create"]));
        let action = matches!(
            step.action(),
            "softprops/action-gh-release"
                | "ncipollo/release-action"
                | "stefanzweifel/git-auto-commit-action"
        );
        // Another token than the job's own may do what it likes.
        let mut other = false;
        job.node.walk(&mut |node| {
            other |= node
                .text()
                .is_some_and(|text| text.contains("secrets.") && !text.contains("secrets.GITHUB_TOKEN"));
        });
        let Some(at) = command.map(|command| command.at).or(action.then_some(step.at)).filter(|_| !other)
        else {
            continue;
        };
        if let Some(place) = lacks(workflow, job, "contents", true) {
            out.say(at, format!("`{}` writes to the repository, but may only read it", job.id))
                .against(place, "what it may do");
        }
    }
}
