//! The parameters of each layer: names, shapes, initial values and places in the arena; and each layer's output shape.

use super::config::{Activation, Cell, Dense, Initializer, LayerConfig, MergeMode, Recurrent};
use super::shape::{Shape, Time};
use super::{Graph, Source};
use crate::error::{Error, Result};
use std::ops::Range;

/// What a parameter is in its layer.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// A table of vectors (V, D).
    Embeddings,
    /// Inputs to outputs (D, units or gates * units).
    Kernel,
    /// Hidden to gates (H, gates * H).
    RecurrentKernel,
    /// Added to outputs; (2, 3 H) for a GRU that resets after the product.
    Bias,
    /// Added on the hidden side (gates * H), where a cell is declared with it.
    RecurrentBias,
    /// Inputs to outputs with a row an output (V, D), of a head that reads few of them.
    WordKernel,
    /// Added to those outputs (V), of which few are read.
    WordBias,
    /// What the gates i, f and o see of the cell state (3, H).
    Peephole,
    /// A layer normalisation's gain (D).
    Gamma,
    /// A layer normalisation's offset (D).
    Beta,
}

/// A parameter tensor and its place in the arena.
#[derive(Clone, Debug, PartialEq)]
pub struct ParamSpec {
    /// `layer/kernel`, `bidirectional/forward/recurrent_kernel`, ...
    pub name: String,
    /// What it is.
    pub role: Role,
    /// The shape, row-major.
    pub shape: Vec<usize>,
    /// Its elements in the arena.
    pub range: Range<usize>,
    /// How it is drawn.
    pub initializer: Initializer,
    /// Elements that start at 1 whatever is drawn: an LSTM's forget gate bias.
    pub ones: Option<Range<usize>>,
}

impl ParamSpec {
    /// How many numbers it has.
    pub fn len(&self) -> usize {
        self.range.len()
    }
    /// Whether it has none.
    pub fn is_empty(&self) -> bool {
        self.range.is_empty()
    }
}

/// Elements of a cache line.
const LINE: usize = 16;

/// The parameters in the order of the layers, laid out in one arena, each on a cache line of its own.
#[derive(Default)]
pub(super) struct ParamList {
    specs: Vec<ParamSpec>,
    end: usize,
}

impl ParamList {
    pub(super) fn len(&self) -> usize {
        self.specs.len()
    }

    /// The biases from this parameter on are such of which few elements are read.
    pub(super) fn biases_by_words(&mut self, from: usize) {
        let biases = self.specs[from..].iter_mut().filter(|spec| spec.role == Role::Bias);
        biases.for_each(|spec| spec.role = Role::WordBias);
    }

    pub(super) fn finish(self) -> (Vec<ParamSpec>, usize) {
        (self.specs, self.end)
    }

    pub(super) fn push(
        &mut self,
        name: String,
        role: Role,
        shape: &[usize],
        initializer: Initializer,
    ) -> Result<&mut ParamSpec> {
        let len = shape.iter().try_fold(1usize, |product, &n| product.checked_mul(n));
        let place = len.and_then(|len| Some((len, self.end.checked_add(len)?.checked_next_multiple_of(LINE)?)));
        let Some((len, end)) = place.filter(|&(_, end)| end <= isize::MAX as usize / 4) else {
            return Err(Error::usage(format!(
                "`{name}` of shape {shape:?} has more elements than a machine can address"
            )));
        };
        let range = self.end..self.end + len;
        self.end = end;
        self.specs.push(ParamSpec { name, role, shape: shape.to_vec(), range, initializer, ones: None });
        let last = self.specs.len() - 1;
        Ok(&mut self.specs[last])
    }
}

