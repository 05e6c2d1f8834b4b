//! What a check runs on: random parameters, tokens and targets, drawn from a seed.

use super::model::{Model, Params, Step};
use crate::graph::{
    Axis, Graph, Initializer, Input, LayerConfig, Loss, MaskRule, ModelConfig, Output, ParamSpec, Ranks, Recurrent,
    RecurrentConfig, Role, Source, WordPartition,
};
use crate::random::{Key, Purpose};
use unroll_kernels::softmax::IGNORE;

/// Tokens, vectors and targets of one step.
#[derive(Clone, Debug)]
pub(super) struct Tokens {
    /// T
    pub(super) steps: usize,
    /// (T, N); empty where no layer takes tokens.
    pub(super) inputs: Vec<u32>,
    /// Of each input layer, (T, N, width) or (N, width): f32 numbers, in either precision.
    pub(super) vectors: Vec<Vec<f64>>,
    pub(super) narrow: Vec<Vec<f32>>,
    /// (T, N), or (N) where the model gives one output a row; of several outputs one after another.
    pub(super) targets: Vec<u32>,
    /// Steps and tokens of the source, where the model reads one; else 0 and none.
    pub(super) source_steps: usize,
    pub(super) source: Vec<u32>,
    /// The targets without those of masked steps.
    pub(super) scored: Vec<u32>,
}

/// Steps of the source beside a sequence of so many.
pub(super) fn source_steps(steps: usize) -> usize {
    steps + 2
}

/// Draws the tokens of the source; where token 0 is masked, every row keeps its first step.
fn source(graph: &Graph, steps: usize, rows: usize, key: Key) -> Vec<u32> {
    let masks = graph.mask_rule_of(Axis::Source) == Some(MaskRule::TokenZero);
    let token = |i: usize| {
        let masked = masks && i >= rows && key.step(2).below(i as u64, 3) == 0;
        let words = graph.source_vocabulary() as u64;
        let padding = u64::from(words > 1);
        let drawn = padding + key.step(1).below(i as u64, words - padding);
        if masked { 0 } else { drawn as u32 }
    };
    (0..steps * rows).map(token).collect()
}

/// Draws `batches` batches of T steps and N rows: a third of the tokens repeat an earlier one, a sixth of the targets
/// is not scored. Where token 0 is masked, a third of the tokens is, and of several rows one wholly; so are vectors.
pub(super) fn tokens(graph: &Graph, steps: usize, rows: usize, batches: usize, seed: u64) -> Vec<Tokens> {
    let key = Key::new(seed, Purpose::Check);
    let outputs = graph.outputs()[0].positions(steps, rows);
    let ranks: Vec<Ranks> = graph.outputs().iter().map(|output| graph.word_ranks(output)).collect();
    let batch = |b: usize| {
        let (new, again) = (key.layer(4 * b), key.layer(4 * b + 1));
        let mut inputs: Vec<u32> = Vec::with_capacity(steps * rows);
        for i in 0..steps * rows {
            let repeats = i > 0 && again.below(2 * i as u64, 3) == 0;
            let token = if repeats {
                inputs[again.below(2 * i as u64 + 1, i as u64) as usize]
            } else {
                new.below(i as u64, graph.vocabulary() as u64) as u32
            };
            inputs.push(token);
        }
        let (target, ignored) = (key.layer(4 * b + 2), key.layer(4 * b + 3));
        let scored = ignored.below(outputs as u64, outputs as u64) as usize;
        let rule = graph.mask_rule();
        let mut masked = vec![false; steps * rows];
        if matches!(rule, Some(MaskRule::TokenZero | MaskRule::Vectors { .. })) {
            let (zero, row) = (key.layer(4 * b).step(1), scored % rows);
            for (i, masked) in masked.iter_mut().enumerate() {
                let wholly = rows > 1 && i % rows == (row + 1) % rows;
                *masked = wholly || zero.below(i as u64, 3) == 0;
            }
            // At least one is there that is scored.
            let there = if graph.is_sequence() { scored } else { row };
            masked[there] = false;
            if rule == Some(MaskRule::TokenZero) {
                inputs.iter_mut().zip(&masked).filter(|(_, masked)| **masked).for_each(|(token, _)| *token = 0);
                inputs[there] = 1;
                masked = inputs.iter().map(|&token| token == 0).collect();
            }
        }
        let (mut targets, mut kept) = (Vec::new(), Vec::new());
        for (o, (output, range)) in graph.targets(steps, rows).enumerate() {
            let (target, ignored) = (target.step(o as u64), ignored.step(o as u64));
            // The one that is surely scored is there in every output.
            let scored = if output.is_sequence() && graph.is_sequence() { scored } else { scored % rows };
            for i in 0..range.len() {
                let ignore = i != scored && ignored.below(i as u64, 6) == 0;
                let drawn = if ignore { IGNORE } else { draw_target(graph, (output, &ranks[o]), target, i as u64) };
                targets.push(drawn);
                kept.push(if output.is_sequence() && masked[i] { IGNORE } else { drawn });
            }
        }
        let narrow = vectors(graph, [steps, rows], key.layer(4 * b), &masked);
        let wide = narrow.iter().map(|v| v.iter().map(|&x| f64::from(x)).collect()).collect();
        let source_steps = if graph.has_source() { source_steps(steps) } else { 0 };
        let source = if graph.takes_source_tokens() {
            source(graph, source_steps, rows, key.layer(4 * b).step(9))
        } else {
            Vec::new()
        };
        inputs.truncate(if graph.takes_tokens() { steps * rows } else { 0 });
        Tokens { steps, inputs, vectors: wide, narrow, targets, source_steps, source, scored: kept }
    };
    (0..batches).map(batch).collect()
}

