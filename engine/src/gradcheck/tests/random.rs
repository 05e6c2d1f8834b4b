//! Random graphs: every layer kind in any order, sizes from 1.

use super::*;
use proptest::prelude::*;

/// A random model: what its layers are, and how it ends.
#[derive(Clone, Debug)]
struct Random {
    table: Option<usize>,
    /// Whether token 0 is masked, where there is a table and no layer joins all steps.
    masked: bool,
    /// (kind, size, flags, functions)
    layers: Vec<(u8, usize, u8, u8)>,
    end: u8,
    /// One of `HEADS`, where it ends in a dense layer and a softmax.
    head: usize,
    steps: usize,
    vocabulary: usize,
    /// The width of vectors that come with the batch, and whether there are tokens beside them.
    vectors: Option<(usize, bool)>,
}

/// Heads that any vocabulary may have; the plain softmax twice as often.
const HEADS: [&str; 7] = [
    "",
    "",
    "kind = 'sampled_softmax', samples = 5",
    "kind = 'nce', samples = 4, remove_hits = true",
    "kind = 'adaptive_softmax'",
    "kind = 'class_softmax'",
    "kind = 'hierarchical_softmax'",
];

impl Random {
    fn text(&self) -> String {
        let mut text = String::new();
        if self.end == 2 {
            text += &format!("input_length = {}\n", self.steps);
        }
        if self.end == 3 {
            text += "loss = \"binary_cross_entropy\"\n";
        }
        let tied = self.end == 4 && self.table.is_some() && !matches!(self.vectors, Some((_, false)));
        if self.end != 3 && !(tied && self.head > 3) {
            text += &format!("head = {{ {} }}\n", HEADS[self.head]);
        }
        // Every layer has a name and a width; a model is a chain with branches that join again.
        let mut nodes: Vec<(String, usize)> = Vec::new();
        let mut push = |nodes: &mut Vec<(String, usize)>, kind: &str, body: String, width: usize| {
            let name = format!("l{}", nodes.len());
            text += &format!("[[layers]]\nname = \"{name}\"\ntype = \"{kind}\"\n{body}\n");
            nodes.push((name, width));
        };
        let masking = self.masked && self.end != 2;
        match (self.vectors, self.table) {
            (Some((width, false)), _) => {
                push(&mut nodes, "input", format!("width = {width}"), width);
                if masking {
                    push(&mut nodes, "masking", "mask_value = 0.5".into(), width);
                }
            }
            (_, Some(width)) => {
                let masked = masking && self.vocabulary > 1;
                push(
                    &mut nodes,
                    "embedding",
                    format!("output_dim = {width}\nmask_zero = {masked}\ndropout = 0.{}", self.steps - 1),
                    width,
                );
            }
            (_, None) => push(&mut nodes, "one_hot", String::new(), self.vocabulary),
        }
        if let Some((width, true)) = self.vectors {
            let tokens = nodes[0].clone();
            push(&mut nodes, "input", format!("width = {width}"), width);
            push(&mut nodes, "concatenate", "inputs = [\"l0\", \"l1\"]".into(), tokens.1 + width);
        }
        for &(kind, size, flags, more) in &self.layers {
            let width = nodes.last().unwrap().1;
            let last = nodes.last().unwrap().0.clone();
            let bias = format!("use_bias = {}", flags & 1 == 0);
            let carried = ["", "stateful = true", "go_backwards = true"][usize::from(flags >> 1) % 3];
            let units = format!("units = {size}");
            // A second bias stands beside a first one only.
            let second = if flags & 9 == 8 { "recurrent_bias = true" } else { "" };
            let held = ["", "", "recurrent_dropout = 0.3", "zoneout = 0.2"][usize::from(more) % 4];
            let drop = format!("weight_drop = 0.{}\n{held}", more % 3);
            let recurrent =
                |extra: &str| format!("{units}\nreturn_sequences = true\n{bias}\n{carried}\n{drop}\n{extra}");
            // Mostly the usual functions; gates without a bound would multiply to anything.
            let activation = ["activation = \"softsign\"", "activation = \"hard_sigmoid\"", "activation = \"linear\""];
            let gates = ["recurrent_activation = \"softsign\"", "recurrent_activation = \"hard_sigmoid_6\""];
            let chosen = [activation.get(usize::from(more) % 6), gates.get(usize::from(more) / 6)];
            let functions = chosen.into_iter().flatten().copied().collect::<Vec<_>>().join("\n");
            let function = ["linear", "tanh", "relu", "sigmoid", "softmax"];
            match kind {
                0 => push(&mut nodes, "simple_rnn", recurrent(second), size),
                1 => push(&mut nodes, "simple_rnn", recurrent("activation = \"relu\""), size),
                2 => push(
                    &mut nodes,
                    "lstm",
                    recurrent(&format!("{second}\npeephole = {}\n{functions}", flags > 15)),
                    size,
                ),
                3 => push(&mut nodes, "gru", recurrent(&functions), size),
                4 => push(&mut nodes, "gru", recurrent(&format!("reset_after = false\n{functions}")), size),
                5 => {
                    let cell = ["simple_rnn", "lstm", "gru"][size % 3];
                    let merge = ["concat", "sum", "mul", "ave"][usize::from(more) % 4];
                    let stateful = flags & 2 == 2;
                    let body = format!(
                        "merge_mode = \"{merge}\"\n\
                         layer = {{ type = \"{cell}\", {units}, return_sequences = true, {bias}, stateful = {stateful} }}"
                    );
                    push(&mut nodes, "bidirectional", body, if merge == "concat" { 2 * size } else { size });
                }
                6 => {
                    let body = format!("{units}\nactivation = \"{}\"\n{bias}", function[usize::from(flags) % 4]);
                    push(&mut nodes, "dense", body, size);
                }
                7 => push(
                    &mut nodes,
                    "dropout",
                    format!("rate = 0.{}\nvariational = {}", flags % 6, more % 2 == 0),
                    width,
                ),
                8 => {
                    let body = format!("activation = \"{}\"", function[usize::from(flags) % 5]);
                    push(&mut nodes, "activation", body, width);
                }
                11 => {
                    let body = format!("alpha = {}.5\nbeta = 0.{}", flags % 3, more % 10);
                    push(&mut nodes, "activation_regularization", body, width);
                }
                10 => {
                    let body = format!("center = {}\nscale = {}\nepsilon = 0.1", flags & 1 == 0, flags & 2 == 0);
                    push(&mut nodes, "layer_normalization", body, width);
                }
                9 => {
                    push(&mut nodes, "dense", format!("units = {width}\n{bias}"), width);
                    let branch = nodes.last().unwrap().0.clone();
                    push(&mut nodes, "add", format!("inputs = [\"{branch}\", \"{last}\"]"), width);
                }
                _ => {
                    // Not the vectors before a layer that masks them.
                    let masked = usize::from(nodes.len() > 1 && masking && matches!(self.vectors, Some((_, false))));
                    let (other, wider) = nodes[masked + size % (nodes.len() - masked)].clone();
                    push(&mut nodes, "concatenate", format!("inputs = [\"{last}\", \"{other}\"]"), width + wider);
                }
            }
        }
        let width = nodes.last().unwrap().1;
        let table = self.table.filter(|_| !matches!(self.vectors, Some((_, false))));
        match (self.end, table) {
            (1, _) => {
                push(&mut nodes, "lstm", "units = 4".into(), 4);
                push(&mut nodes, "dense", "activation = \"softmax\"".into(), self.vocabulary);
            }
            (2, _) => {
                push(&mut nodes, "reshape", format!("target_shape = [{}]", self.steps * width), self.steps * width);
                push(&mut nodes, "dense", String::new(), self.vocabulary);
            }
            (3, _) => {
                push(&mut nodes, "bidirectional", "layer = { type = \"gru\", units = 3 }".into(), 6);
                push(&mut nodes, "dense", "units = 1\nactivation = \"sigmoid\"".into(), 1);
            }
            (4, Some(table)) => {
                push(&mut nodes, "dense", format!("units = {table}\nactivation = \"tanh\""), table);
                push(&mut nodes, "dense", "tied_to = \"l0\"".into(), self.vocabulary);
            }
            _ => {
                push(&mut nodes, "dense", String::new(), self.vocabulary);
                push(&mut nodes, "activation", "activation = \"softmax\"".into(), self.vocabulary);
            }
        }
        text
    }
}

