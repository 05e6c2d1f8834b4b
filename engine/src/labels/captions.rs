//! The text for a vector, for vectors over time or for another text: greedy and beam search.
//!
//! A hypothesis is the start token and the words chosen so far. At each step the model reads every hypothesis as a
//! whole and proposes next tokens; the `beam` likeliest continuations survive, and one that has ended in the end token
//! is finished. A beam of 1 takes the likeliest token at each step. A sequence that reaches the requested length is
//! left without an end token.

use crate::error::{Error, Result};
use crate::graph::{Axis, Graph};
use crate::network::{Batch, Network};
use crate::text::PADDING;

use super::batches::{source_by_step, vectors_by_step};
use super::encoder::{Encoder, Sample};
use super::words::log_sum;

/// How a text is searched for.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Search {
    /// Hypotheses that go on; 1 is greedy.
    pub beam: usize,
    /// The most words of a text.
    pub longest: usize,
    /// Hypotheses are ranked by ln p / tokens^power, the end being one: 0 takes the likeliest, 1 the likeliest a token.
    pub length_power: f64,
}

/// A text that was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Caption {
    /// Its words.
    pub words: Vec<u32>,
    /// ln p of its words and its end.
    pub log_probability: f64,
    /// What it is ranked by.
    pub score: f64,
    /// Whether the end was chosen; else it was as long as it may be.
    pub ended: bool,
}

/// A beginning of a text.
#[derive(Clone)]
struct Hypothesis {
    /// Start and words.
    tokens: Vec<u32>,
    log_probability: f64,
}

/// The search for one vector.
struct Beam {
    alive: Vec<Hypothesis>,
    found: Vec<Caption>,
}

/// What a text is searched for.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Given<'a> {
    /// A vector, or those of all steps one after another; empty where there is none.
    pub vector: &'a [f32],
    /// The tokens of another text; empty where there is none.
    pub source: &'a [u32],
}

impl Sample {
    /// What this sample's text was written for.
    pub fn given(&self) -> Given<'_> {
        Given { vector: &self.vector, source: &self.source }
    }
}

