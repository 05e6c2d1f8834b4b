//! Cases that give outputs and states.

use super::cases::{Expected, Sequence, Tensor, Way, Weights, mask, network, options, set, zeros};
use serde_json::Value;
use unroll::Batch;

/// The declaration of a case's recurrent layer, and the names of its directions.
fn layers(case: &Value, x: &Sequence, sequence: bool) -> (String, Vec<String>) {
    let cell = case["cell"].as_str().expect("a cell");
    let dirs = case["dirs"].as_array().expect("directions");
    let weights = Weights::read(case, &dirs[0]);
    let mut options = options(case, weights.bias.is_some());
    options.push(format!("return_sequences = {sequence}"));
    // What is carried is also what can be set and read.
    options.push("stateful = true".into());
    if case["zero_output_for_mask"] == true {
        options.push("zero_output_for_mask = true".into());
    }
    if weights.peephole.is_some() {
        options.push("peephole = true".into());
    }
    let table = format!("[[layers]]\nname = \"table\"\ntype = \"embedding\"\noutput_dim = {}\n", x.width);
    if dirs.len() == 1 {
        let (reverse, options) = (dirs[0]["reverse"] == true, options.join("\n"));
        let layer = format!("[[layers]]\nname = \"cell\"\ntype = \"{cell}\"\ngo_backwards = {reverse}\n{options}\n");
        return (table + &layer, vec!["cell".into()]);
    }
    // Without a merge the outputs are checked one by one, and found side by side.
    let (merge, options) = (case["merge"].as_str().unwrap_or("concat"), options.join(", "));
    let both = format!(
        "[[layers]]\nname = \"cell\"\ntype = \"bidirectional\"\nmerge_mode = \"{merge}\"\n\
         layer = {{ type = \"{cell}\", {options} }}\n"
    );
    (table + &both, vec!["cell/forward".into(), "cell/backward".into()])
}

/// Runs a case that gives outputs and states of one layer.
pub(crate) fn run_forward(case: &Value, way: Way) {
    let id = case["id"].as_str().expect("an id");
    let x = Sequence::read(case, &case["input"]);
    let dirs: Vec<Weights> =
        case["dirs"].as_array().expect("directions").iter().map(|d| Weights::read(case, d)).collect();
    let units = case["units"].as_u64().expect("units") as usize;
    for expected in Expected::read(case) {
        let sequence = expected.key == "seq";
        let (mut text, names) = layers(case, &x, sequence);
        let joined = dirs.len() == 2 && (case["merge"].is_null() || case["merge"] == "concat");
        let mut width = if joined { 2 * units } else { units };
        if sequence {
            width *= x.steps;
            text = format!("input_length = {}\n{text}", x.steps);
            text += &format!("[[layers]]\ntype = \"reshape\"\ntarget_shape = [{width}]\n");
        }
        // The loss asks for an output a token.
        let outputs = width.max(x.steps * x.rows);
        text += &format!("[[layers]]\nname = \"read\"\ntype = \"dense\"\nunits = {outputs}\nuse_bias = false\n");
        let mut network = network(&text, &x, way);
        dirs.iter().zip(&names).for_each(|(weights, name)| weights.set(&mut network, name));
        let identity: Vec<f64> =
            (0..width * outputs).map(|i| if i / outputs == i % outputs { 1.0 } else { 0.0 }).collect();
        set(&mut network, "read/kernel", &identity);

        let mut state = network.new_state(x.rows);
        for (name, initial) in names.iter().zip(case["initial_state"].as_array().unwrap_or(&Vec::new())) {
            for (part, values) in initial.as_object().expect("a state") {
                let values = Tensor::read(values).data;
                let to = state.tensor_mut(&format!("{name}/{part}")).expect("a carried state");
                to.iter_mut().zip(values).for_each(|(s, x)| *s = x as f32);
            }
        }
        let (mut output, tokens, mask) = (Vec::new(), x.tokens(), mask(case, &x));
        let batch = Batch {
            steps: x.steps,
            rows: x.rows,
            inputs: &tokens,
            targets: &[],
            mask: mask.as_deref(),
            ..Batch::default()
        };
        for _ in 0..case["calls"].as_u64().unwrap_or(1) {
            let logits = network.predict(&batch, &mut state);
            output = (0..x.rows).flat_map(|n| logits.row(n)[..width].to_vec()).collect();
        }
        let part = |columns: std::ops::Range<usize>| -> Vec<f32> {
            output.chunks_exact(width).flat_map(|row| &row[columns.clone()]).copied().collect()
        };
        let carried = |d: usize, part: &str| -> Vec<f32> {
            let name = format!("{}/{part}", names[d]);
            let tensor = state.tensors().find(|tensor| tensor.name == name);
            tensor.unwrap_or_else(|| panic!("{id}: no state {name}")).values.to_vec()
        };
        let expected = if case["input_layout"] == "time_major" && sequence {
            Expected { values: expected.values.clone().transposed(), ..expected }
        } else {
            expected
        };
        let got = match expected.key {
            "last" | "seq" => output.clone(),
            "last0" => part(0..units),
            "last1" => part(units..2 * units),
            "h" | "c" => carried(0, expected.key),
            "h0" | "c0" => carried(0, &expected.key[..1]),
            "h1" | "c1" => carried(1, &expected.key[..1]),
            other => panic!("{id} expects {other}, which is not known"),
        };
        expected.compare(id, way, &got, x.rows);
    }
}