fn random() -> impl Strategy<Value = Random> {
    let layers = prop::collection::vec((0u8..13, 1usize..10, 0u8..24, 0u8..24), 0..5);
    let vectors = prop::option::weighted(0.3, (1usize..8, any::<bool>()));
    let end = (0u8..6, 0..HEADS.len());
    (prop::option::of(1usize..8), any::<bool>(), layers, end, 1usize..5, 1usize..14, vectors).prop_map(
        |(table, masked, layers, (end, head), steps, vocabulary, vectors)| Random {
            table,
            masked,
            layers,
            end,
            head,
            steps,
            vocabulary,
            vectors,
        },
    )
}

/// As many cases as `PROPTEST_CASES` says, or enough to meet every pair of layers about once.
fn config() -> ProptestConfig {
    let config = ProptestConfig::default();
    if std::env::var_os("PROPTEST_CASES").is_some() { config } else { ProptestConfig { cases: 64, ..config } }
}

proptest! {
    #![proptest_config(config())]

    #[test]
    fn right_gradients_of_random_graphs_pass(model in random(), rows in 1usize..4, seed: u64, scale in 0usize..3) {
        let graph = graph(&model.text(), model.vocabulary);
        let loss_scale = [LossScale::Mean, LossScale::Sum, LossScale::SumOverTime][scale];
        let options = Options { steps: Some(model.steps), rows, seed, loss_scale, entries: 60, ..options() };
        let report = check(&graph, &options).unwrap();
        prop_assert!(report.passed, "{}\n{}", report.worst().unwrap(), model.text());
    }
}
