//! The tables of words that a training begins with, and those that it has made.

use unroll_kernels::Buffer;

use super::exact::Exact;
use super::part::{Part, Side};
use super::{Trained, Trainer};
use crate::error::{Error, Result};
use crate::vectors::{Fault, WordVectors};

impl Trainer<'_> {
    /// Begins with these input vectors, such as those of an earlier training; words that have none there begin as ever. Returns how
    /// many have one.
    ///
    /// # Errors
    /// [`Error::Usage`] where the vectors are of another size, or of none of the words.
    pub fn set_vectors(&mut self, vectors: &WordVectors) -> Result<usize> {
        self.set("--init", vectors, |trainer, row, vector| {
            trainer.parts.iter_mut().for_each(|part| part.set(Side::Inputs, row, vector));
        })
    }

    /// The same of the output vectors, which are zeros else.
    ///
    /// # Errors
    /// As [`Self::set_vectors`], and where output vectors are of no words.
    pub fn set_outputs(&mut self, vectors: &WordVectors) -> Result<usize> {
        self.options.check_outputs("--init-output")?;
        self.set("--init-output", vectors, |trainer, row, vector| match &mut trainer.exact {
            Some(exact) => exact.set(row, vector),
            None => trainer.parts.iter_mut().for_each(|part| part.set(Side::Outputs, row, vector)),
        })
    }

    fn set(&mut self, option: &str, vectors: &WordVectors, set: impl Fn(&mut Self, usize, &[f32])) -> Result<usize> {
        self.options.check_size(option, vectors)?;
        let found: Vec<_> = self.list().map(|word| vectors.find(word)).collect();
        let rows = found.into_iter().enumerate().filter_map(|(row, found)| Some((row, found?)));
        match rows.map(|(row, found)| set(self, row, vectors.row(found))).count() {
            0 => Err(Error::option(option, "has none of the words of the text that get a vector")
                .mend("name vectors of its words, or leave it out")),
            taken => Ok(taken),
        }
    }

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
