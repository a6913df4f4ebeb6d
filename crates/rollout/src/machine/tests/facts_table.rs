//! Every stage × what may be seen: the first event that follows. `-`: nothing does.

use super::sim::Sim;
use super::stages::{compare, stage};
use crate::change::Ended;
use crate::event::ServedBy;
use crate::machine::{EdgeWorld, Fact, World};
use crate::names::{Generation, Millis, ReplicaId, Revision, Weight};

const ROWS: [&str; 17] = [
    "as it is",
    "nothing is seen",
    "edge unknown",
    "edge without table",
    "edge: candidate 5",
    "edge: all on candidate",
    "edge: all on stable",
    "candidate ready",
    "candidate not ready",
    "candidate exited",
    "candidate hangs",
    "stable not ready",
    "both not ready",
    "task failed",
    "bake over",
    "deadline over",
    "counts",
];

const TABLE: &str = "
                       | empty       idle        hot         preparing   launching   verifying   shifting    baking      paused      promoting   returning
as it is               | -           -           -           -           -           -           -           -           -           -           -
nothing is seen        | -           -           -           -           -           -           -           -           -           -           -
edge unknown           | -           -           -           -           -           -           -           -           -           -           -
edge without table     | -           -           -           -           -           -           -           -           -           -           -
edge: candidate 5      | -           -           -           -           -           -           shifted     -           -           -           -
edge: all on candidate | -           -           -           -           -           -           -           -           -           finished    -
edge: all on stable    | -           -           -           -           -           -           -           -           -           -           returned
candidate ready        | -           -           -           -           ready       -           -           -           -           -           -
candidate not ready    | -           -           -           -           -           -           -           VERDICT     VERDICT     VERDICT     -
candidate exited       | -           -           -           -           lost        lost        lost        lost        lost        lost        lost
candidate hangs        | -           -           -           -           -           RETURN      RETURN      VERDICT     VERDICT     VERDICT     -
stable not ready       | -           -           requested   -           -           -           -           -           -           -           -
both not ready         | -           -           requested   -           -           -           -           held        held        -           -
task failed            | -           -           -           check_ran   -           -           -           -           -           -           -
bake over              | -           -           -           -           -           -           -           bake        -           -           -
deadline over          | -           -           retired     RETURN      RETURN      RETURN      RETURN      RETURN      -           RETURN      finished
counts                 | -           -           evidence    evidence    evidence    evidence    evidence    evidence    evidence    evidence    -
";

fn edge(stable: Option<Revision>, candidate: Option<(Revision, Weight)>) -> EdgeWorld {
    EdgeWorld { generation: Generation { epoch: 9, seq: 1 }, stable, candidate, ..EdgeWorld::default() }
}

fn each(world: &mut World, revision: Option<Revision>, change: impl Fn(&mut crate::machine::ReplicaWorld)) {
    let presence = revision.and_then(|revision| world.revisions.get_mut(&revision));
    presence.into_iter().flat_map(|presence| presence.replicas.values_mut()).for_each(change);
}

fn event(sim: &mut Sim, row: &str) -> Option<crate::event::Event> {
    let mut world = sim.world();
    let mut now = sim.now;
    let stable = sim.state.stable.as_ref().map(|placed| placed.revision);
    let candidate = sim.state.deployment.as_ref().map(|running| running.candidate.revision);
    match row {
        "as it is" => {}
        "nothing is seen" => world = World::default(),
        "edge unknown" => world.edge = None,
        "edge without table" => world.edge = Some(EdgeWorld::default()),
        "edge: candidate 5" => {
            world.edge = Some(edge(stable, candidate.map(|revision| (revision, Weight::new(5).unwrap()))));
        }
        "edge: all on candidate" => {
            world.edge = Some(edge(stable, candidate.map(|revision| (revision, Weight::FULL))));
            world.proof = candidate.map(|revision| proof(sim, revision));
        }
        "edge: all on stable" => {
            world.edge = Some(edge(stable, None));
            world.proof = stable.map(|revision| proof(sim, revision));
        }
        "candidate ready" => each(&mut world, candidate, |replica| replica.ready = true),
        "candidate not ready" => each(&mut world, candidate, |replica| replica.ready = false),
        "candidate exited" => each(&mut world, candidate, |replica| replica.exited = Some(Ended::Code(1))),
        "candidate hangs" => each(&mut world, candidate, |replica| replica.failing = true),
        "stable not ready" => each(&mut world, stable, |replica| replica.ready = false),
        "both not ready" => {
            each(&mut world, stable, |replica| replica.ready = false);
            each(&mut world, candidate, |replica| replica.ready = false);
        }
        "task failed" => {
            if let Some(running) = &sim.state.deployment {
                world.tasks.insert(running.task("expand"), Some((Ended::Code(1), String::new())));
            }
        }
        "bake over" => now = now.plus(Millis::seconds(5)),
        "deadline over" => now = now.plus(Millis::seconds(120)),
        _ => {
            return sim.state.decide(&Fact::Sample(Box::default()), now);
        }
    }
    sim.state.decide(&Fact::World(Box::new(world)), now)
}

fn proof(sim: &Sim, revision: Revision) -> ServedBy {
    let placed = sim.state.stable.iter().chain(sim.state.deployment.iter().map(|running| &running.candidate));
    let placed = placed.into_iter().find(|placed| placed.revision == revision).unwrap();
    let generation = Generation { epoch: 9, seq: 1 };
    ServedBy { release: placed.release.clone(), revision, replica: ReplicaId::from("web"), generation }
}

fn short(kind: &str) -> String {
    let kind = match kind {
        "deployment_finished" => "finished",
        "deployment_requested" => "requested",
        "revision_retired" => "retired",
        "return_started" => "RETURN",
        "verdict_reached" => "VERDICT",
        kind => kind,
    };
    let kind = kind.trim_start_matches("candidate_").trim_start_matches("traffic_");
    kind.trim_end_matches("_added").trim_end_matches("_passed").replace("replica_lost", "lost")
}

#[test]
fn at_every_stage_every_sight_is_followed_by_what_the_table_says() {
    compare(TABLE, &ROWS, |row, name| {
        let mut sim = stage(name);
        event(&mut sim, row).map_or("-".to_owned(), |event| short(event.kind()))
    });
}