/// Gives every parameter its place, each on a cache line of its own; but those of a list of `joint` stand behind one another, where
/// the first of them would. Returns the end, which is no further than where all stand apart.
pub(super) fn lay_out(specs: &mut [ParamSpec], joint: &[Vec<usize>]) -> usize {
    let mut end = 0;
    let place = |spec: &mut ParamSpec, end: &mut usize| {
        spec.range = *end..*end + spec.len();
        *end = spec.range.end;
    };
    for i in 0..specs.len() {
        match joint.iter().find(|list| list.contains(&i)) {
            Some(list) if list[0] == i => list.iter().for_each(|&j| place(&mut specs[j], &mut end)),
            Some(_) => continue,
            None => place(&mut specs[i], &mut end),
        }
        end = end.next_multiple_of(LINE);
    }
    end
}

/// Refuses a table that has not a row for each token.
fn fits_vocabulary(name: &str, key: &str, given: usize, tokens: usize) -> Result<()> {
    if given < tokens {
        let what = format!("layer `{name}`: {key} = {given} is less than the vocabulary's {tokens} tokens");
        return Err(Error::usage(what).mend(format!("leave {key} out, or raise it")));
    }
    Ok(())
}

impl Graph {
    /// The output shape of a layer; its parameters go to `list`.
    pub(super) fn resolve(
        &mut self,
        name: &str,
        config: &LayerConfig,
        inputs: &[Source],
        list: &mut ParamList,
    ) -> Result<Shape> {
        let shapes: Vec<Shape> = inputs.iter().map(|&s| self.shape_of(s)).collect();
        let wrong = |what: String| Error::usage(format!("layer `{name}`: {what}"));
        let many = matches!(config, LayerConfig::Add(_) | LayerConfig::Concatenate(_));
        if many && shapes.len() < 2 {
            return Err(wrong(format!("{} joins at least two inputs, {} is given", config.kind(), shapes.len())));
        }
        let given = shapes.len() - config.initial_state().len();
        if !many && given != 1 {
            return Err(wrong(format!("{} takes one input, {given} are given", config.kind())));
        }
        let input = &shapes[0];
        let takes_tokens = matches!(config, LayerConfig::Input(_) | LayerConfig::Embedding(_) | LayerConfig::OneHot(_));
        if takes_tokens != input.is_tokens() {
            let (what, mend) = if takes_tokens {
                ("takes tokens, its input is numbers", "put it first")
            } else {
                ("takes numbers, its input is tokens", "put an embedding, one_hot or input layer before it")
            };
            return Err(wrong(format!("{} {what}", config.kind())).mend(mend));
        }
        let initializer = |own: Option<Initializer>, default| own.or(self.config.initializer).unwrap_or(default);
        match config {
            LayerConfig::Embedding(layer) => {
                part(name, "dropout", layer.dropout)?;
                let tokens = self.tokens_of(inputs[0]);
                let rows = layer.input_dim.unwrap_or(tokens);
                fits_vocabulary(name, "input_dim", rows, tokens)?;
                positive(name, "output_dim", layer.output_dim)?;
                let init = initializer(layer.embeddings_initializer, Initializer::Uniform(0.05));
                list.push(format!("{name}/embeddings"), Role::Embeddings, &[rows, layer.output_dim], init)?;
                Ok(input.with_dims(vec![layer.output_dim]))
            }
            LayerConfig::Input(layer) => {
                positive(name, "width", layer.width)?;
                positive(name, "batch_size", layer.batch_size.unwrap_or(1))?;
                if let (Some(rows), Some(other)) = (layer.batch_size, self.batch_size())
                    && rows != other
                {
                    return Err(wrong(format!("batch_size = {rows}, another input has {other}"))
                        .mend("a batch has one number of rows: give the same one, or one of them none"));
                }
                let time = input.time.filter(|_| layer.sequence.unwrap_or(true));
                Ok(Shape { time, dims: vec![layer.width] })
            }
            LayerConfig::OneHot(layer) => {
                let tokens = self.tokens_of(inputs[0]);
                let width = layer.num_classes.unwrap_or(tokens);
                fits_vocabulary(name, "num_classes", width, tokens)?;
                Ok(input.with_dims(vec![width]))
            }
            LayerConfig::SimpleRnn(_) | LayerConfig::Lstm(_) | LayerConfig::Gru(_) => {
                let Some((cell, options)) = config.recurrent() else { unreachable!("matched above") };
                self.recurrent(name, name, cell, options, input, list)
            }
            LayerConfig::Bidirectional(layer) => {
                let (cell, options) = layer.layer.parts();
                if options.go_backwards {
                    return Err(wrong("a bidirectional layer reads both ways, and go_backwards is set".into())
                        .mend("leave it out"));
                }
                if !options.inputs.is_empty() {
                    return Err(
                        wrong("the layer within has inputs".into()).mend("give them to the bidirectional layer")
                    );
                }
                self.recurrent(name, &format!("{name}/forward"), cell, options, input, list)?;
                let one = self.recurrent(name, &format!("{name}/backward"), cell, options, input, list)?;
                Ok(match layer.merge_mode {
                    // Not merged, they stand so too, and are taken apart.
                    MergeMode::Concat | MergeMode::None => one.with_dims(vec![2 * options.units]),
                    MergeMode::Sum | MergeMode::Mul | MergeMode::Ave => one,
                })
            }
            LayerConfig::Dense(layer) => self.dense(name, layer, input, list),
            LayerConfig::TimeDistributed(layer) => self.resolve(name, &layer.layer, inputs, list),
            LayerConfig::Dropout(layer) => {
                part(name, "rate", layer.rate)?;
                if layer.variational && input.time.is_none() {
                    return Err(wrong(format!("variational dropout is about steps, its input is {input}"))
                        .mend("leave variational out"));
                }
                Ok(input.clone())
            }
            LayerConfig::LayerNormalization(layer) => {
                if input.dims.len() != 1 {
                    let what = format!("layer_normalization works on one axis after time, its input is {input}");
                    return Err(wrong(what).mend("reshape it first"));
                }
                if !(layer.epsilon() >= 0.0 && layer.epsilon().is_finite()) {
                    return Err(wrong(format!("epsilon {} is no positive number", layer.epsilon())));
                }
                // A model that draws its weights narrowly does not mean its gains.
                if layer.scale.unwrap_or(true) {
                    let init = layer.gamma_initializer.unwrap_or(Initializer::Ones);
                    list.push(format!("{name}/gamma"), Role::Gamma, &input.dims, init)?;
                }
                if layer.center.unwrap_or(true) {
                    let init = layer.beta_initializer.unwrap_or(Initializer::Zeros);
                    list.push(format!("{name}/beta"), Role::Beta, &input.dims, init)?;
                }
                Ok(input.clone())
            }
            LayerConfig::ActivationRegularization(layer) => {
                for (key, rate) in [("alpha", layer.alpha), ("beta", layer.beta)] {
                    if !(rate >= 0.0 && rate.is_finite()) {
                        return Err(wrong(format!("{key} {rate} is no positive number")));
                    }
                }
                if layer.beta > 0.0 && input.time.is_none() {
                    return Err(wrong(format!("beta is about steps, its input is {input}"))
                        .mend("put it behind a layer with return_sequences = true, or leave beta out"));
                }
                Ok(input.clone())
            }
            LayerConfig::Masking(_) | LayerConfig::Part(_) => Ok(input.clone()),
            LayerConfig::Activation(layer) => {
                if layer.activation == Activation::Softmax && input.dims.len() != 1 {
                    return Err(wrong(format!("softmax needs one axis after time, its input is {input}")));
                }
                Ok(input.clone())
            }
            LayerConfig::Add(_) => match shapes.iter().find(|s| *s != input) {
                Some(other) => Err(wrong(format!("add needs equal shapes, its inputs are {input} and {other}"))),
                None => Ok(input.clone()),
            },
            LayerConfig::Concatenate(_) => {
                let fits = |s: &Shape| s.time == input.time && s.dims.len() == 1 && input.dims.len() == 1;
                match shapes.iter().find(|s| !fits(s)) {
                    Some(other) => {
                        Err(wrong(format!("concatenate joins the last axis, its inputs are {input} and {other}")))
                    }
                    None => Ok(input.with_dims(vec![shapes.iter().map(Shape::width).sum()])),
                }
            }
            LayerConfig::RepeatVector(layer) => {
                if input.time.is_some() {
                    return Err(wrong(format!("repeat_vector takes one vector a row, its input is {input}")).mend(
                        "put it behind a layer without return_sequences, or an input layer with sequence = false",
                    ));
                }
                let time = Shape::tokens(self.config.input_length).time;
                if let Some(n) = layer.n
                    && time != Some(Time::Fixed(n))
                {
                    let length = self.config.input_length.map_or("none".to_owned(), |length| length.to_string());
                    return Err(wrong(format!("n = {n}, and the model's input_length is {length}"))
                        .mend("leave n out, for as many steps as the batch has, or set input_length to it"));
                }
                Ok(Shape { time, dims: input.dims.clone() })
            }
            LayerConfig::Reshape(layer) => {
                let steps = match input.time {
                    Some(Time::Fixed(n)) => n,
                    None => 1,
                    Some(Time::Any) => {
                        return Err(wrong(format!("reshape needs a fixed number of steps, its input is {input}"))
                            .mend("set input_length, or use the layer after return_sequences = false"));
                    }
                };
                let product = layer.target_shape.iter().try_fold(1usize, |p, &n| p.checked_mul(n));
                if layer.target_shape.is_empty() || product != Some(steps * input.width()) {
                    return Err(wrong(format!("{:?} does not hold the values of {input}", layer.target_shape)));
                }
                Ok(Shape { time: None, dims: layer.target_shape.clone() })
            }
        }
    }

