//! ONNX' own numbers for single operations: optimisers, softmax, cross-entropy, activations, products and look-ups, each
//! through the kernel that training uses, on every instruction set.
//!
//! The cases are `conformance/onnx_node_raw.json` in the folder that `UNROLL_DATA` names. Tolerances are those of ONNX' test
//! runner for these nodes: 1e-3 relative, 1e-7 absolute. The recurrent nodes are run as layers by `conformance.rs`.

#![allow(clippy::unwrap_used, clippy::expect_used, reason = "a test fails by panicking")]

use serde_json::Value;
use std::collections::BTreeMap;
use unroll_kernels::activation::{self, Activation};
use unroll_kernels::gemm::{self, DirectProduct, Init, OuterProduct, Precision};
use unroll_kernels::isa::sets_under_test;
use unroll_kernels::optimizer::{self, Rule, Update};
use unroll_kernels::softmax::{self, CrossEntropy, IGNORE};
use unroll_kernels::{Buffer, Isa, Mat, MatMut, embedding};

/// How many cases of each operation must have been run.
const OPERATIONS: [(&str, usize); 12] = [
    ("Adagrad", 2),
    ("Adam", 2),
    ("Gather", 4),
    ("Gemm", 3),
    ("HardSigmoid", 1),
    ("LogSoftmax", 2),
    ("Momentum", 3),
    ("NegativeLogLikelihoodLoss", 2),
    ("Sigmoid", 2),
    ("Softmax", 3),
    ("SoftmaxCrossEntropyLoss", 7),
    ("Tanh", 2),
];

/// Operations that are no kernel of ours: layers elsewhere.
const ELSEWHERE: [&str; 4] = ["Dropout", "GRU", "LSTM", "RNN"];

struct Tensor {
    shape: Vec<usize>,
    data: Vec<f32>,
}

impl Tensor {
    fn read(value: &Value) -> Self {
        let shape = value["shape"].as_array().expect("a shape").iter().map(|n| n.as_u64().expect("a size") as usize);
        let data = value["data"].as_array().expect("data").iter().map(|x| x.as_f64().expect("a number") as f32);
        Self { shape: shape.collect(), data: data.collect() }
    }

    /// The last axis.
    fn cols(&self) -> usize {
        self.shape.last().copied().unwrap_or(1)
    }

    fn rows(&self) -> usize {
        self.data.len() / self.cols()
    }

    fn mat(&self) -> Mat<'_> {
        Mat::dense(&self.data, self.rows(), self.cols())
    }

    /// (a, b) to (b, a).
    fn transposed(&self) -> Self {
        let (rows, cols) = (self.rows(), self.cols());
        let data = (0..rows * cols).map(|i| self.data[i % rows * cols + i / rows]).collect();
        Self { shape: vec![cols, rows], data }
    }

    /// (N, C, d) to (N d, C): a column a class.
    fn classes_last(&self) -> Self {
        let (n, c) = (self.shape[0], self.shape[1]);
        let d: usize = self.shape[2..].iter().product();
        let at = |i: usize| i / (c * d) * c * d + i % c * d + i / c % d;
        Self { shape: vec![n * d, c], data: (0..n * c * d).map(|i| self.data[at(i)]).collect() }
    }
}

struct Case {
    id: String,
    op: String,
    attributes: Value,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

impl Case {
    fn read(value: &Value) -> Self {
        let text = |key: &str| value[key].as_str().expect(key).to_owned();
        let tensors = |key: &str| value[key].as_array().expect(key).iter().map(Tensor::read).collect();
        let attributes = value["attributes"].clone();
        Self { id: text("id"), op: text("op"), attributes, inputs: tensors("inputs"), outputs: tensors("outputs") }
    }

    /// A numeric attribute.
    fn number(&self, key: &str, default: f64) -> f64 {
        self.attributes[key].as_f64().unwrap_or(default)
    }

    /// The outputs as our kernels compute them.
    fn run(&self, isa: Isa) -> Vec<Vec<f32>> {
        match self.op.as_str() {
            "Adagrad" | "Adam" | "Momentum" => self.optimizer(isa),
            "Gather" => vec![self.gather()],
            "Gemm" => vec![self.gemm(isa)],
            "NegativeLogLikelihoodLoss" | "SoftmaxCrossEntropyLoss" => vec![self.loss(isa)],
            _ => vec![self.element_wise(isa)],
        }
    }

