//! Walks all places at which an engine can die, several environments side by side, and counts: a table of kinds of
//! events against scenarios, each before and after, and everything that was wrong.

use crate::checks;
use crate::scenarios::{self, ALL, DOWN_AFTER, FIRST, Scenario, Script};
use crate::world::{Counts, World};
use rollout::event::{Event, EventRecord};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Mutex;
use std::time::{Duration, Instant};

/// Environments side by side: a run mostly waits.
const SIDE_BY_SIDE: usize = 6;
/// Runs of one environment: a supervisor starts an engine that dies again and again ever later.
const RUNS_PER_WORLD: usize = 5;
/// How long the places of a plan may take to be come to, once the scenario is over.
const COME_WITHIN: Duration = Duration::from_secs(3);

/// Kinds that the clock brings about: a run that is over sooner has none, which is no fault. That they are covered
/// somewhere is insisted on all the same.
const SECONDS_BRING: [&str; 2] = ["evidence_added", "checks_answered"];
/// Kinds that a busy machine brings about, now and then: a second of doubt, a step that was seen too little of.
const CHANCE_BRINGS: [&str; 3] = ["held", "hold_ended", "bake_extended"];

/// One scenario with places to die at.
#[derive(Clone)]
struct Run {
    /// None: the first deployment of a new environment.
    scenario: Option<usize>,
    places: Vec<String>,
}

impl Run {
    fn scenario(&self) -> &'static Scenario {
        self.scenario.map_or(&FIRST, |number| &ALL[number])
    }
}

/// What each scenario wrote when nothing was killed.
type Lived = BTreeMap<&'static str, Vec<EventRecord>>;

/// How one run went.
struct Row {
    scenario: &'static str,
    places: Vec<String>,
    /// Where it died and at what: the place and the event or change.
    killed: Vec<(String, String)>,
    wrong: Vec<String>,
    counts: Counts,
    bad: u64,
    lost_by_hand: u64,
    given_up: u64,
}

/// What a whole sweep found.
pub struct Report {
    rows: Vec<Row>,
    /// Kinds of events each scenario wrote when nothing was killed: what must be covered.
    kinds: BTreeMap<&'static str, BTreeSet<String>>,
    took: Duration,
}

/// Every kind of event and change, before and after, in every scenario that brings it about.
pub fn every_kind() -> Report {
    let began = Instant::now();
    let lived = live_through();
    let rows = walk(by_kind(&lived));
    report(rows, &lived, began)
}

fn by_kind(lived: &Lived) -> Vec<Run> {
    let mut runs = Vec::new();
    for (number, scenario) in everything() {
        let kinds: Vec<String> = kinds(&lived[scenario.name]).into_iter().collect();
        let kinds = kinds.iter().map(String::as_str).filter(|kind| !scenario.elsewhere.contains(kind));
        for what in kinds.chain(scenario.changes.iter().copied()) {
            for side in ["before", "after"] {
                runs.push(Run { scenario: number, places: vec![format!("web@local {what} {side}")] });
            }
        }
    }
    // An engine that dies while it takes over from one that died.
    for side in ["before", "after"].into_iter().filter(|_| lived.contains_key(ALL[0].name)) {
        let places = ["promoted before".to_owned(), format!("lease_taken {side}")];
        let places = places.map(|place| format!("web@local {place}")).to_vec();
        runs.push(Run { scenario: Some(0), places });
    }
    runs
}

/// Every boundary of every scenario by its number, every kind, and then several deaths in one rollout at random.
pub fn every_boundary() -> Report {
    let began = Instant::now();
    let seed = std::env::var("SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(1);
    let random_runs = std::env::var("RUNS").ok().and_then(|text| text.parse().ok()).unwrap_or(60);
    let lived = live_through();
    let mut runs = by_kind(&lived);
    for (number, scenario) in everything() {
        for ahead in 0..lived[scenario.name].len() {
            for side in ["before", "after"] {
                runs.push(Run { scenario: number, places: vec![format!("+{ahead} {side}")] });
            }
        }
    }
    let mut random = Random(seed);
    let numbers: Vec<usize> = everything().into_iter().filter_map(|(number, _)| number).collect();
    for _ in 0..random_runs {
        let number = numbers[random.below(numbers.len())];
        let count = lived[ALL[number].name].len();
        let deaths = 2 + random.below(4);
        let mut ahead = 0;
        let place = |_| {
            // Each death costs an event, that of the next engine's lease.
            ahead += 1 + random.below(1 + count / deaths);
            let side = ["before", "after"][random.below(2)];
            format!("+{ahead} {side}")
        };
        let places = (0..deaths).map(place).collect();
        runs.push(Run { scenario: Some(number), places });
    }
    println!("seed {seed}: {random_runs} rollouts with 2 to 5 deaths at random places");
    let rows = walk(runs);
    report(rows, &lived, began)
}

/// A generator of the linear congruential kind (Knuth's MMIX constants): all it must be is repeatable.
struct Random(u64);

impl Random {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        ((self.0 >> 33) % bound.max(1) as u64) as usize
    }
}

