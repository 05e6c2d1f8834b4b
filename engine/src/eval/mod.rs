//! How well a model predicts a text.
//!
//! A text is scored once, token by token, each predicted from everything before it: the state is carried from batch to
//! batch. The text may be cut into several rows that are scored side by side. Every row but the first is then warmed up
//! on the tokens before its own, which are not scored ([`crate::corpus::Evaluation::warmup`]), so that the number of
//! rows does not change the figure.

mod speakers;

pub use speakers::{SpeakerScore, score_speakers};

use std::sync::atomic::{AtomicBool, Ordering};

use serde::Serialize;

use crate::error::{Error, Result};
use crate::generate::encode_known;
use crate::network::{Batch, LossSum, Network};
use crate::text::Tokenizer;
use crate::train::{Batches, Scoring};

/// A loss in the units that people compare.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct Score {
    /// Tokens that were scored.
    pub tokens: u64,
    /// Mean loss in nats a token.
    pub loss: f64,
    /// exp(loss).
    pub perplexity: f64,
    /// Loss in bits a token; where tokens are characters, bits per character.
    pub bits_per_token: f64,
    /// The true entropy rate of the text's source in nats a token, if it is known: no model can do better.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub entropy_rate: Option<f64>,
    /// loss / entropy rate - 1: how far the model is from that limit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub excess: Option<f64>,
}

impl Score {
    /// The score of a sum of losses.
    pub fn new(sum: LossSum, entropy_rate: Option<f64>) -> Score {
        let loss = sum.mean();
        Score {
            tokens: sum.count,
            loss,
            perplexity: loss.exp(),
            bits_per_token: loss / std::f64::consts::LN_2,
            entropy_rate,
            excess: entropy_rate.filter(|rate| *rate > 0.0).map(|rate| loss / rate - 1.0),
        }
    }
}

/// Scores a text, in streams from a zero state or window after window.
///
/// # Errors
/// Where the tokens cannot be read; [`Error::Diverged`] where the loss is not finite; [`Error::Interrupted`] if `stop` is
/// set before the end.
///
/// # Panics
/// Where the batches exceed the network's capacity.
pub fn evaluate(network: &mut Network, data: &dyn Batches, stop: &AtomicBool) -> Result<LossSum> {
    let mut scoring = Scoring::new(network, data)?;
    while scoring.advance(network)? {
        if stop.load(Ordering::Relaxed) {
            return Err(Error::interrupted("interrupted while a text was being scored"));
        }
    }
    let sum = scoring.sum();
    if !sum.nats.is_finite() {
        return Err(Error::diverged(format!("the loss of the text is {}", sum.nats))
            .mend("the model's parameters are damaged or its training diverged; use an earlier checkpoint"));
    }
    Ok(sum)
}

/// The score of a line.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct LineScore {
    /// The line's number, from 1.
    pub line: u64,
    /// Tokens of the line that were scored, its end included where line ends are tokens.
    pub tokens: u64,
    /// How many of them are `<unk>`, or were left out: what the vocabulary has not.
    pub unknown: u64,
    /// ln p of the line.
    pub log_probability: f64,
}

impl LineScore {
    /// ln p / tokens^power, by which lines of different lengths are compared: 0 is ln p itself, 1 that of a token.
    pub fn normalised(&self, power: f64) -> f64 {
        self.log_probability / (self.tokens.max(1) as f64).powf(power)
    }
}

