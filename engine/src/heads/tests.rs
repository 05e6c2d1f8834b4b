//! Every head within a whole model against its meaning in f64: losses, and gradients by central differences.

use super::Sampler;
use crate::gradcheck::words::{Decision, WordHead, ln_sum_exp};
use crate::graph::{Graph, HeadConfig, ModelConfig, Words};
use crate::huffman::Huffman;
use crate::network::{Batch, LogPartition, LossScale, Network, NetworkOptions};
use crate::noise::Alias;
use crate::random::{Key, Purpose};
use crate::text::alike;
use proptest::prelude::*;
use std::sync::Arc;
use unroll_kernels::Isa;
use unroll_kernels::gemm::Precision;
use unroll_kernels::isa::sets_under_test;
use unroll_kernels::softmax::IGNORE;

mod logits;

/// Each head, with options that make every part of it matter in a small vocabulary.
pub(crate) const HEADS: [&str; 13] = [
    "kind = 'sampled_softmax'\nsamples = 6",
    "kind = 'sampled_softmax'\nsamples = 40\nnoise = 'unigram'\npower = 0.5",
    "kind = 'nce'\nsamples = 7\nlog_partition = 1.5\nremove_hits = true",
    "kind = 'nce'\nsamples = 5\nnoise = 'uniform'",
    "kind = 'adaptive_softmax'\ncutoffs = [3, 6]\nreduction = 2.0",
    "kind = 'adaptive_softmax'",
    "kind = 'class_softmax'\nclasses = 4",
    "kind = 'class_softmax'",
    "kind = 'hierarchical_softmax'",
    "kind = 'adaptive_softmax'\ncutoffs = [3, 6]\norder = 'context'",
    "kind = 'adaptive_softmax'\norder = 'context'",
    "kind = 'class_softmax'\nclasses = 4\norder = 'context'",
    "kind = 'hierarchical_softmax'\norder = 'context'",
];

/// A model of an embedding of `width` and the head.
fn graph(head: &str, words: usize, width: usize, tied: bool) -> Graph {
    let tie = if tied { ", tied_to = 'table'" } else { "" };
    let text = format!(
        "layers = [{{ type = 'embedding', name = 'table', output_dim = {width} }}, {{ type = 'dense', name = 'out'{tie} }}]"
    );
    let config: ModelConfig = toml::from_str(&text).unwrap_or_default();
    let head: HeadConfig = toml::from_str(head).unwrap_or_default();
    Graph::with_words(&ModelConfig { head, ..config }, known(words)).unwrap_or_else(|error| panic!("{error}"))
}

/// Counts in no order, one word that never came, and words that are used alike.
pub(crate) fn known(words: usize) -> Words {
    let counts: Arc<[u64]> = (0..words as u64).map(|word| (word * 7 + 3) % 11 * 50).collect();
    let text: Vec<u32> = (0..200).map(|i| i * i % 31 % words as u32).collect();
    let seen: Vec<u64> = counts.iter().map(|&count| count.max(1)).collect();
    let tree = Huffman::new(&seen).unwrap_or_else(|error| panic!("{error}"));
    let order = alike::order(&alike::Bigrams::count(words, &text), &tree).into();
    Words { counts, order: Some(order) }
}

fn options(isa: Isa, threads: usize, rows: usize) -> NetworkOptions {
    NetworkOptions { isa, threads, steps: 1, rows, loss_scale: LossScale::Sum, ..NetworkOptions::default() }
}

/// A case: a graph, parameters and a batch.
struct Case {
    graph: Graph,
    params: Vec<f32>,
    inputs: Vec<u32>,
    targets: Vec<u32>,
}

impl Case {
    fn new(graph: Graph, rows: usize, seed: u64) -> Self {
        let key = Key::new(seed, Purpose::Check);
        let params = (0..graph.arena() as u64).map(|i| key.uniform(i) * 1.6 - 0.8).collect();
        let words = graph.vocabulary() as u64;
        let draw = |key: Key| (0..rows as u64).map(|i| key.below(i, words) as u32).collect::<Vec<_>>();
        let (inputs, mut targets) = (draw(key.layer(1)), draw(key.layer(2)));
        if rows > 2 {
            targets[1] = IGNORE;
        }
        Self { graph, params, inputs, targets }
    }

    fn network(&self, isa: Isa, threads: usize) -> Network {
        let options = options(isa, threads, self.targets.len());
        let mut network = Network::new(&self.graph, options).unwrap_or_else(|error| panic!("{error}"));
        network.params_mut().copy_from_slice(&self.params);
        network
    }

