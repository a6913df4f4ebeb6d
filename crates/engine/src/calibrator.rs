//! Keeps what a target's stable version answers, and calibrates the judge on it when a deployment begins.
//! Decides nothing: what it finds is a fact for the controller. Calibrations are made ahead, in the background, because
//! one takes up to seconds and a deployment does not wait for it.

use crate::clock::Clock;
use crate::reference::{Blocks, Recent, Reference, Tally, Thresholds};
use crate::run::Message;
use meter::wire::SecondRecord;
use rollout::judge::buckets::Boundaries;
use rollout::judge::calibration::{self, Calibration, KnownRoute, ShareCalibration, calibrate};
use rollout::judge::policy::{Metric, Policy, ROUTES_MAX};
use rollout::judge::seasons::Seasons;
use rollout::judge::{cold_rate, policy_for};
use rollout::machine::State;
use rollout::names::{DeploymentId, Weight};
use rollout::plan::RolloutSettings;
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};
use tokio::sync::{mpsc, watch};

/// Seconds of counts waiting for a calibrator; one that is busy loses more, and then they are missing.
pub const SECONDS_MAX: usize = 64;
/// How old a calibration made ahead may be.
const FRESH: Duration = Duration::from_secs(3600);
/// Half-hours of the day.
const HALF_HOUR_SECONDS: u64 = 1800;
const HALF_HOURS: u64 = 48;

/// What the calibrator is told.
pub enum Told {
    Second(Arc<SecondRecord>),
    /// How much traffic there is, for predictions; calibrated for these weights, for the present ones where there is none.
    Traffic(Vec<Weight>, tokio::sync::oneshot::Sender<Traffic>),
    /// Write everything down; the target ends.
    Stop(tokio::sync::oneshot::Sender<()>),
}

/// What is known of a service's traffic.
#[derive(Debug, Clone, Default)]
pub struct Traffic {
    /// The last hour.
    pub recent: Recent,
    pub calibration: Calibration,
}

/// The calibrator of one target.
pub struct Calibrator {
    pub path: PathBuf,
    pub inbox: mpsc::Receiver<Told>,
    pub state: watch::Receiver<Arc<State>>,
    pub mailbox: mpsc::Sender<Message>,
    pub clock: Arc<Clock>,
}

/// Calibrations made ahead, by weight.
#[derive(Default)]
struct Ahead {
    policy: Policy,
    shares: BTreeMap<Weight, (Instant, ShareCalibration)>,
}

impl Calibrator {
    /// Keeps counts until told to stop or nobody counts any more.
    pub async fn run(mut self) {
        let state = self.state.borrow().clone();
        let path = self.path.clone();
        let opened =
            tokio::task::block_in_place(|| Reference::open(&path, &state.target, thresholds(&state)));
        let mut reference = opened;
        let mut ahead = Ahead::default();
        let mut told: Option<(DeploymentId, bool)> = None;
        loop {
            let message = tokio::select! {
                message = self.inbox.recv() => message,
                // A deployment that begins is told at once: its candidate may be ready before the second is over.
                Ok(()) = self.state.changed() => {
                    let state = self.state.borrow_and_update().clone();
                    if state.deployment.is_some() {
                        tokio::task::block_in_place(|| self.tell(&reference, &state, &mut ahead, &mut told));
                    }
                    continue;
                }
            };
            let Some(message) = message else { return };
            match message {
                Told::Second(record) => {
                    let state = self.state.borrow().clone();
                    tokio::task::block_in_place(|| {
                        self.count(&mut reference, &state, &record);
                        self.tell(&reference, &state, &mut ahead, &mut told);
                    });
                }
                Told::Traffic(weights, reply) => {
                    let mut settings = self.state.borrow().stable_rollout.clone();
                    if !weights.is_empty() {
                        (settings.steps, settings.hold_back) = (weights, Weight::NONE);
                    }
                    let calibration =
                        tokio::task::block_in_place(|| self.calibration(&reference, &settings, &mut ahead));
                    // Who asked may have gone.
                    let _ = reply.send(Traffic { recent: reference.recent(), calibration });
                }
                Told::Stop(reply) => {
                    tokio::task::block_in_place(|| reference.save());
                    let _ = reply.send(());
                    return;
                }
            }
        }
    }

    fn count(&self, reference: &mut Reference, state: &State, record: &SecondRecord) {
        reference.want(thresholds(state));
        if let Some(stable) = &state.stable {
            reference.add(record, stable.revision);
        }
        reference.save_when_due();
    }

    /// Tells a deployment what is known, once, and once more when there are latency thresholds. Between deployments the
    /// calibrations of the next one are kept fresh.
    fn tell(
        &self,
        reference: &Reference,
        state: &State,
        ahead: &mut Ahead,
        told: &mut Option<(DeploymentId, bool)>,
    ) {
        let Some(running) = state.deployment.as_ref().filter(|running| running.is_judged()) else {
            if state.stable.is_some() && reference.hours() >= Policy::default().calibration.hours_min {
                self.shares(reference, &state.stable_rollout, ahead);
            }
            return;
        };
        let with_latency = reference.boundaries().is_some();
        let known = (running.id.clone(), with_latency);
        // The tally reads the whole day: not every second.
        if told.as_ref() == Some(&known) || reference.tally().requests == 0 {
            return;
        }
        let calibration = self.calibration(reference, &running.settings, ahead);
        *told = Some(known);
        // A full mailbox means that the target is busy: the constants of a cold start do until the next second.
        if self.mailbox.try_send(Message::Calibrated(Box::new(calibration))).is_err() {
            *told = None;
        }
    }

