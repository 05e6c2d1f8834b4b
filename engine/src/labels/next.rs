//! Going on from a prompt with a model of the next word.

use crate::config::TaskKind;
use crate::corpus::IGNORE;
use crate::error::{Error, Result};
use crate::generate::{Decode, Predictor};
use crate::network::{Batch, Network};
use crate::text::{PADDING, start, truncate};

use super::batches::BatchOptions;
use super::encoder::Encoder;

/// A model that reads the whole text before a word, padded as it was in training, and predicts that word.
pub struct NextWord<'a> {
    network: Network,
    encoder: &'a Encoder,
    options: BatchOptions,
    text: Vec<u32>,
    logits: Vec<f32>,
}

impl<'a> NextWord<'a> {
    /// A network with room for a row of `options.steps` tokens as one that goes on from a prompt.
    ///
    /// # Panics
    /// Where the encoder is of another task.
    pub fn new(network: Network, encoder: &'a Encoder, options: BatchOptions) -> NextWord<'a> {
        assert_eq!(encoder.kind(), TaskKind::Next, "an encoder of another task");
        NextWord { logits: vec![0.0; encoder.targets()], network, encoder, options, text: Vec::new() }
    }
}

impl Predictor for NextWord<'_> {
    fn reset(&mut self) {
        self.text.clear();
    }

    fn feed(&mut self, tokens: &[u32]) -> Result<()> {
        self.text.extend(tokens);
        if self.text.is_empty() {
            return Err(
                Error::usage("there is nothing to continue").mend("give a prompt with a word that the model knows")
            );
        }
        let longest = self.encoder.longest().max(1);
        let mut seen = self.text.clone();
        truncate(&mut seen, longest, self.encoder.prepare().truncating);
        let steps = if self.options.fixed { self.options.steps } else { seen.len() };
        let mut inputs = vec![PADDING; steps];
        let first = start(seen.len(), steps, self.options.padding);
        inputs[first..first + seen.len()].copy_from_slice(&seen);
        let mut state = self.network.new_state(1);
        let batch = Batch { steps, rows: 1, inputs: &inputs, targets: &[IGNORE], ..Batch::default() };
        let logits = self.network.predict(&batch, &mut state);
        let words = self.logits.len();
        self.logits.copy_from_slice(&logits.row(0)[..words]);
        // Padding is no word.
        self.logits[PADDING as usize] = f32::NEG_INFINITY;
        Ok(())
    }

    fn logits(&self) -> &[f32] {
        &self.logits
    }
}

/// Words as text: apart from each other as the preparation parts them.
pub struct WordDecoder<'a> {
    encoder: &'a Encoder,
    /// Whether something stands before the next word.
    after: bool,
}

impl<'a> WordDecoder<'a> {
    /// A decoder of what goes on from `text`.
    pub fn new(encoder: &'a Encoder, text: &str) -> WordDecoder<'a> {
        WordDecoder { encoder, after: !text.is_empty() && !text.ends_with(char::is_whitespace) }
    }
}

impl Decode for WordDecoder<'_> {
    fn push(&mut self, token: u32, out: &mut String) {
        let prepare = self.encoder.prepare();
        if self.after && !prepare.char_level {
            out.push_str(if prepare.split.is_empty() { " " } else { &prepare.split });
        }
        out.push_str(self.encoder.name(token));
        self.after = true;
    }

    fn finish(&mut self, _out: &mut String) {}
}
