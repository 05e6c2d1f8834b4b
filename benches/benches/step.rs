//! Whole training steps of the standard cases on every instruction set: forward, loss, backward, clipping and update,
//! by the function that training calls. The portable set, which is what a plain build of the mathematics would give, is
//! the peer; other engines are timed by the scripts in `benches/peers`.

use criterion::{BenchmarkId, Criterion, Throughput, criterion_group, criterion_main};
use std::time::Duration;
use unroll::bench::{Case, CaseOptions};
use unroll_kernels::Isa;
use unroll_kernels::gemm::Precision;

const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// Cases that finish a step in milliseconds; the larger ones are timed by `unroll bench`.
const CASES: [&str; 3] = ["minchar", "char256", "bilstm"];

fn steps(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("training/step");
    group.sample_size(10).warm_up_time(Duration::from_millis(300)).measurement_time(Duration::from_secs(2));
    for name in CASES {
        for (isa, precision) in Isa::available().into_iter().flat_map(|isa| PRECISIONS.map(|p| (isa, p))) {
            let threads = std::thread::available_parallelism().map_or(1, usize::from);
            let options = CaseOptions { threads, isa, precision, ..CaseOptions::default() };
            let (case, outputs) = match Case::new(name, &options) {
                Ok(case) if name == "bilstm" => (case, 2),
                Ok(case) => (case.clone(), case.vocabulary()),
                Err(error) => panic!("{name}: {error}"),
            };
            let mut training = case.training(&options).unwrap_or_else(|error| panic!("{name}: {error}"));
            // Before anything is learned, every outcome is about as likely as any other.
            let (loss, uniform) = (training.step(), (outputs as f64).ln());
            assert!(
                (loss - uniform).abs() < 0.1 * uniform,
                "{name} on {isa} in {precision}: first loss {loss}, not about {uniform}"
            );
            let (t, n) = case.sizes();
            group.throughput(Throughput::Elements((t * n) as u64));
            group.bench_function(BenchmarkId::new(format!("{isa}-{precision}"), name), |b| b.iter(|| training.step()));
        }
    }
    group.finish();
}

criterion_group!(benches, steps);
criterion_main!(benches);