/// Returns the scenarios; with SCENARIO=NAME only the first deployment and that one.
fn everything() -> Vec<(Option<usize>, &'static Scenario)> {
    let only = std::env::var("SCENARIO").ok();
    let wanted = |scenario: &Scenario| only.as_ref().is_none_or(|only| only == scenario.name);
    let all = ALL.iter().enumerate().filter(|(_, scenario)| wanted(scenario));
    std::iter::once((None, &FIRST)).chain(all.map(|(number, scenario)| (Some(number), scenario))).collect()
}

/// Runs every scenario once with an engine that lives, and returns what each wrote.
fn live_through() -> Lived {
    let lived = Mutex::new(BTreeMap::new());
    let each: Vec<usize> = everything().into_iter().filter_map(|(number, _)| number).collect();
    let halves = each.chunks(each.len().div_ceil(SIDE_BY_SIDE).max(1));
    std::thread::scope(|scope| {
        for half in halves {
            let lived = &lived;
            scope.spawn(move || {
                let world = World::new();
                let first = [None].into_iter().chain(half.iter().copied().map(Some));
                for number in first {
                    let run = Run { scenario: number, places: Vec::new() };
                    let (row, records) = one(&world, &run);
                    assert!(row.wrong.is_empty(), "{} without a death: {:?}", row.scenario, row.wrong);
                    lived.lock().unwrap().insert(row.scenario, records);
                }
            });
        }
    });
    lived.into_inner().unwrap()
}

fn kinds(records: &[EventRecord]) -> BTreeSet<String> {
    records.iter().map(|record| record.event.kind().to_owned()).collect()
}

/// Takes the runs from one queue, several environments at a time. First deployments open their environments.
fn walk(runs: Vec<Run>) -> Vec<Row> {
    let (first, rest): (VecDeque<Run>, VecDeque<Run>) =
        runs.into_iter().partition(|run| run.scenario.is_none());
    let down: VecDeque<Duration> = DOWN_AFTER.into();
    let queue = Mutex::new((first, rest, down));
    let rows = Mutex::new(Vec::new());
    std::thread::scope(|scope| {
        for _ in 0..SIDE_BY_SIDE {
            scope.spawn(|| {
                loop {
                    let (mine, down) = {
                        let (first, rest, down) = &mut *queue.lock().unwrap();
                        let opening = Run { scenario: None, places: Vec::new() };
                        let mut mine = vec![first.pop_front().unwrap_or(opening)];
                        let count = rest.len().min(RUNS_PER_WORLD);
                        mine.extend(rest.drain(..count));
                        (mine, down.pop_front())
                    };
                    if mine.len() == 1 && mine[0].places.is_empty() && down.is_none() {
                        return;
                    }
                    live(&mine, down, &rows);
                }
            });
        }
    });
    rows.into_inner().unwrap()
}

/// Lives through some runs in one environment; what is wrong ends it, and the runs left have one of their own.
fn live(runs: &[Run], down: Option<Duration>, rows: &Mutex<Vec<Row>>) {
    let mut done = 0;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let world = World::new();
        for run in runs {
            let (row, _) = one(&world, run);
            done += 1;
            rows.lock().unwrap().push(row);
        }
        let mut last = Row::of("down", Vec::new());
        if let Some(after) = down {
            last.places = vec![format!("down {after:?} after its begin")];
            last.killed = vec![(format!("down {after:?}"), "down".to_owned())];
            last.wrong = scenarios::killed_while_down(&world, after);
            last.wrong.extend(checks::at_rest(&world));
        }
        last.wrong.extend(checks::artefacts(&world));
        world.silence();
        rows.lock().unwrap().push(last);
    }));
    if let Err(panic) = outcome {
        let text = panic.downcast_ref::<String>().cloned();
        let text = text.or_else(|| panic.downcast_ref::<&str>().map(|text| (*text).to_owned()));
        let run = runs.get(done);
        let mut row = Row::of(
            run.map_or("down", |run| run.scenario().name),
            run.map_or(Vec::new(), |run| run.places.clone()),
        );
        row.wrong.push(text.unwrap_or_else(|| "it panicked".to_owned()));
        rows.lock().unwrap().push(row);
        if done + 1 < runs.len() {
            let opening = Run { scenario: None, places: Vec::new() };
            let left: Vec<Run> = [opening].into_iter().chain(runs[done + 1..].iter().cloned()).collect();
            live(&left, None, rows);
        }
    }
}

