//! The ONNX node tests that these kernels cover, from the file that `UNROLL_DATA` leads to.

use serde_json::Value;
use unroll_kernels::gemm::{Init, OuterProduct, Precision, outer_product};
use unroll_kernels::optimizer::{Rule, Update, update};
use unroll_kernels::{Buffer, Isa, Mat, MatMut, embedding, isa, math, softmax};

/// Operators that are no kernel of this crate, or that whole layers are tested with.
const ELSEWHERE: [&str; 6] = ["GRU", "LSTM", "RNN", "Dropout", "HardSigmoid", "NegativeLogLikelihoodLoss"];

/// One named tensor of a case.
struct Tensor {
    name: String,
    shape: Vec<usize>,
    data: Vec<f64>,
}

impl Tensor {
    fn read(value: &Value) -> Self {
        let numbers = |key: &str| -> Vec<f64> {
            value[key].as_array().expect(key).iter().map(|x| x.as_f64().expect("a number")).collect()
        };
        Self {
            name: value["name"].as_str().expect("a name").to_owned(),
            shape: numbers("shape").iter().map(|&n| n as usize).collect(),
            data: numbers("data"),
        }
    }

    fn f32(&self) -> Vec<f32> {
        self.data.iter().map(|&x| x as f32).collect()
    }

    fn scalar(&self) -> f64 {
        self.data[0]
    }
}

/// One case: attributes, inputs and what must come out.
struct Case {
    op: String,
    attributes: Value,
    inputs: Vec<Tensor>,
    outputs: Vec<Tensor>,
}

impl Case {
    fn read(value: &Value) -> Self {
        let tensors = |key: &str| value[key].as_array().expect(key).iter().map(Tensor::read).collect();
        Self {
            op: value["op"].as_str().expect("an operator").to_owned(),
            attributes: value["attributes"].clone(),
            inputs: tensors("inputs"),
            outputs: tensors("outputs"),
        }
    }

    fn number(&self, attribute: &str, default: f64) -> f64 {
        self.attributes[attribute].as_f64().unwrap_or(default)
    }

    fn input(&self, name: &str) -> &Tensor {
        self.inputs.iter().find(|t| t.name == name).unwrap_or_else(|| panic!("no input {name}"))
    }
}

/// Runs a case; one vector an output.
fn run(isa: Isa, case: &Case) -> Vec<Vec<f32>> {
    match case.op.as_str() {
        "Sigmoid" => element_wise(case, |x| math::sigmoid_slice(isa, x)),
        "Tanh" => element_wise(case, |x| math::tanh_slice(isa, x)),
        "Softmax" => by_rows(case, |m| softmax::softmax_rows(isa, m)),
        "LogSoftmax" => by_rows(case, |m| softmax::log_softmax_rows(isa, m)),
        "Gather" => vec![gather(case)],
        "Gemm" => vec![gemm(isa, case)],
        "SoftmaxCrossEntropyLoss" => vec![cross_entropy(isa, case)],
        "Adagrad" | "Adam" | "Momentum" => optimizer(isa, case),
        other => panic!("no kernel for {other}, and it is not listed as tested elsewhere"),
    }
}

fn element_wise(case: &Case, f: impl Fn(&mut [f32])) -> Vec<Vec<f32>> {
    let mut x = case.inputs[0].f32();
    f(&mut x);
    vec![x]
}

