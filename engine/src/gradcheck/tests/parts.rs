//! States that layers give and take, and directions that are not merged.

use super::*;

/// A picture from which a layer reading forwards, one reading backwards and, where `last`, one above them start.
fn picture((cell, form): (&str, &str), states: &[&str], mask: bool, last: bool) -> String {
    let dense =
        |name: &&str| format!("{{ type = \"dense\", name = \"{name}\", inputs = [\"picture\"], units = 4 }},\n");
    let start: String = states.iter().map(dense).collect();
    let layer = |name: &str, input: &str, more: &str| {
        format!(
            "{{ type = \"{cell}\", name = \"{name}\", inputs = [\"{input}\"], units = 4, initial_state = {states:?}, \
             return_sequences = {}{form}{more} }},\n",
            name != "last"
        )
    };
    let (on, back) = (layer("on", "embedding", ""), layer("back", "embedding", ", go_backwards = true"));
    let end = if last { layer("last", "add", "") } else { String::new() };
    format!(
        r#"layers = [
            {{ type = "input", name = "picture", width = 5, sequence = false }},
            {start}
            {{ type = "embedding", inputs = ["sequence"], output_dim = 6, mask_zero = {mask} }},
            {on}
            {back}
            {{ type = "add", inputs = ["on", "back"] }},
            {end}
            {{ type = "dense" }},
        ]"#
    )
}

/// An encoder both ways whose states, each for itself and through a dense layer, a decoder and a second pass start
/// from.
const ENCODER: &str = r#"
    layers = [
        { type = "embedding", output_dim = 5, mask_zero = MASK },
        { type = "bidirectional", name = "encoder", merge_mode = "none",
          layer = { type = "lstm", units = 3, return_sequences = SEQUENCES, return_state = true } },
        { type = "concatenate", name = "states", inputs = ["encoder/forward/c", "encoder/backward/h"] },
        { type = "dense", name = "bridge", units = 4 },
        { type = "gru", name = "decoder", inputs = ["embedding"], units = 4, return_sequences = true, return_state = true,
          initial_state = ["bridge"] },
        { type = "bidirectional", name = "again", merge_mode = "sum",
          layer = { type = "lstm", units = 3, peephole = true, return_sequences = true, return_state = true },
          initial_state = ["encoder/backward/h", "encoder/backward/c", "encoder/forward/h", "encoder/forward/c"] },
        { type = "lstm", name = "end", units = 3, inputs = ["again"],
          initial_state = ["again/forward/h", "again/backward/c"] },
        { type = "concatenate", name = "all", inputs = ["end", "decoder/h", LAST] },
        { type = "dense" },
    ]
"#;

#[test]
fn gradients_flow_through_states_that_layers_give_and_take() {
    let cells = [
        (("simple_rnn", ""), &["h0"][..]),
        (("lstm", ""), &["h0", "c0"]),
        (("lstm", ", peephole = true"), &["h0", "c0"]),
        (("gru", ""), &["h0"]),
        (("gru", ", reset_after = false"), &["h0"]),
        // The first batch begins there, the second goes on from the first.
        (("gru", ", stateful = true"), &["h0"]),
        (("lstm", ", stateful = true, recurrent_dropout = 0.3, zoneout = 0.2, zoneout_cell = 0.1"), &["h0", "c0"]),
    ];
    for ((cell, states), mask) in cells.into_iter().flat_map(|cell| [true, false].map(|mask| (cell, mask))) {
        for last in [false, true] {
            let graph = graph(&picture(cell, states, mask, last), 7);
            for (seed, threads) in [(1, 1), (2, 2)] {
                assert_passes(&graph, &Options { rows: 4, steps: Some(5), entries: 60, seed, threads, ..options() });
            }
        }
    }
}

#[test]
fn gradients_flow_from_a_decoder_into_its_encoder() {
    for mask in ["true", "false"] {
        for (sequences, last) in [
            ("false", "\"encoder/forward\", \"encoder/backward\""),
            // One direction alone, of which the last state is taken.
            ("true", "\"encoder/backward/c\""),
        ] {
            let text = ENCODER.replace("MASK", mask).replace("SEQUENCES", sequences).replace("LAST", last);
            let graph = graph(&text, 6);
            for (seed, threads) in [(3, 1), (4, 2)] {
                assert_passes(&graph, &Options { rows: 4, steps: Some(5), entries: 60, seed, threads, ..options() });
            }
        }
    }
}

#[test]
fn a_state_that_is_not_taken_is_caught() {
    let text = ENCODER.replace("MASK", "true").replace("SEQUENCES", "false").replace("LAST", "\"encoder/forward\"");
    let asked = graph(&text, 6);
    let states = "\"encoder/backward/h\", \"encoder/backward/c\", \"encoder/forward/h\", \"encoder/forward/c\"";
    let changes = [
        (states, "\"encoder/forward/h\", \"encoder/backward/c\", \"encoder/backward/h\", \"encoder/forward/c\""),
        (states, "\"encoder/backward/c\", \"encoder/backward/h\", \"encoder/forward/h\", \"encoder/forward/c\""),
        ("initial_state = [\"bridge\"]", "initial_state = [\"bridge2\"]"),
        ("\"again/backward/c\"]", "\"again/forward/c\"]"),
        ("\"encoder/forward\"]", "\"encoder/backward\"]"),
    ];
    for (from, to) in changes {
        let text = text.replacen(from, to, 1).replace("\"bridge2\"]", "\"bridge\"], activation = \"softsign\"");
        let other = graph(&text, 6);
        let options = Options { rows: 4, entries: 1, sets: vec![Isa::best()], ..options() };
        let report = run_with(&asked, &options, &Faults { graph: Some(&other), ..Faults::NONE }).unwrap();
        assert!(!report.passed, "{to}");
    }
}
