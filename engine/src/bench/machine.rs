//! What the machine can do: its peak of fused multiply-adds and its rate of reading memory, measured.

use super::median;
use crate::error::{Error, Result};
use crate::exec::{Crew, Work};
use std::hint::black_box;
use std::time::Duration;
use unroll_kernels::gemm::{self, Precision};
use unroll_kernels::isa::NAMES;
use unroll_kernels::simd::{Kernel, Simd};
use unroll_kernels::{Buffer, Isa};

/// Work that is always shared by all threads.
const ALL: Work = Work { flops: usize::MAX / 2, bytes: 0 };

/// Rates of one instruction set.
#[derive(Clone, Debug, serde::Serialize)]
pub struct KernelRate {
    /// The set.
    pub isa: String,
    /// `f32`, or `bf16` of a set with tiles: its products of tiles are counted.
    pub precision: String,
    /// GFLOP/s of multiply-adds that never leave registers, on one thread.
    pub fma_one: f64,
    /// The same on all threads.
    pub fma_all: f64,
}

/// Rates of memory.
#[derive(Clone, Debug, serde::Serialize)]
pub struct MemoryRate {
    /// GB/s of reading an array far larger than the second-level cache, on one thread.
    pub read_one: f64,
    /// The same on all threads.
    pub read_all: f64,
}

/// What was found and measured.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Machine {
    /// Threads used.
    pub threads: usize,
    /// Instruction sets that are missing.
    pub missing: Vec<String>,
    /// Rates of each set that is there.
    pub sets: Vec<KernelRate>,
    /// Rates of memory.
    pub memory: MemoryRate,
}

/// Multiply-adds in each of [`REGISTERS`] registers; returns a value that depends on all of them.
struct Spin {
    turns: usize,
}

const REGISTERS: usize = 12;

impl Kernel for Spin {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let (a, b) = (s.splat(black_box(0.999)), s.splat(black_box(1e-3)));
        let mut sums = [s.splat(1.0); REGISTERS];
        for _ in 0..self.turns {
            for sum in &mut sums {
                *sum = s.mul_add(*sum, a, b);
            }
        }
        let total = sums.into_iter().fold(
            s.splat(0.0),
            #[inline(always)]
            |x, y| s.add(x, y),
        );
        s.to_array(total)[0]
    }
}

/// Adds up an array on sixteen lanes.
struct Read<'a>(&'a [f32]);

impl Kernel for Read<'_> {
    type Output = f32;

    #[inline(always)]
    fn run<S: Simd>(self, s: S) -> f32 {
        let mut sums = [s.splat(0.0); 8];
        for block in self.0.chunks_exact(8 * S::LANES) {
            for (i, sum) in sums.iter_mut().enumerate() {
                *sum = s.add(*sum, s.load(&block[i * S::LANES..]));
            }
        }
        let total = sums.into_iter().fold(
            s.splat(0.0),
            #[inline(always)]
            |x, y| s.add(x, y),
        );
        s.to_array(total)[0]
    }
}

impl Machine {
    /// Measures for about `length` each time.
    ///
    /// # Errors
    ///
    /// [`Error::Run`] where the system refuses a thread.
    pub fn measure(threads: usize, length: Duration) -> Result<Self> {
        let crew =
            |threads| Crew::new(threads, 1).map_err(|e| Error::run(format!("cannot start {threads} threads: {e}")));
        let (one, all) = (crew(1)?, crew(threads)?);
        let turns = 200_000;
        let peak = |isa: Isa, crew: &Crew, members: usize| {
            let time = median(length, || {
                crew.team().run(ALL, |_| {
                    black_box(isa.run(Spin { turns }));
                });
            });
            (2 * turns * REGISTERS * isa.lanes() * members) as f64 / time.as_secs_f64() / 1e9
        };
        let bf16 = |isa: Isa, crew: &Crew, members: usize| {
            let time = median(length, || {
                crew.team().run(ALL, |_| {
                    black_box(gemm::spin_bf16(isa, turns / 10));
                });
            });
            (gemm::spin_bf16(isa, 1) * (turns / 10) * members) as f64 / time.as_secs_f64() / 1e9
        };
        let sets = Isa::available().into_iter().map(|isa| {
            let has_bf16 = gemm::spin_bf16(isa, 1) > 0;
            let rate = |crew, members| if has_bf16 { bf16(isa, crew, members) } else { peak(isa, crew, members) };
            let precision = if has_bf16 { Precision::Bf16 } else { Precision::F32 };
            KernelRate {
                isa: isa.name().to_owned(),
                precision: precision.to_string(),
                fma_one: rate(&one, 1),
                fma_all: rate(&all, threads),
            }
        });
        let sets = sets.collect();
        // Beyond the second-level cache of any thread's core, as the weights of a large layer are.
        let data = Buffer::new(1 << 25);
        let isa = Isa::best();
        let rate = |crew: &Crew| {
            let time = median(length, || {
                crew.team().run(ALL, |member| {
                    black_box(isa.run(Read(&data[member.share(data.len(), 4096)])));
                });
            });
            4.0 * data.len() as f64 / time.as_secs_f64() / 1e9
        };
        let memory = MemoryRate { read_one: rate(&one), read_all: rate(&all) };
        let missing = NAMES.iter().filter(|name| Isa::from_name(name).is_none()).map(|&name| name.to_owned()).collect();
        Ok(Self { threads, missing, sets, memory })
    }
}
