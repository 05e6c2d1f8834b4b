//! The names of a file's tensors, read as the layers of another program.

use std::collections::BTreeMap;

use crate::graph::Role;

use super::file::WeightFile;

/// Whose names a file has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Dialect {
    /// `rnn.weight_ih_l0`
    PyTorch,
    /// `lstm/lstm_cell/kernel`, or `lstm/kernel` as here.
    Keras,
}

/// What a layer of a file may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// PyTorch's `weight`, of an embedding or a dense layer.
    Matrix,
    Embedding,
    Dense,
    Recurrent,
    /// A layer normalisation.
    Norm,
    /// PyTorch's adaptive softmax.
    Adaptive,
}

/// In the place of the direction: the tails of an adaptive softmax.
const TAIL: usize = 2;

/// The tensors of a layer by direction (1: backward) and role; `Kernel` is also PyTorch's `weight`.
#[derive(Clone, Debug)]
pub(super) struct Module {
    /// `rnn.l0`, `decoder`, `bidirectional`
    pub(super) label: String,
    pub(super) tensors: Vec<(usize, Role, String)>,
}

impl Module {
    pub(super) fn kind(&self) -> Kind {
        let has = |wanted| self.tensors.iter().any(|(_, role, _)| *role == wanted);
        match () {
            () if self.tensor(TAIL, Role::Kernel).is_some() => Kind::Adaptive,
            () if has(Role::RecurrentKernel) => Kind::Recurrent,
            () if has(Role::Embeddings) => Kind::Embedding,
            () if has(Role::Gamma) || has(Role::Beta) => Kind::Norm,
            // Of PyTorch, where only a matrix has no bias that says what it is.
            () if self.tensors.iter().any(|(_, _, name)| name.ends_with("weight")) => Kind::Matrix,
            () => Kind::Dense,
        }
    }

    /// The name of the tensor in this role.
    pub(super) fn tensor(&self, direction: usize, role: Role) -> Option<&str> {
        let found = self.tensors.iter().find(|(d, r, _)| (*d, *r) == (direction, role));
        found.map(|(_, _, name)| name.as_str())
    }
}

/// The layers of a file, in the order of their numbers.
pub(super) struct Modules {
    pub(super) dialect: Dialect,
    pub(super) modules: Vec<Module>,
    /// Tensors whose names are no layer's.
    pub(super) strange: Vec<String>,
}

impl Modules {
    /// Those of a file, without the tensors whose names begin with one of `ignore`. Where the model is `adaptive`, a `head` beside
    /// tails is one layer with them.
    pub(super) fn of(file: &WeightFile, ignore: &[String], adaptive: bool) -> Modules {
        let is_torch = |name: &str| name.ends_with("weight") || name.contains("weight_ih");
        let dialect = if file.tensors().any(|(name, _)| is_torch(name)) { Dialect::PyTorch } else { Dialect::Keras };
        let mut by_label: BTreeMap<(Vec<Piece>, String), Module> = BTreeMap::new();
        let mut strange = Vec::new();
        for (name, shape) in file.tensors() {
            if ignore.iter().any(|start| name.starts_with(start.as_str())) {
                continue;
            }
            let parsed = match dialect {
                Dialect::PyTorch => {
                    Some(name).filter(|_| adaptive).and_then(|name| adaptive_part(file, name)).or_else(|| torch(name))
                }
                Dialect::Keras => keras(name),
            };
            // A convolution's `weight` has three axes.
            match parsed.filter(|_| shape.len() <= 2) {
                Some((label, direction, role)) => {
                    // A `weight` of one axis is that of a layer normalisation.
                    let role = if role == Role::Kernel && shape.len() == 1 { Role::Gamma } else { role };
                    let key = (pieces(&label), label.clone());
                    let module = by_label.entry(key).or_insert(Module { label, tensors: Vec::new() });
                    module.tensors.push((direction, role, name.to_owned()));
                }
                None => strange.push(name.to_owned()),
            }
        }
        Modules { dialect, modules: by_label.into_values().collect(), strange }
    }
}

/// `decoder.tail.0.1.weight` is of layer `decoder`, as `decoder.head.weight` is where such a tail stands beside it.
fn adaptive_part(file: &WeightFile, name: &str) -> Option<(String, usize, Role)> {
    let (module, leaf) = name.rsplit_once('.')?;
    let role = match leaf {
        "weight" => Role::Kernel,
        "bias" => Role::Bias,
        _ => return None,
    };
    if let Some(label) = module.strip_suffix(".head") {
        return file.entry(&format!("{label}.tail.0.0.weight")).map(|_| (label.to_owned(), 0, role));
    }
    let (label, tail) = module.split_once(".tail.")?;
    let number = |digits: &str| digits.bytes().all(|b| b.is_ascii_digit());
    let is_tail = tail.split_once('.').is_some_and(|(tail, part)| number(tail) && matches!(part, "0" | "1"));
    let head = file.entry(&format!("{label}.head.weight")).filter(|_| is_tail && leaf == "weight");
    head.map(|_| (label.to_owned(), TAIL, role))
}