/// The texts for what is given, of each the best first, at most `search.beam`. The network has room for `rows` rows of
/// `search.longest + 1` steps.
///
/// # Errors
/// [`Error::Usage`] for a beam that the rows have no room for; [`Error::Diverged`] where the model's outputs are not numbers.
///
/// # Panics
/// Where a vector has another width than the model's, or the network has more than one replica.
pub fn captions(
    network: &mut Network,
    encoder: &Encoder,
    given: &[Given<'_>],
    search: Search,
) -> Result<Vec<Vec<Caption>>> {
    let rows = network.options().rows;
    if search.beam == 0 || search.beam > rows {
        return Err(Error::option("--beam", format!("must be from 1 to {rows}, got {}", search.beam)));
    }
    let mut all = Vec::with_capacity(given.len());
    for group in given.chunks(rows / search.beam) {
        let first = || Hypothesis { tokens: vec![encoder.start_and_end().0], log_probability: 0.0 };
        let mut beams: Vec<Beam> = group.iter().map(|_| Beam { alive: vec![first()], found: Vec::new() }).collect();
        for _ in 0..=search.longest {
            if beams.iter().all(|beam| beam.alive.is_empty()) {
                break;
            }
            step(network, encoder, group, &mut beams, search)?;
        }
        all.extend(beams.into_iter().map(|beam| beam.finish(search)));
    }
    Ok(all)
}

/// Reads every hypothesis and lets the best go on.
fn step(
    network: &mut Network,
    encoder: &Encoder,
    given: &[Given<'_>],
    beams: &mut [Beam],
    search: Search,
) -> Result<()> {
    let alive: Vec<(usize, Hypothesis)> =
        beams.iter_mut().enumerate().flat_map(|(i, beam)| beam.alive.drain(..).map(move |h| (i, h))).collect();
    let Some((_, one)) = alive.first() else { return Ok(()) };
    let (steps, rows) = (one.tokens.len(), alive.len());
    let inputs: Vec<u32> =
        (0..steps).flat_map(|t| alive.iter().map(move |(_, hypothesis)| hypothesis.tokens[t])).collect();
    let laid_out = LaidOut::new(network.graph(), alive.iter().map(|(i, _)| given[*i]), rows);
    let vectors = [laid_out.vectors.as_slice()];
    let batch = Batch {
        steps,
        rows,
        inputs: &inputs,
        vectors: &vectors[..network.graph().vector_inputs().count().min(1)],
        source_steps: laid_out.source_steps,
        source: &laid_out.source,
        ..Batch::default()
    };
    let mut state = network.new_state(rows);
    let logits = network.predict(&batch, &mut state);
    let (start, end) = encoder.start_and_end();
    let full = steps > search.longest;
    // What goes on, of each vector: (ln p, hypothesis, token).
    let mut choices: Vec<Vec<(f64, usize, u32)>> = vec![Vec::new(); beams.len()];
    for (row, (i, hypothesis)) in alive.iter().enumerate() {
        let logits = &logits.row(row)[..encoder.targets()];
        let sum = log_sum(logits);
        if !sum.is_finite() {
            return Err(Error::diverged("the model's outputs are not numbers").mend("use an earlier checkpoint"));
        }
        let may_follow = |token: u32| token == end || !full && token != PADDING && token != start;
        let tokens = (0..).zip(logits).filter(|(token, _)| may_follow(*token));
        choices[*i].extend(tokens.map(|(token, &x)| (hypothesis.log_probability + f64::from(x) - sum, row, token)));
    }
    for (beam, mut choices) in beams.iter_mut().zip(choices) {
        // Of equals the first hypothesis and the first token, so that the same is found every time.
        choices.sort_by(|a, b| b.0.total_cmp(&a.0));
        for (log_probability, row, token) in choices.into_iter().take(search.beam) {
            let mut tokens = alive[row].1.tokens.clone();
            if token == end {
                let ended = !full || is_likeliest(&logits.row(row)[..encoder.targets()], end);
                beam.found.push(Caption::new(&tokens, log_probability, ended, search));
                continue;
            }
            tokens.push(token);
            beam.alive.push(Hypothesis { tokens, log_probability });
        }
        beam.settle(search);
    }
    Ok(())
}

/// What is given, of some rows side by side, as a batch has it.
struct LaidOut {
    vectors: Vec<f32>,
    source_steps: usize,
    source: Vec<u32>,
}

impl LaidOut {
    fn new<'g>(graph: &Graph, given: impl Iterator<Item = Given<'g>> + Clone, rows: usize) -> LaidOut {
        let of_steps = graph.vector_inputs().find(|(node, _)| graph.nodes()[*node].axis == Axis::Source);
        let longest = given.clone().map(|given| given.vector.len()).max().unwrap_or(0);
        let width = of_steps.map_or(longest, |(_, input)| input.width);
        let mut vectors = vec![0.0; rows * longest];
        vectors_by_step(given.clone().map(|given| given.vector), [rows, width], &mut vectors);
        let source_steps = match (graph.has_source(), graph.takes_source_tokens()) {
            (false, _) => 0,
            (true, false) => longest / width.max(1),
            (true, true) => given.clone().map(|given| given.source.len()).max().unwrap_or(0).max(1),
        };
        let mut source = vec![0; if graph.takes_source_tokens() { source_steps * rows } else { 0 }];
        source_by_step(given.map(|given| given.source), rows, &mut source);
        LaidOut { vectors, source_steps, source }
    }
}

fn is_likeliest(logits: &[f32], token: u32) -> bool {
    logits.iter().all(|logit| *logit <= logits[token as usize])
}

impl Caption {
    fn new(tokens: &[u32], log_probability: f64, ended: bool, search: Search) -> Caption {
        let words = tokens[1..].to_vec();
        // The start stands for the end.
        let length = tokens.len() as f64;
        Caption { words, log_probability, score: log_probability / length.powf(search.length_power), ended }
    }
}

impl Beam {
    /// Ends the search where nothing that goes on can become the best any more: its score is at most that of the same ln p
    /// over the most tokens, since ln p only falls.
    fn settle(&mut self, search: Search) {
        let best = self.found.iter().map(|caption| caption.score).fold(f64::NEG_INFINITY, f64::max);
        let most = (search.longest as f64 + 1.0).powf(search.length_power);
        if self.alive.iter().all(|hypothesis| hypothesis.log_probability / most <= best) {
            self.alive.clear();
        }
    }

    fn finish(mut self, search: Search) -> Vec<Caption> {
        self.found.sort_by(|a, b| b.score.total_cmp(&a.score));
        self.found.truncate(search.beam);
        self.found
    }
}

/// How many of the samples' texts were found first, with every word and the end.
pub fn exact(encoder: &Encoder, samples: &[Sample], found: &[Vec<Caption>]) -> u64 {
    let (_, end) = encoder.start_and_end();
    let same = |sample: &Sample, best: &Caption| sample.targets.split_last() == Some((&end, best.words.as_slice()));
    samples.iter().zip(found).filter(|(sample, found)| found.first().is_some_and(|best| same(sample, best))).count()
        as u64
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::{TaskConfig, TaskKind};
    use crate::graph::ModelConfig;
    use crate::labels::{Content, Record, Records};
    use crate::network::NetworkOptions;

    const MODEL: &str = r#"
        layers = [
          { type = "input", name = "image", width = 2, sequence = false },
          { type = "dense", name = "h", units = 4, kernel_initializer = { uniform = 2.0 } },
          { type = "embedding", name = "words", inputs = ["sequence"], output_dim = 3, embeddings_initializer = { uniform = 2.0 } },
          { type = "gru", units = 4, return_sequences = true, initial_state = ["h"] },
          { type = "dense", activation = "softmax", kernel_initializer = { uniform = 2.0 } },
        ]"#;

    fn of(vector: &[f32]) -> Given<'_> {
        Given { vector, source: &[] }
    }

    /// ln p of a caption by the losses of its tokens.
    fn log_probability(network: &mut Network, sample: &Sample) -> f64 {
        let Sample { tokens, targets, vector, .. } = sample;
        let mut state = network.new_state(1);
        let batch =
            Batch { steps: tokens.len(), rows: 1, inputs: tokens, targets, vectors: &[vector], ..Batch::default() };
        -network.evaluate(&batch, &mut state).nats
    }

    #[test]
    fn a_wide_beam_finds_the_best_of_all_texts_and_a_beam_of_one_is_greedy() {
        let task = TaskConfig { kind: TaskKind::Caption, ..TaskConfig::default() };
        let record = Record { file: 0, line: 1, content: Content::Words("a b a".into()), vector: vec![0.0; 2] };
        let records = Records { files: vec!["x".into()], records: vec![record], fingerprint: 0 };
        let encoder = Encoder::new(&task, &records, &[true]).unwrap();
        let model: ModelConfig = toml::from_str(MODEL).unwrap();
        let graph = Graph::with_classes(&model, encoder.vocabulary(), &[encoder.targets()]).unwrap();
        let mut all = vec![String::new()];
        for length in 0..3 {
            let longer = all.iter().filter(|text| text.split_whitespace().count() == length);
            let longer: Vec<String> = longer.flat_map(|text| ["a", "b"].map(|word| format!("{text} {word}"))).collect();
            all.extend(longer);
        }
        assert_eq!(all.len(), 15);
        let mut lengths = std::collections::BTreeSet::new();
        for seed in 0..20 {
            let options = NetworkOptions { steps: 5, rows: 30, seed, ..NetworkOptions::default() };
            let mut network = Network::new(&graph, options).unwrap();
            let vector = [seed as f32 / 10.0, -0.5];
            for length_power in [0.0, 0.7, 1.0] {
                let scored = all.iter().map(|text| {
                    let sample = encoder.caption(text, vector.to_vec());
                    let tokens = sample.targets.len() as f64;
                    (log_probability(&mut network, &sample) / tokens.powf(length_power), sample)
                });
                let (best, sample) = scored.max_by(|a, b| a.0.total_cmp(&b.0)).unwrap();
                // Fifteen hypotheses of two vectors side by side: none is ever left out.
                let search = Search { beam: 15, longest: 3, length_power };
                let found = captions(&mut network, &encoder, &[of(&vector), of(&[0.1, 0.2])], search).unwrap();
                assert!((found[0][0].score - best).abs() < 1e-5, "{seed}: {} {best}", found[0][0].score);
                assert_eq!(exact(&encoder, &[sample], &found), 1, "{seed}");
                lengths.insert(found[0][0].words.len());
            }
            let greedy = Search { beam: 1, longest: 3, length_power: 0.0 };
            let found = &captions(&mut network, &encoder, &[of(&vector)], greedy).unwrap()[0][0];
            let text: Vec<&str> = found.words.iter().map(|&word| encoder.name(word)).collect();
            let (text, most) = (text.join(" "), encoder.start_and_end());
            let sample = encoder.caption(&text, vector.to_vec());
            // Each word, and the end, is the likeliest behind those before it.
            for (at, &chosen) in sample.targets.iter().enumerate().take(found.words.len() + usize::from(found.ended)) {
                let before = &sample.tokens[..=at];
                let mut state = network.new_state(1);
                let batch = Batch { steps: at + 1, rows: 1, inputs: before, vectors: &[&vector], ..Batch::default() };
                let logits = network.predict(&batch, &mut state).row(0)[..encoder.targets()].to_vec();
                let others = (0..).zip(&logits).filter(|(token, _)| *token != PADDING && *token != most.0);
                assert!(others.into_iter().all(|(_, logit)| *logit <= logits[chosen as usize]), "{seed}: {text}");
            }
        }
        assert!(lengths.len() > 2, "texts of several lengths are best: {lengths:?}");
    }
}
