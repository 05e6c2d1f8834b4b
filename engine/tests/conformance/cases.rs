//! What a case says: its tensors, weights, masks and expected values, and the network that they are set in.

use serde_json::Value;
use unroll::graph::{Graph, ModelConfig};
use unroll::network::FUSIONS;
use unroll::{Network, NetworkOptions};
use unroll_kernels::Isa;
use unroll_kernels::isa::sets_under_test;

/// A nested array of numbers, flattened, with its shape.
#[derive(Clone, Debug)]
pub(crate) struct Tensor {
    pub(crate) shape: Vec<usize>,
    pub(crate) data: Vec<f64>,
}

impl Tensor {
    pub(crate) fn read(value: &Value) -> Self {
        let Value::Array(items) = value else {
            return Self { shape: Vec::new(), data: vec![value.as_f64().expect("a number")] };
        };
        let items: Vec<Tensor> = items.iter().map(Tensor::read).collect();
        let inner = items.first().map_or(Vec::new(), |first| first.shape.clone());
        let shape = [vec![items.len()], inner].concat();
        Self { shape, data: items.into_iter().flat_map(|item| item.data).collect() }
    }

    pub(crate) fn optional(value: &Value) -> Option<Self> {
        (!value.is_null()).then(|| Self::read(value))
    }

    /// (a, b, ...) to (b, a, ...).
    pub(crate) fn transposed(self) -> Self {
        let [a, b] = [self.shape[0], self.shape[1]];
        let width: usize = self.shape[2..].iter().product();
        let row = |j: usize, i: usize| &self.data[(i * b + j) * width..][..width];
        let data = (0..b).flat_map(|j| (0..a).flat_map(move |i| row(j, i))).copied().collect();
        let mut shape = self.shape.clone();
        shape.swap(0, 1);
        Self { shape, data }
    }
}

/// Vectors that are fed as tokens: (T, N, D).
pub(crate) struct Sequence {
    pub(crate) steps: usize,
    pub(crate) rows: usize,
    pub(crate) width: usize,
    pub(crate) data: Vec<f64>,
}

impl Sequence {
    pub(crate) fn read(case: &Value, input: &Value) -> Self {
        let x = Tensor::read(input);
        let x = if case["input_layout"] == "time_major" { x } else { x.transposed() };
        Self { steps: x.shape[0], rows: x.shape[1], width: x.shape[2], data: x.data }
    }

    /// One token a vector.
    pub(crate) fn tokens(&self) -> Vec<u32> {
        (0..(self.steps * self.rows) as u32).collect()
    }
}

/// How a case's model is run.
#[derive(Clone, Copy)]
pub(crate) struct Way {
    pub(crate) isa: Isa,
    pub(crate) fused: bool,
}

pub(crate) fn ways() -> Vec<Way> {
    sets_under_test().into_iter().flat_map(|isa| [true, false].map(|fused| Way { isa, fused })).collect()
}

/// A network for `model` with the sequence as its embedding table, and every other parameter zero.
pub(crate) fn network(model: &str, x: &Sequence, way: Way) -> Network {
    let mut network = zeros(model, x.steps * x.rows, [x.steps, x.rows], way);
    set(&mut network, "table/embeddings", &x.data);
    network
}

/// A network for `model` with every parameter zero, and room for (T, N) tokens.
pub(crate) fn zeros(model: &str, vocabulary: usize, [steps, rows]: [usize; 2], way: Way) -> Network {
    let model = format!("initializer = \"zeros\"\n{model}");
    let config: ModelConfig = toml::from_str(&model).unwrap_or_else(|e| panic!("{e}\n{model}"));
    let graph = Graph::new(&config, vocabulary).unwrap_or_else(|e| panic!("{e}\n{model}"));
    let no_fuse = if way.fused { Vec::new() } else { FUSIONS.map(String::from).to_vec() };
    let options = NetworkOptions { isa: way.isa, steps, rows, no_fuse, ..NetworkOptions::default() };
    Network::new(&graph, options).unwrap()
}

/// Sets a parameter.
pub(crate) fn set(network: &mut Network, name: &str, values: &[f64]) {
    let range = place(network, name);
    assert_eq!(range.len(), values.len(), "{name}");
    network.params_mut()[range].iter_mut().zip(values).for_each(|(p, &x)| *p = x as f32);
}

pub(crate) fn place(network: &Network, name: &str) -> std::ops::Range<usize> {
    let spec = network.graph().params().iter().find(|spec| spec.name == name);
    spec.unwrap_or_else(|| panic!("no parameter {name}")).range.clone()
}

/// The parameters of one direction.
pub(crate) struct Weights {
    pub(crate) kernel: Vec<f64>,
    pub(crate) recurrent_kernel: Vec<f64>,
    /// Absent where the case has none, or says `use_bias = false`.
    pub(crate) bias: Option<Vec<f64>>,
    /// Of i, f and o.
    pub(crate) peephole: Option<Vec<f64>>,
}

