//! The tables of words that a training has made.

use unroll_kernels::Buffer;

use super::exact::Exact;
use super::part::Part;
use super::{Trained, Trainer};
use crate::error::{Error, Result};
use crate::vectors::{Fault, WordVectors};

impl Trainer<'_> {
    /// The vectors as they are.
    ///
    /// # Errors
    /// [`Error::Diverged`] where an element is not finite.
    pub fn finish(self) -> Result<Trained> {
        let Self { vocabulary, sampler, parts, options, losses, exact, .. } = self;
        let counts: Vec<u64> = sampler.ids().iter().map(|&id| vocabulary.count(id)).collect();
        let table = |values: Buffer| {
            let words = sampler.ids().iter().map(|&id| vocabulary.token(id).as_bytes());
            WordVectors::from_parts(words, Some(&counts), options.size, values).map_err(|fault| match fault {
                Fault::NotFinite { .. } => {
                    Error::diverged("a vector is no longer finite").mend("lower --learning-rate or --batch-words")
                }
                fault => Error::run(format!("the vocabulary cannot be a table of vectors: {fault}")),
            })
        };
        let exact = exact.filter(|_| options.outputs).map(Exact::into_outputs);
        let (inputs, outputs) = Part::into_tables(parts, options.size, options.outputs && exact.is_none());
        let outputs = exact.or(outputs).map(table).transpose()?;
        Ok(Trained { vectors: table(inputs)?, outputs, losses })
    }
}
