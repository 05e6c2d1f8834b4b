//! The short form of a model as a graph of layers.

use super::{Cell, Init, InitBiases, ModelSection, RnnActivation};
use crate::graph::{
    Activation, Dense, Dropout, Embedding, HeadConfig, Initializer, LayerConfig, ModelConfig, OneHot, Recurrent,
};

/// Half width or standard deviation of initial weights where `init_scale` is not given: char-rnn's 0.08.
const INIT_SCALE: f64 = 0.08;

impl ModelSection {
    /// The graph of layers that this section describes.
    ///
    /// The short form is Zaremba's stack (Zaremba, Sutskever and Vinyals 2014, "Recurrent neural network
    /// regularization"), which char-rnn and PyTorch's example share: dropout stands after the embedding and after each
    /// recurrent layer, never between time steps.
    pub fn graph(&self) -> ModelConfig {
        if let Some(graph) = &self.graph {
            let head = if self.head.is_default() { &graph.head } else { &self.head };
            return ModelConfig { head: head.clone(), ..graph.clone() };
        }
        let mut layers = vec![self.input()];
        if self.embedding > 0 {
            layers.extend(self.dropout_layer());
        }
        for _ in 0..self.layers {
            layers.push(self.recurrent());
            layers.extend(self.dropout_layer());
        }
        layers.push(LayerConfig::Dense(Dense {
            activation: Activation::Softmax,
            tied_to: self.tied.then(|| "embedding".to_owned()),
            bias_initializer: self.biases(),
            ..Dense::default()
        }));
        ModelConfig { initializer: self.weights(), head: self.head.clone(), layers, ..ModelConfig::default() }
    }

    /// The head of the model's one output.
    pub fn head(&self) -> &HeadConfig {
        match &self.graph {
            Some(graph) if self.head.is_default() => match graph.outputs.as_slice() {
                [output] => &output.head,
                _ => &graph.head,
            },
            _ => &self.head,
        }
    }

    /// The same, to change it.
    pub fn head_mut(&mut self) -> &mut HeadConfig {
        match &mut self.graph {
            Some(graph) if self.head.is_default() => match graph.outputs.as_mut_slice() {
                [output] => &mut output.head,
                _ => &mut graph.head,
            },
            _ => &mut self.head,
        }
    }

    fn input(&self) -> LayerConfig {
        match self.embedding {
            0 => LayerConfig::OneHot(OneHot::default()),
            output_dim => LayerConfig::Embedding(Embedding {
                name: self.tied.then(|| "embedding".to_owned()),
                output_dim,
                ..Embedding::default()
            }),
        }
    }

    fn recurrent(&self) -> LayerConfig {
        let options = Recurrent {
            units: self.hidden,
            return_sequences: true,
            stateful: true,
            bias_initializer: self.biases(),
            ..Recurrent::default()
        };
        match self.cell {
            Cell::Lstm => {
                let unit_forget_bias = Some(self.unit_forget_bias.unwrap_or(self.init == Init::Keras));
                LayerConfig::Lstm(Recurrent { unit_forget_bias, recurrent_bias: self.recurrent_bias, ..options })
            }
            Cell::Gru => LayerConfig::Gru(Recurrent { reset_after: self.reset_after, ..options }),
            Cell::Rnn => {
                let activation = self.activation.map(|activation| match activation {
                    RnnActivation::Tanh => Activation::Tanh,
                    RnnActivation::Relu => Activation::Relu,
                });
                LayerConfig::SimpleRnn(Recurrent { activation, recurrent_bias: self.recurrent_bias, ..options })
            }
        }
    }

    fn dropout_layer(&self) -> Option<LayerConfig> {
        let rate = self.dropout as f32;
        (rate > 0.0).then(|| LayerConfig::Dropout(Dropout { rate, ..Dropout::default() }))
    }

    fn weights(&self) -> Option<Initializer> {
        let scale = self.init_scale.unwrap_or(INIT_SCALE) as f32;
        match self.init {
            Init::Keras => None,
            Init::Uniform => Some(Initializer::Uniform(scale)),
            Init::Normal => Some(Initializer::Normal(scale)),
        }
    }

    fn biases(&self) -> Option<Initializer> {
        match (self.init, self.init_biases.unwrap_or(InitBiases::Zeros)) {
            (Init::Keras, _) => None,
            (_, InitBiases::Zeros) => Some(Initializer::Zeros),
            (_, InitBiases::Weights) => self.weights(),
        }
    }
}