/// `rnn.weight_ih_l0_reverse` is of layer `rnn.l0`, backward, its kernel; a cell's `cell.weight_ih` of layer `cell`.
fn torch(name: &str) -> Option<(String, usize, Role)> {
    let (module, leaf) = name.rsplit_once('.').unwrap_or(("", name));
    let role = match leaf {
        "weight" => Some(Role::Kernel),
        "bias" => Some(Role::Bias),
        _ => None,
    };
    if let Some(role) = role {
        return (!module.is_empty()).then(|| (module.to_owned(), 0, role));
    }
    let (role, rest) = [
        ("weight_ih", Role::Kernel),
        ("weight_hh", Role::RecurrentKernel),
        ("bias_ih", Role::Bias),
        ("bias_hh", Role::RecurrentBias),
    ]
    .into_iter()
    .find_map(|(start, role)| Some((role, leaf.strip_prefix(start)?)))?;
    let (rest, direction) = match rest.strip_suffix("_reverse") {
        Some(rest) => (rest, 1),
        None => (rest, 0),
    };
    if rest.is_empty() {
        let label = if module.is_empty() { "cell" } else { module };
        return Some((label.to_owned(), direction, role));
    }
    let number = rest.strip_prefix("_l").filter(|digits| digits.bytes().all(|b| b.is_ascii_digit()))?;
    let dot = if module.is_empty() { "" } else { "." };
    Some((format!("{module}{dot}l{number}"), direction, role))
}

/// `bidirectional/backward_lstm/lstm_cell/kernel:0` is of layer `bidirectional`, backward, its kernel.
fn keras(name: &str) -> Option<(String, usize, Role)> {
    let name = name.strip_suffix(":0").unwrap_or(name);
    let (path, leaf) = name.rsplit_once('/')?;
    let role = match leaf {
        "embeddings" => Role::Embeddings,
        "kernel" => Role::Kernel,
        "recurrent_kernel" => Role::RecurrentKernel,
        "bias" => Role::Bias,
        "recurrent_bias" => Role::RecurrentBias,
        "peephole" => Role::Peephole,
        "gamma" => Role::Gamma,
        "beta" => Role::Beta,
        _ => return None,
    };
    let mut parts: Vec<&str> = path.split('/').collect();
    parts.dedup();
    let in_cell = parts.len() > 1 && is_cell(parts[parts.len() - 1]);
    if in_cell {
        parts.pop();
    }
    let direction = |part: &str| match part.split('_').next() {
        Some("forward") => Some(0),
        Some("backward") => Some(1),
        _ => None,
    };
    // Keras names the layer of both directions in front of them, or, of a model that was loaded, does not.
    if let (true, [alone]) = (in_cell, &parts[..])
        && let (Some(direction), Some((_, cell))) = (direction(alone), alone.split_once('_'))
    {
        return Some((cell.to_owned(), direction, role));
    }
    let found = (1..parts.len()).find_map(|at| Some((at, direction(parts[at])?)));
    let (end, direction) = found.unwrap_or((parts.len(), 0));
    Some((parts[..end].join("/"), direction, role))
}

/// `lstm_cell`, `gru_cell_3`, `cell`
fn is_cell(part: &str) -> bool {
    part.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches('_').ends_with("cell")
}

/// A part of a name, so that `lstm_10` comes after `lstm_9`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Piece {
    Number(u64),
    Text(String),
}

/// The words and numbers of a name.
pub(super) fn pieces(name: &str) -> Vec<Piece> {
    let mut pieces = Vec::new();
    let mut rest = name;
    while let Some(first) = rest.chars().next() {
        let digit = first.is_ascii_digit();
        let end = rest.find(|c: char| c.is_ascii_digit() != digit).unwrap_or(rest.len());
        let (piece, after) = rest.split_at(end);
        pieces.push(match piece.parse() {
            Ok(number) if digit => Piece::Number(number),
            _ => Piece::Text(piece.to_owned()),
        });
        rest = after;
    }
    pieces
}

/// A name without its last number: names that share it are numbered.
pub(super) fn stem(name: &str) -> &str {
    name.trim_end_matches(|c: char| c.is_ascii_digit()).trim_end_matches(['_', '.', 'l'])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_read() {
        let read = |parsed: Option<(String, usize, Role)>| parsed.map(|(l, d, r)| format!("{l} {d} {r:?}"));
        for (name, expected) in [
            ("rnn.weight_ih_l0", Some("rnn.l0 0 Kernel")),
            ("a.rnn.bias_hh_l12_reverse", Some("a.rnn.l12 1 RecurrentBias")),
            ("weight_hh_l1", Some("l1 0 RecurrentKernel")),
            ("lstm_cell.weight_ih", Some("lstm_cell 0 Kernel")),
            ("decoder.bias", Some("decoder 0 Bias")),
            ("rnn.weight_hr_l0", None),
            ("rnn.weight_hh_l0_raw", None),
            ("bn.running_mean", None),
        ] {
            assert_eq!(read(torch(name)).as_deref(), expected, "{name}");
        }
        for (name, expected) in [
            ("lstm/lstm_cell/kernel", Some("lstm 0 Kernel")),
            ("rnn_1/rnn_1/recurrent_kernel:0", Some("rnn_1 0 RecurrentKernel")),
            ("bidirectional_2/backward_gru_3/gru_cell/bias", Some("bidirectional_2 1 Bias")),
            ("bidirectional/forward/kernel", Some("bidirectional 0 Kernel")),
            ("sequential/embedding/embeddings", Some("sequential/embedding 0 Embeddings")),
            ("backward_gru_1/gru_cell/kernel", Some("gru_1 1 Kernel")),
            ("attention/attention_W", None),
            ("kernel", None),
        ] {
            assert_eq!(read(keras(name)).as_deref(), expected, "{name}");
        }
        assert!(pieces("lstm_9") < pieces("lstm_10") && pieces("lstm") < pieces("lstm_1"));
        assert_eq!((stem("lstm_10"), stem("rnn.l0"), stem("lstm")), ("lstm", "rnn", "lstm"));
    }
}
