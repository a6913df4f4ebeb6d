//! Migrations: before the program that needs them, waited for, against a network that exists.

use super::{Out, Rule};
use crate::finding::Severity;
use crate::lint::facts::pipeline::{Job, Step, Workflow};
use crate::lint::read::shell::Command;

pub const RULES: &[Rule] = &[
    Rule {
        id: "migration/after-deploy",
        severity: Severity::Critical,
        says: "The schema is widened before the program that needs it is deployed.",
        why: "Until the migration has run, the new program works against the old schema, and when it fails there is nothing left to stop. https://www.postgresql.org/docs/current/logical-replication-restrictions.html",
        instead: "widen the schema, wait for it, then deploy; narrow it in a later release",
        check: after_deploy,
    },
    Rule {
        id: "migration/not-awaited",
        severity: Severity::Critical,
        says: "A migration is waited for, and its exit code is read.",
        why: "`run-task` returns when the task is accepted: whether the migration failed is never learnt.",
        instead: "`aws ecs wait tasks-stopped`, then `containers[].exitCode` of describe-tasks",
        check: not_awaited,
    },
    Rule {
        id: "migration/placeholder",
        severity: Severity::High,
        says: "A command names subnets and groups that exist.",
        why: "AWS refuses identifiers that are placeholders: the command fails every time.",
        instead: "the identifiers from Terraform's outputs, or from the service's own configuration",
        check: placeholder,
    },
    Rule {
        id: "migration/narrows-at-once",
        severity: Severity::High,
        says: "What the release before still needs is dropped one release later.",
        why: "While both versions serve, and after a rollback, the old program reads what is gone.",
        instead: "drop in the release after the one that stopped using it",
        check: narrows,
    },
];

/// Programs and arguments that migrate a schema.
const TOOLS: &[&[&str]] = &[
    &["prisma", "migrate", "deploy"],
    &["knex", "migrate:latest"],
    &["sequelize", "db:migrate"],
    &["sequelize-cli", "db:migrate"],
    &["typeorm", "migration:run"],
    &["alembic", "upgrade"],
    &["flyway", "migrate"],
    &["liquibase", "update"],
    &["migrate", "up"],
    &["goose", "up"],
    &["dbmate", "up"],
    &["sqlx", "migrate", "run"],
    &["diesel", "migration", "run"],
    &["rails", "db:migrate"],
    &["rake", "db:migrate"],
    &["manage.py", "migrate"],
    &["atlas", "migrate", "apply"],
    &["drizzle-kit", "migrate"],
];

/// Whether a command migrates, by a known tool or by the name of what it runs.
pub fn is_migration(command: &Command) -> bool {
    if TOOLS.iter().any(|words| command.says(words)) {
        return true;
    }
    let run = command.run();
    let Some(first) = run.first() else { return false };
    let names = |text: &str| {
        let text = text.to_lowercase();
        text.contains("migrat")
            && !text.contains("--")
            && !text.contains("create")
            && !text.contains("status")
            && !text.contains("generate")
    };
    let runner = matches!(
        first.text.as_str(),
        "npm"
            | "yarn"
            | "pnpm"
            | "bun"
            | "npx"
            | "make"
            | "bash"
            | "sh"
            | "python"
            | "python3"
            | "node"
            | "psql"
    ) || first.text.contains('/')
        || first.text == "aws";
    if command.says(&["ecs", "run-task"]) {
        return run.iter().any(|word| names(&word.text));
    }
    runner
        && first.text != "aws"
        && run.iter().skip(usize::from(!first.text.contains('/'))).any(|word| names(&word.text))
}

/// Whether a step migrates: by what it runs, or by its name when it starts a task.
fn migrates(step: &Step) -> Option<&Command> {
    let named = step.label().to_lowercase().contains("migrat");
    step.all.iter().find(|command| is_migration(command) || (named && command.says(&["ecs", "run-task"])))
}

/// Whether a step changes what serves.
pub fn deploys(step: &Step) -> Option<&Command> {
    step.all.iter().find(|command| {
        super::script::is_deploy(command)
            && !command.is(&["docker", "push"])
            && !command.is(&["terraform"])
            && !command.says(&["register-task-definition"])
    })
}

/// Whether an action deploys.
pub fn deploy_action(step: &Step) -> bool {
    matches!(
        step.action(),
        "aws-actions/amazon-ecs-deploy-task-definition"
            | "azure/container-apps-deploy-action"
            | "azure/webapps-deploy"
            | "google-github-actions/deploy-cloudrun"
            | "azure/k8s-deploy"
    )
}

/// Steps in the order they run: within a job by place, between jobs by `needs`.
fn runs_after(workflow: &Workflow, later: (&Job, &Step), earlier: (&Job, &Step)) -> bool {
    if later.0.id == earlier.0.id {
        let place = |step: &Step| later.0.steps.iter().position(|known| std::ptr::eq(known, step));
        return place(later.1) > place(earlier.1);
    }
    workflow.comes_after(&later.0.id, &earlier.0.id)
}