/// A target of an output: a class, or a number in ±1. Of words in parts each has its turn.
fn draw_target(graph: &Graph, (output, ranks): (&Output, &Ranks), key: Key, i: u64) -> u32 {
    match (output.loss(), output.partition()) {
        (Loss::CrossEntropy, WordPartition::Clusters(frequent, tails)) => {
            let first = 0..*frequent as u64;
            let tails = tails.iter().map(|tail| u64::from(tail.starts[0])..u64::from(tail.starts[tail.clusters()]));
            let parts: Vec<_> = [first].into_iter().chain(tails).filter(|part| !part.is_empty()).collect();
            let part = &parts[i as usize % parts.len()];
            ranks.word((part.start + key.below(i, part.end - part.start)) as usize) as u32
        }
        (Loss::CrossEntropy, _) => key.below(i, graph.nodes()[output.logits()].shape.width() as u64) as u32,
        (Loss::BinaryCrossEntropy, _) => key.below(i, 2) as u32,
        (Loss::MeanSquaredError, _) => (2.0 * key.uniform(i) - 1.0).to_bits(),
    }
}

/// Draws the vectors of every input layer, uniform in ±1; where a vector of one value is masked, `masked` ones have it.
fn vectors(graph: &Graph, [steps, rows]: [usize; 2], key: Key, masked: &[bool]) -> Vec<Vec<f32>> {
    let draw = |(k, (node, input)): (usize, (usize, &Input))| {
        let key = key.step(2 + k as u64);
        let of_source = graph.nodes()[node].axis == Axis::Source;
        let steps = if of_source { source_steps(steps) } else { steps };
        let count = if graph.nodes()[node].shape.time.is_some() { steps * rows } else { rows };
        let values = (0..(count * input.width) as u64).map(|i| 2.0 * key.uniform(i) - 1.0);
        let mut values: Vec<f32> = values.collect();
        if let Some(MaskRule::Vectors { input: ruling, value }) = graph.mask_rule_of(graph.nodes()[node].axis)
            && ruling == k
        {
            // Of the source every third but those of the first step.
            let masked = |i: &usize| if of_source { *i >= rows && i.is_multiple_of(3) } else { masked[*i] };
            let vectors = values.chunks_exact_mut(input.width).enumerate();
            vectors.filter(|(i, _)| masked(i)).for_each(|(_, vector)| vector.fill(value));
        }
        values
    };
    graph.vector_inputs().enumerate().map(draw).collect()
}

/// Draws every parameter uniformly so that pre-activations have a standard deviation below 1 and nothing saturates;
/// no two entries are alike. Values are f32 numbers, so that f32 and f64 compute with the same.
pub(super) fn params(graph: &Graph, seed: u64) -> Vec<Vec<f64>> {
    let draw = |(p, spec): (usize, &ParamSpec)| {
        let key = Key::new(seed, Purpose::Check).step(1).layer(p);
        let limit = limit(graph, p);
        (0..spec.len() as u64).map(|i| f64::from((2.0 * key.uniform(i) - 1.0) * limit)).collect()
    };
    graph.params().iter().enumerate().map(draw).collect()
}

