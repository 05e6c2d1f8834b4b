use super::*;
use crate::graph::Graph;
use crate::network::{Batch, Network, NetworkOptions};
use unroll_kernels::softmax::IGNORE;

fn network(text: &str, steps: usize, rows: usize) -> Network {
    let graph = Graph::new(&toml::from_str(text).unwrap(), 7).unwrap();
    Network::new(&graph, gradient::options(&NetworkOptions::default(), steps, rows)).unwrap()
}

/// h_t = x + u h_(t-1), and the logits are h times ones.
const LINEAR: &str = r#"
    layers = [
        { type = "embedding", output_dim = 1, embeddings_initializer = { uniform = 0.5 } },
        { type = "simple_rnn", units = 1, activation = "linear", return_sequences = true, use_bias = false,
          kernel_initializer = "ones", recurrent_initializer = { constant = 0.5 }, OPTIONS },
        { type = "dropout", rate = 0.5 },
        { type = "dense", use_bias = false },
    ]"#;

#[test]
fn a_linear_network_forgets_by_its_weight() {
    for (options, factor) in [("weight_drop = 0.5", 0.5), ("zoneout = 0.25", 0.25 + 0.75 * 0.5)] {
        let mut network = network(&LINEAR.replace("OPTIONS", options), 6, 3);
        let (tokens, targets) = gradient::random(7, 7, [6, 3], 1);
        let curves = gradient::measure(&mut network, (&tokens, &[]), &targets).unwrap();
        assert_eq!((curves.len(), &curves[0].layer[..]), (1, "simple_rnn"));
        let norms = &curves[0].norms;
        assert!(norms.len() == 6 && norms[0] > 0.0);
        for pair in norms.windows(2) {
            assert!((pair[1] / pair[0] - factor).abs() < 1e-6, "{options}: {norms:?}");
        }
        let below = curves[0].falls_below(0.3).unwrap();
        assert_eq!(below, if factor == 0.5 { 2 } else { 3 }, "{options}");
    }
}

/// The gradient by what a state is at one time, by differences: the state is carried into the steps after it.
#[test]
fn the_gradient_is_that_by_a_state_that_is_carried_in() {
    for (cell, form) in [("lstm", ""), ("gru", ""), ("gru", ", reset_after = false"), ("simple_rnn", "")] {
        let text = format!(
            r#"
            initializer = {{ uniform = 0.6 }}
            layers = [
                {{ type = "embedding", output_dim = 4 }},
                {{ type = "{cell}", units = 5, return_sequences = true, stateful = true{form} }},
                {{ type = "dense" }},
            ]"#
        );
        let (steps, rows) = (5, 2);
        let mut network = network(&text, steps, rows);
        let (tokens, targets) = gradient::random(7, 7, [steps, rows], 3);
        let mut all = vec![IGNORE; (steps - 1) * rows];
        all.extend(&targets);
        let batch = Batch { steps, rows, inputs: &tokens, targets: &all, ..Batch::default() };
        let mut found = Vec::new();
        let mut state = network.new_state(rows);
        network.state_gradients(&batch, &mut state, |at| found.push((at.time, at.row, at.gradient.to_vec())));
        // Two steps first, then the rest from a state of which one number is moved.
        let cut = 2;
        let mut before = network.new_state(rows);
        let first = Batch {
            steps: cut,
            rows,
            inputs: &tokens[..cut * rows],
            targets: &vec![IGNORE; cut * rows],
            ..Batch::default()
        };
        network.evaluate(&first, &mut before);
        for (row, unit) in [(0, 0), (1, 3)] {
            let mut loss = |by: f32| {
                let mut state = before.clone();
                state.tensor_mut(&format!("{cell}/h")).unwrap()[row * 5 + unit] += by;
                let rest = Batch {
                    steps: steps - cut,
                    rows,
                    inputs: &tokens[cut * rows..],
                    targets: &all[cut * rows..],
                    ..Batch::default()
                };
                network.evaluate(&rest, &mut state).nats
            };
            let difference = (loss(0.02) - loss(-0.02)) / 0.04;
            let (_, _, gradient) = found.iter().find(|(t, n, _)| (*t, *n) == (cut - 1, row)).unwrap();
            let claimed = f64::from(gradient[unit]);
            assert!(
                (claimed - difference).abs() < 2e-3 * claimed.abs().max(0.05),
                "{cell}{form}: {claimed}, not {difference}"
            );
        }
    }
}

