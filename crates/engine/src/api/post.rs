//! Takes commands: decodes them, hands them to the target, answers when the journal has them.

use super::Api;
use super::access::Who;
use super::body::Body;
use super::wire::{
    Accepted, ApiError, Command, CommandRequest, DeployRequest, SettingsRequest, ShutdownRequest,
};
use crate::deploy;
use crate::targets::{Answered, Handle, New};
use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use drivers::artifacts::Store;
use manifest::service::ServiceConfig;
use rollout::machine::OperatorCommand;
use rollout::names::{Actor, Millis, Target};
use rollout::release::Placed;

/// How long replicas may take to end at a shutdown.
const STOP_GRACE: Millis = Millis::seconds(10);

impl IntoResponse for ApiError {
    fn into_response(self) -> Response {
        let status = match self.exit {
            1 => StatusCode::INTERNAL_SERVER_ERROR,
            2 => StatusCode::BAD_REQUEST,
            7 => StatusCode::SERVICE_UNAVAILABLE,
            _ => StatusCode::CONFLICT,
        };
        (status, Json(self)).into_response()
    }
}

pub async fn deploy(
    State(api): State<Api>,
    Who(actor): Who,
    Body(request): Body<DeployRequest>,
) -> Result<Json<Accepted>, ApiError> {
    check(&request.service)?;
    let target = api.targets.target(&request.service.name);
    api.targets.check_claims(&target, &request.service.target)?;
    let settings = request.service.target.clone();
    let handle = api.targets.handle(&target, New::Allowed)?;
    let intent = deploy::prepare(api.targets.artifacts(), request).await?;
    api.targets.command(&handle, OperatorCommand::Settings(settings), &actor).await?;
    let warnings = warnings(&handle);
    let answered = api.targets.command(&handle, OperatorCommand::Deploy(Box::new(intent)), &actor).await?;
    let Json(accepted) = accepted(target, answered);
    Ok(Json(Accepted { warnings, ..accepted }))
}

/// Refuses what no manifest can say: whoever speaks to the API need not have read one.
pub(super) fn check(service: &ServiceConfig) -> Result<(), ApiError> {
    service.check().map_err(|why| ApiError {
        error: format!("take on the service `{}`", service.name),
        cause: Some(why),
        next: Some("correct it in the manifest; `medeclipse deploy` reads and checks that".to_owned()),
        exit: 2,
    })
}

pub async fn command(
    State(api): State<Api>,
    Who(actor): Who,
    Body(request): Body<CommandRequest>,
) -> Result<Json<Accepted>, ApiError> {
    let target = api.targets.target(&request.service);
    let handle = api.targets.handle(&target, New::Refused)?;
    if let Command::Rollback { to } = &request.command {
        can_start(&handle, to.as_deref(), api.targets.artifacts())?;
    }
    let command = operator_command(request.command, &target, &actor, api.clock.now());
    let answered = api.targets.command(&handle, command, &actor).await?;
    Ok(accepted(target, answered))
}

pub(super) fn operator_command(
    command: Command,
    target: &Target,
    actor: &Actor,
    now: Millis,
) -> OperatorCommand {
    match command {
        Command::Promote { now } => OperatorCommand::Promote { now },
        Command::Abort => OperatorCommand::Abort,
        Command::Pause => OperatorCommand::Pause,
        Command::Resume => OperatorCommand::Resume,
        Command::Rollback { to } => {
            OperatorCommand::Rollback { to, key: format!("rollback-{target}-{actor}-{}", now.0) }
        }
        Command::MaintenanceOn { hold } => OperatorCommand::Maintenance { hold: Some(hold) },
        Command::MaintenanceOff => OperatorCommand::Maintenance { hold: None },
        Command::Scale { replicas } => OperatorCommand::Scale { replicas },
    }
}

/// Says what a deploy should know: stable is what a bad release goes back to, also after its promotion.
fn warnings(handle: &Handle) -> Vec<String> {
    let (state, found) = (handle.state.borrow().clone(), handle.readiness.borrow().clone());
    let objection = |placed: &Placed| {
        let why = found.objection(placed)?;
        Some(format!("{} cannot be started again when it is needed: {why}", named(placed)))
    };
    state.stable.iter().filter_map(objection).collect()
}

/// Refuses to go back to a release that does not run and cannot be started, rather than to try.
fn can_start(handle: &Handle, to: Option<&str>, store: &Store) -> Result<(), ApiError> {
    let state = handle.state.borrow().clone();
    let Ok(placed) = state.placed_to_return_to(to) else { return Ok(()) };
    let runs = state.stable.iter().chain(state.hot.iter().map(|hot| &hot.placed));
    if state.deployment.is_some() || runs.into_iter().any(|running| running.revision == placed.revision) {
        return Ok(());
    }
    let known = handle.readiness.borrow().objection(placed);
    // One that is named may be none of those that are checked.
    let stored = || placed.spec.artifact.as_ref().is_none_or(|digest| store.contains(digest));
    match known.or_else(|| (!stored()).then(|| "its artefact is no longer stored".to_owned())) {
        None => Ok(()),
        Some(why) => Err(ApiError {
            error: format!("roll back {} to {}", state.target.service, named(placed)),
            cause: Some(why),
            next: Some(
                "name another release (`medeclipse history`, `rollback --to`), or deploy one that works"
                    .to_owned(),
            ),
            exit: 3,
        }),
    }
}

fn named(placed: &Placed) -> String {
    let label = placed.label.as_ref().map(|label| format!(" ({})", label.as_str())).unwrap_or_default();
    format!("release {}{label}", placed.release.short())
}

/// Brings the settings of targets that exist in line with the manifest. A service never deployed has none yet.
pub async fn settings(
    State(api): State<Api>,
    Who(actor): Who,
    Body(request): Body<SettingsRequest>,
) -> Result<Json<Vec<Accepted>>, ApiError> {
    let mut all = Vec::new();
    for service in request.services {
        let target = api.targets.target(&service.name);
        // A damaged or unknown target is not an error of the others.
        let Ok(handle) = api.targets.handle(&target, New::Refused) else { continue };
        check(&service)?;
        api.targets.check_claims(&target, &service.target)?;
        let answered =
            api.targets.command(&handle, OperatorCommand::Settings(service.target), &actor).await?;
        all.push(accepted(target, answered).0);
    }
    Ok(Json(all))
}

/// Ends the environment. The edge has stopped taking requests before this is asked.
pub async fn shutdown(
    State(api): State<Api>,
    Body(request): Body<ShutdownRequest>,
) -> Result<Json<serde_json::Value>, ApiError> {
    api.targets.end_unfinished().await;
    api.targets.stop().await;
    if !request.keep_replicas {
        api.platform.stop_all(STOP_GRACE).await.map_err(|error| ApiError {
            error: "stop the replicas".to_owned(),
            cause: Some(error.to_string()),
            next: Some("look for processes with MEDECLIPSE_SERVICE in their environment".to_owned()),
            exit: 3,
        })?;
    }
    api.shutdown.notify_one();
    Ok(Json(serde_json::json!({ "kept_replicas": request.keep_replicas })))
}

fn accepted(target: Target, answered: Answered) -> Json<Accepted> {
    Json(Accepted {
        target,
        deployment: answered.deployment,
        seq: answered.seq,
        outcome: answered.outcome,
        warnings: Vec::new(),
    })
}
