//! The training that a configuration describes, as a case.

use super::cases::{Case, CaseOptions, Task};
use crate::config::RunConfig;
use crate::error::{Error, Result};
use crate::graph::{LayerConfig, Loss, ModelConfig};

/// What a configuration leaves to its data.
#[derive(Clone, Copy, Debug, Default)]
pub struct DataSizes {
    /// V: the number of different tokens.
    pub vocabulary: Option<usize>,
    /// The number of different labels.
    pub classes: Option<usize>,
}

impl Case {
    /// The training of a configuration called `name`, on random tokens, vectors and labels; the options may change its
    /// rows and steps.
    ///
    /// Samples with labels, and texts for vectors or texts, are taken to be as long as the longest may be
    /// (`task.prepare.maxlen`), or as `train.steps` where nothing says so. A source is as long as what is written.
    ///
    /// # Errors
    ///
    /// As [`Graph::new`](crate::graph::Graph::new); [`Error::Usage`] for a size that is not known or that the model
    /// does not take.
    pub fn of_config(name: &str, config: &RunConfig, data_sizes: DataSizes, options: &CaseOptions) -> Result<Self> {
        let (model, train) = (config.model.graph(), &config.train);
        if options.hidden.is_some() {
            return Err(Error::option("--hidden", format!("{name} has its own")).mend("set it in the configuration"));
        }
        let steps = match (model.input_length, options.steps) {
            (Some(own), Some(asked)) if own != asked => {
                return Err(Error::option("--steps", format!("{name} reads {own} tokens")).mend("leave it out"));
            }
            (Some(own), _) => own,
            (None, Some(asked)) => asked,
            (None, None) => {
                config.task.as_ref().map(|task| task.prepare.maxlen).filter(|&n| n > 0).unwrap_or(train.steps)
            }
        };
        let rows = options.rows.unwrap_or(train.batch);
        let case = Self {
            classes: classes(name, config, &model, data_sizes.classes)?,
            optimizer: config.optimizer.options(),
            precision: train.precision.into(),
            replicas: train.replicas,
            ..Self::of(name, model, data_sizes.vocabulary.unwrap_or(1), [steps, rows])
        };
        let graph = case.graph()?;
        if data_sizes.vocabulary.is_none() && (graph.takes_tokens() || graph.takes_source_tokens()) {
            let what =
                format!("{name} takes tokens, and how many different ones there are is not known: no text is read");
            return Err(Error::option("--vocabulary", what).mend("give their number, such as --vocabulary 10000"));
        }
        if graph.batch_size().is_some_and(|own| own != rows) {
            let what =
                format!("{name} takes batches of another size than {rows} alone (batch_size of its input layer)");
            return Err(Error::usage(what).mend("leave batch_size out of the model"));
        }
        let task = if graph.is_sequence() { Task::Train } else { Task::Classify };
        let timeless = graph.nodes().iter().all(|node| node.shape.time.is_none());
        Ok(Self { task, steps: if timeless { 1 } else { steps }, ..case })
    }
}

/// What the labels of each output may be; none where words are learned.
fn classes(name: &str, config: &RunConfig, model: &ModelConfig, given: Option<usize>) -> Result<Option<Vec<usize>>> {
    let Some(task) = config.task.as_ref().filter(|task| task.kind.has_labels()) else {
        return match given {
            Some(_) => Err(Error::option("--classes", format!("{name} learns words, no labels")).mend("leave it out")),
            None => Ok(None),
        };
    };
    let listed = Some(task.classes.len()).filter(|&count| count > 0);
    let of = |loss, layer: Option<&LayerConfig>| match loss {
        Loss::BinaryCrossEntropy => Some(2),
        Loss::MeanSquaredError => Some(1),
        Loss::CrossEntropy => listed.or_else(|| layer.and_then(units)),
    };
    let known: Vec<Option<usize>> = match model.outputs.as_slice() {
        [] => vec![of(model.loss, model.layers.iter().rev().find(|layer| is_dense(layer)))],
        several => several
            .iter()
            .map(|output| {
                let named = |layer: &&LayerConfig| layer.name_and_inputs().0 == Some(output.layer.as_str());
                of(output.loss, model.layers.iter().find(named))
            })
            .collect(),
    };
    if given.is_some() && !known.contains(&None) {
        return Err(Error::option("--classes", format!("{name} says how many it has")).mend("leave it out"));
    }
    known.into_iter().map(|classes| classes.or(given)).collect::<Option<Vec<_>>>().map(Some).ok_or_else(|| {
        Error::option(
            "--classes",
            format!("{name} learns labels, and how many there are is not known: no data are read"),
        )
        .mend("give their number, such as --classes 4")
    })
}