    fn element_wise(&self, isa: Isa) -> Vec<f32> {
        let (rows, cols) = (self.inputs[0].rows(), self.inputs[0].cols());
        let mut x = self.inputs[0].data.clone();
        if self.op == "HardSigmoid" {
            // Ours is x / 5 + 1/2; another line is the same function of another x.
            let (alpha, beta) = (self.number("alpha", 0.2) as f32, self.number("beta", 0.5) as f32);
            x.iter_mut().for_each(|x| *x = (alpha * *x + beta - 0.5) * 5.0);
        }
        let to = MatMut::dense(&mut x, rows, cols);
        match self.op.as_str() {
            "HardSigmoid" => activation::forward(isa, Activation::HardSigmoid, to),
            "Sigmoid" => activation::forward(isa, Activation::Sigmoid, to),
            "Tanh" => activation::forward(isa, Activation::Tanh, to),
            "Softmax" => softmax::softmax_rows(isa, to),
            "LogSoftmax" => softmax::log_softmax_rows(isa, to),
            other => panic!("{}: no kernel for {other}", self.id),
        }
        x
    }

    /// R, T, then every X, every G and every tensor of state; out: the new X and the new states.
    fn optimizer(&self, isa: Isa) -> Vec<Vec<f32>> {
        let alpha = self.number("alpha", 0.0);
        let nesterov = self.attributes["mode"] == "nesterov";
        let rule = match self.op.as_str() {
            "Adagrad" => Rule::Adagrad { epsilon: self.number("epsilon", 1e-6), epsilon_inside: false },
            // The one node without an epsilon was computed with 1e-2, not with the operator's default.
            "Adam" => {
                Rule::Adam { beta1: alpha, beta2: self.number("beta", 0.0), epsilon: self.number("epsilon", 1e-2) }
            }
            _ if nesterov => Rule::Nesterov { momentum: alpha },
            _ => Rule::Momentum { momentum: alpha },
        };
        // At T = 0 the learning rate has not decayed, momentum takes the whole gradient, and Adam corrects no bias, which
        // ours does not either after very many steps.
        assert_eq!(self.inputs[1].data, [0.0]);
        let count = (self.inputs.len() - 2) / (2 + rule.slots());
        let tensor = |kind: usize, i: usize| self.inputs[2 + kind * count + i].data.clone();
        let penalty = self.number("norm_coefficient", 0.0) as f32;
        let mut outputs = vec![Vec::new(); count * (1 + rule.slots())];
        for i in 0..count {
            let (mut param, grad) = (tensor(0, i), tensor(1, i));
            let mut slots = [0, 1].map(|s| if s < rule.slots() { tensor(2 + s, i) } else { Vec::new() });
            let [first, second] = &mut slots;
            let args = Update {
                param: &mut param,
                grad: &grad,
                slots: [first, second],
                lr: self.inputs[0].data[0],
                grad_scale: 1.0,
                clip_value: None,
                weight_decay: penalty,
                step: 1_000_000,
            };
            optimizer::update(isa, rule, args);
            outputs[i] = param;
            slots.into_iter().take(rule.slots()).enumerate().for_each(|(s, slot)| outputs[(1 + s) * count + i] = slot);
        }
        outputs
    }

    fn gather(&self) -> Vec<f32> {
        let (data, indices) = (&self.inputs[0], &self.inputs[1]);
        let axis = self.number("axis", 0.0) as usize;
        let rows = data.shape[axis];
        let outer: usize = data.shape[..axis].iter().product();
        let width = data.data.len() / outer / rows;
        let tokens: Vec<u32> =
            indices.data.iter().map(|&i| if i < 0.0 { rows as u32 - (-i) as u32 } else { i as u32 }).collect();
        let mut out = vec![f32::NAN; outer * tokens.len() * width];
        for (o, out) in out.chunks_mut(tokens.len() * width).enumerate() {
            let table = Mat::dense(&data.data[o * rows * width..][..rows * width], rows, width);
            embedding::gather(table, &tokens, MatMut::dense(out, tokens.len(), width));
        }
        out
    }