impl Weights {
    pub(crate) fn read(case: &Value, direction: &Value) -> Self {
        let (b, b_rec) = (Tensor::optional(&direction["b"]), Tensor::optional(&direction["b_rec"]));
        let no_bias = case["keras_args"]["use_bias"] == false;
        let after = case["cell"] == "gru" && case["reset_after"] != false;
        let bias = match (b, b_rec) {
            _ if no_bias => None,
            (None, _) => None,
            (Some(b), b_rec) => {
                let zeros = || vec![0.0; b.data.len()];
                let b_rec = b_rec.map_or_else(zeros, |b| b.data);
                // A GRU that resets after the product keeps the two apart; elsewhere only their sum matters.
                Some(if after {
                    [b.data, b_rec].concat()
                } else {
                    b.data.iter().zip(b_rec).map(|(a, b)| a + b).collect()
                })
            }
        };
        let read = |key: &str| Tensor::read(&direction[key]).data;
        let peephole =
            direction.get("peephole").map(|p| ["i", "f", "o"].map(|gate| Tensor::read(&p[gate]).data).concat());
        Self { kernel: read("W"), recurrent_kernel: read("U"), bias, peephole }
    }

    pub(crate) fn set(&self, network: &mut Network, layer: &str) {
        set(network, &format!("{layer}/kernel"), &self.kernel);
        set(network, &format!("{layer}/recurrent_kernel"), &self.recurrent_kernel);
        if let Some(bias) = &self.bias {
            set(network, &format!("{layer}/bias"), bias);
        }
        if let Some(peephole) = &self.peephole {
            set(network, &format!("{layer}/peephole"), peephole);
        }
    }
}

/// The mask of a case, (T, N): given, or by the lengths of the rows.
pub(crate) fn mask(case: &Value, x: &Sequence) -> Option<Vec<bool>> {
    let there = |t: usize, n: usize| match (&case["mask"], &case["seq_lens"]) {
        (Value::Array(rows), _) => rows[n][t].as_bool().expect("true or false"),
        (_, Value::Array(lengths)) => (t as u64) < lengths[n].as_u64().expect("a length"),
        _ => unreachable!("asked for below"),
    };
    let masked = !case["mask"].is_null() || !case["seq_lens"].is_null();
    masked.then(|| (0..x.steps * x.rows).map(|i| there(i / x.rows, i % x.rows)).collect())
}

/// What a forward case expects.
pub(crate) struct Expected<'a> {
    pub(crate) key: &'a str,
    pub(crate) values: Tensor,
    /// The only row of the batch that is known, if not all are.
    pub(crate) row: Option<usize>,
    pub(crate) absolute: f64,
    pub(crate) relative: f64,
}

impl Expected<'_> {
    pub(crate) fn read<'a>(case: &'a Value) -> Vec<Expected<'a>> {
        let tolerance = |key: &str| case["tol"][key].as_f64().expect("a tolerance");
        let expected = case["expect"].as_object().expect("expected values").iter().map(|(key, value)| Expected {
            key,
            values: Tensor::read(value),
            row: case["expect_batch_index"].as_u64().map(|row| row as usize),
            absolute: tolerance("atol"),
            relative: tolerance("rtol"),
        });
        expected.collect()
    }

    /// `got` is (N, width).
    #[track_caller]
    pub(crate) fn compare(&self, id: &str, way: Way, got: &[f32], rows: usize) {
        let width = got.len() / rows;
        let got = self.row.map_or(got, |row| &got[row * width..][..width]);
        assert_eq!(got.len(), self.values.data.len(), "{id}: {}", self.key);
        for (i, (&got, &want)) in got.iter().zip(&self.values.data).enumerate() {
            let error = (f64::from(got) - want).abs();
            let tolerance = self.absolute + self.relative * want.abs();
            let (isa, fused) = (way.isa, way.fused);
            assert!(error <= tolerance, "{id} on {isa}, fused {fused}: {}[{i}] is {got}, not {want}", self.key);
        }
    }
}

/// The options of a case's cell, one a line.
pub(crate) fn options(case: &Value, bias: bool) -> Vec<String> {
    let cell = case["cell"].as_str().expect("a cell");
    let text = |key: &str| case[key].as_str().map(|name| format!("{key} = \"{name}\""));
    let mut options = vec![format!("units = {}", case["units"]), format!("use_bias = {bias}")];
    options.extend(text("activation"));
    if cell != "simple_rnn" {
        options.extend(text("recurrent_activation"));
    }
    if cell == "gru" {
        options.push(format!("reset_after = {}", case["reset_after"] != false));
    }
    options
}
