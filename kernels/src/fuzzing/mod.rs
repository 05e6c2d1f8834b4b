//! The bodies of the fuzz targets. Each makes a case for a kernel from bytes, runs it on every instruction set of the
//! processor and compares the results with the f64 reference, within the bound that the kernel's documentation states.
//!
//! `fuzz/` calls the bodies with bytes that libFuzzer invents, `tests/fuzz_corpus.rs` with the seed files under
//! `fuzz/corpus`. A body returns when all is well and panics otherwise. Any bytes make a case, even none: what is
//! missing reads as zero.

mod embedding;
mod gemm;
mod gru;
mod input;
mod lstm;
mod math;
mod optimizer;
mod rnn;
mod skipgram;
mod softmax;
#[cfg(test)]
mod tests;

use crate::Isa;
use crate::check::{bits, close, wide};

/// The body of a fuzz target.
pub type Body = fn(&[u8]);

/// Every target of this crate: its name, which is that of the operation, and its body.
pub const TARGETS: [(&str, Body); 9] = [
    ("embedding", embedding),
    ("gemm", gemm),
    ("gru", gru),
    ("lstm", lstm),
    ("math", math),
    ("optimizer", optimizer),
    ("rnn", rnn),
    ("skipgram", skipgram),
    ("softmax", softmax),
];

macro_rules! body {
    ($(#[$doc:meta])* $name:ident) => {
        $(#[$doc])*
        ///
        /// # Panics
        ///
        /// When a kernel differs from the reference, two vector sets differ from each other, or memory around an
        /// operand was written.
        pub fn $name(data: &[u8]) {
            $name::run(data, &|_, _| {});
        }
    };
}

body!(
    /// Look-up, one-hot projection and their gradients by token.
    embedding
);
body!(
    /// Packed, direct and outer products, in parts.
    gemm
);
body!(
    /// One step of the GRU, the reset gate after and before the product.
    gru
);
body!(
    /// One step of the LSTM.
    lstm
);
body!(
    /// exp, tanh, sigmoid and ln of any bits.
    math
);
body!(
    /// A step of every optimiser rule, the sum of squares and the finiteness check.
    optimizer
);
body!(
    /// One step of the simple recurrent cell.
    rnn
);
body!(
    /// The products of word vectors, means of windows, and rows that are copied and added to.
    skipgram
);
body!(
    /// Softmax, its logarithm and the cross-entropies.
    softmax
);

/// 2^-24: half a unit in the last place of 1.
const U: f64 = 1.0 / 16_777_216.0;

/// A few of the smallest subnormal numbers: what an underflow may cost on top of a relative bound.
const TINY: f64 = 16.0 * 1.401_298_464_324_817e-45;

/// Sees each result, by name, before it is compared: the tests inject their faults here.
type Probe<'a> = &'a dyn Fn(&str, &mut [f32]);

/// What a result should be: the values of the reference and how far each may be from it.
#[derive(Default)]
struct Wanted {
    values: Vec<f64>,
    bounds: Vec<f64>,
}

impl Wanted {
    /// `n` zeros, to be [`Wanted::set`].
    fn zeros(n: usize) -> Self {
        Self { values: vec![0.0; n], bounds: vec![0.0; n] }
    }

    fn set(&mut self, at: usize, value: f64, bound: f64) {
        (self.values[at], self.bounds[at]) = (value, bound);
    }

    fn push(&mut self, value: f64, bound: f64) {
        self.values.push(value);
        self.bounds.push(bound);
    }

    /// Several results one after the other.
    fn concat<const N: usize>(parts: [Self; N]) -> Self {
        let mut all = Self::default();
        for part in parts {
            all.values.extend(part.values);
            all.bounds.extend(part.bounds);
        }
        all
    }

    /// Panics unless every set's result is within its bounds.
    #[track_caller]
    fn compare(&self, what: &str, results: Vec<(Isa, Vec<f32>)>, probe: Probe<'_>) {
        for (isa, mut got) in results {
            probe(what, &mut got);
            if let Err(message) = close(&format!("{isa} {what}"), &got, &self.values, |i| self.bounds[i]) {
                panic!("{message}");
            }
        }
    }
}

/// x + h U and the sum of the magnitudes of its terms, (N, width): `x` (N, width), `h` (N, H), `u` (H, width).
fn with_hidden_side(x: &[f32], h: &[f32], u: &[f32], [rows, inner, width]: [usize; 3]) -> [Vec<f64>; 2] {
    [|x: f64| x, f64::abs].map(|of| {
        let [mut sum, h, u] = [x, h, u].map(|x| wide(x).into_iter().map(of).collect::<Vec<f64>>());
        crate::gemm::reference::product([rows, inner, width], &h, &u, &mut sum);
        sum
    })
}

/// Asserts that a kernel gives the same bits for a block of units as for all; `compute(cut)` returns the results with
/// the units cut there.
#[track_caller]
fn same_bits_in_blocks(isa: Isa, units: usize, at: usize, compute: impl Fn(usize) -> Vec<f32>) -> Vec<f32> {
    let whole = compute(units);
    assert_eq!(bits(&whole), bits(&compute(at)), "{isa}: other bits with the units cut at {at}");
    whole
}
