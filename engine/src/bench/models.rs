//! The models, sizes and optimisers of the standard cases.

use super::cases::{Case, CaseOptions, Task};
use crate::error::{Error, Result};
use crate::graph::{HeadConfig, HeadKind, ModelConfig};
use crate::network::LossScale;
use crate::random::{Key, Purpose};
use crate::train::{OptimizerOptions, Rule};

/// A recurrent language model as the cases describe them.
struct LanguageModel {
    name: &'static str,
    cell: &'static str,
    vocabulary: usize,
    /// 0: one-hot.
    embedding: usize,
    hidden: usize,
    layers: usize,
    rows: usize,
    steps: usize,
}

const CHAR256: LanguageModel = LanguageModel {
    name: "char256",
    cell: "lstm",
    vocabulary: 65,
    embedding: 0,
    hidden: 256,
    layers: 2,
    rows: 50,
    steps: 50,
};
const CHAR512: LanguageModel = LanguageModel { name: "char512", hidden: 512, rows: 64, steps: 100, ..CHAR256 };
const WORD650: LanguageModel = LanguageModel {
    name: "word650",
    cell: "lstm",
    vocabulary: 10_000,
    embedding: 650,
    hidden: 650,
    layers: 2,
    rows: 20,
    steps: 35,
};
const GRU650: LanguageModel = LanguageModel { name: "gru650", cell: "gru", ..WORD650 };
const MINCHAR: LanguageModel =
    LanguageModel { name: "minchar", cell: "simple_rnn", hidden: 100, layers: 1, rows: 1, steps: 25, ..CHAR256 };

/// Every case by name.
pub(super) const NAMES: [&str; 13] = [
    "char256", "char512", "word650", "gru650", "minchar", "bilstm", "ragged", "nnlm32", "nnlm256", "head10k",
    "head100k", "gen512", "gen650",
];

/// The case of this name, with the hidden units and steps of the options; `None` for an unknown name.
pub(super) fn find(name: &str, options: &CaseOptions) -> Result<Option<Case>> {
    Ok(Some(match name {
        "char256" => language_model(&CHAR256, options)?,
        "char512" => language_model(&CHAR512, options)?,
        "word650" => language_model(&WORD650, options)?,
        "gru650" => language_model(&GRU650, options)?,
        "minchar" => min_char(options)?,
        "bilstm" => bilstm("bilstm", 200, options)?,
        "ragged" => Case { lengths: Some(Vec::new()), ..bilstm("ragged", 600, options)? },
        "nnlm32" => nnlm("nnlm32", 32)?,
        "nnlm256" => nnlm("nnlm256", 256)?,
        "head10k" => head("head10k", 10_000, options)?,
        "head100k" => head("head100k", 100_000, options)?,
        "gen512" => generation("gen512", &CHAR512, options)?,
        "gen650" => generation("gen650", &WORD650, options)?,
        _ => match name.strip_prefix("zipf:") {
            Some(rest) => zipf(name, rest, options)?,
            None => return Ok(None),
        },
    }))
}

/// `zipf:V:HEAD:RULE`: a word model of one LSTM of 256 units over V words that come as Zipf's law says, with a head and
/// a rule.
fn zipf(name: &str, rest: &str, options: &CaseOptions) -> Result<Case> {
    let mut parts = rest.split(':');
    let vocabulary: Option<usize> = parts.next().and_then(|words| words.parse().ok()).filter(|&words| words > 0);
    let (head, rule) = (parts.next().unwrap_or("softmax"), parts.next().unwrap_or("sgd"));
    let kinds = HeadKind::WORDS;
    let rule = match rule {
        "sgd" => Some(Rule::Sgd),
        "adagrad" => Some(Rule::Adagrad { epsilon: 1e-10, epsilon_inside: false }),
        _ => None,
    };
    let (Some(vocabulary), Some(rule), true, None) = (vocabulary, rule, kinds.contains(&head), parts.next()) else {
        return Err(Error::usage(format!("no case is named `{name}`")).mend(format!(
            "write zipf:WORDS:HEAD:RULE, such as zipf:100000:sampled_softmax:adagrad; heads: {}; rules: sgd, adagrad",
            kinds.join(", ")
        )));
    };
    let base = LanguageModel { name: "zipf", embedding: 256, hidden: 256, layers: 1, vocabulary, ..WORD650 };
    let mut case = language_model(&base, options)?;
    case.model.head = parse_head(head)?;
    let optimizer = OptimizerOptions { clip_norm: Some(5.0), ..OptimizerOptions::new(rule) };
    Ok(Case { name: name.to_owned(), zipf: true, optimizer, ..case })
}

fn parse_head(kind: &str) -> Result<HeadConfig> {
    toml::from_str(&format!("kind = \"{kind}\"")).map_err(|e| Error::run(format!("a case's head: {e}")))
}

/// The language model `base`, which writes one token after the other.
fn generation(name: &str, base: &LanguageModel, options: &CaseOptions) -> Result<Case> {
    let (name, fixed) = (name.to_owned(), &["--batch", "--steps"][..]);
    Ok(Case { name, rows: 1, steps: 1, fixed, task: Task::Generate, ..language_model(base, options)? })
}

