//! A character model from Rust, from a text to a text: training with checkpoints, resuming, evaluating, generating, and
//! weights for PyTorch.
//!
//!     cargo run --release --example char_model -- TEXT RUN
//!
//! RUN is a folder for the run. A second call with the same folder goes on where the first one ended.

use std::path::Path;
use std::rc::Rc;
use std::sync::atomic::AtomicBool;

use unroll::corpus::{Evaluation, Held, HeldShares, MemoryTokens, Split};
use unroll::error::{Error, Result};
use unroll::eval;
use unroll::generate::{Request, Sampler, Sampling, UnknownInPrompt, encode_prompt, generate};
use unroll::graph::{Graph, ModelConfig};
use unroll::interop::{Form, Mapping, export};
use unroll::run::Speaker;
use unroll::text::{Level, TextOptions};
use unroll::train::storage::{Disk, Storage};
use unroll::train::{
    Batches, CONFIG, Event, Every, Identity, NamedTensor, Observer, OptimizerOptions, Rule, RunFolder, Schedule,
    Session, TrainConfig, Trainer, is_run, tensor_file,
};
use unroll::{Network, NetworkOptions};

/// The layers: <https://keras.io/api/layers/> has the words, engine/src/graph/layers.md what is different.
const MODEL: &str = r#"
    layers = [
        { type = "one_hot" },
        { type = "lstm", units = 64, return_sequences = true, stateful = true },
        { type = "dense", activation = "softmax" },
    ]
"#;

/// Streams that are read side by side, and the steps of each in a batch.
const ROWS: usize = 16;
const STEPS: usize = 25;

/// Prints each evaluation.
struct Printed;

impl Observer for Printed {
    fn event(&mut self, event: &Event<'_>) {
        if let Event::Evaluated(report) = event {
            println!("step {}: {:.3} nats a character", report.step, report.loss);
        }
    }
}

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [text, run] = arguments.as_slice() else {
        eprintln!("usage: char_model TEXT RUN");
        return std::process::ExitCode::from(2);
    };
    match character_model(text, run.as_ref()) {
        Ok(()) => std::process::ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("error: {error}");
            std::process::ExitCode::from(error.exit_code())
        }
    }
}

fn character_model(path: &str, run: &Path) -> Result<()> {
    let text = std::fs::read_to_string(path).map_err(|error| Error::read(path, error))?;
    let (tokenizer, tokens) = MemoryTokens::from_text(&text, &TextOptions::new(Level::Char))?;
    let split = Split::Tail(HeldShares::valid(0.05));
    let train = split.train(&tokens, ROWS, STEPS)?;
    let valid = split.held(Held::Valid, &tokens, 4, STEPS, Evaluation::default())?;
    let valid = valid.as_ref().map(|streams| streams as &dyn Batches);

    let vocabulary = tokenizer.vocabulary();
    let model: ModelConfig = toml::from_str(MODEL).map_err(|error| Error::usage(error.to_string()))?;
    let graph = Graph::new(&model, vocabulary.len())?;
    let options = NetworkOptions { threads: 2, steps: STEPS, rows: ROWS, ..NetworkOptions::default() };
    let mut network = Network::new(&graph, options)?;

    let storage: Rc<dyn Storage> = Rc::new(Disk);
    let folder = match is_run(&*storage, run)? {
        true => RunFolder::resume(storage, run)?,
        false => RunFolder::create(storage, run, &[(CONFIG, MODEL.as_bytes())])?,
    };
    // A second call trains for as many steps again.
    let done = folder.checkpoints().steps()?.last().copied().unwrap_or(0);
    let rule = Rule::Adam { beta1: 0.9, beta2: 0.999, epsilon: 1e-8 };
    let optimizer = OptimizerOptions { clip_norm: Some(5.0), ..OptimizerOptions::new(rule) };
    let mut config = TrainConfig::steps(done + 200, Schedule::constant(0.005), optimizer);
    config.eval_every = Every::Steps(50);
    // The state is zero at the start of each epoch, as it is where a text is evaluated or generated.
    config.reset_state = true;
    // What must be the same when the run is resumed; another vocabulary is refused.
    let identity = Identity { vocabulary: format!("{:016x}", vocabulary.hash()), ..Identity::default() };
    let stop = AtomicBool::new(false); // set it, such as by Ctrl-C, to end after the step and save
    let session = Session {
        learner: &mut network,
        vocabulary: vocabulary.len(),
        train: &train,
        valid,
        folder: Some(&folder),
        identity,
        observer: &mut Printed,
        sampler: None,
        measure: None,
        stop: &stop,
    };
    let outcome = Trainer::new(&config, session)?.run()?;
    println!("{} steps, saved in {}", outcome.step, run.display());

    if let Some(valid) = valid {
        let loss = eval::evaluate(&mut network, valid, &stop)?;
        println!("perplexity {:.2}", loss.mean().exp());
    }

    let mut speaker = Speaker::new(&graph, 0, network.options().clone())?;
    speaker.params_mut().copy_from_slice(network.params());
    let start: String = text.chars().take(10).collect();
    let prompt = encode_prompt(&tokenizer, &start, UnknownInPrompt::Refuse)?;
    let mut sampler = Sampler::new(Sampling { temperature: 0.8, ..Sampling::default() })?;
    let request = Request { prompt: &prompt, length: 200, stop: &[], turn: None, seed: 1, sample: 0 };
    print!("{start}");
    generate(&mut speaker, &tokenizer, &mut sampler, &request, |piece| {
        print!("{piece}");
        Ok(true)
    })?;
    println!();

    // The weights lie in one arena; the graph says where each stands.
    for spec in graph.params() {
        println!("{} {:?}: {} numbers", spec.name, spec.shape, network.params()[spec.range.clone()].len());
    }
    let tensors = export(&graph, network.params(), Form::PyTorch, &Mapping::default())?;
    let tensors: Vec<_> = tensors.iter().map(NamedTensor::as_ref).collect();
    let file = run.join("pytorch.safetensors");
    let bytes = tensor_file(&tensors)?;
    std::fs::write(&file, bytes).map_err(|error| Error::write(&file, error))
}
