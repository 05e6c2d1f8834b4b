//! Weights that PyTorch and Keras wrote, and weights for them.
//!
//! [`WeightFile`] opens an untrusted safetensors file; [`WeightFile::load`] sets the parameters of a model from it,
//! whichever of the three naming schemes below it uses; [`export`] gives the same parameters under the names of a
//! chosen scheme.
//!
//! | | PyTorch | Keras | here |
//! |---|---|---|---|
//! | embedding (V, D) | `encoder.weight` | `embedding/embeddings` | `embedding/embeddings` |
//! | dense (D, units) | `decoder.weight` (units, D) | `dense/kernel` | `dense/kernel` |
//! | its bias | `decoder.bias` | `dense/bias` | `dense/bias` |
//! | recurrent (D, G H) | `rnn.weight_ih_l0` (G H, D) | `lstm/lstm_cell/kernel` | `lstm/kernel` |
//! | its own side (H, G H) | `rnn.weight_hh_l0` (G H, H) | `lstm/lstm_cell/recurrent_kernel` | `lstm/recurrent_kernel` |
//! | biases (G H) | `rnn.bias_ih_l0`, `rnn.bias_hh_l0` | `lstm/lstm_cell/bias` | `lstm/bias`, `lstm/recurrent_bias` |
//! | backwards | `rnn.weight_ih_l0_reverse` | `bidirectional/backward_lstm/...` | `bidirectional/backward/kernel` |
//!
//! **Heads.** The kernel of a sampled softmax or NCE has a row for each word here, (V, D). Once trained, both are a
//! softmax over all words, and are written and read as one. An adaptive softmax may be PyTorch's (`adaptive.rs`); other
//! heads that partition the words have no counterpart elsewhere.
//!
//! **Gates.** An LSTM's stand in one order everywhere: i, f, g (Keras: c), o. A GRU's are r, z, n in PyTorch and z, r,
//! n (h) in Keras and here. PyTorch's GRU resets after the product, as Keras' does with `reset_after`; its second bias
//! is then the second row of `bias` (2, 3 H).
//!
//! **Two biases** of a file are added where a layer here has only one, and stay separate where it has two
//! (`recurrent_bias`). For PyTorch, a layer with one bias is written with zeros as its second, so that reading it back
//! gives the same bits.
//!
//! **Which layer is which** is decided by `--map` first, then by a layer's own name, then by kind, shape and the order
//! of numbered names (`matching.rs`). Where that leaves doubt, the user is asked; nothing is guessed.

mod adaptive;
mod export;
mod file;
#[doc(hidden)]
pub mod fuzzing;
mod layout;
mod load;
mod matching;
mod modules;
mod onnx;
mod vocabulary;

pub use export::{Form, export};
pub use file::WeightFile;
pub(crate) use file::from_half;
pub use matching::Mapping;
pub use onnx::onnx;
pub use vocabulary::read_vocabulary;