    fn calibration(
        &self,
        reference: &Reference,
        settings: &RolloutSettings,
        ahead: &mut Ahead,
    ) -> Calibration {
        let policy = policy_for(&settings.judge);
        let service = reference.tally();
        // The reference learns of a new stable revision with its first second.
        let stable = self.state.borrow().stable.as_ref().map(|placed| placed.revision);
        let is_present = Some(reference.present().0) == stable;
        let present = if is_present { reference.tally_of_present() } else { Tally::default() };
        let latency = reference.boundaries().zip(reference.shares_above());
        Calibration {
            latency: latency.map(|(indexes, slow_rates)| calibration::Thresholds {
                boundaries: Boundaries::at(indexes),
                slow_rates,
            }),
            shares: self.shares(reference, settings, ahead),
            routes: routes(reference, &policy),
            seasons: self.seasons(reference, &policy),
            hours: reference.hours(),
            error_rate: rate(&policy, (service.requests, service.errors), (present.requests, present.errors)),
            error_rate_once: rate(
                &policy,
                (service.requests, service.errors_once),
                (present.requests, present.errors_once),
            ),
        }
    }

    /// Returns the calibrations of the weights a rollout will have; those that are old are made anew.
    fn shares(
        &self,
        reference: &Reference,
        settings: &RolloutSettings,
        ahead: &mut Ahead,
    ) -> Vec<ShareCalibration> {
        let policy = policy_for(&settings.judge);
        if reference.hours() < policy.calibration.hours_min {
            return Vec::new();
        }
        if ahead.policy != policy {
            *ahead = Ahead { policy: policy.clone(), shares: BTreeMap::new() };
        }
        let weights = weights(settings);
        for weight in &weights {
            let fresh = ahead.shares.get(weight).is_some_and(|(made, _)| made.elapsed() < FRESH);
            if !fresh {
                let share = share_of(&policy, &reference.blocks(*weight), *weight);
                ahead.shares.insert(*weight, (Instant::now(), share));
            }
        }
        weights.iter().filter_map(|weight| ahead.shares.get(weight)).map(|(_, share)| share.clone()).collect()
    }

    /// Returns the service's errors by the time of day, once a day of it is known; till then the same at every time.
    fn seasons(&self, reference: &Reference, policy: &Policy) -> Option<Seasons> {
        let mut seasons = Seasons::default();
        if reference.hours() < policy.calibration.hours_alone_min {
            let all = reference.tally();
            (0..HALF_HOURS).for_each(|bin| seasons.add(bin * HALF_HOUR_SECONDS, all.requests, all.errors));
            return (all.errors > 0).then_some(seasons);
        }
        for (bin, tally) in (0..).zip(reference.seasonal()) {
            seasons.add(bin * HALF_HOUR_SECONDS, tally.requests, tally.errors);
        }
        let recent = reference.recent().stable;
        seasons.freeze(self.clock.now().0 / 1000, recent.requests, recent.errors);
        Some(seasons)
    }
}

/// Calibrates one weight; latency on the blocks that were counted by the present thresholds.
fn share_of(policy: &Policy, kept: &Blocks, weight: Weight) -> ShareCalibration {
    let recent = kept.blocks.get(kept.latency_from..).unwrap_or_default();
    if recent.len() == kept.blocks.len() {
        return calibrate(policy, &kept.blocks, Some(kept.slow), weight.share());
    }
    let mut share = calibrate(policy, &kept.blocks, None, weight.share());
    let late = calibrate(policy, recent, Some(kept.slow).filter(|_| !recent.is_empty()), weight.share());
    share.pairs.latency = late.pairs.latency;
    let of_latency = late.insensitive.into_iter().filter(|weak| matches!(weak.metric, Metric::Latency(_)));
    share.insensitive.extend(of_latency);
    share
}

/// Returns the weights a rollout of these settings goes through, and the one of the watch after it.
fn weights(settings: &RolloutSettings) -> Vec<Weight> {
    let mut settings = settings.clone();
    settings.look_first();
    let steps = (0..settings.steps.len()).map(|step| settings.weight_of(step));
    let mut weights: Vec<_> = steps.chain([Weight::FULL]).collect();
    weights.sort_unstable();
    weights.dedup();
    weights
}

/// Returns the rate at which the present revision fails. What failed under another one may be repaired: while little of
/// the present one is known, the lower of the service's rate and the usual belief stands for it. That costs nothing beside
/// stable, where any belief is valid; a candidate alone is compared with the service's own rate (`seasons`).
fn rate(policy: &Policy, service: (u64, u64), present: (u64, u64)) -> f64 {
    let of_service = cold_rate(policy.cold.error_rate, service);
    cold_rate(of_service.min(policy.cold.error_rate), present)
}

/// Returns the busiest routes with a template, most requests first.
fn routes(reference: &Reference, policy: &Policy) -> Vec<KnownRoute> {
    let named = reference.routes().into_iter().filter(|(template, _)| !template.is_empty());
    let enough = named.filter(|(_, tally)| tally.requests >= policy.cold.latency_requests_min);
    enough
        .take(ROUTES_MAX)
        .map(|(template, tally)| KnownRoute {
            template,
            error_rate: (tally.errors as f64 + 0.5) / (tally.requests as f64 + 1.0),
        })
        .collect()
}

fn thresholds(state: &State) -> Thresholds {
    let settings = state.deployment.as_ref().map_or(&state.stable_rollout, |running| &running.settings);
    Thresholds {
        quantiles: settings.judge.latency.quantiles.clone(),
        margin_buckets: i16::from(settings.judge.latency.margin_buckets),
    }
}

#[cfg(test)]
#[path = "calibrator_tests.rs"]
mod tests;
