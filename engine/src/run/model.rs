//! A trained network as what text is generated with, and parameters from files.

use std::path::Path;
use std::rc::Rc;

use crate::error::Result;
use crate::generate::Predictor;
use crate::graph::Graph;
use crate::network::{Network, NetworkOptions, State};
use crate::train::storage::Storage;
use crate::train::{Found, TensorSpec, Weights, Which, find};

use super::texts::window_length;

/// The most tokens of a prompt that are fed at once.
const CHUNK: usize = 64;

/// A network of one row that reads and predicts.
pub struct Speaker {
    network: Network,
    state: State,
    beginning: Option<State>,
    begun: Option<Begun>,
    logits: Vec<f32>,
    /// Of a model that reads windows.
    window: Option<Window>,
}

/// A prompt that was read, and where that has led.
struct Begun {
    prompt: Vec<u32>,
    state: State,
    logits: Vec<f32>,
}

/// The last tokens of a text.
struct Window {
    /// What stands before its beginning.
    filler: u32,
    tokens: Vec<u32>,
}

impl Window {
    /// Puts tokens behind those that are there, which leave at the front.
    fn push(&mut self, tokens: &[u32]) {
        let length = self.tokens.len();
        self.tokens.extend_from_slice(tokens);
        self.tokens.drain(..self.tokens.len() - length);
    }
}

impl Speaker {
    /// A network of one row without room for gradients, its parameters still to be set. `options` says how it is run; its
    /// sizes are set here. `filler` is the token that stands before the beginning of a text, which a model of windows reads
    /// there.
    ///
    /// # Errors
    /// As [`Network::new`]; [`crate::Error::Usage`] for a model that gives one output a text of any length.
    pub fn new(graph: &Graph, filler: u32, options: NetworkOptions) -> Result<Speaker> {
        let length = window_length(graph)?;
        let options = Speaker::options(graph, &options);
        let network = match length {
            Some(_) => Network::new(graph, options)?,
            // A model that was trained on pieces of a text starts each at zero; here the text goes on.
            None => Network::new(&graph.carrying()?, options)?,
        };
        let window = length.map(|length| Window { filler, tokens: vec![filler; length] });
        let state = network.new_state(1);
        Ok(Speaker { state, beginning: None, begun: None, logits: vec![0.0; graph.vocabulary()], network, window })
    }

    /// How the network of a speaker is made, run as these options say.
    pub fn options(graph: &Graph, options: &NetworkOptions) -> NetworkOptions {
        let steps = graph.config().input_length.unwrap_or(CHUNK).max(CHUNK);
        NetworkOptions { replicas: 1, steps, rows: 1, training: false, ..options.clone() }
    }

    /// From now on a text begins where row `row` of `state` stands, not at the zero state.
    ///
    /// # Panics
    /// Where the state is another model's or has no such row.
    pub fn begin_at(&mut self, state: &State, row: usize) {
        let mut beginning = self.network.new_state(1);
        for tensor in state.tensors() {
            let units = tensor.shape[1];
            let Some(own) = beginning.tensor_mut(&tensor.name) else { panic!("no state is named {}", tensor.name) };
            own.copy_from_slice(&tensor.values[row * units..(row + 1) * units]);
        }
        (self.beginning, self.begun) = (Some(beginning), None);
    }

    /// From now on a text begins at the zero state.
    pub fn begin_at_zero(&mut self) {
        (self.beginning, self.begun) = (None, None);
    }

    /// Does `act` with the parameters of `network`, of the same layers, which lends them for so long.
    ///
    /// # Panics
    /// Where the network has other layers.
    pub fn speak_as<R>(&mut self, network: &mut Network, act: impl FnOnce(&mut Self) -> R) -> R {
        self.network.exchange_params(network);
        self.begun = None;
        let result = act(self);
        self.begun = None;
        self.network.exchange_params(network);
        result
    }

    /// The parameters, laid out as the graph says.
    pub fn params_mut(&mut self) -> &mut [f32] {
        self.begun = None;
        self.network.params_mut()
    }
}

