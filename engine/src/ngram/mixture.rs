//! A network and an n-gram model mixed: p = a p_network + (1 - a) p_ngram.
//!
//! The two err in different places, so that their mixture is better than either: Bengio, Ducharme, Vincent and Jauvin
//! (2003) mix theirs half and half and gain 24 % of the perplexity on the Brown corpus.

use super::NGram;
use crate::corpus::IGNORE;
use crate::error::{Error, Result};
use crate::network::{Batch, Network};
use crate::train::Batches;
use std::sync::atomic::{AtomicBool, Ordering};

/// Times that the weight is improved at most.
const ROUNDS: usize = 100;

/// What a network and an n-gram model give to every scored word of a text.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Pairs {
    /// ln p of the network and of the n-gram model.
    logs: Vec<[f64; 2]>,
}

impl Pairs {
    /// Scores a text by both: the network with its state carried, the n-gram model after the words that the network was fed. Of
    /// windows, which stand in the text's order, each feeds its last word to the n-gram model.
    ///
    /// # Errors
    ///
    /// Where the tokens cannot be read; [`Error::Interrupted`] if `stop` is set before the end.
    ///
    /// # Panics
    ///
    /// Where the batches exceed the network's capacity.
    pub fn score(network: &mut Network, model: &NGram, data: &dyn Batches, stop: &AtomicBool) -> Result<Self> {
        let (rows, size) = (data.rows(), data.rows() * data.steps());
        let (mut inputs, mut targets, mut losses) = (vec![0; size], vec![0; size], vec![0.0; size]);
        let sequence = network.graph().is_sequence();
        // Windows are one text.
        let texts = if sequence { rows } else { 1 };
        let (mut state, mut fed) = (network.new_state(rows), vec![Vec::new(); texts]);
        let (mut logs, most) = (Vec::new(), model.order() - 1);
        for index in 0..data.batches() {
            if stop.load(Ordering::Relaxed) {
                return Err(Error::interrupted("interrupted while a text was being scored"));
            }
            let steps = data.batch(0, index, &mut inputs, &mut targets)?;
            let (inputs, size) = (&inputs[..steps * rows], data.targets(steps));
            let (targets, losses) = (&targets[..size], &mut losses[..size]);
            network.evaluate(&Batch { steps, rows, inputs, targets, ..Batch::default() }, &mut state);
            network.losses(losses);
            for (at, (&input, &target)) in inputs[inputs.len() - size..].iter().zip(targets).enumerate() {
                let words: &mut Vec<u32> = &mut fed[at % texts];
                words.push(input);
                words.drain(..words.len().saturating_sub(most));
                if target != IGNORE {
                    logs.push([-f64::from(losses[at]), model.probability(words, target).ln()]);
                }
            }
        }
        Ok(Self { logs })
    }

    /// Words that were scored.
    pub fn len(&self) -> usize {
        self.logs.len()
    }

    /// Whether no word was scored.
    pub fn is_empty(&self) -> bool {
        self.logs.is_empty()
    }

    /// The mean of -ln p, where the network's weight is `weight`, 0 to 1.
    pub fn loss(&self, weight: f64) -> f64 {
        let sum: f64 = self.logs.iter().map(|&pair| -mixed(pair, weight).0).sum();
        sum / self.logs.len().max(1) as f64
    }

    /// The network's weight that makes the text most probable, by expectation-maximisation.
    pub fn best_weight(&self) -> f64 {
        let mut weight = 0.5;
        for _ in 0..ROUNDS {
            let share: f64 = self.logs.iter().map(|&pair| mixed(pair, weight).1).sum();
            let next = share / self.logs.len().max(1) as f64;
            let done = (next - weight).abs() < 1e-6;
            weight = next;
            if done {
                break;
            }
        }
        weight
    }
}

/// ln p of the mixture, and the network's share of it.
fn mixed([network, ngram]: [f64; 2], weight: f64) -> (f64, f64) {
    let (a, b) = (weight.ln() + network, (1.0 - weight).ln() + ngram);
    let top = a.max(b);
    if top == f64::NEG_INFINITY {
        return (top, 0.0);
    }
    let sum = (a - top).exp() + (b - top).exp();
    (top + sum.ln(), (a - top).exp() / sum)
}

