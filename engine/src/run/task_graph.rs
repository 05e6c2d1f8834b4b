//! The model of a run on labelled samples: its graph, and whether that is one of the task and of its data.

use crate::config::{RunConfig, TaskKind};
use crate::error::{Error, Result};
use crate::graph::{Axis, Graph, Input, Loss, Noise, Output, SOURCE, WordOrder, Words};
use crate::labels::{Encoder, Sample, Spot};

/// The graph of a labelled run.
///
/// # Errors
/// As [`Graph::with_classes`]; [`Error::Usage`] where the model does not fit the task.
pub fn labelled_graph(config: &RunConfig, encoder: &Encoder) -> Result<Graph> {
    let (kind, targets) = (encoder.kind(), encoder.all_targets());
    let model = config.model.graph();
    // Of several outputs the graph takes the classes to stand in the order of their frequency.
    let counts = encoder.counts(0).filter(|_| targets.len() == 1);
    let words = counts.map(|counts| Words { counts: counts.into(), order: None });
    let graph = Graph::labelled(&model, [encoder.vocabulary(), encoder.source_vocabulary()], &targets, words)?;
    check_heads(&graph)?;
    if !kind.has_labels() {
        graph.require_one_output("words are learned by")?;
    }
    check_inputs(kind, &graph, encoder)?;
    check_steps(kind, &graph)?;
    if !kind.has_labels() {
        graph.require_causal()?;
    }
    check_losses(kind, &graph, &targets)?;
    if let Some(node) = graph.nodes().iter().find(|node| node.config.recurrence().is_some_and(|(_, o, _)| o.stateful)) {
        return wrong(
            format!("layer `{}` is stateful, but samples stand apart from each other", node.name),
            "leave stateful out",
        );
    }
    Ok(graph)
}

fn wrong<T>(what: impl Into<String>, mend: &str) -> Result<T> {
    Err(Error::usage(what).mend(mend))
}

/// Refuses a model that does not take what the samples of the task have.
fn check_inputs(kind: TaskKind, graph: &Graph, encoder: &Encoder) -> Result<()> {
    if kind == TaskKind::Caption {
        one_vector(graph)?;
    } else if kind == TaskKind::Translate {
        two_texts(graph)?;
    } else if graph.has_source() {
        return wrong(
            format!("the model reads a `{SOURCE}`, which samples of the task {kind} do not have"),
            "learn pairs of texts, or vectors over time, by task.kind = \"translate\" or \"caption\"",
        );
    } else if !encoder.has_tokens() {
        numbers_alone(graph, encoder.vector_steps() > 0)?;
    } else {
        graph.require_text_alone()?;
    }
    if kind == TaskKind::Tag && encoder.has_tokens() && !graph.masks_padding() {
        return wrong(
            "the model of tags takes the padding behind shorter sentences for words",
            "set mask_zero = true on its embedding",
        );
    }
    Ok(())
}

/// Refuses a model that gives an output a step where the task has one a text, or the other way round.
fn check_steps(kind: TaskKind, graph: &Graph) -> Result<()> {
    let first = graph.is_sequence();
    if let Some(other) = graph.outputs().iter().find(|output| output.is_sequence() != first) {
        let [each, one] = ["an output for each word", "one for each text"];
        let (one, other_is) = if first { (each, one) } else { (one, each) };
        return wrong(
            format!("output `{}` is {one}, output `{}` {other_is}", graph.outputs()[0].name(), other.name()),
            "let all outputs of a task be alike",
        );
    }
    match (kind, first) {
        (TaskKind::Classify | TaskKind::Next, true) => {
            let one = if kind == TaskKind::Classify { "one class a text" } else { "the one word behind a text" };
            wrong(
                format!("the model gives an output a word, the task is {one}"),
                "let the last recurrent layer give its last state: return_sequences = false",
            )
        }
        (TaskKind::Tag | TaskKind::Caption | TaskKind::Translate, false) => {
            let each = if kind == TaskKind::Tag { "a tag a word" } else { "the next word after each" };
            wrong(
                format!("the model gives one output a text, the task is {each}"),
                "set return_sequences = true on every recurrent layer",
            )
        }
        _ => Ok(()),
    }
}

/// Refuses losses that are not for the classes of the outputs, of which there are `targets` each.
fn check_losses(kind: TaskKind, graph: &Graph, targets: &[usize]) -> Result<()> {
    for (output, &targets) in graph.outputs().iter().zip(targets) {
        let of_labels = output.loss() != Loss::CrossEntropy;
        let two = output.loss() != Loss::BinaryCrossEntropy || targets == 2;
        if of_labels && !(two && kind.has_labels()) {
            let found = if kind.has_labels() { format!("there are {targets}") } else { "these are words".to_owned() };
            let what = match output.loss() {
                Loss::MeanSquaredError => "mean_squared_error is for numbers",
                _ => "binary_cross_entropy is for two classes",
            };
            return wrong(
                format!("{what}, {found}"),
                "leave the loss out, and end the model in a dense layer without units",
            );
        }
    }
    Ok(())
}

