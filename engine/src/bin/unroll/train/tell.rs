//! What `unroll train` prints before and after training: the text and the model, the profile, the scores, the next commands.

use std::sync::atomic::AtomicBool;

use serde_json::json;
use unroll::config::{OptimizerName, RunConfig};
use unroll::corpus::Held;
use unroll::error::{Error, Result};
use unroll::eval::{Score, evaluate};
use unroll::graph::Graph;
use unroll::network::Network;
use unroll::report::{self, argument, bytes, count};
use unroll::run::{Texts, Walk, window_length};
use unroll::train::{Ended, Outcome, RunFolder};

use super::Prepared;
use crate::show::{Show, classifies, in_units, plural};

/// The final scores, with the best parameters.
pub(super) fn report(
    show: &mut Show,
    config: &RunConfig,
    texts: &Texts,
    network: &mut Network,
    outcome: &Outcome,
    stop: &AtomicBool,
) -> Result<()> {
    let level = texts.tokenizer.options().level;
    if let Some(best) = outcome.best {
        let limit = Score::new(unroll::LossSum { nats: best.loss, count: 1 }, texts.entropy_rate);
        let beyond = limit.excess.map_or_else(String::new, |excess| {
            format!(
                "; the source's entropy rate is {:.4}, the model is {:.2} % above it",
                texts.entropy_rate.unwrap_or(f64::NAN),
                100.0 * excess
            )
        });
        let units = in_units(level, best.loss);
        show.line(&format!(
            "best validation loss {:.4} nats ({units}) after step {}{beyond}",
            best.loss,
            count(best.step)
        ));
        show.object(&json!({ "event": "best", "step": best.step, "loss": best.loss, "excess": limit.excess }));
    }
    let length = window_length(network.graph())?;
    if let Some(cut) = texts.held(Held::Test, config, length, Walk::in_training(config, length))? {
        let score = Score::new(evaluate(network, cut.batches(), stop)?, None);
        let units = in_units(level, score.loss);
        show.line(&format!("test loss {:.4} nats ({units}) over {} tokens", score.loss, count(score.tokens)));
        show.object(&json!({ "event": "tested", "score": score }));
    }
    Ok(())
}

/// A line for each head other than the plain softmax, and a hint about its update rule.
pub(super) fn heads<'g>(graph: &'g Graph, config: &RunConfig) -> impl Iterator<Item = String> + use<'g> {
    use OptimizerName::{Adam, AdamW, RmsProp};
    let rule = config.optimizer.rule;
    let divides = matches!(rule, Adam | AdamW | RmsProp);
    let samples = divides && graph.outputs().iter().any(|output| output.head().kind.samples_words());
    let advice = samples.then(|| {
        format!("hint: {rule} divides the large gradients of rarely sampled words by their size; try --optimizer adagrad --lr 0.1")
    });
    graph.head_lines().chain(advice)
}

/// What is trained on what.
pub(super) fn introduction(prepared: &Prepared) -> Vec<String> {
    let Prepared { config, texts, graph, network, .. } = prepared;
    let unit = plural(texts.tokenizer.options().level);
    let text = match config.data.train.as_slice() {
        [] => "embedded text (Cicero)".to_owned(),
        [path] => path.display().to_string(),
        [path, others @ ..] => format!("{} and {} more", path.display(), others.len()),
    };
    let layers: Vec<String> = graph.rows().iter().skip(1).map(|row| format!("{} ({})", row.name, row.class)).collect();
    let memory = Network::bytes(graph, network.options()).map_or_else(|_| String::new(), |n| format!(", {}", bytes(n)));
    let options = network.options();
    let (length, different) = (count(texts.train.len()), count(graph.vocabulary() as u64));
    let mut lines = vec![
        format!("text: {text}, {length} {unit}, {different} different"),
        format!("model: {}, {} parameters{memory}", layers.join(" > "), count(graph.parameter_count())),
    ];
    lines.extend(heads(graph, config));
    lines.push(format!(
        "batch: {} {} {}, {}, {} threads, {}",
        config.train.batch,
        if graph.is_sequence() { "streams x" } else { "windows of" },
        if graph.is_sequence() {
            format!("{} steps", config.train.steps)
        } else {
            format!("{} {unit}", config.train.steps)
        },
        options.precision,
        options.threads,
        options.isa
    ));
    lines
}

/// Shows where the time of a training went, if that was asked for.
///
/// # Errors
///
/// [`Error::Interrupted`] if the training was interrupted, with the command that resumes it; [`Error::Diverged`] if the perplexity
/// of its best evaluation is not finite.
pub(super) fn ended(
    show: &mut Show,
    profile: Option<unroll::exec::Profile>,
    outcome: &Outcome,
    run: &RunFolder,
    graph: &Graph,
) -> Result<()> {
    if let Some(profile) = profile {
        report::profile(&profile, None).iter().for_each(|line| show.line(line));
        show.object(&json!({ "event": "profile", "profile": profile }));
    }
    if outcome.ended == Ended::Interrupted {
        return Err(Error::interrupted(format!("interrupted after step {}; everything is saved", outcome.step))
            .mend(format!("resume with: unroll train --resume {}", argument(run.path()))));
    }
    if let Some(best) = outcome.best.filter(|best| classifies(graph) && best.loss.exp().is_infinite()) {
        let (loss, step) = (best.loss, count(best.step));
        return Err(Error::diverged(format!("the best validation loss is {loss:.3e} nats, after step {step}"))
            .mend("start again with a lower learning rate (--lr) or a clipped gradient (--clip-norm 5)"));
    }
    Ok(())
}

/// The options that resume a finished run: twice each limit that ended it.
pub(super) fn further(config: &RunConfig, outcome: &Outcome) -> String {
    let train = &config.train;
    let limits = [
        ("--epochs", train.epochs, train.epochs > 0 && outcome.epoch >= train.epochs),
        ("--max-steps", train.max_steps, train.max_steps > 0 && outcome.step >= train.max_steps),
        ("--early-stop", train.early_stop, outcome.ended == Ended::EarlyStop),
    ];
    let reached = limits.iter().filter(|(.., reached)| *reached);
    reached.map(|(option, limit, _)| format!("{option} {}", limit * 2)).collect::<Vec<_>>().join(" ")
}
