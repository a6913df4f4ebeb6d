//! Keeps what our judge learned of each scene, so that every table calibrates on the same days and none twice.

use super::Sizes;
use crate::curve::Contender;
use crate::ours::Known;
use crate::traffic::{Load, Mode, Scene};
use rollout::judge::policy::Policy;
use rollout::judge::policy_for;
use rollout::plan::JudgeSettings;
use rollout::routes::UserKey;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const REFERENCE_HOURS: u64 = 24;

/// A scene without its fault, as something that can be looked up.
type Key = (u64, u64, u64, bool);

/// References drawn so far.
pub struct Library {
    pub settings: JudgeSettings,
    sizes: Sizes,
    calibrated: BTreeMap<Key, Arc<Vec<Known>>>,
    cold: BTreeMap<Key, Arc<Vec<Known>>>,
    telling_users_apart: BTreeMap<Key, Arc<Vec<Known>>>,
}

impl Library {
    pub fn new(settings: JudgeSettings, sizes: Sizes) -> Self {
        Self {
            settings,
            sizes,
            calibrated: BTreeMap::new(),
            cold: BTreeMap::new(),
            telling_users_apart: BTreeMap::new(),
        }
    }

    pub fn policy(&self) -> Policy {
        policy_for(&self.settings)
    }

    /// Our judge, calibrated on days of this scene's stable version; watches take them in turn.
    pub fn calibrated(&mut self, scene: &Scene) -> Contender<'static> {
        let known = self.known(scene);
        contender("this judge, calibrated", known)
    }

    /// Our judge, knowing ten minutes of history.
    pub fn cold(&mut self, scene: &Scene) -> Contender<'static> {
        let (settings, sizes) = (&self.settings, self.sizes);
        let known = self
            .cold
            .entry(key(scene))
            .or_insert_with(|| draw(sizes, |number| Known::cold(settings, scene, sizes.seed, number)));
        contender("this judge, cold start", known.clone())
    }

    /// Our judge where users are told apart, calibrated.
    pub fn telling_users_apart(&mut self, scene: &Scene) -> Contender<'static> {
        let sizes = self.sizes;
        let settings =
            JudgeSettings { user: Some(UserKey::Cookie("session".to_owned())), ..self.settings.clone() };
        let learn = |number| Known::calibrated(&settings, scene, REFERENCE_HOURS, sizes.seed, number);
        let known = self.telling_users_apart.entry(key(scene)).or_insert_with(|| draw(sizes, learn));
        contender("this judge, a user's errors once", known.clone())
    }

    /// Our judge believing that requests are independent of each other.
    pub fn believing_independence(&mut self, scene: &Scene) -> Contender<'static> {
        let known = self.known(scene);
        let known = known.iter().cloned().map(Known::believing_independence).collect();
        contender("this judge, η = 1, c = 8.5", Arc::new(known))
    }

    /// Our judge, calibrated on so many hours.
    pub fn calibrated_hours(&mut self, scene: &Scene, hours: u64) -> Contender<'static> {
        let (settings, sizes) = (&self.settings, self.sizes);
        let known = draw(sizes, |number| Known::calibrated(settings, scene, hours, sizes.seed, number));
        contender(&format!("this judge, calibrated on {hours} h"), known)
    }

    fn known(&mut self, scene: &Scene) -> Arc<Vec<Known>> {
        let (settings, sizes) = (&self.settings, self.sizes);
        let learn = |number| Known::calibrated(settings, scene, REFERENCE_HOURS, sizes.seed, number);
        self.calibrated.entry(key(scene)).or_insert_with(|| draw(sizes, learn)).clone()
    }
}

fn contender(name: &str, known: Arc<Vec<Known>>) -> Contender<'static> {
    Contender::new(name, move |traffic, watch| Box::new(known[watch as usize % known.len()].watcher(traffic)))
}

fn key(scene: &Scene) -> Key {
    let Load::Steady(rps) = scene.load else { panic!("BUG: tables have a steady load") };
    (rps.to_bits(), scene.weight.to_bits(), scene.error_rate.to_bits(), scene.mode == Mode::Bursts)
}

/// Draws the references, several at a time; their order does not depend on it.
fn draw(sizes: Sizes, learn: impl Fn(u64) -> Known + Sync) -> Arc<Vec<Known>> {
    let next = AtomicU64::new(0);
    let work = || {
        let numbers = std::iter::repeat_with(|| next.fetch_add(1, Ordering::Relaxed));
        numbers.take_while(|number| *number < sizes.references).map(|n| (n, learn(n))).collect::<Vec<_>>()
    };
    let mut all: Vec<(u64, Known)> = std::thread::scope(|scope| {
        let workers: Vec<_> = (0..sizes.threads.max(1)).map(|_| scope.spawn(work)).collect();
        workers.into_iter().flat_map(|worker| worker.join().expect("BUG: a calibration panicked")).collect()
    });
    all.sort_by_key(|(number, _)| *number);
    Arc::new(all.into_iter().map(|(_, known)| known).collect())
}