/// The layer that is applied, to each step where a wrapper says so.
fn applied(layer: &LayerConfig) -> &LayerConfig {
    match layer {
        LayerConfig::TimeDistributed(wrapper) => &wrapper.layer,
        layer => layer,
    }
}

fn is_dense(layer: &LayerConfig) -> bool {
    matches!(applied(layer), LayerConfig::Dense(_))
}

fn units(layer: &LayerConfig) -> Option<usize> {
    match applied(layer) {
        LayerConfig::Dense(dense) => dense.units,
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Resolver;
    use crate::recipes::RECIPES;

    fn options() -> CaseOptions {
        CaseOptions { rows: Some(3), ..CaseOptions::default() }
    }

    /// Trains the case for a step, then simulates a step of a member of a team of two, and of a replica of one member.
    fn runs(case: &Case) {
        let name = case.name();
        assert!(case.training(&options()).unwrap().step().is_finite(), "{name}");
        for (team, rows) in [(2, 3), (1, 2)] {
            let options = CaseOptions { threads: team, ..options() };
            case.clone().with_rows(rows).simulated(&options).unwrap().step();
        }
    }

    #[test]
    fn every_recipe_and_every_case_that_trains_runs() {
        for name in Case::names().iter().filter(|name| !name.starts_with("gen")) {
            let fixed = Case::new(name, &CaseOptions { rows: None, ..options() }).unwrap().fixed;
            let given = |option, size| Some(size).filter(|_| !fixed.contains(&option));
            let options = CaseOptions { hidden: given("--hidden", 8), steps: given("--steps", 20), ..options() };
            runs(&Case::new(name, &options).unwrap());
        }
        for recipe in RECIPES {
            let (mut config, _) = recipe.config().unwrap();
            (config.model.hidden, config.model.embedding) = (8, config.model.embedding.min(8));
            let classes = Some(4).filter(|_| ["topics", "ud-ewt"].contains(&recipe.name));
            let steps = Some(12).filter(|_| config.model.graph().input_length.is_none());
            let data_sizes = DataSizes { vocabulary: Some(50), classes };
            let case = Case::of_config(recipe.name, &config, data_sizes, &CaseOptions { steps, ..options() }).unwrap();
            assert_eq!((case.precision, case.replicas), (config.train.precision.into(), config.train.replicas));
            runs(&case);
        }
    }

    fn config(text: &str) -> RunConfig {
        let mut resolver = Resolver::new();
        resolver.recipe("own", text).unwrap();
        resolver.finish().unwrap().0
    }

    #[test]
    fn sizes_come_from_the_model_the_task_and_the_options() {
        let of =
            |text: &str, data_sizes, options: &CaseOptions| Case::of_config("own", &config(text), data_sizes, options);
        let dense = |rest: &str| format!("[model.graph]\n{rest}layers = [{{ type = \"embedding\", output_dim = 2 }}, ");
        let window = format!(
            "{}{{ type = \"reshape\", target_shape = [8] }}, {{ type = \"dense\" }}]",
            dense("input_length = 4\n")
        );
        let known = DataSizes { vocabulary: Some(9), classes: None };
        assert_eq!(of(&window, known, &options()).unwrap().sizes(), (4, 3));
        let other = of(&window, known, &CaseOptions { steps: Some(5), ..options() }).unwrap_err().to_string();
        assert_eq!(other, "--steps: own reads 4 tokens (leave it out)");
        let blind = of(&window, DataSizes::default(), &options()).unwrap_err().to_string();
        assert!(blind.starts_with("--vocabulary: own takes tokens"), "{blind}");

        let labels = "[task]\nkind = \"classify\"\n[task.prepare]\nmaxlen = 7\n";
        let last = |end: &str| format!("{labels}{}{{ type = \"lstm\", units = 2 }}, {end}]", dense(""));
        let open = last("{ type = \"dense\" }");
        assert!(of(&open, known, &options()).unwrap_err().to_string().starts_with("--classes: own learns labels"));
        let four = DataSizes { classes: Some(4), ..known };
        let case = of(&open, four, &options()).unwrap();
        assert_eq!((case.sizes(), case.graph().unwrap().classes()), ((7, 3), 4));
        let said = last("{ type = \"dense\", units = 5 }");
        assert_eq!(of(&said, known, &options()).unwrap().graph().unwrap().classes(), 5);
        assert!(of(&said, four, &options()).is_err() && of(&window, four, &options()).is_err());

        // Numbers alone: no text, and no steps.
        let numbers = "[task]\nkind = \"classify\"\nformat = \"npy\"\n[model.graph]\nloss = \"mean_squared_error\"\n\
             layers = [{ type = \"input\", width = 3, sequence = false }, { type = \"dense\", units = 1 }]";
        let case = of(numbers, DataSizes::default(), &options()).unwrap();
        assert_eq!(case.sizes(), (1, 3));
        runs(&case);
    }
}
