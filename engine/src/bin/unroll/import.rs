//! `unroll import`: a run of weights that another program trained.

use std::path::PathBuf;
use std::rc::Rc;

use clap::Args;
use serde_json::json;
use unroll::config::{RunConfig, TOKENS};
use unroll::error::{Error, Result};
use unroll::graph::{Graph, HeadLayouts, WordOrder};
use unroll::interop::{Mapping, WeightFile, read_vocabulary};
use unroll::labels::TASK;
use unroll::network::require_memory;
use unroll::report::{Align, Out, Table, argument, count, json_line};
use unroll::run::{
    DECISION, WORDS_ALIKE, config_file, labelled_graph, open_text_model, order_file, read_encoder, text_graph,
};
use unroll::train::storage::{Disk, Storage};
use unroll::train::{CONFIG, TensorRef, VOCABULARY};

use crate::options::Configuration;
use crate::train::NewFolder;
use crate::trained::{Opened, heads_beside};

/// Names of layers in a file of weights.
#[derive(Debug, Default, Args)]
pub(crate) struct Naming {
    /// Name of a layer in the file, such as lstm=rnn.l0 or dense=decoder; may be repeated
    #[arg(long, value_name = "LAYER=NAME")]
    map: Vec<String>,
    /// Leave out tensors whose names start with NAME; may be repeated
    #[arg(long, value_name = "NAME")]
    ignore: Vec<String>,
}

impl Naming {
    /// Options about the names of layers.
    pub(crate) fn mapping(&self) -> Result<Mapping> {
        Mapping::parse(&self.map, &self.ignore)
    }
}

/// Makes a run from weights trained by PyTorch or Keras; generate, eval, predict and train open it like any other run.
///
/// The file is a safetensors file with the names of a PyTorch state dictionary, of Keras' variables
/// (benches/peers/keras_weights.py turns .keras and .h5 into one) or of a checkpoint. Describe the model as for
/// training, and give its tokens by a vocabulary or by a run that has the same ones.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll import model.safetensors --emsize 200 --rnn-size 200 --level word --vocabulary words.json --out runs/theirs\n  \
    unroll import tuned.safetensors --like runs/spam --out runs/tuned\n  \
    unroll import net.safetensors --config net.toml --vocabulary chars.json --map dense=fc1 --map dense_1=fc2 --out runs/net")]
pub(crate) struct Import {
    /// File of weights
    file: PathBuf,
    /// Folder of the new run
    #[arg(long, value_name = "RUN")]
    out: PathBuf,
    /// Run with the same model and the same tokens or classes
    #[arg(long, value_name = "RUN", conflicts_with_all = ["vocabulary", "recipe", "config"])]
    like: Option<PathBuf>,
    /// The model's tokens: a vocabulary file, or JSON (an array in the order of the ids, or an object that maps tokens to ids)
    #[arg(long, value_name = "FILE")]
    vocabulary: Option<PathBuf>,
    #[command(flatten)]
    naming: Naming,
    /// Print a JSON object instead of text
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    configuration: Configuration,
}

/// What a model's token ids and classes stand for: the files of a run that define it.
struct Meaning {
    graph: Graph,
    hash: u64,
    files: Vec<(&'static str, Vec<u8>)>,
    /// The layouts of the heads in the run it was taken from.
    like: HeadLayouts,
}

impl Import {
    pub(crate) fn run(self) -> Result<()> {
        let mapping = self.naming.mapping()?;
        let like = self.like.as_deref().map(Opened::open).transpose()?;
        let file = like.as_ref().map(|like| like.folder.join(CONFIG));
        let (mut config, origins) = self.configuration.resolve(|resolver| match &file {
            Some(file) => resolver.file(file),
            None => Ok(()),
        })?;
        for key in TOKENS {
            let of_list = ["data.level", "data.lower", "data.split_punctuation"].contains(&key) && like.is_none();
            if self.configuration.gives(key) && !of_list {
                return Err(origins.refuse(key, "the tokens are known"));
            }
        }
        let meaning = self.meaning(&mut config, like.as_ref())?;
        let graph = &meaning.graph;
        require_memory("reading these weights", 8 * graph.arena() as u64)?;
        let mut weights = WeightFile::open(&self.file)?;
        weights.set_heads(heads_beside(&self.file));
        weights.set_likely_heads(meaning.like.clone());
        let mut params = vec![0.0; graph.arena()];
        let layers = weights.load(graph, &mapping, &mut params)?;

        let storage: Rc<dyn Storage> = Rc::new(Disk);
        let folder = NewFolder::claim(&storage, &self.out)?;
        let config = config_file(&config)?.into_bytes();
        let mut files: Vec<(&str, &[u8])> = meaning.files.iter().map(|(n, bytes)| (*n, bytes.as_slice())).collect();
        files.push((CONFIG, &config));
        let run = folder.begin(&files)?;
        let tensor = |spec: &unroll::graph::ParamSpec| TensorRef {
            name: spec.name.clone(),
            shape: spec.shape.clone(),
            data: &params[spec.range.clone()],
        };
        let tensors: Vec<TensorRef<'_>> = graph.params().iter().map(tensor).collect();
        run.checkpoints().save_weights(&tensors, meaning.hash, graph.head_layouts()?)?;
        self.tell(graph, &layers, config_is_labelled(&meaning))
    }

