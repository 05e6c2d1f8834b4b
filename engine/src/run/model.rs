//! A trained network as what text is generated with, and parameters from files.

use std::fmt;
use std::path::Path;
use std::rc::Rc;

use crate::error::{Error, Result};
use crate::generate::{BatchPredictor, Predictor};
use crate::graph::Graph;
use crate::network::{Network, NetworkOptions, State};
use crate::train::storage::Storage;
use crate::train::{CheckpointChoice, FoundCheckpoint, TensorSpec, Weights, find};

use super::texts::window_length;

/// The most tokens of a prompt that are fed at once.
const CHUNK: usize = 64;

/// A network that reads and predicts one text, or goes on with several at once.
pub struct Speaker {
    network: Network,
    state: State,
    beginning: Option<State>,
    begun: Option<Begun>,
    logits: Vec<f32>,
    /// Of a model that reads windows.
    window: Option<Window>,
    /// Texts at most that it goes on with at once.
    rows: usize,
    /// Those that it does.
    together: Option<Together>,
}

/// Several texts that go on at once: a row of each for each.
struct Together {
    state: State,
    logits: Vec<f32>,
    windows: Vec<Vec<u32>>,
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

impl fmt::Debug for Speaker {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Speaker").field("network", &self.network).field("texts", &self.rows).finish_non_exhaustive()
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
        Speaker::of_texts(graph, filler, options, 1)
    }

    /// The same for so many texts at once, at most.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn of_texts(graph: &Graph, filler: u32, options: NetworkOptions, texts: usize) -> Result<Speaker> {
        let length = window_length(graph)?;
        let options = NetworkOptions { rows: texts, ..Speaker::options(graph, &options) };
        let network = match length {
            Some(_) => Network::new(graph, options)?,
            // A model that was trained on pieces of a text starts each at zero; here the text goes on.
            None => Network::new(&graph.carrying()?, options)?,
        };
        let window = length.map(|length| Window { filler, tokens: vec![filler; length] });
        let state = network.new_state(1);
        let logits = vec![0.0; graph.vocabulary()];
        Ok(Speaker { state, beginning: None, begun: None, logits, network, window, rows: texts, together: None })
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

    /// Refuses tokens of another vocabulary.
    fn require_tokens(&self, tokens: &[u32]) -> Result<()> {
        let vocabulary = self.logits.len();
        match tokens.iter().find(|&&token| token as usize >= vocabulary) {
            Some(token) => Err(Error::usage(format!("token {token} in a vocabulary of {vocabulary}"))
                .mend("encode the text by the tokenizer of the model")),
            None => Ok(()),
        }
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
        self.require_tokens(tokens)?;
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

impl BatchPredictor for Speaker {
    fn begin_each(&mut self, prompt: &[u32], texts: usize) -> Result<()> {
        assert!((1..=self.rows).contains(&texts), "{texts} texts at once of {} at most", self.rows);
        self.begin(prompt)?;
        let mut state = self.network.new_state(texts);
        for tensor in self.state.tensors() {
            let Some(rows) = state.tensor_mut(&tensor.name) else { panic!("no state is named {}", tensor.name) };
            rows.chunks_exact_mut(tensor.values.len()).for_each(|row| row.copy_from_slice(tensor.values));
        }
        let windows = self.window.iter().flat_map(|window| vec![window.tokens.clone(); texts]).collect();
        self.together = Some(Together { state, logits: self.logits.repeat(texts), windows });
        Ok(())
    }
    fn feed_each(&mut self, tokens: &[u32]) -> Result<()> {
        self.require_tokens(tokens)?;
        let Some(Together { state, logits, windows }) = &mut self.together else { panic!("no texts were begun") };
        let texts = tokens.len();
        for (window, &token) in windows.iter_mut().zip(tokens) {
            window.rotate_left(1);
            window.last_mut().into_iter().for_each(|last| *last = token);
        }
        // Step after step, as a batch has them.
        let steps = windows.first().map_or(0, Vec::len);
        let read: Vec<u32> = (0..steps).flat_map(|t| windows.iter().map(move |window| window[t])).collect();
        let found = self.network.logits(if windows.is_empty() { tokens } else { &read }, texts, state);
        let vocabulary = self.logits.len();
        for (row, to) in logits.chunks_exact_mut(vocabulary).enumerate() {
            to.copy_from_slice(&found.row(row)[..vocabulary]);
        }
        Ok(())
    }
    fn logits_of(&self, text: usize) -> &[f32] {
        let vocabulary = self.logits.len();
        self.together.as_ref().map_or(&[], |together| &together.logits[text * vocabulary..(text + 1) * vocabulary])
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
    which: CheckpointChoice,
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
    which: CheckpointChoice,
    graph: &Graph,
    notice: &mut dyn FnMut(&str),
) -> Result<(u64, Weights)> {
    let FoundCheckpoint { checkpoints, step, passed_over, .. } = find(storage, run, which)?;
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
    use unroll_kernels::gemm::Precision;

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
        let layers = vec![
            LayerConfig::Embedding(Embedding { output_dim: 3, ..Embedding::default() }),
            LayerConfig::Gru(Recurrent { units: 5, ..Recurrent::default() }),
            LayerConfig::Dense(Dense::default()),
        ];
        let windows = ModelConfig { layers, input_length: Some(4), ..ModelConfig::default() };
        let windows = Graph::new(&windows, 7).unwrap();
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
        let error = speaker.feed(&[2, 7]).unwrap_err();
        assert!(error.to_string().starts_with("token 7 in a vocabulary of 7"), "{error}");
        // Texts that go on at once go on as each does alone, to the bit.
        for graph in [&graph, &windows] {
            let (alone, rows) = (NetworkOptions { steps: 6, ..NetworkOptions::default() }, 3);
            for precision in [Precision::F32, Precision::Bf16, Precision::Int8] {
                let options = NetworkOptions { precision, ..alone.clone() };
                let mut one = Speaker::new(graph, 0, options.clone()).unwrap();
                let mut all = Speaker::of_texts(graph, 0, options, 5).unwrap();
                all.begin_each(&text[..2], rows).unwrap();
                all.feed_each(&[4, 0, 6]).unwrap();
                all.feed_each(&[1, 5, 2]).unwrap();
                for (row, tokens) in [[4, 1], [0, 5], [6, 2]].iter().enumerate() {
                    one.begin(&text[..2]).unwrap();
                    tokens.iter().for_each(|&token| one.feed(&[token]).unwrap());
                    assert_eq!(all.logits_of(row), one.logits(), "{precision}, text {row}");
                }
            }
        }
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
