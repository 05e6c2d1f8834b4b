//! What is refused, with which words, and who wins.

use std::path::Path;

use proptest::prelude::*;

use super::*;
use crate::error::Error;
use crate::graph::{Activation, Initializer, LayerConfig};
use crate::recipes;

fn refused(text: &str) -> String {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    std::fs::write(&path, text).unwrap();
    let mut resolver = Resolver::new();
    let error = resolver.file(&path).and_then(|()| resolver.finish().map(|_| ())).unwrap_err();
    assert_eq!(error.exit_code(), 3, "{error}");
    error.to_string().replace(&folder.path().display().to_string(), "DIR")
}

fn flag_refused(flag: &str, key: &str, value: impl Into<toml::Value>) -> String {
    let mut resolver = Resolver::new();
    let error = resolver.set(flag, key, value.into()).and_then(|()| resolver.finish().map(|_| ())).unwrap_err();
    assert_eq!(error.exit_code(), 2, "{error}");
    error.to_string()
}

#[test]
fn the_head_of_a_graph_gives_way_to_what_comes_later() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    let text = "[model.graph]\nlayers = [{ type = \"one_hot\" }, { type = \"dense\" }]\n[model.graph.head]\n";
    std::fs::write(&path, format!("{text}kind = \"nce\"\nsamples = 7\n")).unwrap();
    let with = |assignments: &[&str]| {
        let mut resolver = Resolver::new();
        resolver.file(&path).unwrap();
        assignments.iter().for_each(|assignment| resolver.assign(assignment).unwrap());
        let (config, _) = resolver.finish().unwrap();
        let head = config.model.graph().head;
        (head.kind.name(), head.samples)
    };
    assert_eq!(with(&[]), ("nce", Some(7)));
    assert_eq!(with(&["model.head.kind=softmax"]), ("softmax", None));
    assert_eq!(with(&["model.head.samples=9"]), ("nce", Some(9)));
    assert_eq!(with(&["model.graph.head.samples=9"]), ("nce", Some(9)));
    assert_eq!(with(&["model.graph.head.kind=sampled_softmax", "model.head.samples=8"]), ("sampled_softmax", Some(8)));
}

#[test]
fn flags_win_over_the_file_which_wins_over_the_recipe() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    std::fs::write(&path, "[model]\nhidden = 64\nlayers = 3\n[train]\nbatch = 7\n").unwrap();
    let recipe = recipes::find("char-rnn").unwrap();
    let mut resolver = Resolver::new();
    resolver.recipe(recipe.name, recipe.text).unwrap();
    resolver.file(&path).unwrap();
    resolver.set("--rnn-size", "model.hidden", 32.into()).unwrap();
    let (config, origins) = resolver.finish().unwrap();
    assert_eq!((config.model.hidden, config.model.layers, config.train.batch, config.train.steps), (32, 3, 7, 50));
    assert_eq!(origins.of("model.hidden"), Some(&Origin::Flag("--rnn-size".to_owned())));
    assert_eq!(origins.of("model.layers"), Some(&Origin::File(path, 3)));
    assert_eq!(origins.of("train.steps"), Some(&Origin::Recipe("char-rnn".to_owned())));
    assert_eq!(origins.of("seed"), None);
}

#[test]
fn another_rule_does_not_inherit_the_recipes_settings_of_its_own() {
    let recipe = recipes::find("char-rnn").unwrap();
    let mut resolver = Resolver::new();
    resolver.recipe(recipe.name, recipe.text).unwrap();
    resolver.set("--optimizer", "optimizer.rule", "adam".into()).unwrap();
    let (config, _) = resolver.clone().finish().unwrap();
    assert_eq!((config.optimizer.decay, config.optimizer.lr, config.optimizer.clip_value), (None, None, 5.0));
    resolver.assign("optimizer.decay=0.9").unwrap();
    insta::assert_snapshot!(resolver.finish().unwrap_err(), @"--set optimizer.decay: has no meaning with rule adam");
}