    fn batch(&self) -> Batch<'_> {
        let (rows, inputs, targets) = (self.targets.len(), &self.inputs[..], &self.targets[..]);
        Batch { steps: 1, rows, inputs, targets, ..Batch::default() }
    }

    /// The loss of step 5 and its gradient.
    fn train(&self, isa: Isa, threads: usize) -> (f64, Vec<f32>) {
        let mut network = self.network(isa, threads);
        let mut state = network.new_state(self.targets.len());
        let sum = network.train_step(&self.batch(), &mut state, 5);
        (sum.nats, network.gradient().to_vec())
    }

    /// What the head of the graph means, in f64, for parameters in an arena: in training at step 5, or in use.
    fn loss(&self, params: &[f64], training: bool) -> f64 {
        let heads = WordHead::all(&self.graph).unwrap_or_else(|error| panic!("{error}"));
        let Some(Some(head)) = heads.first() else { panic!("a head of decisions") };
        let tensor = |p: usize| &params[self.graph.params()[p].range.clone()];
        let drawn = head.draw(Key::new(NetworkOptions::default().seed, Purpose::Dropout).step(5));
        let width = self.graph.nodes()[0].shape.width();
        let of_decision = |x: &[f64], decision: &Decision| {
            let h = decision.input(x, tensor);
            decision.loss(&decision.values(&h, tensor))
        };
        let rows = self.inputs.iter().zip(&self.targets).filter(|(_, target)| **target != IGNORE);
        let of_row = |(&input, &target): (&u32, &u32)| {
            let x = &tensor(0)[input as usize * width..][..width];
            match training || drawn.is_empty() {
                true => head.decisions(target, &drawn).iter().map(|decision| of_decision(x, decision)).sum(),
                false => of_decision(x, &head.of_all(target)),
            }
        };
        rows.map(of_row).sum::<f64>()
    }
}

/// What a graph's head draws at a step.
fn sample(graph: &Graph, step: u64) -> (Sampler, Vec<u32>) {
    let sampler = crate::network::sampler(graph, &graph.outputs()[0]).unwrap_or_else(|error| panic!("{error}"));
    let mut drawn = Vec::new();
    sampler.draw(Key::new(NetworkOptions::default().seed, Purpose::Dropout).step(step), &mut drawn);
    (sampler, drawn)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn gradients_are_central_differences_of_the_meaning(
        head in 0..HEADS.len(), words in 9usize..14, width in 1usize..6, rows in 1usize..7, tied: bool, seed: u64,
    ) {
        let sampled = HEADS[head].contains("sampled") || HEADS[head].contains("nce");
        let case = Case::new(graph(HEADS[head], words, width, tied && sampled), rows, seed);
        let params: Vec<f64> = case.params.iter().map(|&p| f64::from(p)).collect();
        let want = case.loss(&params, true);
        let differences: Vec<f64> = (0..params.len()).map(|i| {
            let at = |by: f64| {
                let mut moved = params.clone();
                moved[i] += by;
                case.loss(&moved, true)
            };
            (at(1e-5) - at(-1e-5)) / 2e-5
        }).collect();
        for isa in sets_under_test() {
            let (loss, gradient) = case.train(isa, 1);
            prop_assert!((loss - want).abs() <= 4e-6 * (1.0 + want), "{} {isa}: loss {loss}, not {want}", HEADS[head]);
            for spec in case.graph.params() {
                for i in spec.range.clone() {
                    let (got, want) = (f64::from(gradient[i]), differences[i]);
                    // Of at most seven rows, each of whose gradients is of the order of the parameters.
                    prop_assert!((got - want).abs() <= 2e-5, "{} {isa}: {}[{}] {got}, not {want}", HEADS[head], spec.name, i - spec.range.start);
                }
            }
        }
    }

    #[test]
    fn words_in_use_have_probabilities_that_the_losses_agree_with(head in 0..HEADS.len(), words in 9usize..14, seed: u64) {
        let case = Case::new(graph(HEADS[head], words, 4, false), 6, seed);
        let params: Vec<f64> = case.params.iter().map(|&p| f64::from(p)).collect();
        let want = case.loss(&params, false);
        let mut network = case.network(Isa::best(), 1);
        let mut state = network.new_state(6);
        let sum = network.evaluate(&case.batch(), &mut state);
        prop_assert!((sum.nats - want).abs() <= 4e-6 * (1.0 + want), "{}: {} {want}", HEADS[head], sum.nats);
        let exact = !HEADS[head].contains("sampled") && !HEADS[head].contains("nce");
        let partitions = network.log_partitions();
        let logits = network.logits(&case.inputs, 6, &mut state);
        let (mut again, mut wholes) = (0.0, Vec::new());
        for (r, &target) in case.targets.iter().enumerate() {
            let row: Vec<f64> = logits.row(r)[..words].iter().map(|&x| f64::from(x)).collect();
            let whole = ln_sum_exp(&row);
            prop_assert!(!exact || whole.abs() <= 1e-5, "{}: probabilities add up to e^{whole}", HEADS[head]);
            if target != IGNORE {
                again += whole - row[target as usize];
                wholes.push(whole);
            }
        }
        prop_assert_eq!(partitions.is_empty(), exact);
        for &LogPartition { mean, deviation, .. } in partitions.iter() {
            let n = wholes.len() as f64;
            let want = wholes.iter().sum::<f64>() / n;
            let spread = (wholes.iter().map(|w| (w - want).powi(2)).sum::<f64>() / n).sqrt();
            prop_assert!((mean - want).abs() < 1e-5 && (deviation - spread).abs() < 1e-3, "{} {}", mean, deviation);
        }
        prop_assert!((again - want).abs() <= 1e-5 * (1.0 + want), "{}: {again} {want}", HEADS[head]);
    }
}