    /// The graph of the model, and what its tokens and classes are.
    fn meaning(&self, config: &mut RunConfig, like: Option<&Opened>) -> Result<Meaning> {
        if let (Some(task), Some(like)) = (&config.task, like) {
            let encoder = read_encoder(Rc::new(Disk), task, &like.folder)?;
            let graph = labelled_graph(config, &encoder)?;
            let theirs = labelled_graph(&like.config, &encoder)?.head_layouts()?;
            let mut files = vec![(TASK, encoder.to_json()?)];
            let decision = like.folder.join(DECISION);
            if decision.exists() {
                files.push((DECISION, std::fs::read(&decision).map_err(|error| Error::read(&decision, error))?));
            }
            return Ok(Meaning { graph, hash: encoder.hash(), files, like: theirs });
        }
        if config.task.is_some() {
            return Err(Error::usage("the classes and words of the model are not given")
                .mend("name a run with the same ones by --like RUN"));
        }
        let (vocabulary, order, theirs) = match (&self.vocabulary, like) {
            (Some(file), _) => (read_vocabulary(file, &config.text_options())?, None, HeadLayouts::default()),
            (None, Some(like)) => {
                let model = open_text_model(Rc::new(Disk), &like.config, &like.folder)?;
                (model.vocabulary, model.order, model.graph.head_layouts()?)
            }
            (None, None) => {
                return Err(Error::usage("the tokens of the model are not given")
                    .mend("give them by --vocabulary FILE, or name a run with the same ones by --like RUN"));
            }
        };
        let options = vocabulary.options();
        let (level, given) = (options.level, config.data.level);
        if self.configuration.gives("data.level") && level != given {
            return Err(Error::option("--level", format!("the vocabulary is of level {level}, not {given}")));
        }
        (config.data.level, config.data.lower) = (options.level, options.lowercase);
        config.data.split_punctuation = options.punctuation;
        let order = order.filter(|_| config.model.head().order == Some(WordOrder::Context));
        let mut files = vec![(VOCABULARY, vocabulary.to_file().into_bytes())];
        files.extend(order.as_ref().map(|order| (WORDS_ALIKE, order_file(order).into_bytes())));
        let graph = text_graph(config, &vocabulary, order)?;
        Ok(Meaning { graph, hash: vocabulary.hash(), files, like: theirs })
    }

    fn tell(&self, graph: &Graph, layers: &[(String, String)], labelled: bool) -> Result<()> {
        let mut out = Out::stdout();
        if self.json {
            let layers: serde_json::Map<_, _> = layers.iter().map(|(l, name)| (l.clone(), json!(name))).collect();
            let object = json!({ "run": self.out, "parameters": graph.parameter_count(), "layers": layers });
            return out.line(&json_line(&object)?);
        }
        let mut table = Table::new(&[("Layer", Align::Left), ("In the file", Align::Left)]);
        for (layer, name) in layers {
            table.row([layer.clone(), name.clone()]);
        }
        table.lines().iter().try_for_each(|line| out.line(line))?;
        let (parameters, path) = (count(graph.parameter_count()), argument(&self.out));
        out.line(&format!("\n{parameters} parameters are in {}. Next:", self.out.display()))?;
        if labelled {
            out.line(&format!("  unroll predict {path} --text \"...\""))?;
            return out.line(&format!("  unroll eval {path} --data FILE"));
        }
        out.line(&format!("  unroll generate {path} --length 1000 --temperature 0.8"))?;
        out.line(&format!("  unroll train --resume {path} --data TEXT --lr 0.001"))
    }
}

fn config_is_labelled(meaning: &Meaning) -> bool {
    meaning.files.iter().any(|(name, _)| *name == TASK)
}