#[test]
fn lazy_updates_are_for_rules_that_would_change_the_vectors_of_other_words() {
    let resolve = |rule: &str, decay: &str| {
        let mut resolver = Resolver::new();
        resolver.set("--optimizer", "optimizer.rule", rule.into()).unwrap();
        resolver.assign(&format!("optimizer.weight_decay={decay}")).unwrap();
        resolver.set("--lazy", "optimizer.lazy", true.into()).unwrap();
        resolver.finish().map(|(config, _)| assert!(config.optimizer.lazy))
    };
    for rule in ["sgd", "adagrad", "momentum", "adamw"] {
        resolve(rule, "1e-4").unwrap();
    }
    resolve("momentum", "0.0").unwrap();
    insta::assert_snapshot!(resolve("adagrad", "0.0").unwrap_err(), @"--lazy: has no meaning with rule adagrad and no weight decay: it leaves these vectors alone");
}

#[test]
fn the_same_rule_keeps_them() {
    let recipe = recipes::find("char-rnn").unwrap();
    let mut resolver = Resolver::new();
    resolver.recipe(recipe.name, recipe.text).unwrap();
    resolver.set("--optimizer", "optimizer.rule", "rmsprop".into()).unwrap();
    assert_eq!(resolver.finish().unwrap().0.optimizer.decay, Some(0.95));
}