/// Words of a review of the IMDB set's 25,000 for training (Maas et al. 2011), split at white space: the least, then
/// each twentieth part of them, and the most. On average they have 234.
const QUANTILES: [usize; 21] =
    [10, 64, 91, 110, 120, 127, 134, 142, 151, 162, 174, 188, 206, 227, 252, 284, 325, 376, 458, 598, 2470];

/// Lengths of `rows` texts as they are drawn from the IMDB set, in no order, cut at `most`.
pub(super) fn ragged_lengths(rows: usize, most: usize) -> Vec<usize> {
    let length = |n: usize| {
        // The middle of the n-th of as many parts as there are rows.
        let at = (n as f64 + 0.5) / rows as f64 * (QUANTILES.len() - 1) as f64;
        let (below, above) = (QUANTILES[at as usize], QUANTILES[at as usize + 1]);
        (below as f64 + at.fract() * (above - below) as f64) as usize
    };
    let mut lengths: Vec<usize> = (0..rows).map(|n| length(n).min(most)).collect();
    let key = Key::new(2, Purpose::Bench);
    for n in (1..rows).rev() {
        lengths.swap(n, key.below(n as u64, n as u64 + 1) as usize);
    }
    lengths
}

fn parse(text: &str) -> Result<ModelConfig> {
    toml::from_str(text).map_err(|e| Error::run(format!("a case's model: {e}")))
}

fn language_model(lm: &LanguageModel, options: &CaseOptions) -> Result<Case> {
    let hidden = options.hidden.unwrap_or(lm.hidden);
    let mut text = match lm.embedding {
        0 => "[[layers]]\ntype = \"one_hot\"\n".to_owned(),
        // The embedding of these models is as wide as their hidden layers.
        _ => format!("[[layers]]\ntype = \"embedding\"\noutput_dim = {hidden}\n"),
    };
    for _ in 0..lm.layers {
        let cell = lm.cell;
        text += &format!("[[layers]]\ntype = \"{cell}\"\nunits = {hidden}\nreturn_sequences = true\nstateful = true\n");
    }
    text += "[[layers]]\ntype = \"dense\"\nactivation = \"softmax\"\n";
    let case = Case::of(lm.name, parse(&text)?, lm.vocabulary, [options.steps.unwrap_or(lm.steps), lm.rows]);
    let optimizer = OptimizerOptions { clip_norm: Some(5.0), ..OptimizerOptions::new(Rule::Sgd) };
    Ok(Case { hidden: Some(hidden), optimizer, lr: 0.1, ..case })
}

/// As min-char-rnn trains.
fn min_char(options: &CaseOptions) -> Result<Case> {
    let rule = Rule::Adagrad { epsilon: 1e-8, epsilon_inside: true };
    let optimizer = OptimizerOptions { clip_value: Some(5.0), ..OptimizerOptions::new(rule) };
    Ok(Case { loss_scale: LossScale::Sum, optimizer, ..language_model(&MINCHAR, options)? })
}

/// A dense layer and the softmax over a vocabulary, forward and backward.
fn head(name: &str, vocabulary: usize, options: &CaseOptions) -> Result<Case> {
    let width = options.hidden.unwrap_or(512);
    let text = format!(
        "[[layers]]\ntype = \"input\"\nwidth = {width}\nsequence = false\n\
         [[layers]]\ntype = \"dense\"\nactivation = \"softmax\"\n"
    );
    let case = Case::of(name, parse(&text)?, vocabulary, [1, 1024]);
    Ok(Case { hidden: Some(width), fixed: &["--steps"], task: Task::Gradient { width }, ..case })
}

fn bilstm(name: &str, steps: usize, options: &CaseOptions) -> Result<Case> {
    let hidden = options.hidden.unwrap_or(64);
    let text = format!(
        "loss = \"binary_cross_entropy\"\n[[layers]]\ntype = \"embedding\"\noutput_dim = 64\n\
         [[layers]]\ntype = \"bidirectional\"\nlayer = {{ type = \"lstm\", units = {hidden} }}\n\
         [[layers]]\ntype = \"dense\"\nunits = 64\nactivation = \"relu\"\n\
         [[layers]]\ntype = \"dense\"\nunits = 1\n"
    );
    let case = Case::of(name, parse(&text)?, 1_000, [options.steps.unwrap_or(steps), 64]);
    let optimizer = OptimizerOptions::new(Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 });
    Ok(Case { hidden: Some(hidden), task: Task::Classify, optimizer, lr: 1e-3, ..case })
}

fn nnlm(name: &str, rows: usize) -> Result<Case> {
    let text = "input_length = 6\n[[layers]]\ntype = \"embedding\"\noutput_dim = 100\n\
         [[layers]]\ntype = \"reshape\"\ntarget_shape = [600]\n\
         [[layers]]\ntype = \"dense\"\nname = \"hidden\"\nunits = 60\nactivation = \"tanh\"\n\
         [[layers]]\ntype = \"dense\"\nname = \"pre_output_1\"\n\
         [[layers]]\ntype = \"dense\"\nname = \"pre_output_2\"\ninputs = [\"reshape\"]\n\
         [[layers]]\ntype = \"add\"\ninputs = [\"pre_output_1\", \"pre_output_2\"]\n\
         [[layers]]\ntype = \"activation\"\nactivation = \"softmax\"\n";
    let case = Case::of(name, parse(text)?, 17_964, [6, rows]);
    Ok(Case { hidden: Some(60), fixed: &["--hidden", "--steps"], task: Task::Classify, lr: 0.1, ..case })
}
