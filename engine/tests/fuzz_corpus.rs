//! Replays the seed files of every fuzz target of this crate.

#[path = "../../fuzz/replay.rs"]
mod replay;

#[test]
fn every_seed_passes_and_every_target_has_some() {
    replay::replay(unroll::fuzzing::TARGETS);
}
