//! What work costs: a model from measured rates, which decides how many threads share a piece of work and how a time
//! loop is cut. It never decides anything that changes a bit of a result.
//!
//! The rates were measured on 2026-11-21 on two cores of a Sapphire-Rapids-class machine. On other machines they are
//! right to an order of magnitude, which is all that these decisions need.

use unroll_kernels::Isa;
use unroll_kernels::gemm::Precision;

/// One thread's rate of products in f32, flop per second.
const FLOPS_PER_S: f64 = 1.3e11;
/// One thread's rate of reading the cache that all cores share, and its own second-level cache, bytes per second.
const MEMORY_BYTES_PER_S: f64 = 2.4e10;
const CACHE_BYTES_PER_S: f64 = 6.0e10;
/// Operands smaller than this are assumed to stay in the second-level cache from step to step.
const CACHED_BYTES: usize = 1 << 20;
/// Seconds that starting a job or passing a barrier costs.
pub(super) const BARRIER_S: f64 = 3.0e-6;
/// Seconds of work that are worth handing out separately.
const PART_S: f64 = 1.0e-4;

/// The work of a job between two barriers (or of the whole job, if it has none). It decides whether more than one
/// thread is worth its cost.
#[derive(Clone, Copy, Debug, Default)]
pub struct Work {
    /// Floating-point operations.
    pub flops: usize,
    /// Bytes of operands that are read once.
    pub bytes: usize,
}

impl Work {
    /// A matrix product M x K x N whose right operand is read from memory.
    pub fn product(m: usize, k: usize, n: usize) -> Self {
        Self { flops: 2 * m * k * n, bytes: 4 * k * n }
    }
    /// The work of an f32 product if it is computed in this precision. Operands in bf16 have half the bytes; AMX
    /// multiplies them about eight times as fast as f32 vectors, AVX-512 BF16 twice as fast, the emulation half as
    /// fast. Operands in int8 have a quarter of the bytes and are multiplied twice as fast.
    pub fn on(self, isa: Isa, precision: Precision) -> Self {
        match precision {
            Precision::F32 => self,
            Precision::Bf16 if isa.name() == "amx" => Self { flops: self.flops / 8, bytes: self.bytes / 2 },
            Precision::Bf16 if isa.name() == "avx512_bf16" => Self { flops: self.flops / 2, bytes: self.bytes / 2 },
            Precision::Bf16 => Self { flops: 2 * self.flops, bytes: self.bytes / 2 },
            Precision::Int8 => Self { flops: self.flops / 2, bytes: self.bytes / 4 },
        }
    }
    /// An element-wise pass over this many f32.
    pub fn pass(elements: usize) -> Self {
        Self { flops: 8 * elements, bytes: 4 * elements }
    }
    /// This work in `parts` parts with a barrier after each.
    pub fn divided(self, parts: usize) -> Self {
        Self { flops: self.flops / parts, bytes: self.bytes / parts }
    }
    /// This work so many times.
    pub fn times(self, times: usize) -> Self {
        Self { flops: self.flops.saturating_mul(times), bytes: self.bytes.saturating_mul(times) }
    }
    /// Seconds that it takes on one thread.
    pub(super) fn seconds(self) -> f64 {
        let rate = if self.bytes < CACHED_BYTES { CACHE_BYTES_PER_S } else { MEMORY_BYTES_PER_S };
        (self.flops as f64 / FLOPS_PER_S).max(self.bytes as f64 / rate)
    }
    /// Into how many parts each of `members` members may cut its share, so that a part takes much longer than handing
    /// it out.
    pub(super) fn parts(self, members: usize) -> usize {
        ((self.seconds() / members as f64 / PART_S) as usize).max(1)
    }
    /// Whether the time saved by two threads exceeds what starting and the barriers cost.
    pub(super) fn pays(self) -> bool {
        self.seconds() / 2.0 > BARRIER_S
    }
}
