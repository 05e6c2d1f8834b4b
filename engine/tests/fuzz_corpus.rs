//! Replays the seed files of every fuzz target of this crate, and small changes of each.

use std::fs;
use std::path::Path;
use unroll::fuzzing::TARGETS;

/// Changed copies of each seed.
const CHANGES: u32 = 30;

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
            let bytes = fs::read(&seed).unwrap();
            body(&bytes);
            for change in 1..=CHANGES {
                println!("change {change}");
                body(&changed(bytes.clone(), change));
            }
        }
    }
}

/// A few bytes replaced, put in, taken out or turned over, or the end cut off; the same for the same `change`.
fn changed(mut bytes: Vec<u8>, change: u32) -> Vec<u8> {
    let mut x = change.wrapping_mul(0x9e37_79b9) | 1;
    for _ in 0..=change % 4 {
        x ^= x << 13;
        x ^= x >> 17;
        x ^= x << 5;
        if bytes.is_empty() {
            bytes.push(x as u8);
        }
        let at = x as usize / 8 % bytes.len();
        let byte = (x >> 24) as u8;
        match x % 5 {
            0 => bytes[at] = byte,
            1 => bytes.insert(at, byte),
            2 => drop(bytes.remove(at)),
            3 => bytes[at] ^= 1 << (byte % 8),
            _ => bytes.truncate(at),
        }
    }
    bytes
}