fn after_deploy(out: &mut Out<'_>) {
    for workflow in &out.graph.workflows {
        let steps: Vec<(&Job, &Step)> = workflow.steps().collect();
        for later in &steps {
            let Some(migration) = migrates(later.1) else { continue };
            // A migration after one deployment may be before the next one.
            let deployed: Vec<_> = steps
                .iter()
                .filter(|earlier| deploys(earlier.1).is_some() || deploy_action(earlier.1))
                .collect();
            let before = deployed.iter().any(|step| runs_after(workflow, **step, *later));
            let after = deployed.iter().find(|step| runs_after(workflow, *later, ***step));
            let at = |step: &Step| deploys(step).map_or(step.at, |command| command.at);
            let ordered = deployed
                .iter()
                .all(|step| runs_after(workflow, **step, *later) || runs_after(workflow, *later, **step));
            if let Some(earlier) = after.filter(|_| !before) {
                out.say(migration.at, "the migration runs when the new program already serves")
                    .against(at(earlier.1), "deployed here, before it");
            } else if let Some(other) =
                deployed.iter().find(|step| step.0.id != later.0.id).filter(|_| !ordered && !before)
            {
                out.say(migration.at, "nothing makes the deployment wait for the migration")
                    .against(at(other.1), "deployed at the same time")
                    .instead(format!("`needs: {}` for the job that deploys", later.0.id));
            }
        }
    }
    // In one script: what a step runs, and what a file says.
    let steps = out.graph.workflows.iter().flat_map(|workflow| workflow.steps()).map(|(_, step)| &step.own);
    let scripts: Vec<_> =
        steps.chain(out.graph.sources.scripts.iter().map(|(_, commands)| commands)).collect();
    for commands in scripts {
        let deployed = commands.iter().position(|command| {
            super::script::is_deploy(command)
                && !command.is(&["docker", "push"])
                && !command.is(&["terraform"])
                && !command.says(&["register-task-definition"])
        });
        let migrated = commands.iter().position(is_migration);
        if let (Some(deployed), Some(migrated)) = (deployed, migrated)
            && migrated > deployed
            && !commands[migrated..].iter().any(super::script::is_deploy)
        {
            out.say(commands[migrated].at, "the migration runs when the new program already serves")
                .against(commands[deployed].at, "deployed here, before it");
        }
    }
}

fn not_awaited(out: &mut Out<'_>) {
    let steps = out
        .graph
        .workflows
        .iter()
        .flat_map(|workflow| &workflow.jobs)
        .map(|job| job.steps.iter().flat_map(|step| &step.own).collect::<Vec<_>>());
    let scripts = out.graph.sources.scripts.iter().map(|(_, commands)| commands.iter().collect::<Vec<_>>());
    let groups: Vec<Vec<&Command>> = steps.chain(scripts).collect();
    for commands in groups {
        for (index, command) in commands.iter().enumerate() {
            if !command.says(&["ecs", "run-task"]) {
                continue;
            }
            let later = &commands[index + 1..];
            let waits = later
                .iter()
                .any(|later| later.says(&["wait", "tasks-stopped"]) || later.says(&["describe-tasks"]));
            let reads = later.iter().any(|later| {
                later
                    .words
                    .iter()
                    .chain(later.sets.iter().map(|set| &set.1))
                    .any(|word| word.text.contains("exitCode"))
            });
            if !waits {
                out.say(command.at, "the task is started, and not waited for");
            } else if !reads {
                let wait =
                    later.iter().find(|later| later.says(&["wait", "tasks-stopped"])).map(|later| later.at);
                let told = out.say(
                    command.at,
                    "the task's exit code is not read: a migration that failed looks like one that worked",
                );
                if let Some(wait) = wait {
                    told.against(wait, "a task that failed has stopped, too");
                }
            }
        }
    }
}

fn placeholder(out: &mut Out<'_>) {
    for command in out.graph.commands() {
        if !command.is(&["aws"]) && !command.is(&["az"]) {
            continue;
        }
        for word in &command.words {
            let lower = word.text.to_lowercase();
            let found = [
                "subnet-xxx",
                "sg-xxx",
                "vpc-xxx",
                "subnet-123",
                "sg-123",
                "subnet-abc",
                "sg-abc",
                "<subnet",
                "<security",
                "your-subnet",
                "your-sg",
                "replace_me",
                "changeme",
            ]
            .iter()
            .find(|mark| lower.contains(**mark));
            if let Some(mark) = found {
                out.say(word.at, format!("`{mark}` is a placeholder"));
            }
        }
    }
}

fn narrows(out: &mut Out<'_>) {
    for file in &out.graph.sources.sql {
        let entry = &out.graph.sources.files[*file];
        let path = entry.path.to_lowercase();
        if !path.contains("migrat")
            || path.contains("down")
            || path.contains("rollback")
            || path.contains("contract")
        {
            continue;
        }
        let text = &entry.text;
        let upper = text.to_uppercase();
        // What lies behind a marker of the way back is not run forwards.
        let end = ["-- +GOOSE DOWN", "-- MIGRATE:DOWN", "-- DOWN"]
            .iter()
            .filter_map(|mark| upper.find(mark))
            .min()
            .unwrap_or(upper.len());
        let adds = ["ADD COLUMN", "CREATE TABLE", "RENAME "].iter().any(|word| upper[..end].contains(word));
        for word in ["DROP COLUMN", "DROP TABLE ", "RENAME COLUMN", "RENAME TO"] {
            if let Some(at) = upper[..end].find(word)
                && (adds || word.starts_with("RENAME"))
                && !upper[..end].contains("CREATE TEMP")
                && !upper[..at].ends_with("IF EXISTS ")
            {
                let line = text[at..].find('\n').map_or(text.len(), |line| at + line);
                let at = crate::lint::doc::At::new(*file, at, line);
                let renames = word.starts_with("RENAME");
                out.say(
                    at,
                    if renames {
                        "the release before still uses the old name"
                    } else {
                        "one migration adds and drops: the release before still reads what is dropped"
                    },
                );
                break;
            }
        }
    }
}