#[test]
fn neither_threads_nor_sets_change_a_bit() {
    for head in HEADS {
        let case = Case::new(graph(head, 500, 40, false), 70, 3);
        let sets = sets_under_test();
        let (loss, first) = case.train(Isa::best(), 1);
        for isa in sets.into_iter().filter(|isa| *isa != Isa::PORTABLE) {
            for threads in [1, 2, 5] {
                let (other, gradient) = case.train(isa, threads);
                assert!(loss.to_bits() == other.to_bits() && first == gradient, "{head}: {isa}, {threads} threads");
            }
        }
    }
}

#[test]
fn the_most_probable_words_are_those_of_all_logits() {
    for head in HEADS.into_iter().chain(["kind = 'softmax'"]) {
        let case = Case::new(graph(head, 700, 5, false), 3, 9);
        // Room for 256 words of each row at a time, and for all.
        for logits in [700, 1 << 20] {
            let options = NetworkOptions { logits, ..options(Isa::best(), 2, 3) };
            let mut network = Network::new(&case.graph, options).unwrap();
            network.params_mut().copy_from_slice(&case.params);
            let mut state = network.new_state(3);
            let all: Vec<Vec<f32>> =
                (0..3).map(|r| network.logits(&case.inputs, 3, &mut state).row(r)[..700].to_vec()).collect();
            for k in [1, 4, 700, 1000] {
                let best = network.top_k(&Batch { targets: &[], ..case.batch() }, &mut state, k);
                for (row, best) in all.iter().zip(best) {
                    let whole = ln_sum_exp(&row.iter().map(|&x| f64::from(x)).collect::<Vec<_>>());
                    let mut order: Vec<u32> = (0..700).collect();
                    order.sort_by(|&a, &b| row[b as usize].total_cmp(&row[a as usize]).then(a.cmp(&b)));
                    order.truncate(k);
                    assert_eq!(best.iter().map(|&(word, _)| word).collect::<Vec<_>>(), order, "{head}, {k}");
                    let near =
                        |&(word, lp): &(u32, f32)| (f64::from(row[word as usize]) - whole - f64::from(lp)).abs() < 2e-5;
                    assert!(best.iter().all(near), "{head}");
                }
            }
        }
    }
}

#[test]
fn what_was_learned_runs_in_every_precision() {
    for (head, tied) in HEADS.into_iter().flat_map(|head| [(head, false), (head, true)]) {
        // The others have no vector a word that a table could give.
        if tied && !head.contains("sampled") && !head.contains("nce") {
            continue;
        }
        let case = Case::new(graph(head, 300, 24, tied), 7, 4);
        let run = |precision: Precision| {
            let options = NetworkOptions { precision, training: false, ..options(Isa::best(), 2, 7) };
            let mut network = Network::new(&case.graph, options).unwrap();
            network.params_mut().copy_from_slice(&case.params);
            let mut state = network.new_state(7);
            let logits = network.logits(&case.inputs, 7, &mut state);
            (0..7).flat_map(|r| logits.row(r)[..300].to_vec()).collect::<Vec<_>>()
        };
        let exact = run(Precision::F32);
        for (precision, tolerance) in [(Precision::Bf16, 0.05), (Precision::Int8, 0.2)] {
            for (got, want) in run(precision).iter().zip(&exact) {
                assert!((got - want).abs() < tolerance, "{head}, tied {tied}, {precision}: {got}, not {want}");
            }
        }
    }
}

