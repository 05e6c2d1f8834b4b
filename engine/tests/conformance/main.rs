//! Numbers that others wrote: the recurrent layers against the test suites of Keras, ONNX, PyTorch and TensorFlow.js.
//!
//! The cases are JSON files in the folder `conformance` of the one that `UNROLL_DATA` names. They give vectors, not
//! tokens, so each vector becomes a row of an embedding table, and the outputs are read through a dense layer with the
//! identity as its kernel, which changes no bit: what runs is the network that trains, on every instruction set, with
//! fusions and without.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

mod cases;
mod forward;
mod training;

use cases::ways;
use forward::{run_forward, run_stateful, run_tokens};
use serde_json::Value;
use training::run_training;

/// The files, and how many cases of each must have been run.
const FILES: [(&str, usize); 4] = [
    ("keras_rnn_cases.json", 61),
    ("onnx_rnn_cases.json", 12),
    ("pytorch_rnn_cases.json", 1),
    ("tfjs_training_cases.json", 10),
];

#[test]
fn the_published_cases_come_out_as_written() {
    let Ok(folder) = std::env::var("UNROLL_DATA") else {
        println!("SKIPPED: UNROLL_DATA is not set");
        return;
    };
    let mut short = Vec::new();
    println!("{:<28} {:>4}", "file", "run");
    for (file, least) in FILES {
        let path = std::path::Path::new(&folder).join("conformance").join(file);
        let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
        let cases: Value = serde_json::from_str(&text).expect("a JSON file");
        let mut run = 0;
        for case in cases["cases"].as_array().expect("cases") {
            run += 1;
            for way in ways() {
                match case["kind"].as_str() {
                    None => run_forward(case, way),
                    Some("forward_stateful") => run_stateful(case, way),
                    Some("forward") => run_tokens(case, way),
                    Some(_) => run_training(case, way),
                }
            }
        }
        println!("{file:<28} {run:>4}");
        if run < least {
            short.push(format!("{file}: {run} of at least {least}"));
        }
    }
    assert!(short.is_empty(), "too few cases were run: {}", short.join(", "));
}