/// The half width of a parameter's values.
fn limit(graph: &Graph, p: usize) -> f32 {
    let spec = &graph.params()[p];
    // Uniform in ±sqrt(3/n) has variance 1/n: sums of n such terms neither grow nor fade.
    let over = |n: usize| (3.0 / n as f32).sqrt().min(1.0);
    let node = graph.nodes().iter().find(|n| n.params.contains(&p));
    match spec.role {
        Role::Bias | Role::WordBias | Role::RecurrentBias | Role::Peephole | Role::Beta => 0.5,
        Role::WordKernel => 0.8 * over(spec.shape[1]),
        Role::Gamma => 1.0,
        Role::RecurrentKernel => 0.8 * over(spec.shape[0]),
        Role::Kernel => {
            let source = node.map(|n| n.inputs[0]);
            let one_hot = matches!(source, Some(Source::Node(n)) if graph.nodes()[n].config.kind() == "one_hot");
            if one_hot { 1.0 } else { 0.8 * over(spec.shape[0]) }
        }
        Role::Embeddings => {
            let tied = graph.nodes().iter().any(|n| match &n.config {
                LayerConfig::Dense(dense) => dense.tied_to.is_some() && dense.tied_to.as_ref() == node.map(|n| &n.name),
                _ => false,
            });
            if tied { over(spec.shape[1]) } else { 1.0 }
        }
    }
}

/// Whether no relu changes its side when every parameter moves by 2^-16 of itself: f32's rounding may then not change
/// one either.
pub(super) fn is_steady(model: &Model<'_>, tensors: &[Vec<f64>], steps: &[Step<'_>]) -> bool {
    let patterns = |tensors: &[Vec<f64>]| -> Vec<u64> {
        let (params, mut state) = (Params { tensors, changed: None }, Vec::new());
        let mut patterns = Vec::new();
        for step in steps {
            let step = Step { before: if state.is_empty() { step.before } else { &state }, ..*step };
            let values = model.forward(&step, params);
            patterns.extend(values.iter().map(|value| value.pattern));
            let after = model.carry(&step, params, &values);
            state = after;
        }
        patterns
    };
    let here = patterns(tensors);
    if here.iter().all(|&pattern| pattern == 0) {
        return true;
    }
    let moved = |key: Key| -> Vec<Vec<f64>> {
        let sign = |i: usize| if key.below(i as u64, 2) == 0 { 1.0 } else { -1.0 };
        let tensor = |t: &Vec<f64>| t.iter().enumerate().map(|(i, x)| x * (1.0 + sign(i) / 65536.0)).collect();
        tensors.iter().map(tensor).collect()
    };
    (0..2).all(|i| patterns(&moved(Key::new(i, Purpose::Check).step(2))) == here)
}

/// The same model with all parameters zero at first: the check sets them, and drawing them as declared takes long.
pub(super) fn without_initializers(config: &ModelConfig) -> ModelConfig {
    let mut config = config.clone();
    config.initializer = Some(Initializer::Zeros);
    let clear = |o: &mut Recurrent| {
        (o.kernel_initializer, o.recurrent_initializer, o.bias_initializer) = (None, None, None);
    };
    for layer in &mut config.layers {
        let layer = if let LayerConfig::TimeDistributed(wrapper) = layer { &mut *wrapper.layer } else { layer };
        match layer {
            LayerConfig::Embedding(layer) => layer.embeddings_initializer = None,
            LayerConfig::Dense(layer) => (layer.kernel_initializer, layer.bias_initializer) = (None, None),
            LayerConfig::SimpleRnn(o) | LayerConfig::Lstm(o) | LayerConfig::Gru(o) => clear(o),
            LayerConfig::LayerNormalization(layer) => (layer.beta_initializer, layer.gamma_initializer) = (None, None),
            LayerConfig::Bidirectional(layer) => match &mut layer.layer {
                RecurrentConfig::SimpleRnn(o) | RecurrentConfig::Lstm(o) | RecurrentConfig::Gru(o) => clear(o),
            },
            _ => {}
        }
    }
    config
}