/// Runs a case that gives every output of a stateful layer after one call and after two.
pub(crate) fn run_stateful(case: &Value, way: Way) {
    let id = case["id"].as_str().expect("an id");
    let x = Sequence::read(case, &case["input"]);
    let units = case["units"].as_u64().expect("units") as usize;
    let outputs = units.max(x.steps * x.rows);
    let text = format!(
        "[[layers]]\nname = \"table\"\ntype = \"embedding\"\noutput_dim = {}\n\
         [[layers]]\nname = \"cell\"\ntype = {}\nstateful = true\n{}\n\
         [[layers]]\nname = \"read\"\ntype = \"dense\"\nunits = {outputs}\nuse_bias = false\n",
        x.width,
        case["cell"],
        options(case, true).join("\n"),
    );
    let mut network = network(&text, &x, way);
    Weights::read(case, case).set(&mut network, "cell");
    let identity = |i: usize| if i / outputs == i % outputs { 1.0 } else { 0.0 };
    set(&mut network, "read/kernel", &(0..units * outputs).map(identity).collect::<Vec<_>>());
    let mut state = network.new_state(x.rows);
    let tolerance = |key: &str| case["tol"][key].as_f64().expect("a tolerance");
    for call in ["call1", "call2"] {
        let want = case["expect"][call].as_f64().expect("a number");
        let logits = network.logits(&x.tokens(), x.rows, &mut state);
        for got in (0..x.rows).flat_map(|n| &logits.row(n)[..units]) {
            let error = (f64::from(*got) - want).abs();
            let most = tolerance("atol") + tolerance("rtol") * want.abs();
            assert!(error <= most, "{id} on {}: {call} {got}, not {want}", way.isa);
        }
    }
}

/// Runs a case that reads tokens, of which one is padding, and gives one number a row.
pub(crate) fn run_tokens(case: &Value, way: Way) {
    let id = case["id"].as_str().expect("an id");
    assert_eq!(case["mask_id"], 0);
    let (table, tokens) = (Tensor::read(&case["embedding"]), Tensor::read(&case["tokens"]).transposed());
    let [steps, rows] = [tokens.shape[0], tokens.shape[1]];
    let text = format!(
        "loss = \"binary_cross_entropy\"\n\
         [[layers]]\nname = \"table\"\ntype = \"embedding\"\noutput_dim = {}\nmask_zero = true\n\
         [[layers]]\nname = \"cell\"\ntype = {}\ngo_backwards = {}\n{}\n\
         [[layers]]\nname = \"read\"\ntype = \"dense\"\nunits = 1\n",
        table.shape[1],
        case["cell"],
        case["reverse"],
        options(case, true).join("\n"),
    );
    let mut network = zeros(&text, table.shape[0], [steps, rows], way);
    set(&mut network, "table/embeddings", &table.data);
    Weights::read(case, case).set(&mut network, "cell");
    set(&mut network, "read/kernel", &Tensor::read(&case["dense_W"]).data);
    set(&mut network, "read/bias", &Tensor::read(&case["dense_b"]).data);
    let tokens: Vec<u32> = tokens.data.iter().map(|&token| token as u32).collect();
    let logits = network.logits(&tokens, rows, &mut network.new_state(rows));
    let got: Vec<f32> = (0..rows).map(|n| logits.row(n)[0]).collect();
    Expected::read(case).iter().for_each(|expected| expected.compare(id, way, &got, rows));
}