#[test]
fn both_directions_of_a_classifier_are_measured_from_their_ends() {
    let text = r#"
        layers = [
            { type = "embedding", output_dim = 4, mask_zero = true },
            { type = "bidirectional", layer = { type = "gru", units = 5 } },
            { type = "dense", units = 3 },
        ]"#;
    let graph = Graph::with_classes(&toml::from_str(text).unwrap(), 7, &[3]).unwrap();
    let mut network = Network::new(&graph, gradient::options(&NetworkOptions::default(), 6, 4)).unwrap();
    let (tokens, targets) = gradient::random(7, 3, [6, 4], 1);
    assert!(tokens.iter().all(|&token| token > 0) && targets.iter().all(|&class| class < 3));
    let curves = gradient::measure(&mut network, (&tokens, &[]), &targets).unwrap();
    let names: Vec<&str> = curves.iter().map(|curve| &curve.layer[..]).collect();
    assert_eq!(names, ["bidirectional/forward", "bidirectional/backward"]);
    assert!(curves.iter().all(|curve| curve.norms.len() == 6 && curve.norms[0] > curve.norms[5]));
}

#[test]
fn windows_are_spread_over_a_text_and_short_texts_refused() {
    let text: Vec<u32> = (0..10).collect();
    let (tokens, targets) = gradient::windows(&text, [3, 2]).unwrap();
    assert_eq!((tokens, targets), (vec![0, 6, 1, 7, 2, 8], vec![3, 9]));
    assert_eq!(gradient::windows(&text, [9, 1]).unwrap().1, [9]);
    let error = gradient::windows(&text, [10, 1]).unwrap_err().to_string();
    assert!(error.contains("the text has 10 tokens, 10 steps need 11"), "{error}");
}

#[test]
fn a_plot_is_whole_and_escaped() {
    let lines = [
        plot::Line { name: "a <b> & \"c\"".into(), values: vec![1.0, 0.1, 0.0, 1e-3] },
        plot::Line { name: "d".into(), values: vec![2.0; 4] },
    ];
    let svg = plot::svg("norms < 1", ["distance", "norm"], &lines);
    assert!(svg.contains("a &lt;b&gt; &amp; &quot;c&quot;") && svg.contains("norms &lt; 1") && !svg.contains("<b>"));
    // The zero breaks the first curve in two.
    let path = svg.lines().find(|line| line.starts_with("<path d=\"M70.0")).unwrap();
    assert_eq!((path.matches('M').count(), path.matches('L').count()), (2, 1), "{path}");
    assert!(svg.contains(">1e-3<") && svg.contains(">1e1<") && !svg.contains("NaN"));
    assert!(!plot::svg("empty", ["x", "y"], &[]).contains("NaN"));
}

#[test]
fn a_page_colours_every_token_and_says_its_number() {
    let tokens = ["<a>", "\n", "b"].map(String::from);
    let units = [page::Unit { name: "lstm:3".into(), values: vec![0.5, -0.1, 0.0] }];
    let html = page::html("T & U", &tokens, true, &units);
    assert!(html.contains("<i title=\"0.5000\" style=\"background:rgba(var(--above),0.85)\">&lt;a&gt;</i>"));
    assert!(html.contains("<i title=\"-0.1000\" style=\"background:rgba(var(--below),0.17)\">"));
    assert!(html.contains("T &amp; U") && !html.contains("<a>"));
    assert_eq!(html.matches("<i title").count(), 5);
}