    fn gemm(&self, isa: Isa) -> Vec<f32> {
        let [a, b, c] = &self.inputs[..] else { panic!("{}: three operands", self.id) };
        let (trans_a, trans_b) = (self.number("transA", 0.0) != 0.0, self.number("transB", 0.0) != 0.0);
        let scaled = |x: &[f32], by: f64| -> Vec<f32> { x.iter().map(|x| x * by as f32).collect() };
        let a = Tensor { shape: a.shape.clone(), data: scaled(&a.data, self.number("alpha", 1.0)) };
        let bias = scaled(&c.data, self.number("beta", 1.0));
        let (m, n) = (self.outputs[0].rows(), self.outputs[0].cols());
        let mut out = vec![f32::NAN; m * n];
        let c = MatMut::dense(&mut out, m, n);
        let (precision, init, scratch) = (Precision::F32, Init::Bias(&bias), &mut Buffer::default());
        if trans_a && !trans_b {
            gemm::outer_product(isa, OuterProduct { a: a.mat(), b: b.mat(), precision, init, c, scratch });
        } else {
            let a = if trans_a { a.transposed() } else { a };
            let (a, b, b_transposed) = (a.mat(), b.mat(), trans_b);
            gemm::direct_product(isa, DirectProduct { a, b, b_transposed, precision, init, c, scratch });
        }
        out
    }

    fn loss(&self, isa: Isa) -> Vec<f32> {
        let x = self.inputs[0].classes_last();
        let ignored = self.attributes["ignore_index"].as_f64().map(|i| i as f32);
        let target = |&t: &f32| if Some(t) == ignored { IGNORE } else { t as u32 };
        let targets: Vec<u32> = self.inputs[1].data.iter().map(target).collect();
        let (rows, cols) = (x.rows(), x.cols());
        let (mut gradient, mut losses) = (x.data.clone(), vec![f32::NAN; rows]);
        let logits = MatMut::dense(&mut gradient, rows, cols);
        softmax::cross_entropy(isa, CrossEntropy { logits, targets: &targets, scale: 1.0, losses: &mut losses });
        if self.op == "NegativeLogLikelihoodLoss" {
            // Its input stands for logarithms of probabilities, whatever they add up to: ln sum exp is taken off again.
            let mut ln_p = x.data.clone();
            softmax::log_softmax_rows(isa, MatMut::dense(&mut ln_p, rows, cols));
            let scored = losses.iter_mut().enumerate().filter(|(r, _)| targets[*r] != IGNORE);
            scored.for_each(|(r, loss)| *loss -= x.data[r * cols] - ln_p[r * cols]);
        }
        let weight = |&t: &u32| match (t, self.inputs.get(2)) {
            (IGNORE, _) => 0.0,
            (t, Some(weights)) => weights.data[t as usize],
            (_, None) => 1.0,
        };
        let weights: Vec<f32> = targets.iter().map(weight).collect();
        let weighted: Vec<f32> = losses.iter().zip(&weights).map(|(loss, w)| loss * w).collect();
        match self.attributes["reduction"].as_str().expect("a reduction") {
            "none" => weighted,
            "sum" => vec![weighted.iter().sum()],
            "mean" => vec![weighted.iter().sum::<f32>() / weights.iter().sum::<f32>()],
            other => panic!("{}: reduction {other}", self.id),
        }
    }

    fn check(&self, isa: Isa) {
        let got = self.run(isa);
        assert_eq!(got.len(), self.outputs.len(), "{}", self.id);
        for (o, (got, want)) in got.iter().zip(&self.outputs).enumerate() {
            assert_eq!(got.len(), want.data.len(), "{}", self.id);
            for (i, (&got, &want)) in got.iter().zip(&want.data).enumerate() {
                let error = (got - want).abs();
                assert!(
                    error <= 1e-7 + 1e-3 * want.abs(),
                    "{} on {isa}: output {o}[{i}] is {got}, not {want}",
                    self.id
                );
            }
        }
    }
}

#[test]
fn the_published_nodes_come_out_as_written() {
    let Ok(folder) = std::env::var("UNROLL_DATA") else {
        println!("SKIPPED: UNROLL_DATA is not set");
        return;
    };
    let path = std::path::Path::new(&folder).join("conformance/onnx_node_raw.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let cases: Value = serde_json::from_str(&text).expect("a JSON file");
    let mut run: BTreeMap<String, usize> = BTreeMap::new();
    for case in cases["cases"].as_array().expect("cases") {
        if ELSEWHERE.iter().any(|op| case["op"] == *op) {
            continue;
        }
        let case = Case::read(case);
        sets_under_test().into_iter().for_each(|isa| case.check(isa));
        *run.entry(case.op).or_default() += 1;
    }
    run.iter().for_each(|(op, count)| println!("{op:<28} {count:>4}"));
    let wanted: BTreeMap<String, usize> = OPERATIONS.map(|(op, count)| (op.to_owned(), count)).into();
    assert_eq!(run, wanted, "the cases that were run");
}
