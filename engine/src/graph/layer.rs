//! Each layer: what it takes, which parameters it has, and what it gives.

use super::config::{
    Activation, ActivationRegularization, Bidirectional, Cell, Dense, Dropout, Embedding, Initializer, Input,
    LayerConfig, LayerNormalization, MergeMode, OneHot, Recurrent, RepeatVector, Reshape,
};
use super::params::{ParamList, Role};
use super::shape::{Shape, Time};
use super::{Graph, SOURCE, Source};
use crate::error::{Error, Result};

impl Graph {
    /// The output shape of a layer; its parameters go to `list`.
    pub(super) fn resolve(
        &self,
        name: &str,
        config: &LayerConfig,
        inputs: &[Source],
        list: &mut ParamList,
    ) -> Result<Shape> {
        let shapes: Vec<Shape> = inputs.iter().map(|&source| self.shape_of(source)).collect();
        Layer { graph: self, name, source: inputs.first().copied(), shapes: &shapes }.resolve(config, list)
    }
}

/// A layer of a graph whose earlier nodes are known.
struct Layer<'a> {
    graph: &'a Graph,
    name: &'a str,
    /// The first of its inputs.
    source: Option<Source>,
    /// What it takes: the inputs, then the states before the first step.
    shapes: &'a [Shape],
}

