//! Heads of large vocabularies.

use super::*;
use crate::heads::tests::{HEADS, known};

fn model(head: &str, end: &str) -> String {
    let head = head.replace('\n', ", ");
    format!(
        "head = {{ {head} }}
        layers = [
            {{ type = 'embedding', name = 'table', output_dim = 6 }},
            {{ type = 'lstm', units = 6, return_sequences = true, stateful = true }},
            {{ type = 'dropout', rate = 0.3 }},
            {{ type = 'dense', name = 'out'{end} }},
        ]"
    )
}

fn with_words(text: &str, words: usize) -> Graph {
    Graph::with_words(&toml::from_str(text).unwrap(), known(words)).unwrap()
}

#[test]
fn right_gradients_of_every_head_pass() {
    for head in HEADS {
        let tied = head.contains("sampled") || head.contains("nce");
        for end in ["", ", use_bias = false", ", activation = 'softmax'", ", tied_to = 'table'"] {
            if end.contains("tied") && !tied {
                continue;
            }
            let graph = with_words(&model(head, end), 13);
            for loss_scale in [LossScale::Mean, LossScale::Sum] {
                let report = assert_passes(&graph, &Options { loss_scale, rows: 3, ..options() });
                for row in &report.comparisons[0].tensors {
                    let len: usize = row.shape.iter().product();
                    assert_eq!(row.checked, len.min(200) as u64, "{head}: {}", row.tensor);
                }
                assert!(report.floor < 1e-8 && report.single < 1e-4, "{} {}", report.floor, report.single);
            }
        }
    }
}

#[test]
fn every_fault_in_the_gradient_of_a_head_is_caught_and_named() {
    // One of each kind.
    for head in HEADS.into_iter().step_by(2).take(5) {
        let graph = with_words(&model(head, ""), 13);
        let options = Options { entries: 1, sets: vec![Isa::best()], ..options() };
        let differences = Options { sets: Vec::new(), batches: 1, ..super::options() };
        for (p, spec) in graph.params().iter().enumerate().filter(|(_, spec)| spec.name.starts_with("out")) {
            // Of a tail that no target is in, there is no gradient.
            let seen = std::cell::Cell::new(false);
            let look = |tensors: &mut [Vec<f64>]| seen.set(tensors[p].iter().any(|&g| g != 0.0));
            run_with(&graph, &differences, &Faults { wide: &look, ..Faults::NONE }).unwrap();
            if !seen.get() {
                continue;
            }
            for (name, fault) in FAULTS {
                let narrow = |arena: &mut [f32]| spoil(&mut arena[spec.range.clone()], fault);
                let report = run_with(&graph, &options, &Faults { narrow: &narrow, ..Faults::NONE }).unwrap();
                assert_names(&report, &spec.name, name);
            }
            let (name, fault) = FAULTS[0];
            let wide = |tensors: &mut [Vec<f64>]| fault(&mut tensors[p]);
            let report = run_with(&graph, &differences, &Faults { wide: &wide, ..Faults::NONE }).unwrap();
            assert_names(&report, &spec.name, name);
        }
    }
}

#[test]
fn a_head_that_computes_something_else_is_caught() {
    for (asked, other) in [
        ("kind = 'sampled_softmax', samples = 6", "kind = 'sampled_softmax', samples = 6, noise = 'uniform'"),
        ("kind = 'sampled_softmax', samples = 6", "kind = 'nce', samples = 6"),
        ("kind = 'nce', samples = 7, remove_hits = true", "kind = 'nce', samples = 7"),
        ("kind = 'nce', samples = 7", "kind = 'nce', samples = 7, log_partition = 1.0"),
        ("kind = 'class_softmax', classes = 4", "kind = 'class_softmax', classes = 4, order = 'context'"),
        ("kind = 'hierarchical_softmax'", "kind = 'hierarchical_softmax', order = 'context'"),
    ] {
        let [asked, other] = [asked, other].map(|head| with_words(&model(head, ""), 13));
        let options = Options { entries: 1, rows: 4, sets: vec![Isa::best()], ..options() };
        let report = run_with(&asked, &options, &Faults { graph: Some(&other), ..Faults::NONE }).unwrap();
        assert!(!report.passed, "{:?}", other.outputs()[0].head());
        assert_eq!(report.comparisons[0].tensors.iter().map(|row| row.wrong).sum::<u64>(), 0);
    }
}

#[test]
fn rows_that_a_head_reads_are_checked_in_a_large_vocabulary() {
    for head in ["kind = 'nce', samples = 8", "kind = 'adaptive_softmax'", "kind = 'hierarchical_softmax'"] {
        let graph = graph(&model(head, ""), 900);
        let report = assert_passes(&graph, &Options { rows: 4, ..options() });
        let differences = report.comparisons[0].tensors.iter().filter(|row| row.tensor.starts_with("out"));
        // Each part has its turn among the targets.
        for row in differences {
            let shown = row.worst.as_ref().is_some_and(|worst| worst.expected != 0.0);
            assert!(shown, "{head}: only entries without a gradient were compared of {}", row.tensor);
        }
    }
}

#[test]
fn several_outputs_have_their_own_heads() {
    let text = "
        outputs = [{ layer = 'one', weight = 0.7, head = { kind = 'class_softmax', classes = 3 } },
                   { layer = 'two', weight = 1.3, head = { kind = 'sampled_softmax', samples = 4 } },
                   { layer = 'three', weight = 0.5 }]
        layers = [
            { type = 'embedding', output_dim = 5, mask_zero = true },
            { type = 'gru', name = 'all', units = 4, return_sequences = true },
            { type = 'dense', name = 'one', units = 7 },
            { type = 'gru', name = 'last', inputs = ['all'], units = 4 },
            { type = 'dense', name = 'two', units = 6 },
            { type = 'dense', name = 'three', inputs = ['all'], units = 5, activation = 'softmax' },
        ]";
    assert_passes(&graph(text, 9), &Options { rows: 3, steps: Some(4), ..options() });
}
