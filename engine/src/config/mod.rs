//! The configuration of a run: what is read, what is trained, and how.
//!
//! A [`RunConfig`] is resolved from up to four sources, of which the later wins key by key: the built-in defaults, a
//! recipe (`--recipe`), a TOML file (`--config`), and the command's options (and `--set key=value`). [`Resolver`]
//! merges them and remembers where each value came from, so that a refusal names the option or the file and line to
//! mend.
//!
//! ```toml
//! seed = 123
//! [data]
//! train = ["input.txt"]
//! level = "char"
//! [model]
//! cell = "lstm"
//! hidden = 128
//! layers = 2
//! [train]
//! batch = 50
//! steps = 50
//! [optimizer]
//! rule = "rmsprop"
//! lr = 0.002
//! ```

mod about;
mod choices;
mod layers;
mod merge;
mod sections;
mod shorthand;
mod suggest;
mod task;
mod validate;
mod words;

pub use about::About;
pub use choices::{ClassWeights, Threshold};
pub use merge::{Origin, Origins, Resolver};
pub use sections::{
    DataConfig, ModelSection, OptimizerConfig, ReportConfig, RunConfig, SampleConfig, ScheduleConfig, TrainSection,
};
pub use suggest::nearest;
pub use task::{FormatName, TaskConfig, TaskKind, VALID_SAMPLES};
pub use validate::{TOKENS, check_shares};
pub use words::{
    AverageName, Cell, Init, InitBiases, LossScaleName, OptimizerName, PrecisionName, ReportStyle, RnnActivation,
    SampleState, ScheduleName, SplitName,
};

#[cfg(test)]
mod tests;

/// The body of the fuzz target `configuration`: any bytes are read as a configuration file and as an assignment, and
/// whatever is accepted must be written and read back unchanged.
pub fn configuration(bytes: &[u8]) {
    let Ok(text) = std::str::from_utf8(bytes) else { return };
    let mut resolver = Resolver::new();
    for line in text.lines().take(8) {
        let _refused = resolver.assign(line);
    }
    let mut file = Resolver::new();
    if file.untrusted(text).is_err() {
        return;
    }
    for accepted in [resolver.finish(), file.finish()] {
        let Ok((config, _)) = accepted else { continue };
        let _graph = config.model.graph();
        let Ok(written) = toml::to_string(&config) else { continue };
        let read: Result<RunConfig, _> = toml::from_str(&written);
        assert!(read.is_ok(), "what was written is not read back: {written}");
    }
}