impl Row {
    fn of(scenario: &'static str, places: Vec<String>) -> Self {
        let (killed, wrong) = (Vec::new(), Vec::new());
        Self {
            scenario,
            places,
            killed,
            wrong,
            counts: Counts::default(),
            bad: 0,
            lost_by_hand: 0,
            given_up: 0,
        }
    }
}

/// Does one scenario, its engine dying at the places of the run, and looks at everything afterwards.
fn one(world: &World, run: &Run) -> (Row, Vec<EventRecord>) {
    let scenario = run.scenario();
    let mut script = Script::default();
    (scenario.prepare)(world, &mut script);
    let before = world.counts();
    let head = world.records().last().map_or(0, |record| record.seq);
    let absolute = |place: &String| match place.strip_prefix('+').and_then(|rest| rest.split_once(' ')) {
        Some((ahead, side)) => format!("web@local {} {side}", head + 1 + ahead.parse::<u64>().unwrap()),
        None => place.clone(),
    };
    world.plan(&run.places.iter().map(absolute).collect::<Vec<_>>());
    (scenario.act)(world, &mut script);
    world.settle(scenario.retires);
    let until = Instant::now() + COME_WITHIN;
    while !world.to_come().is_empty() && Instant::now() < until {
        std::thread::sleep(Duration::from_millis(50));
    }
    let to_come = world.to_come();
    let killed = world.killed();
    world.plan(&[]);
    world.settle(scenario.retires);
    if scenario.name == FIRST.name {
        world.send();
    } else {
        world.more(10);
    }
    let mut row = Row { killed, ..Row::of(scenario.name, run.places.clone()) };
    row.wrong = checks::at_rest(world);
    let records: Vec<EventRecord> = world.records().into_iter().filter(|record| record.seq > head).collect();
    row.wrong.extend(ends(scenario, &script, &records, world));
    row.lost_by_hand = script.lost_by_hand;
    row.counts = since(&before, &world.counts());
    row.bad = script.bad.as_ref().and_then(|bad| row.counts.failed_by.get(bad)).copied().unwrap_or(0);
    let given_up = if script.held { row.counts.given_up } else { 0 };
    row.given_up = given_up;
    let excused = row.lost_by_hand + given_up;
    if row.counts.failed > row.bad + excused || row.counts.lost > excused {
        row.wrong.push(format!("requests failed because of us: {:?}", row.counts));
    }
    let by_time =
        |place: &String| SECONDS_BRING.iter().chain(&CHANCE_BRINGS).any(|kind| place.contains(kind));
    if run.places.len() == 1 && run.places[0].starts_with("web@") && !to_come.iter().all(by_time) {
        row.wrong.push(format!("it never came to {to_come:?}"));
    }
    (row, records)
}

fn since(before: &Counts, after: &Counts) -> Counts {
    let by = |(version, failed): (&String, &u64)| {
        let more = failed - before.failed_by.get(version).unwrap_or(&0);
        (more > 0).then(|| (version.clone(), more))
    };
    Counts {
        requests: after.requests - before.requests,
        failed: after.failed - before.failed,
        lost: after.lost - before.lost,
        given_up: after.given_up - before.given_up,
        failed_by: after.failed_by.iter().filter_map(by).collect(),
    }
}

/// Says where the scenario ended elsewhere than it must.
fn ends(scenario: &Scenario, script: &Script, records: &[EventRecord], world: &World) -> Vec<String> {
    let mut wrong = Vec::new();
    let outcomes: Vec<_> = records
        .iter()
        .filter_map(|record| match &record.event {
            Event::DeploymentFinished { outcome, reason, .. } => Some((*outcome, reason.clone())),
            _ => None,
        })
        .collect();
    let as_expected = outcomes.len() == scenario.outcomes.len()
        && outcomes.iter().zip(scenario.outcomes).all(|((outcome, _), allowed)| allowed.contains(outcome));
    if !as_expected {
        wrong.push(format!("it ended {outcomes:?} instead of {:?}", scenario.outcomes));
    }
    let answers = world.env.version();
    if answers != script.serves {
        wrong.push(format!("{answers} answers instead of {}", script.serves));
    }
    wrong
}

