//! What a model computes with weights from elsewhere: outputs, loss and gradients as tensors, so that another program's can be
//! laid beside them. benches/peers/exchange.py does.
//!
//!     cargo run --example exchange -- MODEL.toml VOCABULARY CLASSES pytorch|keras WEIGHTS BATCH OUT [LAYER=NAME...]
//!
//! BATCH is a safetensors file of f32 tensors: `inputs` (T, N) token ids, `vectors.0`, ... (T, N, width) or (N, width),
//! `targets` (T, N) or (N) (a negative one is not scored), `mask` (T, N) of 0 and 1; what a model does not take is left out.
//! OUT has `outputs` (T, N, K) or (N, K), the numbers before the last softmax, NaN where the mask is 0; `loss`, the mean over
//! scored targets; `gradient.NAME` for each tensor of the model in the form of WEIGHTS, and `weight.NAME`, WEIGHTS written again, a LAYER by the NAME that is given for it.

use std::path::Path;

use unroll::error::{Error, Result};
use unroll::graph::{Graph, ModelConfig};
use unroll::interop::{Form, Mapping, WeightFile, export};
use unroll::train::{NamedTensor, tensor_file};
use unroll::{Batch, Network, NetworkOptions};
use unroll_kernels::softmax::IGNORE;

fn main() -> std::process::ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.as_slice() {
        [model, vocabulary, classes, form, weights, batch, out, names @ ..] => {
            match exchange([model, vocabulary, classes, form], [weights, batch, out], names) {
                Ok(()) => std::process::ExitCode::SUCCESS,
                Err(error) => {
                    eprintln!("error: {error}");
                    std::process::ExitCode::from(error.exit_code())
                }
            }
        }
        _ => {
            eprintln!("usage: exchange MODEL.toml VOCABULARY CLASSES pytorch|keras WEIGHTS BATCH OUT [LAYER=NAME...]");
            std::process::ExitCode::from(2)
        }
    }
}

/// The tensors of a batch.
struct Tensors {
    inputs: Vec<u32>,
    vectors: Vec<Vec<f32>>,
    targets: Vec<u32>,
    mask: Option<Vec<bool>>,
    steps: usize,
    rows: usize,
}

impl Tensors {
    fn read(path: &str, graph: &Graph) -> Result<Tensors> {
        let mut file = WeightFile::open(path)?;
        let shapes: Vec<(String, Vec<usize>)> = file.tensors().map(|(n, s)| (n.to_owned(), s.to_vec())).collect();
        let shape = |wanted: &str| shapes.iter().find(|(name, _)| name == wanted).map(|(_, shape)| shape.clone());
        let sizes = ["mask", "inputs", "vectors.0"].into_iter().find_map(shape);
        let Some([steps, rows, ..]) = sizes.as_deref() else {
            return Err(Error::input(path, "has neither a mask nor inputs of (T, N)"));
        };
        let tokens = |values: Vec<f32>| values.into_iter().map(|x| if x < 0.0 { IGNORE } else { x as u32 }).collect();
        let vectors = (0..graph.vector_inputs().count()).map(|i| file.read(&format!("vectors.{i}")));
        Ok(Tensors {
            steps: *steps,
            rows: *rows,
            vectors: vectors.collect::<Result<_>>()?,
            inputs: if graph.takes_tokens() { tokens(file.read("inputs")?) } else { Vec::new() },
            targets: tokens(file.read("targets")?),
            mask: match shape("mask") {
                Some(_) => Some(file.read("mask")?.into_iter().map(|x| x != 0.0).collect()),
                None => None,
            },
        })
    }
}

fn exchange(
    [model, vocabulary, classes, form]: [&String; 4],
    [weights, batch, out]: [&String; 3],
    names: &[String],
) -> Result<()> {
    let text = std::fs::read_to_string(model).map_err(|error| Error::read(Path::new(model), error))?;
    let config: ModelConfig = toml::from_str(&text).map_err(|error| Error::input(model, error.to_string()))?;
    let number = |text: &String| text.parse().map_err(|_| Error::usage(format!("`{text}` is no number")));
    let graph = Graph::with_classes(&config, number(vocabulary)?, &[number(classes)?])?;
    let form = match form.as_str() {
        "pytorch" => Form::PyTorch,
        "keras" => Form::Keras,
        _ => return Err(Error::usage(format!("`{form}` is neither pytorch nor keras"))),
    };
    let tensors = Tensors::read(batch, &graph)?;
    let Tensors { steps, rows, .. } = tensors;
    let vectors: Vec<&[f32]> = tensors.vectors.iter().map(Vec::as_slice).collect();
    let batch = Batch {
        steps,
        rows,
        inputs: &tensors.inputs,
        vectors: &vectors,
        targets: &tensors.targets,
        mask: tensors.mask.as_deref(),
        ..Batch::default()
    };
    let options = NetworkOptions { steps, rows, ..NetworkOptions::default() };
    batch.check(&graph, &options)?;
    let mut network = Network::new(&graph, options)?;
    // Which layer of the file is which is found; only what is written is named.
    WeightFile::open(weights)?.load(&graph, &Mapping::default(), network.params_mut())?;
    let mapping = Mapping::parse(names, &[])?;

    let width = graph.nodes()[graph.logits()].shape.width();
    let shape = if graph.is_sequence() { vec![steps, rows, width] } else { vec![rows, width] };
    let mut outputs = vec![f32::NAN; shape.iter().product()];
    let mut state = network.new_state(rows);
    network.predict_each(&batch, &mut state, |t, n, logits| {
        outputs[(t * rows + n) * width..][..width].copy_from_slice(&logits[..width]);
    });
    let mut written = vec![NamedTensor { name: "outputs".into(), shape, data: outputs }];
    let mut state = network.new_state(rows);
    let loss = network.train_step(&batch, &mut state, 1).mean() as f32;
    written.push(NamedTensor { name: "loss".into(), shape: Vec::new(), data: vec![loss] });
    let gradient = network.gradient().to_vec();
    for (prefix, values) in [("gradient", gradient.as_slice()), ("weight", network.params())] {
        let tensors = export(&graph, values, form, &mapping)?;
        written.extend(tensors.into_iter().map(|t| NamedTensor { name: format!("{prefix}.{}", t.name), ..t }));
    }
    let bytes = tensor_file(&written.iter().map(NamedTensor::as_ref).collect::<Vec<_>>())?;
    std::fs::write(out, bytes).map_err(|error| Error::write(out, error))
}
