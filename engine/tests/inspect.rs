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
        (&["inspect", "gradient", "char-rnn", "--cells", "lstm,gro"], "2: error: --cells: `gro` is no cell"),
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