/// Refuses heads that want to know more of the targets than a labelled run does.
fn check_heads(graph: &Graph) -> Result<()> {
    let heads = || graph.outputs().iter().map(Output::head);
    if heads().any(|head| head.order == Some(WordOrder::Context)) {
        return Err(Error::usage("head: the order `context` is learned from running text, and these are samples")
            .mend("leave order out"));
    }
    if graph.outputs().len() > 1 && heads().any(|head| head.noise == Some(Noise::Unigram)) {
        let what =
            "head: the noise `unigram` follows the counts of one output's targets, and the model has several outputs";
        return Err(Error::usage(what).mend("choose the noise uniform or log_uniform"));
    }
    Ok(())
}

/// Refuses a model that does not take the numbers of arrays and nothing else: a vector a sample, or one a step.
fn numbers_alone(graph: &Graph, steps: bool) -> Result<()> {
    let inputs: Vec<_> = graph.vector_inputs().collect();
    let fits = |input: &Input| input.batch_size.is_none() && input.sequence.unwrap_or(true) == steps;
    match inputs.as_slice() {
        [(_, input)] if !graph.takes_tokens() && fits(input) => Ok(()),
        _ => {
            let (one, each) = if steps { ("a vector a step", "") } else { ("a vector", ", sequence = false") };
            let what = format!("the samples are {one}, the model takes something else");
            Err(Error::usage(what).mend(format!("let it begin with {{ type = \"input\", width = W{each} }} alone")))
        }
    }
}

/// Refuses a model that does not read one text and write another.
fn two_texts(graph: &Graph) -> Result<()> {
    let (takes, mend) = match graph.vector_inputs().next() {
        Some(_) => ("vectors", "let an embedding take `inputs = [\"source\"]`, and no layer vectors"),
        None if !graph.takes_source_tokens() => ("no source", "let an embedding take `inputs = [\"source\"]`"),
        None if !graph.takes_tokens() => ("no text", "let an embedding take `inputs = [\"sequence\"]`"),
        None if graph.mask_rule_of(Axis::Source).is_none() => {
            ("the padding of its source", "set mask_zero = true on the embedding that takes `inputs = [\"source\"]`")
        }
        None => return Ok(()),
    };
    Err(Error::usage(format!("the model of translations takes {takes}")).mend(mend))
}

/// Refuses a model that does not take a vector a text, or several, and its words.
fn one_vector(graph: &Graph) -> Result<()> {
    let inputs: Vec<_> = graph.vector_inputs().collect();
    let layer = "{ type = \"input\", name = \"image\", width = W, sequence = false }";
    match inputs.as_slice() {
        [(node, input)] if (input.sequence == Some(false)) != graph.has_source() && graph.takes_tokens() => match input.batch_size {
            None => Ok(()),
            Some(_) => {
                let what = format!(
                    "layer `{}` has a batch_size, but batches of captions have several",
                    graph.nodes()[*node].name
                );
                Err(Error::usage(what).mend("leave it out"))
            }
        },
        [_] => Err(Error::usage("the model of captions takes one vector a text, or vectors over time, and its words")
            .mend(format!(
                "declare {layer}, or with inputs = [\"{SOURCE}\"] in place of sequence = false, and an embedding of `inputs = [\"sequence\"]`"
            ))),
        _ => Err(Error::usage(format!("the model has {} input layers, captions have one vector", inputs.len()))
            .mend(format!("declare {layer}"))),
    }
}

/// Refuses samples whose vectors are not those that the model takes; the first stands at `spot`, and all of them have as many numbers.
///
/// # Errors
/// [`Error::Input`] that names file and line, the layer and both widths. `mend` says what to do, of the width that was found.
pub fn check_vectors(
    graph: &Graph,
    samples: &[Sample],
    spot: Option<&Spot>,
    mend: impl Fn(usize) -> String,
) -> Result<()> {
    let (Some(sample), Some(spot), Some((node, input))) = (samples.first(), spot, graph.vector_inputs().next()) else {
        return Ok(());
    };
    let (node, found) = (&graph.nodes()[node], sample.vector.len());
    let (name, width) = (&node.name, input.width);
    if node.axis == Axis::Source {
        return match found > 0 && found.is_multiple_of(width) {
            true => Ok(()),
            false => Err(spot
                .wrong(format!("the vector has {found} numbers, layer `{name}` takes steps of {width}"))
                .mend("set its width to the numbers of a step, or give other data")),
        };
    }
    let (found, of) = match node.shape.time {
        Some(_) => (found / sample.tokens.len().max(1), "a step"),
        None => (found, "the vector"),
    };
    match found == width {
        true => Ok(()),
        false => Err(spot.wrong(format!("{of} has {found} numbers, layer `{name}` takes {width}")).mend(mend(found))),
    }
}