fn report(rows: Vec<Row>, lived: &Lived, began: Instant) -> Report {
    let kinds = lived.iter().map(|(scenario, records)| (*scenario, kinds(records))).collect();
    let report = Report { rows, kinds, took: began.elapsed() };
    report.print();
    report
}

impl Report {
    /// Counts deaths by kind, scenario and side.
    fn deaths(&self) -> BTreeMap<(String, &'static str), [u32; 2]> {
        let mut deaths = BTreeMap::new();
        for row in &self.rows {
            for (place, what) in &row.killed {
                let mut words = what.split(' ');
                let word = words.next().unwrap_or_default();
                let kind = match word.parse::<u64>() {
                    Ok(_) => words.next().unwrap_or_default().to_owned(),
                    Err(_) => format!("({word})"),
                };
                let side = usize::from(place.ends_with(" after"));
                deaths.entry((kind, row.scenario)).or_insert([0, 0])[side] += 1;
            }
        }
        deaths
    }

    fn print(&self) {
        let deaths = self.deaths();
        let scenarios: Vec<&'static str> = everything().iter().map(|(_, scenario)| scenario.name).collect();
        let all: BTreeSet<&String> =
            deaths.keys().map(|(kind, _)| kind).chain(self.kinds.values().flatten()).collect();
        println!(
            "deaths before/after each kind of event, and of (change); .: the scenario has no such event"
        );
        let heads: Vec<String> = scenarios.iter().map(|name| format!("{name:>12}")).collect();
        println!("{:<22}{}", "", heads.join(""));
        for kind in all {
            let cell = |scenario: &&'static str| match deaths.get(&(kind.clone(), *scenario)) {
                Some([before, after]) => format!("{:>12}", format!("{before}/{after}")),
                None if self.kinds.get(scenario).is_some_and(|kinds| kinds.contains(kind)) => {
                    format!("{:>12}", "0/0")
                }
                None => format!("{:>12}", "."),
            };
            println!("{kind:<22}{}", scenarios.iter().map(cell).collect::<String>());
        }
        let sum = |of: fn(&Row) -> u64| self.rows.iter().map(of).sum::<u64>();
        println!(
            "{} runs, {} deaths in {:.0} s; {} requests, {} failed: {} answered so by bad releases, {} given up while held in maintenance, at most {} by replicas killed by hand",
            self.rows.len(),
            self.rows.iter().map(|row| row.killed.len()).sum::<usize>(),
            self.took.as_secs_f64(),
            sum(|row| row.counts.requests),
            sum(|row| row.counts.failed),
            sum(|row| row.bad),
            sum(|row| row.given_up),
            sum(|row| row.lost_by_hand),
        );
        let covered: BTreeSet<&String> = deaths
            .iter()
            .filter(|(_, sides)| sides.iter().all(|count| *count > 0))
            .map(|((kind, _), _)| kind)
            .collect();
        let written: BTreeSet<&String> = self.kinds.values().flatten().collect();
        let missed: Vec<_> = written.difference(&covered).collect();
        println!(
            "coverage: {} of {} kinds of events before and after; missed: {missed:?}",
            written.len() - missed.len(),
            written.len()
        );
        for row in self.rows.iter().filter(|row| !row.wrong.is_empty()) {
            println!("WRONG {} at {:?}, died at {:?}:", row.scenario, row.places, row.killed);
            row.wrong.iter().for_each(|text| println!("    {text}"));
        }
    }

    /// Fails where anything was wrong, or a kind of event was not covered.
    #[track_caller]
    pub fn assert_clean(&self) {
        let wrong = self.rows.iter().filter(|row| !row.wrong.is_empty()).count();
        assert_eq!(wrong, 0, "of {} runs {wrong} went wrong: see above", self.rows.len());
        if std::env::var_os("SCENARIO").is_some() {
            return;
        }
        let deaths = self.deaths();
        for kind in self.kinds.values().flatten().filter(|kind| !CHANCE_BRINGS.contains(&kind.as_str())) {
            let mut sides = [0, 0];
            for ((_, _), [before, after]) in deaths.iter().filter(|((of, _), _)| of == kind) {
                sides = [sides[0] + before, sides[1] + after];
            }
            assert!(
                sides.iter().all(|count| *count > 0),
                "{kind} was not covered: {sides:?} deaths before and after"
            );
        }
    }
}