    fn dense(&self, name: &str, layer: &Dense, input: &Shape, list: &mut ParamList) -> Result<Shape> {
        let wrong = |what: String| Error::usage(format!("layer `{name}`: {what}"));
        let units = layer.units.unwrap_or(self.classes);
        positive(name, "units", units)?;
        if input.dims.len() != 1 {
            return Err(
                wrong(format!("dense works on one axis after time, its input is {input}")).mend("reshape it first")
            );
        }
        let initializer = |own: Option<Initializer>, default| own.or(self.config.initializer).unwrap_or(default);
        if let Some(table) = &layer.tied_to {
            let node = self.nodes.iter().find(|n| n.name == *table);
            let Some(LayerConfig::Embedding(embedding)) = node.map(|n| &n.config) else {
                return Err(wrong(format!("tied_to = \"{table}\" is not an embedding layer before it")));
            };
            let rows = embedding.input_dim.unwrap_or(self.vocabulary);
            if (embedding.output_dim, rows) != (input.width(), units) {
                return Err(wrong(format!(
                    "its kernel is {} x {units}, the table it is tied to is {rows} x {}",
                    input.width(),
                    embedding.output_dim
                ))
                .mend("make the embedding's output_dim equal to the width of this layer's input"));
            }
        } else {
            let init = initializer(layer.kernel_initializer, Initializer::GlorotUniform);
            list.push(format!("{name}/kernel"), Role::Kernel, &[input.width(), units], init)?;
        }
        if layer.use_bias.unwrap_or(true) {
            let init = initializer(layer.bias_initializer, Initializer::Zeros);
            list.push(format!("{name}/bias"), Role::Bias, &[units], init)?;
        }
        Ok(input.with_dims(vec![units]))
    }

