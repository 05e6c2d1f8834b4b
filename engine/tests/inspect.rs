//! What a network has learned, as users of the command look at it.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod common;

use common::Place;
use serde_json::Value;

const TEXT: &str = "the <cat> sat on the mat & the dog sat on the log; ";

/// A language model of two recurrent layers, trained for a few steps on characters.
fn trained(place: &Place) {
    place.file("text.txt", TEXT.repeat(40));
    place.ok(&[
        "train",
        "--data",
        "text.txt",
        "--model",
        "gru",
        "--rnn-size",
        "12",
        "--num-layers",
        "2",
        "--batch",
        "4",
        "--steps",
        "10",
        "--max-steps",
        "8",
        "--epochs",
        "0",
        "--threads",
        "1",
        "--out",
        "run",
    ]);
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap()
}

#[test]
fn gradients_of_runs_and_of_models_that_nobody_trained_are_compared_in_one_call() {
    let place = Place::new();
    trained(&place);
    let arguments = &["inspect", "gradient", "run", "char-rnn", "--cells", "rnn,lstm"][..];
    let tail = ["--steps", "20", "--rows", "4", "--threads", "2"];
    let out = json(&place.ok(&[arguments, &tail, &["--json", "--svg", "plot.svg"]].concat()));
    assert_eq!((&out["steps"], &out["rows"]), (&20.into(), &4.into()));
    let models = out["models"].as_array().unwrap();
    let names: Vec<&str> = models.iter().map(|m| m["model"].as_str().unwrap()).collect();
    assert_eq!(names, ["run", "char-rnn, rnn", "char-rnn, lstm"]);
    assert_eq!((&models[0]["trained"], &models[1]["trained"]), (&true.into(), &false.into()));
    assert_eq!(
        (&models[0]["tokens"], &models[1]["tokens"]),
        (&"the run's training text".into(), &"random tokens".into())
    );
    for model in models {
        let layers = model["layers"].as_array().unwrap();
        assert_eq!(layers.len(), 2);
        for layer in layers {
            let norms: Vec<f64> = layer["norms"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
            assert!(norms.len() == 20 && norms.iter().all(|n| *n > 0.0) && norms[19] < norms[0], "{norms:?}");
        }
    }
    // A gated cell carries gradients further than a plain one, before any training.
    let ratio = |model: usize| {
        let norms = &models[model]["layers"][1]["norms"];
        norms[19].as_f64().unwrap() / norms[0].as_f64().unwrap()
    };
    assert!(ratio(2) != ratio(1));
    let svg = String::from_utf8(place.read("plot.svg")).unwrap();
    assert!(svg.starts_with("<svg ") && svg.matches("<path").count() == 12, "{svg}");
    assert!(svg.contains("char-rnn, lstm: lstm_1"));
    // The same numbers whatever the threads; and as a table.
    let again = json(&place.ok(&[arguments, &["--steps", "20", "--rows", "4", "--threads", "1", "--json"]].concat()));
    assert_eq!(again, out);
    let table = place.ok(&[arguments, &tail].concat());
    assert!(table.contains("below 1 % at") && table.lines().count() >= 7, "{table}");
    // A text of one's own.
    let own = json(&place.ok(&["inspect", "gradient", "run", "--data", "text.txt", "--steps", "5", "--json"]));
    assert_eq!((&own["models"][0]["tokens"], &own["steps"]), (&"text.txt".into(), &5.into()));
}

#[test]
fn a_file_of_a_model_is_measured_and_what_cannot_be_is_named() {
    let place = Place::new();
    place.file(
        "mine.toml",
        "[model.graph]\nlayers = [{ type = \"embedding\", output_dim = 4 }, { type = \"gru\", units = 5, return_sequences = \
         true, go_backwards = true }, { type = \"lstm\", units = 3, return_sequences = true }, { type = \"dense\" }]\n",
    );
    let out = json(&place.ok(&["inspect", "gradient", "mine.toml", "--vocab", "9", "--steps", "6", "--json"]));
    let layers = out["models"][0]["layers"].as_array().unwrap();
    // What reads from the end does not see the steps before the loss.
    assert_eq!((layers.len(), &layers[0]["layer"]), (1, &"lstm".into()));
    place.file(
        "flat.toml",
        "[model.graph]\ninput_length = 3\nlayers = [{ type = \"embedding\", output_dim = 4 }, { type = \"reshape\", target_shape = \
         [12] }, { type = \"dense\" }]\n",
    );
    for (arguments, want) in [
        (&["inspect", "gradient", "flat.toml"][..], "2: error: the model has no recurrent layer"),
        (&["inspect", "gradient", "char_rn"], "2: error: there is no recipe `char_rn` (did you mean `char-rnn`?"),
        (&["inspect", "gradient", "char-rnn", "--cells", "lstm,gro"], "2: error: --cells: `gro` is not a cell"),
        (
            &["inspect", "gradient", "char-rnn", "--data", "text.txt"],
            "2: error: --data: no model here was trained on a text",
        ),
        (&["inspect", "gradient", "char-rnn", "--rows", "0"], "2: error: --rows: must be from 1"),
    ] {
        let error = place.refused(arguments);
        assert!(error.starts_with(want), "{error}");
    }
}

#[test]
fn units_over_a_text_are_a_page_and_numbers() {
    let place = Place::new();
    trained(&place);
    let text = "the <cat> & the mat";
    let page = place.ok(&["inspect", "units", "run", "--unit", "gru:3", "--unit", "gru_1:0-1", "--text", text]);
    assert!(page.starts_with("<!DOCTYPE html>") && page.trim_end().ends_with("</html>"));
    assert!(page.contains("&lt;") && page.contains("&amp;") && !page.contains("<cat>") && !page.contains("http"));
    assert!(["gru:3", "gru_1:0", "gru_1:1"].iter().all(|unit| page.contains(&format!("<h2>{unit}</h2>"))));
    // From standard input, into a file, the same page.
    place.ok_with(&["inspect", "units", "run", "--unit", "gru:3", "--unit", "gru_1:0-1", "--out", "page.html"], text);
    assert_eq!(String::from_utf8(place.read("page.html")).unwrap(), page);
    let numbers = json(&place.ok(&["inspect", "units", "run", "--unit", "gru_1:11", "--text", text, "--json"]));
    place.file("chapter.txt", text);
    let of_file = ["inspect", "units", "run", "--unit", "gru_1:11", "--data", "chapter.txt", "--json"];
    assert_eq!(json(&place.ok(&of_file)), numbers);
    let (tokens, values) = (&numbers["tokens"], &numbers["units"][0]["values"]);
    assert_eq!((tokens.as_array().unwrap().len(), values.as_array().unwrap().len()), (text.len(), text.len()));
    assert!(values.as_array().unwrap().iter().all(|v| v.as_f64().unwrap().abs() < 1.0));
    for (unit, text, want) in [
        ("gru:12", "the", "layer `gru` has 12 units, 0 to 11"),
        ("gro:1", "the", "the model has no layer `gro` (its layers are"),
        ("gru", "the", "`gru` is not LAYER:INDEX"),
        ("gru:1", "", "the text has no token"),
        ("dense:1", "the", "layer `dense` is computed as a part of another"),
    ] {
        let error = place.refused(&["inspect", "units", "run", "--unit", unit, "--text", text]);
        assert!(error.starts_with("2: error:") && error.contains(want), "{error}");
    }
}

/// A configuration of a task with these layers before the last.
fn task(kind: &str, layers: &str) -> String {
    format!(
        "[data]\nvalid_fraction = 0\n[task]\nkind = \"{kind}\"\n[model.graph]\nlayers = [{layers}, {{ type = \"dense\", activation = \
         \"softmax\" }}]\n[train]\nbatch = 4\nepochs = 1\n"
    )
}

#[test]
fn units_of_taggers_and_of_models_of_the_next_word_are_shown_at_each_token() {
    let place = Place::new();
    let word = |n: usize, word: &str, tag: &str| format!("{n}\t{word}\t_\t{tag}\t_\t_\t_\t_\t_\t_\n");
    place.file(
        "tags.conllu",
        [word(1, "the", "DET"), word(2, "cat", "NOUN"), "\n".to_owned(), word(1, "a", "DET")].concat(),
    );
    let embedding = "{ type = \"embedding\", output_dim = 4, mask_zero = true }";
    let both = "{ type = \"bidirectional\", layer = { type = \"gru\", units = 3, return_sequences = true } }";
    place.file("tag.toml", task("tag", &format!("{embedding}, {both}")));
    place.ok(&["train", "--config", "tag.toml", "--data", "tags.conllu", "--out", "tags"]);
    let shown = |run: &str, unit: &str, text: &str| {
        json(&place.ok(&["inspect", "units", run, "--unit", unit, "--text", text, "--json"]))
    };
    let numbers = shown("tags", "bidirectional:5", "a cat!");
    assert_eq!(numbers["tokens"], serde_json::json!(["a", "a", "c", "a", "t", "cat", "!", "!"]));
    let values: Vec<f64> =
        numbers["units"][0]["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect();
    assert!(values.len() == 8 && values.iter().all(|v| *v != 0.0 && v.abs() < 1.0), "{values:?}");
    let by_space = ["inspect", "units", "tags", "--unit", "bidirectional:5", "--text", "a cat!", "--words", "--json"];
    assert_eq!(json(&place.ok(&by_space))["tokens"][6], "cat!");

    // A model without masks reads the padding before a text too, as it did in training: its state is not that of the text alone.
    place.file("lines.txt", "one two three four\ntwo one\n");
    let layers = "{ type = \"embedding\", output_dim = 4 }, { type = \"simple_rnn\", units = 3, use_bias = false }";
    for (name, layers) in [("padded", layers.to_owned()), ("masked", layers.replace("= 4", "= 4, mask_zero = true"))] {
        place.file("next.toml", task("next", &layers));
        place.ok(&["train", "--config", "next.toml", "--data", "lines.txt", "--out", name]);
    }
    let state = |run: &str, text: &str| -> Vec<f64> {
        let numbers = shown(run, "simple_rnn:1", text);
        assert_eq!(numbers["tokens"], serde_json::json!(text.split(' ').collect::<Vec<_>>()));
        numbers["units"][0]["values"].as_array().unwrap().iter().map(|v| v.as_f64().unwrap()).collect()
    };
    // Masked, the first word's state is the same whatever follows; padded, less stands before it in the longer text.
    assert_eq!(state("masked", "two one")[0], state("masked", "two one two")[0]);
    assert_ne!(state("padded", "two one")[0], state("padded", "two one two")[0]);
    for (run, text, want) in [
        ("masked", "five", "2: error: the text has no token that the model can read"),
        ("tags", " ", "2: error: the text has no token that the model can read"),
    ] {
        let error = place.refused(&["inspect", "units", run, "--unit", "embedding:0", "--text", text]);
        assert!(error.starts_with(want), "{error}");
    }
    let error = place.refused(&["inspect", "units", "masked", "--unit", "embedding:0", "--text", "one", "--words"]);
    assert!(error.starts_with("2: error: --words: is for taggers; this run learned to predict"), "{error}");
}

#[test]
fn gradients_of_models_that_take_vectors_are_measured_on_random_numbers() {
    let place = Place::new();
    let read = |arguments: &[&str]| {
        let model = &json(
            &place.ok(&[&["inspect", "gradient"], arguments, &["--steps", "5", "--rows", "3", "--json"]].concat()),
        )["models"][0];
        let norms: Vec<f64> =
            model["layers"][0]["norms"].as_array().unwrap().iter().map(|n| n.as_f64().unwrap()).collect();
        assert!(norms.len() == 5 && norms.iter().all(|n| *n > 0.0), "{norms:?}");
        model["tokens"].as_str().unwrap().to_owned()
    };
    // Captions: a vector a text, and its words.
    place.file("pictures.csv", "red blue,1,2,0\nblue,0,2,1\n");
    let layers = "{ type = \"input\", name = \"image\", width = 3, sequence = false }, { type = \"dense\", name = \"h\", units = 4 }, \
         { type = \"embedding\", inputs = [\"sequence\"], output_dim = 4 }, \
         { type = \"gru\", units = 4, return_sequences = true, initial_state = [\"h\"] }";
    place.file("captions.toml", task("caption", layers));
    place.ok(&["train", "--config", "captions.toml", "--data", "pictures.csv", "--out", "captions"]);
    assert_eq!(read(&["captions"]), "random tokens and numbers");
    // A vector a step.
    place.file("steps.toml", task("classify", "{ type = \"input\", width = 2 }, { type = \"lstm\", units = 4 }"));
    assert_eq!(read(&["steps.toml"]), "random numbers");
    let refused = place.refused(&["inspect", "units", "captions", "--unit", "gru:0", "--text", "red"]);
    assert!(refused.contains("the run learned to write captions, and a page shows"), "{refused}");
    let source = "{ type = \"input\", name = \"frames\", inputs = [\"source\"], width = 2 }, { type = \"gru\", name = \"encoder\", \
         units = 4 }, { type = \"embedding\", inputs = [\"sequence\"], output_dim = 4 }, { type = \"gru\", units = 4, \
         return_sequences = true, initial_state = [\"encoder\"] }";
    place.file("films.toml", task("caption", source));
    let refused = place.refused(&["inspect", "gradient", "films.toml"]);
    assert!(refused.contains("measured of models of one sequence, this one reads a `source` too"), "{refused}");
}
