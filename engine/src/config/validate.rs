//! Refusing values that are out of range or have no meaning beside the others.

use super::{
    AverageName, Cell, ClassWeights, DataConfig, Init, InitBiases, OptimizerName, Origin, Origins, RunConfig,
    SampleState, ScheduleName, SplitName, TaskConfig, TaskKind, Threshold, VALID_SAMPLES,
};
use crate::error::Result;
use crate::text::PrepareOptions;

/// Sizes beyond this are a slip of the finger, and their products would overflow.
const LARGEST_SIZE: usize = 1 << 24;

/// Checks every value against its range and against the values beside it.
pub(super) fn validate(config: &RunConfig, origins: &Origins) -> Result<()> {
    let check = Check { origins };
    check.data(config)?;
    check.task(config)?;
    check.model(config)?;
    check.train(config)?;
    check.optimizer(config)?;
    check.schedule(config)?;
    check.sample(config)
}

/// Refuses options that part the training text, where what they would part from it has a text of its own. Those of a
/// recipe or of a finished run's file simply yield to the user's own texts.
///
/// # Errors
/// [`Error::Usage`](crate::Error::Usage) names the option.
pub fn check_shares(data: &DataConfig, origins: &Origins) -> Result<()> {
    let some = |share: Option<f64>| share.is_some_and(|share| share > 0.0);
    let (valid, test) = (("data.valid", &data.valid, "validation"), ("data.test", &data.test, "test"));
    for (key, parts, (own, text, name)) in [
        ("data.test_fraction", some(data.test_fraction), test),
        ("data.valid_fraction", some(data.valid_fraction), valid),
        ("data.split", data.split != SplitName::None, valid),
    ] {
        if parts && text.is_some() && matches!(origins.of(key), Some(Origin::Flag(_))) {
            let by = origins.of(own).map_or(String::new(), |origin| format!(" ({origin})"));
            return Err(origins.refuse(key, format_args!("has no meaning beside a {name} text{by}")));
        }
    }
    Ok(())
}

/// Refuses options about evaluations, where nothing is held out that they could be of.
///
/// # Errors
/// [`Error::Usage`](crate::Error::Usage) names the option.
fn check_evaluations(config: &RunConfig, origins: &Origins) -> Result<()> {
    let data = &config.data;
    // A folder may have texts of these names.
    let folder = matches!(data.train.as_slice(), [path] if path.is_dir());
    let validates = config.task.is_some() || data.split != SplitName::None || data.valid.is_some() || folder;
    for (key, heeded) in [("train.eval_every", validates), ("train.eval_batch", validates || data.test.is_some())] {
        if !heeded && matches!(origins.of(key), Some(Origin::Flag(_))) {
            return Err(origins.refuse(key, "has no meaning where data.split is none: nothing is evaluated"));
        }
    }
    Ok(())
}

/// Keys that say which tokens a text has.
pub const TOKENS: [&str; 10] = [
    "data.level",
    "data.prepare.normalize",
    "data.prepare.ascii",
    "data.prepare.join_lines",
    "data.prepare.strip_punctuation",
    "data.prepare.lower",
    "data.lower",
    "data.split_punctuation",
    "data.min_count",
    "data.max_vocab",
];

/// Keys of a running text and of what is written in its manner, beside [`TOKENS`].
const OF_TEXTS: &[&str] = &[
    "data.columns",
    "data.dialogue",
    "data.speakers",
    "data.split",
    "train.steps",
    "train.variable_bptt",
    "train.loss",
    "train.reset_state",
    "sample.every",
    "sample.length",
    "sample.prompt",
    "sample.temperature",
];

struct Check<'a> {
    origins: &'a Origins,
}