    fn recurrent(
        &self,
        layer: &str,
        prefix: &str,
        cell: Cell,
        o: &Recurrent,
        input: &Shape,
        list: &mut ParamList,
    ) -> Result<Shape> {
        let wrong = |what: String| Error::usage(format!("layer `{layer}`: {what}"));
        positive(layer, "units", o.units)?;
        if input.time.is_none() || input.dims.len() != 1 {
            return Err(wrong(format!("a recurrent layer needs a value for each step, its input is {input}"))
                .mend("set return_sequences = true on the recurrent layer before it"));
        }
        if o.reset_after.is_some() && cell != Cell::Gru {
            return Err(wrong("reset_after belongs to gru".into()));
        }
        if o.unit_forget_bias.is_some() && cell != Cell::Lstm {
            return Err(wrong("unit_forget_bias belongs to lstm".into()));
        }
        let second = o.recurrent_bias.unwrap_or(false);
        if second && cell == Cell::Gru {
            return Err(
                wrong("recurrent_bias belongs to simple_rnn and lstm".into()).mend("a gru with reset_after has it")
            );
        }
        if second && o.use_bias == Some(false) {
            return Err(wrong("recurrent_bias stands beside a bias, and use_bias is false".into()));
        }
        if o.recurrent_activation.is_some() && cell == Cell::SimpleRnn {
            return Err(wrong("recurrent_activation belongs to lstm and gru".into()));
        }
        let rates = [("weight_drop", o.weight_drop), ("recurrent_dropout", o.recurrent_dropout)];
        for (key, rate) in rates.into_iter().chain([("zoneout", o.zoneout), ("zoneout_cell", o.zoneout_cell)]) {
            part(layer, key, rate)?;
        }
        if o.zoneout_cell > 0.0 && cell != Cell::Lstm {
            return Err(wrong("zoneout_cell belongs to lstm".into()).mend("zoneout is that of h"));
        }
        if o.zero_output_for_mask && !o.return_sequences {
            return Err(wrong("zero_output_for_mask is about the outputs of all steps".into())
                .mend("set return_sequences = true, or leave it out"));
        }
        if o.peephole && cell != Cell::Lstm {
            return Err(wrong("peephole belongs to lstm".into()));
        }
        if [o.activation, o.recurrent_activation].contains(&Some(Activation::Softmax)) {
            return Err(wrong("softmax is no function of a cell, which works on each unit alone".into())
                .mend("use tanh, sigmoid, hard_sigmoid, relu, softsign or linear"));
        }
        let initializer = |own: Option<Initializer>, default| own.or(self.config.initializer).unwrap_or(default);
        let gates = cell.gates();
        let init = initializer(o.kernel_initializer, Initializer::GlorotUniform);
        list.push(format!("{prefix}/kernel"), Role::Kernel, &[input.width(), gates * o.units], init)?;
        let init = initializer(o.recurrent_initializer, Initializer::Orthogonal);
        list.push(format!("{prefix}/recurrent_kernel"), Role::RecurrentKernel, &[o.units, gates * o.units], init)?;
        if o.use_bias.unwrap_or(true) {
            let two = cell == Cell::Gru && o.reset_after.unwrap_or(true);
            let shape = if two { vec![2, gates * o.units] } else { vec![gates * o.units] };
            let init = initializer(o.bias_initializer, Initializer::Zeros);
            let spec = list.push(format!("{prefix}/bias"), Role::Bias, &shape, init)?;
            if cell == Cell::Lstm && o.unit_forget_bias.unwrap_or(true) {
                spec.ones = Some(o.units..2 * o.units);
            }
        }
        if o.peephole {
            let init = initializer(o.kernel_initializer, Initializer::GlorotUniform);
            list.push(format!("{prefix}/peephole"), Role::Peephole, &[3, o.units], init)?;
        }
        if second {
            let init = initializer(o.bias_initializer, Initializer::Zeros);
            list.push(format!("{prefix}/recurrent_bias"), Role::RecurrentBias, &[gates * o.units], init)?;
        }
        let time = input.time.filter(|_| o.return_sequences);
        Ok(Shape { time, dims: vec![o.units] })
    }
}

pub(super) fn positive(name: &str, key: &str, value: usize) -> Result<()> {
    if value == 0 {
        return Err(Error::usage(format!("layer `{name}`: {key} must be at least 1")));
    }
    Ok(())
}

/// Checks that an option is a part of a whole, and not all of it.
fn part(name: &str, key: &str, value: f32) -> Result<()> {
    if !(0.0..1.0).contains(&value) {
        return Err(Error::usage(format!("layer `{name}`: {key} {value} is not in [0, 1)")));
    }
    Ok(())
}
