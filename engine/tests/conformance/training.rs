//! Cases that train.

use super::cases::{Sequence, Tensor, Way, network, options, place, set};
use serde_json::Value;
use unroll::{Batch, Network, State};

/// A regression trained by gradient descent on the mean square error of y, the output of the last step. All rows of
/// these cases are alike, and so the gradient of y is one vector: that of a binary cross-entropy, which the network has,
/// times a number. The square's is that vector times 2 mean(y - target).
struct Regression {
    network: Network,
    state: State,
    lr: f64,
    trained: Vec<String>,
}

impl Regression {
    fn new(case: &Value, x: &Sequence, way: Way) -> Self {
        let bias = case["use_bias"] == true;
        let stateful = case["kind"] == "train_stateful_loss";
        let text = format!(
            "loss = \"binary_cross_entropy\"\n[[layers]]\nname = \"table\"\ntype = \"embedding\"\noutput_dim = {}\n\
             [[layers]]\nname = \"cell\"\ntype = {}\nstateful = {stateful}\n{}\n\
             [[layers]]\nname = \"read\"\ntype = \"dense\"\nunits = 1\nuse_bias = {}\n",
            x.width,
            case["cell"],
            options(case, bias).join("\n"),
            case["dense_use_bias"],
        );
        let mut network = network(&text, x, way);
        let mut trained = vec![("cell/kernel", "W"), ("cell/recurrent_kernel", "U"), ("read/kernel", "dense_W")];
        if bias {
            trained.push(("cell/bias", "b"));
        }
        for (name, key) in &trained {
            set(&mut network, name, &Tensor::read(&case[*key]).data);
        }
        let lr = case["optimizer"]["lr"].as_f64().expect("a learning rate");
        let trained = trained.into_iter().map(|(name, _)| name.to_owned()).collect();
        Self { state: network.new_state(x.rows), network, lr, trained }
    }

    /// One update; returns the loss before it.
    fn step(&mut self, x: &Sequence, target: &[f64]) -> f64 {
        let tokens = x.tokens();
        let logits = self.network.logits(&tokens, x.rows, &mut self.state.clone());
        let y: Vec<f64> = (0..x.rows).map(|n| f64::from(logits.row(n)[0])).collect();
        assert!(y.iter().all(|&other| other == y[0]), "the rows are not alike: {y:?}");
        let count = target.len() as f64;
        let loss = target.iter().map(|t| (y[0] - t).powi(2)).sum::<f64>() / count;
        let slope = 2.0 * target.iter().map(|t| y[0] - t).sum::<f64>() / count;
        // Of -ln(1 - sigmoid(y)), the cross-entropy against 0.
        let other = 1.0 / (1.0 + (-y[0]).exp());
        let zeros = vec![0; x.rows];
        let batch = Batch { steps: x.steps, rows: x.rows, inputs: &tokens, targets: &zeros, ..Batch::default() };
        self.network.train_step(&batch, &mut self.state, 0);
        for name in &self.trained {
            let range = place(&self.network, name);
            let (params, gradient) = self.network.params_and_gradient();
            for (p, g) in params[range.clone()].iter_mut().zip(&gradient[range]) {
                *p -= (self.lr * slope / other * f64::from(*g)) as f32;
            }
        }
        loss
    }
}

/// Runs a case that trains.
pub(crate) fn run_training(case: &Value, way: Way) {
    let id = case["id"].as_str().expect("an id");
    let tolerance = |key: &str| case["tol"][key].as_f64().expect("a tolerance");
    let close = |what: &str, got: f64, want: f64| {
        let error = (got - want).abs();
        assert!(
            error <= tolerance("atol") + tolerance("rtol") * want.abs(),
            "{id} on {}: {what} {got}, not {want}",
            way.isa
        );
    };
    let batches = match &case["batches"] {
        Value::Array(batches) => batches.clone(),
        _ => vec![case.clone(); case["updates"].as_u64().expect("a number of updates") as usize],
    };
    let first = Sequence::read(case, &batches[0]["input"]);
    let mut regression = Regression::new(case, &first, way);
    let mut losses = Vec::new();
    for batch in &batches {
        let x = Sequence::read(case, &batch["input"]);
        set(&mut regression.network, "table/embeddings", &x.data);
        losses.push(regression.step(&x, &Tensor::read(&batch["target"]).data));
    }
    for (key, want) in case["expect"].as_object().expect("expected values") {
        let want = Tensor::read(want).data;
        let got = match key.as_str() {
            "mean_loss" => vec![losses.iter().sum::<f64>() / losses.len() as f64],
            "W" | "U" | "dense_W" => {
                let name = match key.as_str() {
                    "W" => "cell/kernel",
                    "U" => "cell/recurrent_kernel",
                    _ => "read/kernel",
                };
                let range = place(&regression.network, name);
                regression.network.params()[range].iter().map(|&p| f64::from(p)).collect()
            }
            other => panic!("{id} expects {other}, which is not known"),
        };
        assert_eq!(got.len(), want.len(), "{id}: {key}");
        got.iter().zip(&want).for_each(|(&got, &want)| close(key, got, want));
    }
}