#[test]
fn what_is_wrong_in_a_list_of_layers_is_found_in_its_layer() {
    let with = |layer: &str| {
        refused(&format!(
            "[model.graph]\nloss = \"cross_entropy\"\nlayers = [\n  {{ type = \"one_hot\" }},\n  {layer},\n  {{ type = \"dense\" }},\n]\n"
        ))
    };
    insta::assert_snapshot!(with("{ type = \"gru\", name = \"reader\",\n    unit = 4, return_sequences = true }"), @"DIR/run.toml, line 6, column 5: layer 2 (`gru`, `reader`): unknown key `unit`; did you mean `units`?");
    insta::assert_snapshot!(with("{ type = \"gru\", units = \"four\" }"), @r#"DIR/run.toml, line 5, column 19: layer 2 (`gru`): `units`: invalid type: string "four", expected a whole number, 0 or more"#);
    insta::assert_snapshot!(with("{ type = \"grru\", units = 4 }"), @"DIR/run.toml, line 5, column 5: layer 2 (`grru`): `type`: unknown value `grru`; did you mean `gru`?");
    insta::assert_snapshot!(with("{ units = 4 }"), @"DIR/run.toml, line 5, column 3: layer 2: missing field `type`");
    insta::assert_snapshot!(with("{ type = \"gru\" }"), @"DIR/run.toml, line 5, column 3: layer 2 (`gru`): missing field `units`");
    insta::assert_snapshot!(with("{ type = \"bidirectional\",\n    layer = { type = \"lstm\",\n      units = 4, dropuot = 0.1 } }"), @"DIR/run.toml, line 7, column 18: layer 2 (`bidirectional`): unknown key `dropuot`; did you mean `dropout`?");
    insta::assert_snapshot!(with("{ type = \"bidirectional\",\n    layer = { type = \"dense\", units = 4 } }"), @"DIR/run.toml, line 6, column 5: layer 2 (`bidirectional`): `layer`: unknown value `dense`; valid are simple_rnn, lstm, gru");
    let merged = |merge: &str| {
        with(&format!("{{ type = \"bidirectional\",\n    {merge},\n    layer = {{ type = \"lstm\", units = 4 }} }}"))
    };
    insta::assert_snapshot!(merged("merge_mode = \"average\""), @"DIR/run.toml, line 6, column 5: layer 2 (`bidirectional`): `merge_mode`: unknown value `average`; valid are concat, sum, mul, ave, none");
    insta::assert_snapshot!(merged("merge_mode = 3"), @"DIR/run.toml, line 6, column 5: layer 2 (`bidirectional`): `merge_mode`: invalid type: integer `3`, expected a name in quotes");
    insta::assert_snapshot!(merged("merge = \"sum\""), @"DIR/run.toml, line 6, column 5: layer 2 (`bidirectional`): unknown key `merge`; valid are name, inputs, merge_mode, initial_state, layer");
    let drawn = |by: &str| with(&format!("{{ type = \"gru\", units = 4,\n    kernel_initializer = {by} }}"));
    insta::assert_snapshot!(drawn("\"uniform\""), @"DIR/run.toml, line 6, column 5: layer 2 (`gru`): `kernel_initializer`: `uniform` takes a number: { uniform = 0.05 }");
    insta::assert_snapshot!(drawn("{ zeros = 1.0 }"), @r#"DIR/run.toml, line 6, column 28: layer 2 (`gru`): `zeros` takes no number: "zeros""#);
    insta::assert_snapshot!(drawn("{ unifrom = 1.0 }"), @"DIR/run.toml, line 6, column 28: layer 2 (`gru`): unknown value `unifrom`; did you mean `uniform`?");
    insta::assert_snapshot!(refused("[[model.graph.layers]]\ntype = \"one_hot\"\n[[model.graph.layers]]\ntype = \"lstm\"\nunits = 3\nunit = 4\n"), @"DIR/run.toml, line 6, column 1: layer 2 (`lstm`): unknown key `unit`; did you mean `units`?");
    insta::assert_snapshot!(refused("[[model.graph.layers]]\ntype = \"one_hot\"\n[[model.graph.layers]]\ntype = \"lstm\"\n"), @"DIR/run.toml, line 3, column 1: layer 2 (`lstm`): missing field `units`");
    let mut resolver = Resolver::new();
    insta::assert_snapshot!(resolver.assign("model.graph.layers=[{ type = \"one_hot\" }, { type = \"lstm\", unit = 3 }]").unwrap_err(), @"--set model.graph.layers: layer 2 (`lstm`): unknown key `unit`; did you mean `units`?");
}

#[test]
fn unknown_keys_and_values_are_refused_with_the_nearest() {
    insta::assert_snapshot!(refused("sede = 3\n"), @"DIR/run.toml, line 1, column 1: unknown key `sede`; did you mean `seed`?");
    insta::assert_snapshot!(refused("[train]\nbatch = 3\nstep = 4\n"), @"DIR/run.toml, line 3, column 1: unknown key `step`; did you mean `steps`?");
    insta::assert_snapshot!(refused("[model]\ncell = \"lsmt\"\n"), @"DIR/run.toml, line 2, column 8: unknown value `lsmt`; did you mean `lstm`?");
    insta::assert_snapshot!(refused("[optimiser]\nlr = 3\n"), @"DIR/run.toml, line 1, column 2: unknown key `optimiser`; did you mean `optimizer`?");
    insta::assert_snapshot!(refused("[optimizer]\nrule = \"lion\"\n"), @"DIR/run.toml, line 2, column 8: unknown value `lion`; valid are sgd, momentum, nesterov, adagrad, rmsprop, adam, adamw");
    insta::assert_snapshot!(flag_refused("--optimizer", "optimizer.rule", "adma"), @"--optimizer: unknown value `adma`; did you mean `adam`?");
    insta::assert_snapshot!(Resolver::new().assign("model.hiden=3").unwrap_err(), @"--set model.hiden: unknown key `hiden`; did you mean `hidden`?");
    insta::assert_snapshot!(Resolver::new().assign("hidden").unwrap_err(), @"--set: `hidden` has no `=` (write --set key=value, such as --set optimizer.lr=0.01)");
}

#[test]
fn values_of_the_wrong_kind_are_refused_in_plain_words() {
    insta::assert_snapshot!(refused("[model]\nhidden = \"many\"\n"), @r#"DIR/run.toml, line 2, column 10: invalid type: string "many", expected a whole number, 0 or more"#);
    insta::assert_snapshot!(refused("[model]\nhidden = -5\n"), @"DIR/run.toml, line 2, column 10: invalid value: integer `-5`, expected a whole number, 0 or more");
    insta::assert_snapshot!(refused("model = 3\n"), @"DIR/run.toml, line 1, column 9: invalid type: integer `3`, expected a section");
    insta::assert_snapshot!(refused("[model]\ntied = 1\n"), @"DIR/run.toml, line 2, column 8: invalid type: integer `1`, expected true or false");
    insta::assert_snapshot!(refused("[model\n"), @"DIR/run.toml, line 1, column 7: unclosed table, expected `]`");
    insta::assert_snapshot!(refused("seed = 1\nseed = 2\n"), @"DIR/run.toml, line 2, column 1: duplicate key");
    insta::assert_snapshot!(flag_refused("--set optimizer.lr", "optimizer.lr", "fast"), @r#"--set optimizer.lr: invalid type: string "fast", expected a number"#);
}

#[test]
fn numbers_out_of_range_are_refused_where_they_stand() {
    insta::assert_snapshot!(refused("[train]\nsteps = 5\nbatch = 0\n"), @"DIR/run.toml, line 3: `train.batch` must be from 1 to 16777216, got 0");
    insta::assert_snapshot!(refused("[model]\ndropout = 1.0\n"), @"DIR/run.toml, line 2: `model.dropout` must be at least 0 and less than 1, got 1");
    insta::assert_snapshot!(refused("[optimizer]\nlr = nan\n"), @"DIR/run.toml, line 2: `optimizer.lr` must be a number greater than 0, got NaN");
    insta::assert_snapshot!(flag_refused("--lr", "optimizer.lr", -1.0), @"--lr: must be a number greater than 0, got -1");
    insta::assert_snapshot!(flag_refused("--top-p", "sample.top_p", 2.0), @"--top-p: must be more than 0 and at most 1, got 2");
    insta::assert_snapshot!(flag_refused("--valid-fraction", "data.valid_fraction", 1.0), @"--valid-fraction: must be more than 0 and less than 1, got 1");
    insta::assert_snapshot!(flag_refused("--epochs", "train.epochs", 0), @"--epochs: is 0, so training would never end; give train.max_steps too");
    insta::assert_snapshot!(flag_refused("--replicas", "train.replicas", 51), @"--replicas: share the 50 streams of a batch, so they cannot be 51");
}

#[test]
fn combinations_without_meaning_are_refused() {
    insta::assert_snapshot!(refused("[model]\ncell = \"lstm\"\nreset_after = true\n"), @"DIR/run.toml, line 3: `model.reset_after` has no meaning with cell lstm");
    insta::assert_snapshot!(refused("[schedule]\nfactor = 0.5\n"), @"DIR/run.toml, line 2: `schedule.factor` has no meaning with kind constant");
    insta::assert_snapshot!(refused("[data]\nlower = true\n"), @"DIR/run.toml, line 2: `data.lower` works on words; the level here is char");
    insta::assert_snapshot!(refused("[model]\ntied = true\nembedding = 100\n"), @"DIR/run.toml, line 2: `model.tied` needs an embedding as large as the hidden layer, got embedding 100 and hidden 128");
    let graph = "[model]\nhidden = 3\n[[model.graph.layers]]\ntype = \"one_hot\"\n";
    insta::assert_snapshot!(refused(graph), @"DIR/run.toml, line 2: `model.hidden` has no meaning beside a model spelled out in `model.graph`");
}

#[test]
fn a_missing_a_large_and_a_binary_file_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let missing = Resolver::new().file(Path::new("nowhere/run.toml")).unwrap_err();
    insta::assert_snapshot!(missing, @"nowhere/run.toml: no such file (check the path)");
    let path = folder.path().join("run.toml");
    std::fs::write(&path, b"seed = 1 # \xff\n").unwrap();
    let binary = Resolver::new().file(&path).unwrap_err();
    assert!(binary.to_string().ends_with("byte 11: the configuration is not valid UTF-8"), "{binary}");
    std::fs::write(&path, vec![b'#'; (1 << 20) + 1]).unwrap();
    let large = Resolver::new().file(&path).unwrap_err();
    assert!(large.to_string().contains("1048577 bytes"), "{large}");
}

#[test]
fn the_short_form_is_zarembas_stack() {
    let (config, _) = recipes::find("zaremba-medium").unwrap().config().unwrap();
    let graph = config.model.graph();
    let kinds: Vec<&str> = graph.layers.iter().map(LayerConfig::kind).collect();
    assert_eq!(kinds, ["embedding", "dropout", "lstm", "dropout", "lstm", "dropout", "dense"]);
    assert_eq!(graph.initializer, Some(Initializer::Uniform(0.05)));
    let LayerConfig::Lstm(lstm) = &graph.layers[2] else { panic!("{graph:?}") };
    assert_eq!((lstm.units, lstm.unit_forget_bias), (650, Some(false)));
    assert_eq!(lstm.bias_initializer, Some(Initializer::Uniform(0.05)));
    let LayerConfig::Dense(dense) = &graph.layers[6] else { panic!("{graph:?}") };
    assert_eq!(dense.activation, Activation::Softmax);
}

#[test]
fn bytes_are_never_wrong_text() {
    let resolve = |level: &str| {
        let mut resolver = Resolver::new();
        resolver.set("--level", "data.level", level.into()).unwrap();
        resolver.set("--encoding-errors", "data.encoding_errors", "skip".into()).unwrap();
        resolver.finish()
    };
    resolve("char").unwrap();
    insta::assert_snapshot!(resolve("byte").unwrap_err(), @"--encoding-errors: works on text; the level here is byte");
}

#[test]
fn a_spelled_out_graph_replaces_the_recipes_model() {
    let recipe = recipes::find("char-rnn").unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("run.toml");
    let text = "[[model.graph.layers]]\ntype = \"one_hot\"\n[[model.graph.layers]]\ntype = \"dense\"\n";
    std::fs::write(&path, text).unwrap();
    let mut resolver = Resolver::new();
    resolver.recipe(recipe.name, recipe.text).unwrap();
    resolver.file(&path).unwrap();
    assert_eq!(resolver.clone().finish().unwrap().0.model.graph().layers.len(), 2);
    resolver.set("--rnn-size", "model.hidden", 5.into()).unwrap();
    insta::assert_snapshot!(resolver.finish().unwrap_err(), @"--rnn-size: has no meaning beside a model spelled out in `model.graph`");
}

#[test]
fn what_is_written_reads_back() {
    for recipe in recipes::RECIPES {
        let (config, _) = recipe.config().unwrap();
        let text = toml::to_string(&config).unwrap();
        assert_eq!(toml::from_str::<RunConfig>(&text).unwrap(), config, "{text}");
    }
}

proptest! {
    #[test]
    fn no_text_panics(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        configuration(&bytes);
    }

    #[test]
    fn nearest_finds_what_was_mistyped(position in 0usize..6, letter in "[a-z]") {
        let mut word = "hidden".to_owned();
        word.replace_range(position..=position, &letter);
        prop_assert_eq!(nearest(&word, ["layers", "hidden", "dropout", "cell"]), Some("hidden"));
    }
}

#[test]
fn errors_of_a_value_without_a_source_name_the_key() {
    let error: Error = Origins::default().refuse("train.batch", "must be at least 1");
    assert_eq!(error.to_string(), "`train.batch` must be at least 1");
}
