//! Word vectors: tables of words and their vectors, the files that hold them, and what they are used for.
//!
//! [`WordVectors`] is the table, whoever made it. Words are bytes, as the files of other programs have them: most are UTF-8,
//! and those that are not are kept as they are.
//!
//! ```
//! use unroll::vectors::WordVectors;
//!
//! let vectors = WordVectors::from_rows(2, [("cat", [1.0, 0.0]), ("dog", [0.9, 0.1]), ("car", [0.0, 1.0])])?;
//! assert_eq!(vectors.find("dog"), Some(1));
//! assert_eq!((vectors.word(2), vectors.row(2)), (&b"car"[..], &[0.0, 1.0][..]));
//! # Ok::<(), unroll::vectors::Fault>(())
//! ```

pub mod analogy;
mod fold;
pub mod formats;
mod near;
pub mod similarity;
mod table;
pub mod train;

pub use near::{Near, Neighbours};
pub use table::{Fault, WordVectors};
