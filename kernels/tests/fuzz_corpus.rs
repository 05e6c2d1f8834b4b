//! Replays the seed files of every fuzz target of this crate.

use std::fs;
use std::path::Path;
use unroll_kernels::fuzzing::TARGETS;

#[test]
fn every_seed_passes_and_every_target_has_some() {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, body) in TARGETS {
        let folder = corpus.join(name);
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut seeds: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        seeds.sort();
        assert!(seeds.len() >= 3, "{name} has {} seeds in {}", seeds.len(), folder.display());
        for seed in seeds {
            println!("{name}: {}", seed.display());
            body(&fs::read(&seed).unwrap());
        }
    }
}