/// The log-probability of each line, apart from the others: the state is zero before each, and the first token is
/// predicted from a line end where line ends are tokens (else from nothing, and not scored). Lines are scored side by side
/// in groups, which changes no figure. `lines` are numbers and texts; `found` is called in their order. What the vocabulary has not is
/// `<unk>`; `skip` leaves it out of the lines, and counts it.
///
/// # Errors
/// [`Error::Usage`] with the line and column of a character outside a vocabulary without `<unk>`, unless it is left out; what `found`
/// fails with.
pub fn score_lines<'t>(
    network: &mut Network,
    tokenizer: &Tokenizer,
    lines: impl IntoIterator<Item = (u64, &'t str)>,
    skip: bool,
    mut found: impl FnMut(LineScore) -> Result<()>,
) -> Result<()> {
    let rows = network.options().rows;
    let mut group: Vec<Line> = Vec::with_capacity(rows);
    let (ending, unknown) = (line_end(tokenizer), tokenizer.vocabulary().unknown());
    for (number, line) in lines {
        let (tokens, left_out) =
            if skip { encode_known(tokenizer, line) } else { (encode_line(tokenizer, number, line)?, 0) };
        let tokens: Vec<u32> = ending.into_iter().chain(tokens).chain(ending).collect();
        let scored = tokens.iter().skip(1).filter(|&&token| Some(token) == unknown).count();
        group.push(Line { number, tokens, unknown: left_out + scored as u64 });
        if group.len() == rows {
            score_group(network, &group, &mut found)?;
            group.clear();
        }
    }
    score_group(network, &group, &mut found)
}

/// A line that is scored.
struct Line {
    number: u64,
    tokens: Vec<u32>,
    unknown: u64,
}

/// The tokens of a line.
fn encode_line(tokenizer: &Tokenizer, number: u64, line: &str) -> Result<Vec<u32>> {
    let (text, mut tokens) = (tokenizer.prepare(line), Vec::new());
    tokenizer.encode_into(&text, &mut tokens).map_err(|unknown| {
        let column = text[..unknown.0.start].chars().count() + 1;
        let what = tokenizer.describe(&text[unknown.0]);
        Error::usage(format!("line {number}, column {column}: {what} is not in the vocabulary"))
            .mend("use --skip-unknown to leave them out, or use a model whose vocabulary has `<unk>`")
    })?;
    Ok(tokens)
}

/// The token that ends a line, if there is one.
fn line_end(tokenizer: &Tokenizer) -> Option<u32> {
    let vocabulary = tokenizer.vocabulary();
    vocabulary.eos().or_else(|| match tokenizer.options().level {
        crate::text::Level::Byte => Some(u32::from(b'\n')),
        _ => vocabulary.id("\n"),
    })
}

fn score_group(network: &mut Network, group: &[Line], found: &mut impl FnMut(LineScore) -> Result<()>) -> Result<()> {
    let rows = group.len();
    if rows == 0 {
        return Ok(());
    }
    let most = network.options().steps;
    let longest = group.iter().map(|line| line.tokens.len().saturating_sub(1)).max().unwrap_or(0);
    let mut state = network.new_state(rows);
    let (mut inputs, mut targets) = (vec![0; most * rows], vec![0; most * rows]);
    let mut losses = vec![0.0_f32; most * rows];
    let mut nats = vec![0.0_f64; rows];
    for first in (0..longest).step_by(most) {
        let steps = most.min(longest - first);
        for (t, n) in (0..steps).flat_map(|t| (0..rows).map(move |n| (t, n))) {
            let tokens = &group[n].tokens;
            let pair = tokens.get(first + t..first + t + 2);
            inputs[t * rows + n] = pair.map_or(0, |pair| pair[0]);
            targets[t * rows + n] = pair.map_or(crate::corpus::IGNORE, |pair| pair[1]);
        }
        let (inputs, targets) = (&inputs[..steps * rows], &targets[..steps * rows]);
        network.evaluate(&Batch { steps, rows, inputs, targets, ..Batch::default() }, &mut state);
        let losses = &mut losses[..steps * rows];
        network.losses(losses);
        for (place, loss) in losses.iter().enumerate() {
            nats[place % rows] += f64::from(*loss);
        }
    }
    for (&Line { number: line, ref tokens, unknown }, nats) in group.iter().zip(nats) {
        let scored = tokens.len().saturating_sub(1) as u64;
        found(LineScore { line, tokens: scored, unknown, log_probability: -nats })?;
    }
    Ok(())
}
