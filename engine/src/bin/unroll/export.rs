//! `unroll export`: a trained model for other programs.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use serde_json::json;
use unroll::corpus::write_file;
use unroll::error::{Error, Result};
use unroll::graph::Graph;
use unroll::interop::{self, Form, Mapping};
use unroll::network::require_memory;
use unroll::report::{Out, bytes, json_line};
use unroll::train::{NamedTensor, tensor_file, weight_file};

use crate::labels::TrainedTask;
use crate::summary::name_of;
use crate::train::REST;
use crate::trained::{Opened, Trained, load, which};

/// The program whose names and layouts are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum To {
    /// PyTorch state dictionary: weight_ih_l0, ..., gates r, z, n
    #[value(name = "pytorch")]
    PyTorch,
    /// Keras variables; benches/peers/keras_weights.py loads them into a model
    Keras,
    /// Names as in a checkpoint
    Unroll,
    /// ONNX file: the model with its weights, for any ONNX runtime
    Onnx,
}

/// File extensions that other programs would open as a format other than the one written.
const FOREIGN: [&str; 9] = ["h5", "hdf5", "keras", "pt", "pth", "ckpt", "npy", "npz", "pkl"];

/// Writes the weights of a run as a safetensors file for PyTorch or Keras, or the whole model as an ONNX file.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll export runs/plays --out plays.safetensors\n  \
    unroll export runs/spam --to keras --out spam.safetensors\n  \
    unroll export runs/plays --out plays.onnx\n  \
    unroll export runs/net --map dense=fc1 --map dense_1=fc2 --out net.safetensors")]
pub(crate) struct Export {
    /// A run folder, or one of its checkpoints
    run: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Target format [default: onnx for a file name ending in .onnx, otherwise pytorch]
    #[arg(long, value_enum)]
    to: Option<To>,
    /// Name of a layer in the file, such as dense=fc1; may be repeated
    #[arg(long, value_name = "LAYER=NAME")]
    map: Vec<String>,
    /// Checkpoint to use: best, newest, or the number of a step
    #[arg(long, default_value = "best")]
    checkpoint: String,
    /// Print a JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Export {
    pub(crate) fn run(self) -> Result<()> {
        let opened = Opened::open(&self.run)?;
        let graph =
            if opened.config.task.is_some() { TrainedTask::of(opened)?.graph } else { Trained::of(opened)?.graph };
        let extension = self.out.extension().and_then(|extension| extension.to_str()).unwrap_or_default();
        let to = self.to.unwrap_or(if extension == "onnx" { To::Onnx } else { To::PyTorch });
        let other = if to == To::Onnx { "safetensors" } else { "onnx" };
        if extension == other || FOREIGN.contains(&extension) {
            let (format, mend) = match to {
                To::Onnx => ("an ONNX file", "name it .onnx"),
                _ => (
                    "a safetensors file",
                    "name it .safetensors; safetensors.torch.load_file reads it, for Keras benches/peers/keras_weights.py does",
                ),
            };
            let what = format!("ends in .{extension}, and what is written is {format}");
            return Err(Error::option("--out", what).mend(mend));
        }
        // The parameters, the tensors of the file, and its bytes; messages of ONNX stand in one another.
        let copies = if to == To::Onnx { 5 } else { 3 };
        require_memory("exporting this model", copies * 4 * graph.arena() as u64 + REST)
            .map_err(|error| error.mend("export where there is more memory"))?;
        let mut params = vec![0.0; graph.arena()];
        load(&self.run, which(&self.checkpoint)?, &graph, &mut params)?;
        let contents = match to {
            To::Onnx if !self.map.is_empty() => {
                return Err(Error::option("--map", "names layers of a state dictionary, not of ONNX"));
            }
            To::Onnx => interop::onnx(&graph, &params, &name_of(&self.run))?,
            To::PyTorch => self.tensors(Form::PyTorch, &graph, &params)?,
            To::Keras => self.tensors(Form::Keras, &graph, &params)?,
            To::Unroll => self.tensors(Form::Unroll, &graph, &params)?,
        };
        write_file(&self.out, &contents)?;
        let mut out = Out::stdout();
        if self.json {
            return out.line(&json_line(&json!({ "file": self.out, "bytes": contents.len() }))?);
        }
        out.line(&format!("{}: {}", self.out.display(), bytes(contents.len() as u64)))
    }

    fn tensors(&self, form: Form, graph: &Graph, params: &[f32]) -> Result<Vec<u8>> {
        let mapping = Mapping::parse(&self.map, &[])?;
        let tensors = interop::export(graph, params, form, &mapping)?;
        let tensors: Vec<_> = tensors.iter().map(NamedTensor::as_ref).collect();
        match form {
            Form::Unroll => weight_file(&tensors, &graph.head_layouts()?),
            Form::PyTorch | Form::Keras => tensor_file(&tensors),
        }
    }
}
