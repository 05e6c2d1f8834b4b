//! What the benches of the element-wise kernels share.

use criterion::{BenchmarkGroup, Criterion, Throughput, measurement::WallTime};
use std::time::Duration;
use unroll_kernels::Isa;

/// A group that counts `elements` a call, with the time that keeps a whole file near thirty seconds.
pub fn group<'a>(criterion: &'a mut Criterion, name: &str, elements: usize) -> BenchmarkGroup<'a, WallTime> {
    let mut group = criterion.benchmark_group(name);
    group.warm_up_time(Duration::from_millis(100)).measurement_time(Duration::from_millis(400)).sample_size(20);
    group.throughput(Throughput::Elements(elements as u64));
    group
}

/// The sets to measure, the best first.
pub fn sets() -> Vec<Isa> {
    let mut sets = Isa::available();
    sets.reverse();
    sets
}

/// Repeatable numbers in (-scale, scale): multiples of the golden ratio's fraction, which fill the range evenly.
pub fn noise(n: usize, scale: f32, seed: u64) -> Vec<f32> {
    let place = |i: u64| ((i + 1) * 7919 + seed * 104_729).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 40;
    (0..n as u64).map(|i| (place(i) as f32 / (1 << 23) as f32 - 1.0) * scale).collect()
}

/// `n` repeatable tokens below `v`, the small ones far more frequent, as words are.
pub fn tokens(n: usize, v: usize, seed: u64) -> Vec<u32> {
    noise(n, 1.0, seed).iter().map(|x| (x * x * x.abs() * v as f32) as u32).collect()
}

/// Panics unless |got - want| <= tolerance max(1, |want|) everywhere.
#[track_caller]
pub fn agree(what: &str, got: &[f32], want: &[f32], tolerance: f32) {
    assert_eq!(got.len(), want.len(), "{what}: lengths");
    for (i, (got, want)) in got.iter().zip(want).enumerate() {
        let within = (got - want).abs() <= tolerance * want.abs().max(1.0);
        assert!(within || got == want, "{what}[{i}] is {got}, not {want}");
    }
}