impl Predictor for Speaker {
    fn reset(&mut self) {
        match &self.beginning {
            Some(beginning) => self.state.clone_from(beginning),
            None => self.state.reset(),
        }
        if let Some(Window { filler, tokens }) = &mut self.window {
            tokens.fill(*filler);
        }
    }
    fn feed(&mut self, tokens: &[u32]) -> Result<()> {
        let vocabulary = self.logits.len();
        if let Some(window) = &mut self.window {
            window.push(tokens);
            let logits = self.network.logits(&window.tokens, 1, &mut self.state);
            self.logits.copy_from_slice(&logits.row(0)[..vocabulary]);
            return Ok(());
        }
        for chunk in tokens.chunks(CHUNK) {
            let logits = self.network.logits(chunk, 1, &mut self.state);
            let row = logits.row(0);
            self.logits.copy_from_slice(&row[..vocabulary]);
        }
        Ok(())
    }
    fn logits(&self) -> &[f32] {
        &self.logits
    }
    fn begin(&mut self, prompt: &[u32]) -> Result<()> {
        // A window is read with each token anyway.
        if let Some(begun) = self.begun.as_ref().filter(|begun| begun.prompt == prompt) {
            self.state.clone_from(&begun.state);
            self.logits.copy_from_slice(&begun.logits);
            return Ok(());
        }
        self.reset();
        self.feed(prompt)?;
        self.begun = self.window.is_none().then(|| Begun {
            prompt: prompt.to_vec(),
            state: self.state.clone(),
            logits: self.logits.clone(),
        });
        Ok(())
    }
}

/// Copies the parameters of a run's checkpoint into an arena. Returns the step of the checkpoint. Where the best or the
/// newest is damaged, the newest that is in order takes its place, and `notice` is told of each that was passed over.
///
/// # Errors
/// [`crate::Error::Input`] where there is no such checkpoint, or it is damaged or of another model.
pub fn load_weights(
    storage: Rc<dyn Storage>,
    run: &Path,
    which: Which,
    graph: &Graph,
    params: &mut [f32],
    notice: &mut dyn FnMut(&str),
) -> Result<u64> {
    let (step, weights) = open_weights(storage, run, which, graph, notice)?;
    for spec in graph.params() {
        weights.copy(&spec.name, &mut params[spec.range.clone()])?;
    }
    Ok(step)
}

/// Finds the parameters of a run's checkpoint in order, and leaves them where they are until they are copied. Tells the step of the
/// checkpoint; see [`load_weights`].
///
/// # Errors
/// As [`load_weights`].
pub fn open_weights(
    storage: Rc<dyn Storage>,
    run: &Path,
    which: Which,
    graph: &Graph,
    notice: &mut dyn FnMut(&str),
) -> Result<(u64, Weights)> {
    let Found { checkpoints, step, passed_over, .. } = find(storage, run, which)?;
    for passed in passed_over {
        notice(&format!("{}: passed over for step {step}: {}", passed.path.display(), passed.reason));
    }
    let specs: Vec<TensorSpec> =
        graph.params().iter().map(|spec| TensorSpec { name: spec.name.clone(), shape: spec.shape.clone() }).collect();
    Ok((step, checkpoints.load_weights(step, &specs)?))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::{Dense, Embedding, LayerConfig, ModelConfig, Recurrent};

    #[test]
    fn a_model_of_windows_goes_on_with_a_text_as_if_it_were_one_window() {
        let layer = Recurrent { units: 5, return_sequences: true, ..Recurrent::default() };
        let layers = vec![
            LayerConfig::Embedding(Embedding { output_dim: 3, ..Embedding::default() }),
            LayerConfig::Lstm(layer.clone()),
            LayerConfig::Gru(layer),
            LayerConfig::Dense(Dense::default()),
        ];
        let graph = Graph::new(&ModelConfig { layers, ..ModelConfig::default() }, 7).unwrap();
        let options = NetworkOptions { steps: 6, ..NetworkOptions::default() };
        let mut network = Network::new(&graph, options.clone()).unwrap();
        let mut speaker = Speaker::new(&graph, 0, options).unwrap();
        speaker.params_mut().copy_from_slice(network.params());
        let text = [3, 1, 4, 1, 5, 2];
        text.iter().for_each(|&token| speaker.feed(&[token]).unwrap());
        let mut state = network.new_state(1);
        assert_eq!(speaker.logits(), &network.logits(&text, 1, &mut state).row(0)[..7]);
        speaker.reset();
        speaker.feed(&text[5..]).unwrap();
        assert_eq!(speaker.logits(), &network.logits(&text[5..], 1, &mut state).row(0)[..7]);
        // A prompt that is begun with again leads to where it did, until the parameters are others.
        let after = |speaker: &mut Speaker, prompt: &[u32]| {
            speaker.begin(prompt).unwrap();
            let first = speaker.logits().to_vec();
            speaker.feed(&[6]).unwrap();
            [first, speaker.logits().to_vec()]
        };
        let found = after(&mut speaker, &text[..3]);
        assert_eq!(after(&mut speaker, &text[..3]), found);
        assert_ne!(after(&mut speaker, &text[..2]), found);
        assert_eq!(after(&mut speaker, &text[..3]), found);
        speaker.params_mut().iter_mut().for_each(|p| *p *= 2.0);
        assert_ne!(after(&mut speaker, &text[..3]), found);
    }
}