fn by_rows(case: &Case, f: impl Fn(MatMut<'_>)) -> Vec<Vec<f32>> {
    let shape = &case.inputs[0].shape;
    let (axis, last) = (case.number("axis", -1.0), shape.len() as f64 - 1.0);
    assert!(axis == -1.0 || axis == last, "rows lie along the last axis");
    let mut x = case.inputs[0].f32();
    let cols = shape[shape.len() - 1];
    let rows = x.len() / cols;
    f(MatMut::dense(&mut x, rows, cols));
    vec![x]
}

/// Along `axis`, each outer index is a table of its own; a negative token counts from the end.
fn gather(case: &Case) -> Vec<f32> {
    let (table, axis) = (&case.inputs[0], case.number("axis", 0.0) as usize);
    let v = table.shape[axis];
    let d: usize = table.shape[axis + 1..].iter().product();
    let token = |&i: &f64| if i < 0.0 { (i + v as f64) as u32 } else { i as u32 };
    let tokens: Vec<u32> = case.inputs[1].data.iter().map(token).collect();
    let mut all = Vec::new();
    for part in table.f32().chunks(v * d) {
        let mut out = vec![0.0; tokens.len() * d];
        embedding::gather(Mat::dense(part, v, d), &tokens, MatMut::dense(&mut out, tokens.len(), d));
        all.extend(out);
    }
    all
}

/// alpha A' B' + beta C, as the transposed product C + A^T B with A and B turned to that form.
fn gemm(isa: Isa, case: &Case) -> Vec<f32> {
    let (a, b, c) = (&case.inputs[0], &case.inputs[1], &case.inputs[2]);
    let (alpha, beta) = (case.number("alpha", 1.0) as f32, case.number("beta", 1.0) as f32);
    let turned = |t: &Tensor| -> Vec<f32> {
        let (rows, cols) = (t.shape[0], t.shape[1]);
        (0..rows * cols).map(|i| t.data[i % rows * cols + i / rows] as f32).collect()
    };
    let (at, m) = if case.number("transA", 0.0) == 1.0 { (a.f32(), a.shape[1]) } else { (turned(a), a.shape[0]) };
    let (bt, n) = if case.number("transB", 0.0) == 1.0 { (turned(b), b.shape[0]) } else { (b.f32(), b.shape[1]) };
    let (at, bias): (Vec<f32>, Vec<f32>) =
        (at.iter().map(|x| x * alpha).collect(), c.f32().iter().map(|x| x * beta).collect());
    let k = at.len() / m;
    let mut out = vec![0.0; m * n];
    outer_product(
        isa,
        OuterProduct {
            a: Mat::dense(&at, k, m),
            b: Mat::dense(&bt, k, n),
            precision: Precision::F32,
            init: Init::Bias(&bias),
            c: MatMut::dense(&mut out, m, n),
            scratch: &mut Buffer::default(),
        },
    );
    out
}

/// Scores are (N, C, positions...): the classes are brought to the last axis, then reduced as asked.
fn cross_entropy(isa: Isa, case: &Case) -> Vec<f32> {
    let (x, y) = (case.input("x"), case.input("y"));
    let v = x.shape[1];
    let positions: usize = x.shape[2..].iter().product();
    let rows = x.data.len() / v;
    let mut logits: Vec<f32> = (0..rows * v)
        .map(|i| {
            let (r, j) = (i / v, i % v);
            x.data[(r / positions * v + j) * positions + r % positions] as f32
        })
        .collect();
    let ignored = case.attributes["ignore_index"].as_f64();
    let token = |&t: &f64| if Some(t) == ignored { softmax::IGNORE } else { t as u32 };
    let targets: Vec<u32> = y.data.iter().map(token).collect();
    let mut losses = vec![0.0; rows];
    softmax::cross_entropy_forward(isa, Mat::dense(&logits, rows, v), &targets, &mut losses);
    let mut again = vec![0.0; rows];
    let args = softmax::CrossEntropy {
        logits: MatMut::dense(&mut logits, rows, v),
        targets: &targets,
        scale: 1.0,
        losses: &mut again,
    };
    softmax::cross_entropy(isa, args);
    assert_eq!(losses, again);
    let classes = case.inputs.iter().find(|t| t.name == "w");
    let weight = |&t: &u32| match classes {
        _ if t == softmax::IGNORE => 0.0,
        None => 1.0,
        Some(w) => w.data[t as usize] as f32,
    };
    let weights: Vec<f32> = targets.iter().map(weight).collect();
    losses.iter_mut().zip(&weights).for_each(|(loss, w)| *loss *= w);
    match case.attributes["reduction"].as_str() {
        Some("none") => losses,
        Some("sum") => vec![losses.iter().sum()],
        _ => vec![losses.iter().sum::<f32>() / weights.iter().sum::<f32>()],
    }
}

/// How many parameter tensors an optimiser's case has: X, or X1 and X2.
fn tensors_of(case: &Case) -> usize {
    case.inputs.iter().filter(|t| t.name.starts_with('X')).count()
}

/// Parameters, gradients and one or two lists of state, for each tensor in turn.
fn optimizer(isa: Isa, case: &Case) -> Vec<Vec<f32>> {
    let (lr, t) = (case.input("R").scalar(), case.input("T").scalar());
    assert_eq!(t, 0.0, "the cases are of the first step");
    let (alpha, beta) = (case.number("alpha", 0.0), case.number("beta", 0.0));
    // `test_adam_multiple` was computed with 0.01 (its expected numbers say so) but does not carry the attribute.
    let epsilon = case.number("epsilon", if tensors_of(case) > 1 { 1e-2 } else { 1e-6 });
    let rule = match case.op.as_str() {
        "Adagrad" => Rule::Adagrad { epsilon, epsilon_inside: false },
        "Adam" => Rule::Adam { beta1: alpha, beta2: beta, epsilon },
        _ if case.attributes["mode"] == "nesterov" => Rule::Nesterov { momentum: alpha },
        _ => Rule::Momentum { momentum: alpha },
    };
    let states = rule.slots();
    let tensors = tensors_of(case);
    let mut results = vec![Vec::new(); (1 + states) * tensors];
    for i in 0..tensors {
        let [mut param, grad] = [0, 1].map(|k| case.inputs[2 + k * tensors + i].f32());
        let slot = |k: usize| if k < states { case.inputs[2 + (2 + k) * tensors + i].f32() } else { Vec::new() };
        let (mut first, mut second) = (slot(0), slot(1));
        // ONNX adds the decay of the weights to the gradient.
        let weight_decay = case.number("norm_coefficient", 0.0) as f32;
        let args = Update {
            param: &mut param,
            grad: &grad,
            slots: [&mut first, &mut second],
            lr: lr as f32,
            // At T = 0 ONNX' momentum takes the gradient whole, as these rules do, and its Adam corrects no bias, which
            // is Adam's limit for late steps.
            grad_scale: 1.0,
            clip_value: None,
            weight_decay,
            step: u64::MAX,
        };
        update(isa, rule, args);
        results[i] = param;
        for (k, state) in [first, second].into_iter().enumerate().take(states) {
            results[(1 + k) * tensors + i] = state;
        }
    }
    results
}

#[test]
fn the_onnx_node_cases_come_out_as_written() {
    let Ok(folder) = std::env::var("UNROLL_DATA") else {
        println!("SKIPPED: UNROLL_DATA is not set");
        return;
    };
    let path = std::path::Path::new(&folder).join("conformance").join("onnx_node_raw.json");
    let text = std::fs::read_to_string(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    let file: Value = serde_json::from_str(&text).expect("a JSON file");
    let mut counts = (0, 0);
    for value in file["cases"].as_array().expect("cases") {
        let (id, op) = (value["id"].as_str().expect("an id"), value["op"].as_str().expect("an operator"));
        if ELSEWHERE.contains(&op) {
            counts.1 += 1;
            continue;
        }
        counts.0 += 1;
        let case = Case::read(value);
        for isa in isa::sets_under_test() {
            let results = run(isa, &case);
            assert_eq!(results.len(), case.outputs.len(), "{id}");
            for (got, want) in results.iter().zip(&case.outputs) {
                assert_eq!(got.len(), want.data.len(), "{id}: {}", want.name);
                for (i, (&g, &w)) in got.iter().zip(&want.data).enumerate() {
                    let error = (f64::from(g) - w).abs();
                    // A few units in the last place of either side: the files come from NumPy in f32.
                    assert!(error <= 1e-6 * w.abs().max(1.0), "{id} on {isa}: {}[{i}] is {g}, not {w}", want.name);
                }
            }
        }
    }
    println!("{} ONNX cases passed, {} belong to layers", counts.0, counts.1);
    assert!(counts.0 >= 30, "only {} of the cases were found", counts.0);
}