#[cfg(test)]
mod tests {
    use super::super::{NGram, Smoothing};
    use super::*;
    use crate::corpus::{Evaluation, MemoryTokens, Streams, WindowOptions, Windows};
    use crate::graph::Graph;
    use crate::network::NetworkOptions;
    use std::sync::Arc;

    #[test]
    fn a_mixture_is_what_its_parts_are_and_better_than_either() {
        let pairs =
            Pairs { logs: vec![[0.9f64.ln(), 0.1f64.ln()], [0.2f64.ln(), 0.8f64.ln()], [0.5f64.ln(), 0.5f64.ln()]] };
        let want = -((0.5 * 0.9 + 0.5 * 0.1f64).ln() + (0.5 * 0.2 + 0.5 * 0.8f64).ln() + 0.5f64.ln()) / 3.0;
        assert!((pairs.loss(0.5) - want).abs() < 1e-12);
        let weight = pairs.best_weight();
        let best = pairs.loss(weight);
        assert!([0.0, 0.3, 0.9, 1.0].iter().all(|&other| best <= pairs.loss(other) + 1e-12), "{weight}");
        assert!(Pairs { logs: vec![[0.9f64.ln(), 0.1f64.ln()]] }.best_weight() > 0.999);
    }

    #[test]
    fn both_score_the_same_words() {
        let text: Vec<u32> = (0..120).map(|i| i * i % 7).collect();
        let model = NGram::new(&text, 7, 3, Smoothing::KneserNey, &[]).unwrap();
        let layers = r#"layers = [{ type = "embedding", output_dim = 4 },
            { type = "gru", units = 5, return_sequences = true, stateful = true }, { type = "dense", activation = "softmax" }]"#;
        let graph = Graph::new(&toml::from_str(layers).unwrap(), 7).unwrap();
        let options = NetworkOptions { steps: 9, rows: 2, training: false, ..Default::default() };
        let mut network = Network::new(&graph, options).unwrap();
        let tokens = Arc::new(MemoryTokens::new(text.clone(), 7).unwrap());
        let stop = AtomicBool::new(false);
        // One row is the text in order, two the same words scored in two parts that were fed what stands before them.
        let score = |network: &mut Network, rows| {
            let how = Evaluation { warmup: 1000, initial: Some(3) };
            let streams = Streams::evaluation(Arc::clone(&tokens), 0..120, rows, 9, how).unwrap();
            Pairs::score(network, &model, &streams, &stop).unwrap()
        };
        let (one, two) = (score(&mut network, 1), score(&mut network, 2));
        assert_eq!((one.len(), two.len()), (120, 120));
        assert!((one.loss(0.0) - two.loss(0.0)).abs() < 1e-12 && (one.loss(1.0) - two.loss(1.0)).abs() < 1e-5);

        // Windows of the same text, the last batch not full: the n-gram model says the same of it.
        let layers = r#"input_length = 4
            layers = [{ type = "embedding", output_dim = 4 }, { type = "reshape", target_shape = [16] }, { type = "dense" }]"#;
        let graph = Graph::new(&toml::from_str(layers).unwrap(), 7).unwrap();
        let options = NetworkOptions { steps: 4, rows: 9, training: false, ..Default::default() };
        let mut network = Network::new(&graph, options).unwrap();
        let how = WindowOptions { rows: 9, length: 4, filler: 3, first: true, shuffle: None };
        let windows = Windows::new(Arc::clone(&tokens), 0..120, how).unwrap();
        let pairs = Pairs::score(&mut network, &model, &windows, &stop).unwrap();
        assert_eq!(pairs.len(), 120);
        assert!((pairs.loss(0.0) - one.loss(0.0)).abs() < 1e-12);
        let score = crate::eval::evaluate(&mut network, &windows, &stop).unwrap();
        assert!((pairs.loss(1.0) - score.mean()).abs() < 1e-9 && score.count == 120);
        let mut whole = vec![3];
        whole.extend(&text);
        assert!((model.loss(&whole, 1) - one.loss(0.0)).abs() < 1e-12);
    }
}