impl Layer<'_> {
    fn wrong(&self, what: impl std::fmt::Display) -> Error {
        Error::usage(format!("layer `{}`: {what}", self.name))
    }

    /// How a parameter is drawn.
    fn drawn(&self, own: Option<Initializer>, usual: Initializer) -> Initializer {
        own.or(self.graph.config.initializer).unwrap_or(usual)
    }

    fn resolve(&self, config: &LayerConfig, list: &mut ParamList) -> Result<Shape> {
        self.check_inputs(config)?;
        let input = &self.shapes[0];
        match config {
            LayerConfig::Embedding(layer) => self.embedding(layer, input, list),
            LayerConfig::Input(layer) => self.input(layer, input),
            LayerConfig::OneHot(layer) => self.one_hot(layer, input),
            LayerConfig::SimpleRnn(options) => self.recurrent(self.name, (Cell::SimpleRnn, options), input, list),
            LayerConfig::Lstm(options) => self.recurrent(self.name, (Cell::Lstm, options), input, list),
            LayerConfig::Gru(options) => self.recurrent(self.name, (Cell::Gru, options), input, list),
            LayerConfig::Bidirectional(layer) => self.bidirectional(layer, input, list),
            LayerConfig::Dense(layer) => self.dense(layer, input, list),
            LayerConfig::TimeDistributed(layer) => self.resolve(&layer.layer, list),
            LayerConfig::Dropout(layer) => self.dropout(layer, input),
            LayerConfig::LayerNormalization(layer) => self.layer_normalization(layer, input, list),
            LayerConfig::ActivationRegularization(layer) => self.activation_regularization(layer, input),
            LayerConfig::Masking(_) | LayerConfig::Part(_) => Ok(input.clone()),
            LayerConfig::Activation(layer) => match layer.activation {
                Activation::Softmax if input.dims.len() != 1 => Err(self
                    .wrong(format!("softmax needs one axis after time, its input is {input}"))
                    .mend("reshape it to one axis first")),
                _ => Ok(input.clone()),
            },
            LayerConfig::Add(_) => match self.shapes.iter().find(|&shape| shape != input) {
                Some(other) => Err(self
                    .wrong(format!("add needs equal shapes, its inputs are {input} and {other}"))
                    .mend("bring them to one width by dense layers, or join them by concatenate")),
                None => Ok(input.clone()),
            },
            LayerConfig::Concatenate(_) => self.concatenate(input),
            LayerConfig::RepeatVector(layer) => self.repeat_vector(layer, input),
            LayerConfig::Reshape(layer) => self.reshape(layer, input),
        }
    }

    /// How many inputs there are, and whether they are tokens.
    fn check_inputs(&self, config: &LayerConfig) -> Result<()> {
        let kind = config.kind();
        let many = matches!(config, LayerConfig::Add(_) | LayerConfig::Concatenate(_));
        if many && self.shapes.len() < 2 {
            return Err(self
                .wrong(format!("{kind} joins at least two inputs, {} is given", self.shapes.len()))
                .mend("name them: inputs = [\"one\", \"other\"]"));
        }
        let given = self.shapes.len() - config.initial_state().len();
        if !many && given != 1 {
            let mend =
                if given == 0 { "name it in `inputs`" } else { "join them by a concatenate or add layer before it" };
            return Err(self.wrong(format!("{kind} takes one input, {given} are given")).mend(mend));
        }
        let takes_tokens = matches!(config, LayerConfig::Input(_) | LayerConfig::Embedding(_) | LayerConfig::OneHot(_));
        match (takes_tokens, self.shapes[0].is_tokens()) {
            (true, false) => Err(self.wrong(format!("{kind} takes tokens, its input is numbers")).mend("put it first")),
            (false, true) => Err(self
                .wrong(format!("{kind} takes numbers, its input is tokens"))
                .mend("put an embedding, one_hot or input layer before it")),
            _ => Ok(()),
        }
    }

    fn embedding(&self, layer: &Embedding, input: &Shape, list: &mut ParamList) -> Result<Shape> {
        part(self.name, "dropout", layer.dropout)?;
        let rows = self.fits_vocabulary("input_dim", layer.input_dim)?;
        positive(self.name, "output_dim", layer.output_dim)?;
        if layer.mask_zero && self.source.map_or(0, |source| self.graph.tokens_of(source)) < 2 {
            let what = "mask_zero makes the only token of the vocabulary padding";
            return Err(self.wrong(what).mend("leave it out, or give a text with more tokens"));
        }
        let init = self.drawn(layer.embeddings_initializer, Initializer::Uniform(0.05));
        list.push(format!("{}/embeddings", self.name), Role::Embeddings, &[rows, layer.output_dim], init)?;
        Ok(input.with_dims(vec![layer.output_dim]))
    }

    fn one_hot(&self, layer: &OneHot, input: &Shape) -> Result<Shape> {
        Ok(input.with_dims(vec![self.fits_vocabulary("num_classes", layer.num_classes)?]))
    }

    /// As many rows as are given, or as there are tokens, for each of which there must be one.
    fn fits_vocabulary(&self, key: &str, given: Option<usize>) -> Result<usize> {
        let tokens = self.source.map_or(0, |source| self.graph.tokens_of(source));
        match given {
            Some(rows) if rows < tokens => {
                let what = format!("{key} = {rows} is less than the vocabulary's {tokens} tokens");
                Err(self.wrong(what).mend(format!("leave {key} out, or raise it")))
            }
            rows => Ok(rows.unwrap_or(tokens)),
        }
    }

    fn input(&self, layer: &Input, input: &Shape) -> Result<Shape> {
        positive(self.name, "width", layer.width)?;
        positive(self.name, "batch_size", layer.batch_size.unwrap_or(1))?;
        if let (Some(rows), Some(other)) = (layer.batch_size, self.graph.batch_size())
            && rows != other
        {
            return Err(self
                .wrong(format!("batch_size = {rows}, another input has {other}"))
                .mend("a batch has one number of rows: give the same one, or one of them none"));
        }
        let time = input.time.filter(|_| layer.sequence.unwrap_or(true));
        Ok(Shape { time, dims: vec![layer.width] })
    }

    fn bidirectional(&self, layer: &Bidirectional, input: &Shape, list: &mut ParamList) -> Result<Shape> {
        let within @ (_, options) = layer.layer.parts();
        if options.go_backwards {
            let what = "a bidirectional layer reads both ways, and go_backwards is set";
            return Err(self.wrong(what).mend("leave it out"));
        }
        if !options.inputs.is_empty() || options.name.is_some() {
            return Err(self
                .wrong("the layer within has a name or inputs")
                .mend("set them on the bidirectional layer"));
        }
        self.recurrent(&format!("{}/forward", self.name), within, input, list)?;
        let one = self.recurrent(&format!("{}/backward", self.name), within, input, list)?;
        Ok(match layer.merge_mode {
            // Not merged, they stand so too, and are taken apart.
            MergeMode::Concat | MergeMode::None => one.with_dims(vec![2 * options.units]),
            MergeMode::Sum | MergeMode::Mul | MergeMode::Ave => one,
        })
    }

    fn dropout(&self, layer: &Dropout, input: &Shape) -> Result<Shape> {
        part(self.name, "rate", layer.rate)?;
        if layer.variational && input.time.is_none() {
            let what = format!("variational dropout works over time steps, its input is {input}");
            return Err(self.wrong(what).mend("leave variational out"));
        }
        Ok(input.clone())
    }

    fn layer_normalization(&self, layer: &LayerNormalization, input: &Shape, list: &mut ParamList) -> Result<Shape> {
        if input.dims.len() != 1 {
            let what = format!("layer_normalization works on one axis after time, its input is {input}");
            return Err(self.wrong(what).mend("reshape it to one axis first"));
        }
        if !(layer.epsilon() >= 0.0 && layer.epsilon().is_finite()) {
            return Err(self
                .wrong(format!("epsilon {} is not a positive number", layer.epsilon()))
                .mend("leave it out, for Keras' 0.001"));
        }
        // A model that draws its weights narrowly does not mean its gains.
        if layer.scale.unwrap_or(true) {
            let init = layer.gamma_initializer.unwrap_or(Initializer::Ones);
            list.push(format!("{}/gamma", self.name), Role::Gamma, &input.dims, init)?;
        }
        if layer.center.unwrap_or(true) {
            let init = layer.beta_initializer.unwrap_or(Initializer::Zeros);
            list.push(format!("{}/beta", self.name), Role::Beta, &input.dims, init)?;
        }
        Ok(input.clone())
    }

    fn activation_regularization(&self, layer: &ActivationRegularization, input: &Shape) -> Result<Shape> {
        for (key, rate) in [("alpha", layer.alpha), ("beta", layer.beta)] {
            if !(rate >= 0.0 && rate.is_finite()) {
                return Err(self
                    .wrong(format!("{key} {rate} is no positive number"))
                    .mend("give a finite number, 0 or more"));
            }
        }
        if layer.beta > 0.0 && input.time.is_none() {
            return Err(self
                .wrong(format!("beta works on time steps, its input is {input}"))
                .mend("put it after a layer with return_sequences = true, or leave beta out"));
        }
        Ok(input.clone())
    }

    fn concatenate(&self, input: &Shape) -> Result<Shape> {
        let fits = |shape: &Shape| shape.time == input.time && shape.dims.len() == 1 && input.dims.len() == 1;
        match self.shapes.iter().find(|shape| !fits(shape)) {
            Some(other) => Err(self
                .wrong(format!("concatenate joins the last axis, its inputs are {input} and {other}"))
                .mend("give all of them one axis, and let either all or none have a value for each step")),
            None => Ok(input.with_dims(vec![self.shapes.iter().map(Shape::width).sum()])),
        }
    }

    fn repeat_vector(&self, layer: &RepeatVector, input: &Shape) -> Result<Shape> {
        if input.time.is_some() {
            return Err(self
                .wrong(format!("repeat_vector takes one vector a row, its input is {input}"))
                .mend("put it after a layer without return_sequences, or an input layer with sequence = false"));
        }
        let length = self.graph.config.input_length;
        let time = Shape::tokens(length).time;
        if let Some(n) = layer.n
            && time != Some(Time::Fixed(n))
        {
            let length = length.map_or("none".to_owned(), |length| length.to_string());
            return Err(self
                .wrong(format!("n = {n}, and the model's input_length is {length}"))
                .mend("leave n out, for as many steps as the batch has, or set input_length to it"));
        }
        Ok(Shape { time, dims: input.dims.clone() })
    }

    fn reshape(&self, layer: &Reshape, input: &Shape) -> Result<Shape> {
        let steps = match input.time {
            Some(Time::Fixed(n)) => n,
            None => 1,
            Some(Time::Any) => {
                return Err(self
                    .wrong(format!("reshape needs a fixed number of steps, its input is {input}"))
                    .mend("set input_length, or use the layer after return_sequences = false"));
            }
        };
        let product = layer.target_shape.iter().try_fold(1usize, |p, &n| p.checked_mul(n));
        if layer.target_shape.is_empty() || product != Some(steps * input.width()) {
            let (shape, values) = (&layer.target_shape, steps * input.width());
            return Err(self
                .wrong(format!("{shape:?} does not hold the values of {input}"))
                .mend(format!("give sizes whose product is {values}; none is left open (-1)")));
        }
        Ok(Shape { time: None, dims: layer.target_shape.clone() })
    }

    fn dense(&self, layer: &Dense, input: &Shape, list: &mut ParamList) -> Result<Shape> {
        let units = layer.units.unwrap_or(self.graph.classes);
        positive(self.name, "units", units)?;
        if input.dims.len() != 1 {
            let what = format!("dense works on one axis after time, its input is {input}");
            return Err(self.wrong(what).mend("reshape it to one axis first"));
        }
        match &layer.tied_to {
            Some(_) if layer.kernel_initializer.is_some() => {
                let what = "kernel_initializer and tied_to: the kernel is the table of the embedding";
                return Err(self.wrong(what).mend("give the embedding an embeddings_initializer instead"));
            }
            Some(table) => self.check_tie(table, [input.width(), units])?,
            None => {
                let init = self.drawn(layer.kernel_initializer, Initializer::GlorotUniform);
                list.push(format!("{}/kernel", self.name), Role::Kernel, &[input.width(), units], init)?;
            }
        }
        if layer.use_bias.unwrap_or(true) {
            let init = self.drawn(layer.bias_initializer, Initializer::Zeros);
            list.push(format!("{}/bias", self.name), Role::Bias, &[units], init)?;
        }
        Ok(input.with_dims(vec![units]))
    }

    /// Checks that an embedding's transposed table is a kernel (inputs, units).
    fn check_tie(&self, table: &str, [inputs, units]: [usize; 2]) -> Result<()> {
        let node = self.graph.nodes.iter().find(|node| node.name == table);
        let Some(LayerConfig::Embedding(embedding)) = node.map(|node| &node.config) else {
            return Err(self.wrong(format!("tied_to = \"{table}\" is not an embedding layer before it")));
        };
        if node.is_some_and(|node| node.inputs[0] == Source::Second) {
            let what = format!("tied_to = \"{table}\" is a table of the words of the `{SOURCE}`");
            return Err(self.wrong(what).mend("tie it to the embedding of the text"));
        }
        let (rows, width) = (embedding.input_dim.unwrap_or(self.graph.vocabulary), embedding.output_dim);
        let what = format!("its kernel is {inputs} x {units}, the table it is tied to is {rows} x {width}");
        match (width == inputs, rows == units) {
            (true, true) => Ok(()),
            (false, _) => {
                Err(self.wrong(what).mend("make the embedding's output_dim equal to the width of this layer's input"))
            }
            (true, false) => Err(self.wrong(what).mend(
                "leave the embedding's input_dim and this layer's units out: both are as many as there are tokens",
            )),
        }
    }

    /// A recurrent layer of one direction, whose parameters have names that begin so.
    fn recurrent(
        &self,
        prefix: &str,
        (cell, options): (Cell, &Recurrent),
        input: &Shape,
        list: &mut ParamList,
    ) -> Result<Shape> {
        let o = options;
        if input.time.is_none() || input.dims.len() != 1 {
            let before = self.source.and_then(|source| self.graph.recurrent_before(source));
            let mend = before
                .map_or("give it a sequence: what has no steps gets them by repeat_vector".to_owned(), |name| {
                    format!("set return_sequences = true on layer `{name}`")
                });
            let what = format!("a recurrent layer needs a value for each step, its input is {input}");
            return Err(self.wrong(what).mend(mend));
        }
        self.check_options(cell, o)?;
        // More than there can be, if it is more than a number holds: the list then refuses it.
        let columns = cell.gates().saturating_mul(o.units);
        let init = self.drawn(o.kernel_initializer, Initializer::GlorotUniform);
        list.push(format!("{prefix}/kernel"), Role::Kernel, &[input.width(), columns], init)?;
        let init = self.drawn(o.recurrent_initializer, Initializer::Orthogonal);
        list.push(format!("{prefix}/recurrent_kernel"), Role::RecurrentKernel, &[o.units, columns], init)?;
        if o.use_bias.unwrap_or(true) {
            let two = cell == Cell::Gru && o.reset_after.unwrap_or(true);
            let shape = if two { vec![2, columns] } else { vec![columns] };
            let init = self.drawn(o.bias_initializer, Initializer::Zeros);
            let spec = list.push(format!("{prefix}/bias"), Role::Bias, &shape, init)?;
            if cell == Cell::Lstm && o.unit_forget_bias.unwrap_or(true) {
                spec.ones = Some(o.units..2 * o.units);
            }
        }
        if o.peephole {
            let init = self.drawn(o.kernel_initializer, Initializer::GlorotUniform);
            list.push(format!("{prefix}/peephole"), Role::Peephole, &[3, o.units], init)?;
        }
        if o.recurrent_bias.unwrap_or(false) {
            let init = self.drawn(o.bias_initializer, Initializer::Zeros);
            list.push(format!("{prefix}/recurrent_bias"), Role::RecurrentBias, &[columns], init)?;
        }
        let time = input.time.filter(|_| o.return_sequences);
        Ok(Shape { time, dims: vec![o.units] })
    }

    /// Refuses options of a recurrent layer that another cell has, or that contradict each other.
    fn check_options(&self, cell: Cell, o: &Recurrent) -> Result<()> {
        positive(self.name, "units", o.units)?;
        let rates = [("weight_drop", o.weight_drop), ("recurrent_dropout", o.recurrent_dropout)];
        for (key, rate) in rates.into_iter().chain([("zoneout", o.zoneout), ("zoneout_cell", o.zoneout_cell)]) {
            part(self.name, key, rate)?;
        }
        let (gru, lstm) = (cell == Cell::Gru, cell == Cell::Lstm);
        let second = o.recurrent_bias.unwrap_or(false);
        let softmax = [o.activation, o.recurrent_activation].contains(&Some(Activation::Softmax));
        let refused: [(bool, &str, &str); 10] = [
            (o.reset_after.is_some() && !gru, "reset_after belongs to gru", ""),
            (o.unit_forget_bias.is_some() && !lstm, "unit_forget_bias belongs to lstm", ""),
            (
                o.unit_forget_bias == Some(true) && o.use_bias == Some(false),
                "unit_forget_bias is about a bias, and use_bias is false",
                "leave one of them out",
            ),
            (second && gru, "recurrent_bias belongs to simple_rnn and lstm", "a gru with reset_after has it"),
            (
                second && o.use_bias == Some(false),
                "recurrent_bias stands beside a bias, and use_bias is false",
                "leave one of them out",
            ),
            (
                o.recurrent_activation.is_some() && cell == Cell::SimpleRnn,
                "recurrent_activation belongs to lstm and gru",
                "",
            ),
            (o.zoneout_cell > 0.0 && !lstm, "zoneout_cell belongs to lstm", "zoneout is that of h"),
            (
                o.zero_output_for_mask && !o.return_sequences,
                "zero_output_for_mask is about the outputs of all steps",
                "set return_sequences = true, or leave it out",
            ),
            (o.peephole && !lstm, "peephole belongs to lstm", ""),
            (
                softmax,
                "softmax is no function of a cell, which works on each unit alone",
                "use tanh, sigmoid, hard_sigmoid, relu, softsign or linear",
            ),
        ];
        match refused.into_iter().find(|(found, _, _)| *found) {
            None => Ok(()),
            Some((_, what, "")) => Err(self.wrong(what).mend("leave it out")),
            Some((_, what, mend)) => Err(self.wrong(what).mend(mend)),
        }
    }
}

pub(super) fn positive(name: &str, key: &str, value: usize) -> Result<()> {
    if value == 0 {
        return Err(
            Error::usage(format!("layer `{name}`: {key} must be at least 1")).mend("give a whole number, 1 or more")
        );
    }
    Ok(())
}

/// Checks that an option is a part of a whole, and not all of it.
fn part(name: &str, key: &str, value: f32) -> Result<()> {
    if !(0.0..1.0).contains(&value) {
        return Err(Error::usage(format!("layer `{name}`: {key} {value} is not in [0, 1)"))
            .mend("give the fraction to drop, such as 0.5 for half"));
    }
    Ok(())
}