#[test]
fn one_word_nothing_scored_and_what_is_not_finite() {
    for head in ["sampled_softmax", "nce", "adaptive_softmax", "class_softmax", "hierarchical_softmax"] {
        let text = format!("kind = '{head}'");
        let one = Case::new(graph(&text, 1, 3, false), 2, 1);
        let mut network = one.network(Isa::best(), 1);
        let mut state = network.new_state(2);
        assert_eq!(network.evaluate(&one.batch(), &mut state).nats, 0.0, "{head}: one word is certain");
        assert!(one.train(Isa::best(), 1).0.is_finite());

        let mut none = Case::new(graph(&text, 20, 3, false), 4, 1);
        none.targets.fill(IGNORE);
        let (loss, gradient) = none.train(Isa::best(), 1);
        assert!(loss == 0.0 && gradient.iter().all(|&g| g == 0.0), "{head}: nothing is scored");

        let mut same = Case::new(graph(&text, 20, 3, false), 40, 1);
        same.targets.fill(7);
        assert!(same.train(Isa::best(), 1).0.is_finite());

        for bad in [f32::NAN, f32::INFINITY] {
            let mut broken = Case::new(graph(&text, 20, 3, false), 4, 1);
            broken.params.fill(bad);
            let (loss, _) = broken.train(Isa::best(), 1);
            assert!(!loss.is_finite(), "{head}: a loss of {loss} from {bad}");
        }
    }
}

#[test]
fn words_without_an_order_are_ranked_and_the_noise_follows() {
    let graph = graph("kind = 'nce'\nsamples = 20000", 12, 2, false);
    let (sampler, drawn) = sample(&graph, 1);
    let counts = graph.frequencies(graph.classes());
    let most = (0..12).max_by_key(|&word| (counts[word], std::cmp::Reverse(word))).unwrap();
    let times = |word: usize| drawn.iter().filter(|&&w| w as usize == word).count() as f64 / 20000.0;
    for word in 0..12 {
        assert!((times(word) - sampler.noise.probability(word as u32)).abs() < 0.012, "word {word}");
        assert!(times(word) <= times(most) + 0.012, "word {word}");
    }
    let alias = Alias::unigram(&counts, 0.75).unwrap();
    assert!(alias.probability(most as u32) > 0.0);
}

#[test]
fn what_a_head_cannot_do_is_refused() {
    let refused = |head: &str, model: &str| {
        let head: HeadConfig = toml::from_str(head).unwrap();
        let config: ModelConfig = toml::from_str(model).unwrap();
        Graph::new(&ModelConfig { head, ..config }, 10).unwrap_err().to_string()
    };
    let usual = "layers = [{ type = 'embedding', output_dim = 3 }, { type = 'dense' }]";
    let tied = "layers = [{ type = 'embedding', name = 'e', output_dim = 3 }, { type = 'dense', tied_to = 'e' }]";
    let added = "layers = [{ type = 'embedding', name = 'e', output_dim = 10 }, { type = 'dense', name = 'd' }, { type = 'add', inputs = ['e', 'd'] }]";
    for (head, model, part) in [
        ("kind = 'softmax'\nsamples = 3", usual, "samples has no meaning"),
        ("kind = 'nce'\nclasses = 3", usual, "classes has no meaning"),
        ("kind = 'nce'\npower = 0.5", usual, "set noise = \"unigram\""),
        ("kind = 'nce'\nsamples = 0", usual, "samples must be from 1 to 65536, got 0"),
        (
            "kind = 'nce'\nsamples = 9223372036854775807",
            usual,
            "samples must be from 1 to 65536, got 9223372036854775807",
        ),
        ("kind = 'nce'\nnoise = 'unigram'\npower = 1000.0", usual, "head: power must be from 0 to 10, got 1000"),
        ("kind = 'nce'\nlog_partition = inf", usual, "head: log_partition must be a number, got inf"),
        ("kind = 'adaptive_softmax'\ncutoffs = [4, 4]", usual, "must ascend"),
        ("kind = 'adaptive_softmax'\ncutoffs = [10]", usual, "must ascend"),
        ("kind = 'adaptive_softmax'\nreduction = 0.5", usual, "reduction must be at least 1"),
        ("kind = 'class_softmax'\nclasses = 11", usual, "classes must be from 1"),
        ("kind = 'hierarchical_softmax'", tied, "no table"),
        ("kind = 'hierarchical_softmax'", added, "in place of a dense layer"),
    ] {
        let found = refused(head, model);
        assert!(found.contains(part), "{head}: {found}");
    }
}