impl Check<'_> {
    fn data(&self, config: &RunConfig) -> Result<()> {
        let data = &config.data;
        if let Some(fraction) = data.valid_fraction {
            // Samples may all be trained on; a text says so by data.split.
            let (least, from) =
                if config.task.is_some() { (0.0, "at least 0") } else { (f64::MIN_POSITIVE, "more than 0") };
            self.holds(
                fraction >= least && fraction < 1.0,
                "data.valid_fraction",
                format_args!("must be {from} and less than 1, got {fraction}"),
            )?;
        }
        let test = data.test_fraction.unwrap_or(0.0);
        self.share("data.test_fraction", test)?;
        let valid = if data.valid.is_some() { 0.0 } else { data.valid_fraction.unwrap_or(0.0) };
        self.holds(valid + test < 1.0, "data.test_fraction", "and data.valid_fraction leave nothing to train on")?;
        let columns = data.columns.len();
        self.holds(
            columns <= 2,
            "data.columns",
            format_args!("are the text's, or the speaker's and the text's, got {columns}"),
        )?;
        let prepares = !data.prepare.is_nothing();
        self.holds(
            !(prepares && data.dialogue),
            "data.prepare",
            "has no meaning for scripts, whose speakers are looked for",
        )?;
        let bytes = data.level == crate::text::Level::Byte;
        self.holds(!(prepares && bytes), "data.prepare", "works on text; the level here is byte")?;
        let mends = bytes && matches!(self.origins.of("data.encoding_errors"), Some(Origin::Flag(_)));
        self.holds(!mends, "data.encoding_errors", "works on text; the level here is byte")?;
        let script = data.dialogue || data.speakers.is_empty();
        self.holds(script, "data.speakers", "has no meaning unless data.dialogue is true")?;
        self.holds(data.min_count >= 1, "data.min_count", "must be at least 1, got 0")?;
        self.holds(data.max_vocab != 1, "data.max_vocab", "must be 0 (no limit) or at least 2, got 1")?;
        if data.level != crate::text::Level::Word {
            for (key, on) in [("data.lower", data.lower), ("data.split_punctuation", data.split_punctuation)] {
                self.holds(!on, key, format_args!("works on words; the level here is {}", data.level))?;
            }
        }
        check_shares(data, self.origins)?;
        let divided = config.task.is_some() || data.split != SplitName::None;
        for (key, share) in [("data.valid_fraction", data.valid_fraction), ("data.test_fraction", data.test_fraction)] {
            let asked = matches!(self.origins.of(key), Some(Origin::Flag(_))) && share.is_some_and(|share| share > 0.0);
            self.holds(divided || !asked, key, "has no meaning where data.split is none")?;
        }
        check_evaluations(config, self.origins)?;
        Ok(())
    }

    fn task(&self, config: &RunConfig) -> Result<()> {
        let Some(task) = &config.task else { return Ok(()) };
        for key in TOKENS.iter().chain(OF_TEXTS) {
            let given = matches!(self.origins.of(key), Some(Origin::Flag(_)));
            self.holds(!given, key, "has no meaning for labelled samples; [task] says how they are read")?;
        }
        let graph = config.model.graph.is_some();
        self.holds(graph, "task.kind", "needs a model spelled out in `model.graph`; `unroll recipes` lists some")?;
        self.holds(config.train.replicas == 1, "train.replicas", "must be 1 for labelled samples")?;
        let tested = config.data.test_fraction.unwrap_or(0.0);
        let held = config.data.valid_fraction.unwrap_or(VALID_SAMPLES) + tested;
        self.holds(held < 1.0, "data.test_fraction", "and data.valid_fraction leave nothing to train on")?;
        self.holds(task.folds != 1, "task.folds", "must be 0 (none) or at least 2, got 1")?;
        self.holds(
            task.fold < task.folds.max(1),
            "task.fold",
            format_args!("must be less than task.folds, got {} of {}", task.fold, task.folds),
        )?;
        let apart = task.folds == 0 || tested == 0.0 && config.data.test.is_none();
        self.holds(apart, "task.folds", "has no meaning beside a test text or data.test_fraction")?;
        self.not_negative("task.word_dropout", task.word_dropout)?;
        let tag = task.kind == TaskKind::Tag;
        self.holds(tag || task.word_dropout == 0.0, "task.word_dropout", "is for tags")?;
        self.of_kind(task)?;
        let one = |key: &str, plain: bool| self.holds(plain, key, "is for whole texts, not for tags");
        if tag {
            let usual = PrepareOptions::default();
            one("task.prepare.maxlen", task.prepare.maxlen == 0)?;
            one("task.prepare.num_words", task.prepare.num_words == 0)?;
            one("task.prepare.oov_token", task.prepare.oov_token.is_none())?;
            one("task.prepare.char_level", !task.prepare.char_level)?;
            one("task.prepare.filters", task.prepare.filters == usual.filters)?;
            one("task.prepare.split", task.prepare.split == usual.split)?;
            one("task.prepare.truncating", task.prepare.truncating == usual.truncating)?;
            one("task.drop", task.drop.is_empty())?;
        }
        self.size("task.prepare.maxlen", task.prepare.maxlen, 0, LARGEST_SIZE)?;
        self.holds(task.prepare.num_words != 1, "task.prepare.num_words", "must be 0 (no limit) or at least 2, got 1")?;
        let repeated = task.classes.iter().enumerate().find(|(i, class)| task.classes[..*i].contains(class));
        self.holds(repeated.is_none(), "task.classes", "names a class twice")
    }

    /// What has a meaning for some kinds of task alone.
    fn of_kind(&self, task: &TaskConfig) -> Result<()> {
        let kind = task.kind;
        let only = |key: &str, usual: bool, has: bool| {
            self.holds(usual || has, key, format_args!("has no meaning where task.kind is {kind}"))
        };
        only("task.class_weights", task.class_weights == ClassWeights::None, kind.has_labels())?;
        if let ClassWeights::Of(weights) = &task.class_weights {
            let own = |label: &str| Some(format!("task.class_weights.{label}")).filter(|key| self.origins.given(key));
            for (label, weight) in weights {
                let key = own(label).unwrap_or_else(|| "task.class_weights".to_owned());
                let inside = *weight > 0.0 && (*weight as f32).is_normal();
                self.holds(inside, &key, format_args!("must be numbers greater than 0, `{label}` has {weight}"))?;
            }
        }
        only("task.threshold", task.threshold == Threshold::Half, kind == TaskKind::Classify)?;
        if let Threshold::Fixed(number) = task.threshold {
            let inside = number > 0.0 && number < 1.0;
            self.holds(inside, "task.threshold", format_args!("must be more than 0 and less than 1, got {number}"))?;
        }
        only("task.label", task.label.is_none(), kind.has_labels())?;
        only("task.labels", task.labels.is_empty(), kind.has_labels())?;
        only("task.classes", task.classes.is_empty(), kind.has_labels())?;
        let one = task.labels.is_empty() || task.label.is_none();
        self.holds(one, "task.labels", "and task.label are both given: name all labels in task.labels")?;
        let one = task.labels.len() < 2 || task.classes.is_empty();
        self.holds(one, "task.classes", "is of one label; of several the classes are in the order of the alphabet")?;
        let twice = task.labels.iter().enumerate().any(|(i, label)| task.labels[..i].contains(label));
        self.holds(!twice, "task.labels", "names a label twice")?;
        only("task.source", task.source.is_none(), kind == TaskKind::Translate)?;
        let caption = kind == TaskKind::Caption;
        only("task.vector", task.vector.is_none(), caption)?;
        only("task.vector_scale", task.vector_scale == 1.0, caption)?;
        let finite = task.vector_scale.is_finite() && task.vector_scale != 0.0;
        self.holds(
            finite,
            "task.vector_scale",
            format_args!("must be a number other than 0, got {}", task.vector_scale),
        )?;
        let usual = task.prepare.padding == PrepareOptions::default().padding;
        self.holds(
            usual || !kind.writes(),
            "task.prepare.padding",
            "has no meaning for texts that are written, which are filled at their end",
        )
    }

    fn model(&self, config: &RunConfig) -> Result<()> {
        let model = &config.model;
        if model.graph.is_some() {
            return match self.origins.keys_of("model").find(|key| !key.starts_with("graph") && !key.starts_with("head"))
            {
                Some(key) => Err(self
                    .origins
                    .refuse(&format!("model.{key}"), "has no meaning beside a model spelled out in `model.graph`")),
                None => Ok(()),
            };
        }
        self.size("model.hidden", model.hidden, 1, LARGEST_SIZE)?;
        self.size("model.layers", model.layers, 1, 1024)?;
        self.size("model.embedding", model.embedding, 0, LARGEST_SIZE)?;
        self.share("model.dropout", model.dropout)?;
        let cell = model.cell.as_str();
        self.meaning("model.activation", model.activation.is_some(), model.cell == Cell::Rnn, "cell", cell)?;
        self.meaning("model.reset_after", model.reset_after.is_some(), model.cell == Cell::Gru, "cell", cell)?;
        self.meaning(
            "model.unit_forget_bias",
            model.unit_forget_bias.is_some(),
            model.cell == Cell::Lstm,
            "cell",
            cell,
        )?;
        let two = model.recurrent_bias.is_some();
        self.meaning("model.recurrent_bias", two, model.cell != Cell::Gru, "cell", cell)?;
        let scaled = model.init != Init::Keras;
        let init = model.init.as_str();
        self.meaning("model.init_scale", model.init_scale.is_some(), scaled, "init", init)?;
        if let Some(scale) = model.init_scale {
            self.positive("model.init_scale", scale)?;
        }
        let biases = model.init_biases == Some(InitBiases::Weights);
        self.meaning("model.init_biases", biases, scaled, "init", init)?;
        self.holds(
            !model.tied || model.embedding == model.hidden,
            "model.tied",
            format_args!(
                "needs an embedding as large as the hidden layer, got embedding {} and hidden {}",
                model.embedding, model.hidden
            ),
        )?;
        Ok(())
    }

    fn train(&self, config: &RunConfig) -> Result<()> {
        let train = &config.train;
        let length = config.model.graph.as_ref().and_then(|graph| graph.input_length);
        let same = length.is_none_or(|length| length == train.steps) || !self.origins.given("train.steps");
        self.holds(
            same || config.task.is_some(),
            "train.steps",
            format_args!("must be what model.graph.input_length says, {}, got {}", length.unwrap_or(0), train.steps),
        )?;
        let windows = length.is_some() && config.task.is_none();
        let given = matches!(self.origins.of("train.reset_state"), Some(Origin::Flag(_)));
        self.holds(
            train.reset_state || !windows || !given,
            "train.reset_state",
            "is false, and a model of windows carries no state",
        )?;
        self.size("train.batch", train.batch, 1, LARGEST_SIZE)?;
        self.size("train.steps", train.steps, 1, LARGEST_SIZE)?;
        let carried = config.sample.state == SampleState::Carried;
        self.holds(
            !(train.variable_bptt && carried),
            "train.variable_bptt",
            "cannot stand beside sample.state = \"carried\"",
        )?;
        self.size("train.replicas", train.replicas, 1, 1024)?;
        self.holds(
            train.replicas <= train.batch,
            "train.replicas",
            format_args!("share the {} streams of a batch, so they cannot be {}", train.batch, train.replicas),
        )?;
        self.size("train.eval_batch", train.eval_batch, 0, LARGEST_SIZE)?;
        let measured = train.best_by.is_none() || config.task.is_some();
        self.holds(measured, "train.best_by", "is for labelled samples; a text has no figure but its loss")?;
        self.holds(
            train.epochs >= 1 || train.max_steps >= 1,
            "train.epochs",
            "is 0, so training would never end; give train.max_steps too",
        )
    }

    fn optimizer(&self, config: &RunConfig) -> Result<()> {
        use OptimizerName::{Adagrad, Adam, AdamW, Momentum, Nesterov, RmsProp};
        let optimizer = &config.optimizer;
        let members: [(&str, bool, &[OptimizerName]); 6] = [
            ("optimizer.momentum", optimizer.momentum.is_some(), &[Momentum, Nesterov]),
            ("optimizer.decay", optimizer.decay.is_some(), &[RmsProp]),
            ("optimizer.beta1", optimizer.beta1.is_some(), &[Adam, AdamW]),
            ("optimizer.beta2", optimizer.beta2.is_some(), &[Adam, AdamW]),
            ("optimizer.epsilon", optimizer.epsilon.is_some(), &[Adagrad, RmsProp, Adam, AdamW]),
            ("optimizer.epsilon_inside", optimizer.epsilon_inside.is_some(), &[Adagrad]),
        ];
        self.holds(
            optimizer.weight_decay.is_none() || optimizer.rule != Adam,
            "optimizer.weight_decay",
            "has no meaning with rule adam; adamw has one that is apart from the gradient",
        )?;
        for (key, given, rules) in members {
            self.meaning(key, given, rules.contains(&optimizer.rule), "rule", optimizer.rule.as_str())?;
        }
        let decays = optimizer.weight_decay.is_some_and(|decay| decay != 0.0);
        let sweeps = decays || [Momentum, Nesterov, RmsProp, Adam, AdamW].contains(&optimizer.rule);
        let what = format_args!(
            "has no meaning with rule {} and no weight decay: it leaves these vectors alone",
            optimizer.rule.as_str()
        );
        self.holds(!optimizer.lazy || sweeps, "optimizer.lazy", what)?;
        if let Some(lr) = optimizer.lr {
            self.positive("optimizer.lr", lr)?;
        }
        for (key, value) in [
            ("optimizer.momentum", optimizer.momentum),
            ("optimizer.decay", optimizer.decay),
            ("optimizer.beta1", optimizer.beta1),
            ("optimizer.beta2", optimizer.beta2),
        ] {
            if let Some(value) = value {
                self.share(key, value)?;
            }
        }
        if let Some(epsilon) = optimizer.epsilon {
            self.positive("optimizer.epsilon", epsilon)?;
        }
        let average = optimizer.average.map_or("none", AverageName::as_str);
        let asgd = optimizer.average == Some(AverageName::Asgd);
        self.meaning("optimizer.t0", optimizer.t0.is_some(), asgd, "average", average)?;
        let triggered = optimizer.average == Some(AverageName::NtAsgd);
        self.meaning("optimizer.nonmono", optimizer.nonmono.is_some(), triggered, "average", average)?;
        self.holds(optimizer.nonmono != Some(0), "optimizer.nonmono", "must be at least 1, got 0")?;
        self.not_negative("optimizer.weight_decay", optimizer.weight_decay.unwrap_or(0.0))?;
        self.not_negative("optimizer.clip_norm", optimizer.clip_norm)?;
        self.not_negative("optimizer.clip_value", optimizer.clip_value)
    }

    fn schedule(&self, config: &RunConfig) -> Result<()> {
        use ScheduleName::{Cosine, Decay, Inverse, Plateau};
        let schedule = &config.schedule;
        let members: [(&str, bool, &[ScheduleName]); 6] = [
            ("schedule.decay", schedule.decay.is_some(), &[Inverse]),
            ("schedule.factor", schedule.factor.is_some(), &[Decay, Plateau]),
            ("schedule.after", schedule.after.is_some(), &[Decay]),
            ("schedule.every", schedule.every.is_some(), &[Decay]),
            ("schedule.patience", schedule.patience.is_some(), &[Plateau]),
            ("schedule.min_lr", schedule.min_lr.is_some(), &[Plateau, Cosine]),
        ];
        for (key, given, kinds) in members {
            self.meaning(key, given, kinds.contains(&schedule.kind), "kind", schedule.kind.as_str())?;
        }
        if let Some(factor) = schedule.factor {
            self.holds(
                factor > 0.0 && factor <= 1.0,
                "schedule.factor",
                format_args!("must be more than 0 and at most 1, got {factor}"),
            )?;
        }
        self.holds(schedule.every != Some(0), "schedule.every", "must be at least 1, got 0")?;
        self.not_negative("schedule.decay", schedule.decay.unwrap_or(0.0))?;
        self.not_negative("schedule.min_lr", schedule.min_lr.unwrap_or(0.0))
    }

    fn sample(&self, config: &RunConfig) -> Result<()> {
        let sample = &config.sample;
        self.size("sample.length", sample.length, 0, 1 << 30)?;
        self.not_negative("sample.temperature", sample.temperature)?;
        self.holds(
            sample.top_p > 0.0 && sample.top_p <= 1.0,
            "sample.top_p",
            format_args!("must be more than 0 and at most 1, got {}", sample.top_p),
        )?;
        self.holds(
            (0.0..=1.0).contains(&sample.min_p),
            "sample.min_p",
            format_args!("must be from 0 to 1, got {}", sample.min_p),
        )
    }

    fn holds(&self, holds: bool, key: &str, what: impl std::fmt::Display) -> Result<()> {
        if holds { Ok(()) } else { Err(self.origins.refuse(key, what)) }
    }

    fn size(&self, key: &str, value: usize, least: usize, most: usize) -> Result<()> {
        let inside = (least..=most).contains(&value);
        self.holds(inside, key, format_args!("must be from {least} to {most}, got {value}"))
    }

    fn share(&self, key: &str, value: f64) -> Result<()> {
        let inside = (0.0..1.0).contains(&value);
        self.holds(inside, key, format_args!("must be at least 0 and less than 1, got {value}"))
    }

    fn positive(&self, key: &str, value: f64) -> Result<()> {
        let inside = value > 0.0 && value.is_finite();
        self.holds(inside, key, format_args!("must be a number greater than 0, got {value}"))
    }

    fn not_negative(&self, key: &str, value: f64) -> Result<()> {
        let inside = value >= 0.0 && value.is_finite();
        self.holds(inside, key, format_args!("must be a number that is 0 or more, got {value}"))
    }

    fn meaning(&self, key: &str, given: bool, has_meaning: bool, head: &str, word: &str) -> Result<()> {
        self.holds(!given || has_meaning, key, format_args!("has no meaning with {head} {word}"))
    }
}
