//! Replays the seed files of fuzz targets, and small changes of each: a module of the tests of both libraries.

#![allow(clippy::expect_used, reason = "a test fails by panicking")]

use std::fs;
use std::path::Path;

/// Changed copies of each seed.
const CHANGES: u32 = 30;

/// Gives each target its seeds from `fuzz/corpus`, of which it has some, and changed copies of them.
pub(crate) fn replay(targets: impl IntoIterator<Item = (&'static str, fn(&[u8]))>) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    for (name, body) in targets {
        let folder = corpus.join(name);
        let entries = fs::read_dir(&folder).unwrap_or_else(|e| panic!("{}: {e}", folder.display()));
        let mut seeds: Vec<_> = entries.map(|entry| entry.expect("an entry").path()).collect();
        seeds.sort();
        assert!(seeds.len() >= 3, "{name} has {} seeds in {}", seeds.len(), folder.display());
        for seed in seeds {
            println!("{name}: {}", seed.display());
            let bytes = fs::read(&seed).expect("a seed");
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
