//! Kernels for recurrent and neural language models: mathematics on slices.
//!
//! Nothing here does I/O, starts a thread or allocates in a hot call. Each operation is a folder: `mod.rs` has the
//! equations, the argument structs, the checked entry and the dispatch; `reference.rs` the same in f64 and plain loops;
//! `generic.rs` the vector body, written once over [`simd::Simd`]; and a file an instruction set where it differs.
//!
//! Letters: T time steps, N rows of a batch, D inputs, H hidden units, V vocabulary. M, N, K keep their BLAS meaning
//! inside `gemm` only. Sequences are time-major `(T, N, .)`. The gradient of a value bears its name with `d` before it.

pub mod activation;
pub mod cells;
#[cfg_attr(not(test), allow(dead_code, reason = "the fuzz bodies use a part of it"))]
mod check;
mod cpuid;
pub mod element;
pub mod embedding;
#[doc(hidden)]
pub mod faults;
#[doc(hidden)]
pub mod fuzzing;
pub mod gemm;
pub mod gru;
pub mod isa;
pub mod layer_norm;
pub mod lstm;
pub mod mat;
pub mod math;
pub mod optimizer;
pub mod pairs;
pub mod profile;
pub mod rnn;
pub mod rows;
pub mod simd;
pub mod skipgram;
pub mod softmax;

pub use element::Element;
pub use isa::Isa;
pub use mat::{Bf16, Buffer, GroupsMut, Mat, MatMut};
