//! The samples that are written while a model trains, and at its end.

use unroll::config::RunConfig;
use unroll::error::Result;
use unroll::generate::{Request, Sampler, UnknownInPrompt, beginning, encode_prompt, generate};
use unroll::graph::Graph;
use unroll::network::{Network, NetworkOptions, State};
use unroll::run::{Speaker, Texts};
use unroll::text::Tokenizer;
use unroll::train::Batches;

/// Writes the samples: a network of one row that shares the parameters of the one being trained.
pub(super) struct Voice {
    speaker: Speaker,
    sampler: Sampler,
    prompt: Vec<u32>,
    /// What is fed, and not shown, before a sample without a prompt.
    start: Option<u32>,
    prompt_text: String,
    length: usize,
    seed: u64,
}

impl Voice {
    pub(super) fn new(config: &RunConfig, texts: &Texts, graph: &Graph, options: &NetworkOptions) -> Result<Voice> {
        let sample = &config.sample;
        let filler = beginning(&texts.tokenizer);
        Ok(Voice {
            speaker: Speaker::new(graph, filler, Self::options(options))?,
            sampler: Sampler::new(sample.sampling())?,
            prompt: encode_prompt(&texts.tokenizer, &sample.prompt, UnknownInPrompt::Refuse)
                .map_err(|error| error.mend("leave it out of --primetext (sample.prompt)"))?,
            start: None,
            prompt_text: sample.prompt.clone(),
            length: sample.length,
            seed: config.seed,
        })
    }

    /// How its network is run, if that which trains is run so: on one thread, with the parameters of that.
    pub(super) fn options(options: &NetworkOptions) -> NetworkOptions {
        NetworkOptions { threads: 1, own_params: false, ..options.clone() }
    }

    /// Texts without a prompt go on where the first row of `state` stands, `next` being its next token.
    pub(super) fn begin_at(&mut self, state: &State, next: u32) {
        if self.prompt.is_empty() {
            self.speaker.begin_at(state, 0);
            self.start = Some(next);
        }
    }

    /// Texts begin at the zero state again.
    pub(super) fn begin_anew(&mut self) {
        self.speaker.begin_at_zero();
        self.start = None;
    }

    /// Sample number `sample` of the network.
    pub(super) fn write(&mut self, tokenizer: &Tokenizer, network: &mut Network, sample: usize) -> Result<String> {
        let prompt = self.start.as_ref().map_or(self.prompt.as_slice(), std::slice::from_ref);
        let request = Request { prompt, length: self.length, stop: &[], turn: None, seed: self.seed, sample };
        let mut text = self.prompt_text.clone();
        let sampler = &mut self.sampler;
        self.speaker.speak_as(network, |speaker| {
            generate(speaker, tokenizer, sampler, &request, |part| {
                text.push_str(part);
                Ok(true)
            })
        })?;
        Ok(text)
    }
}

/// The token that the first stream comes to after `step` steps.
pub(super) fn first_input(train: &dyn Batches, step: u64) -> Result<u32> {
    let size = train.rows() * train.steps();
    let (mut inputs, mut targets) = (vec![0; size], vec![0; size]);
    train.batch(0, step % train.batches(), &mut inputs, &mut targets)?;
    Ok(inputs[0])
}
