//! States that layers give and take, and directions that are not merged.

use super::*;

/// A decoder that starts where an encoder ends.
const PAIR: &str = r#"
    initializer = { uniform = 0.4 }
    layers = [
        { type = "embedding", output_dim = 9, mask_zero = true },
        { type = "bidirectional", name = "encoder", merge_mode = "none",
          layer = { type = "lstm", units = 21, return_sequences = true, return_state = true } },
        { type = "lstm", inputs = ["encoder/backward"], units = 21, return_sequences = true, go_backwards = true,
          initial_state = ["encoder/forward/h", "encoder/backward/c"] },
        { type = "concatenate", inputs = ["lstm", "encoder/forward"] },
        { type = "dense" },
    ]
"#;

#[test]
fn the_bits_of_states_that_are_taken_do_not_depend_on_the_number_of_threads() {
    let graph = model(PAIR, "");
    for (precision, rows) in PRECISIONS.into_iter().flat_map(|p| [5, 70].map(|rows| (p, rows))) {
        let options = NetworkOptions { precision, ..options(6, rows) };
        same_on_threads(&format!("{rows} rows"), &options, &[2, 3, 5], |options| trace(&graph, options));
    }
}

/// One recurrent layer, stateful or started by dense layers.
fn started(cell: &str, options: &str) -> Graph {
    let text = format!(
        r#"
        initializer = {{ uniform = 0.4 }}
        layers = [
            {{ type = "embedding", output_dim = 9 }},
            {{ type = "{cell}", units = 13, return_sequences = true, {options} }},
            {{ type = "dense" }},
        ]"#
    );
    model(&text, "")
}

#[test]
fn a_layer_that_others_start_is_one_that_carries_the_same_state() {
    for (cell, two) in [("simple_rnn", false), ("lstm", true), ("gru", false)] {
        for backwards in [false, true] {
            let (t, n) = (5, 3);
            let carrying = started(cell, &format!("stateful = true, go_backwards = {backwards}"));
            let states = if two { "\"h0\", \"c0\"" } else { "\"h0\"" };
            let mut config = started(cell, &format!("go_backwards = {backwards}, initial_state = []")).config().clone();
            let more: crate::graph::ModelConfig = toml::from_str(&format!(
                r#"layers = [
                    {{ type = "input", width = 13, sequence = false }},
                    {{ type = "dense", name = "h0", units = 13, inputs = ["input"] }},
                    {{ type = "dense", name = "c0", units = 13, inputs = ["input"] }},
                    {{ type = "{cell}", units = 13, return_sequences = true, go_backwards = {backwards},
                       inputs = ["embedding"], initial_state = [{states}] }}]"#
            ))
            .unwrap();
            config
                .layers
                .splice(1..2, more.layers.into_iter().filter(|layer| two || layer.name_and_inputs().0 != Some("c0")));
            let taking = Graph::new(&config, V).unwrap();
            let mut carrying = Network::new(&carrying, options(t, n)).unwrap();
            let mut taking = Network::new(&taking, options(t, n)).unwrap();
            for spec in taking.graph().params().to_vec() {
                let own = carrying.graph().params().iter().find(|p| p.name == spec.name);
                let identity = |i: usize| if i.is_multiple_of(14) { 1.0 } else { 0.0 };
                let values: Vec<f32> = match own {
                    Some(own) => carrying.params()[own.range.clone()].to_vec(),
                    None if spec.name.ends_with("kernel") => (0..spec.len()).map(identity).collect(),
                    None => vec![0.0; spec.len()],
                };
                taking.params_mut()[spec.range.clone()].copy_from_slice(&values);
            }
            let mut carried = carrying.new_state(n);
            // h and c alike: the dense layers see one vector.
            let values: Vec<f32> = (0..n * 13).map(|i| Key::new(3, Purpose::Bench).uniform(i as u64) - 0.5).collect();
            for part in if two { &["h", "c"][..] } else { &["h"] } {
                carried.tensor_mut(&format!("{cell}/{part}")).unwrap().copy_from_slice(&values);
            }
            let (x, y) = (tokens(t * n, 1), tokens(t * n, 2));
            let batch = Batch { steps: t, rows: n, inputs: &x, targets: &y, ..Batch::default() };
            let want = carrying.train_step(&batch, &mut carried, 0);
            let mut nothing = taking.new_state(n);
            assert_eq!(taking.train_step(&Batch { vectors: &[&values], ..batch }, &mut nothing, 0), want, "{cell}");
            for own in carrying.graph().params().to_vec() {
                let other = taking.graph().params().iter().find(|p| p.name == own.name).unwrap().range.clone();
                assert_eq!(carrying.gradient()[own.range], taking.gradient()[other], "{cell} {}", own.name);
            }
        }
    }
}

#[test]
fn directions_that_are_not_merged_stand_side_by_side_where_they_are_joined() {
    for every in [true, false] {
        let text = |merge: &str, join: &str| {
            format!(
                r#"
                initializer = {{ uniform = 0.4 }}
                layers = [
                    {{ type = "embedding", output_dim = 9, mask_zero = true }},
                    {{ type = "bidirectional", merge_mode = "{merge}",
                       layer = {{ type = "gru", units = 7, return_sequences = {every} }} }},
                    {join} {{ type = "dense" }},
                ]"#
            )
        };
        let join = "{ type = \"concatenate\", inputs = [\"bidirectional/forward\", \"bidirectional/backward\"] },";
        let (merged, apart) = (model(&text("concat", ""), ""), model(&text("none", join), ""));
        let (t, n) = (6, 5);
        let y = tokens(if every { t * n } else { n }, 2);
        let batch = Batch { steps: t, rows: n, inputs: &tokens(t * n, 1), targets: &y, ..Batch::default() };
        let step = |graph: &Graph| {
            let mut network = Network::new(graph, options(t, n)).unwrap();
            let loss = network.train_step(&batch, &mut network.new_state(n), 0);
            (loss, network.gradient().to_vec())
        };
        assert!(step(&merged) == step(&apart));
    }
}

/// A layer that begins where a picture says.
fn begun(cell: &str, stateful: bool) -> Graph {
    let states = if cell == "lstm" { "\"h0\", \"c0\"" } else { "\"h0\"" };
    let c0 = "{ type = \"dense\", name = \"c0\", units = 13, inputs = [\"input\"] },";
    let text = format!(
        r#"
        initializer = {{ uniform = 0.4 }}
        layers = [
            {{ type = "embedding", output_dim = 9 }},
            {{ type = "input", width = 5, sequence = false }},
            {{ type = "dense", name = "h0", units = 13, inputs = ["input"] }},
            {}
            {{ type = "{cell}", units = 13, inputs = ["embedding"], return_sequences = true, return_state = true,
               stateful = {stateful}, initial_state = [{states}] }},
            {{ type = "dense" }},
        ]"#,
        if cell == "lstm" { c0 } else { "" }
    );
    model(&text, "")
}

#[test]
fn a_text_begins_at_the_given_state_and_goes_on_from_its_own() {
    for cell in ["simple_rnn", "lstm", "gru"] {
        let (t, n) = (4, 3);
        let vectors: Vec<f32> = (0..n * 5).map(|i| Key::new(7, Purpose::Bench).uniform(i as u64) - 0.5).collect();
        let mut network = Network::new(&begun(cell, true), options(2 * t, n)).unwrap();
        let mut alone = Network::new(&begun(cell, false), options(2 * t, n)).unwrap();
        assert_eq!(network.params(), alone.params());
        let (x, y) = (tokens(2 * t * n, 1), tokens(2 * t * n, 2));
        let batch = |at: Range<usize>| Batch {
            steps: at.len(),
            rows: n,
            inputs: &x[at.start * n..at.end * n],
            targets: &y[at.start * n..at.end * n],
            ..Batch::default()
        };
        let losses = |network: &mut Network, state: &mut State, at: Range<usize>| {
            let mut losses = vec![0.0; at.len() * n];
            network.evaluate(&Batch { vectors: &[&vectors], ..batch(at) }, state);
            network.losses(&mut losses);
            losses
        };
        let mut nothing = alone.new_state(n);
        let whole = losses(&mut alone, &mut nothing, 0..2 * t);
        // In two parts, the second of which goes on.
        let mut state = network.new_state(n);
        let mut parts = losses(&mut network, &mut state, 0..t);
        parts.extend(losses(&mut network, &mut state, t..2 * t));
        assert_eq!(parts, whole, "{cell}");
        // Row 1 begins again where the picture says, the others go on; so do copies of the tensors that a checkpoint
        // has.
        let mut copy = network.new_state(n);
        for tensor in state.tensors() {
            copy.tensor_mut(&tensor.name).unwrap().copy_from_slice(tensor.values);
        }
        for mut state in [state, copy] {
            state.reset_row(1);
            let on = losses(&mut network, &mut state, 0..t);
            let first = losses(&mut alone, &mut nothing, 0..t);
            for (at, (on, first)) in on.iter().zip(&first).enumerate() {
                assert_eq!(on == first, at % n == 1, "{cell}, step {}, row {}", at / n, at % n);
            }
        }
        // Gradients reach the picture from the rows that begin with it alone.
        let gradient = |network: &mut Network, state: &mut State| {
            network.train_step(&Batch { vectors: &[&vectors], ..batch(0..t) }, state, 0);
            let range = network.graph().params().iter().find(|p| p.name == "h0/kernel").unwrap().range.clone();
            network.gradient()[range].iter().map(|g| g.abs()).sum::<f32>()
        };
        let mut state = network.new_state(n);
        assert!(gradient(&mut network, &mut state) > 0.0, "{cell}");
        assert_eq!(gradient(&mut network, &mut state), 0.0, "{cell}");
        state.reset_row(2);
        assert!(gradient(&mut network, &mut state) > 0.0, "{cell}");
    }
}

/// The outputs of a layer that goes backwards are those of the same layer over the turned text, in their order; of a
/// bidirectional layer they stand in the order of time.
#[test]
fn a_layer_that_goes_backwards_gives_its_outputs_in_the_order_of_reading() {
    let text = |layer: &str, tail: &str| {
        format!(
            "initializer = {{ uniform = 0.4 }}\nlayers = [{{ type = \"embedding\", output_dim = 9, mask_zero = true }}, {layer}, \
             {tail}{{ type = \"dense\", name = \"out\" }}]"
        )
    };
    let inner = "name = \"cell\", units = 13, return_sequences = true";
    let build = |text: &str, from: Option<&Network>| {
        let mut network = Network::new(&model(text, ""), options(5, 3)).unwrap();
        if let Some(from) = from {
            network.params_mut().copy_from_slice(from.params());
        }
        network
    };
    // Row 1 ends in padding, row 2 begins with it.
    let rows: [&[u32]; 3] = [&[3, 1, 4, 1, 5], &[2, 6, 5, 0, 0], &[0, 0, 0, 7, 2]];
    let batch = |turned: bool| -> Vec<u32> {
        let there = |n: usize| rows[n].iter().copied().filter(|&token| token != 0).collect::<Vec<u32>>();
        let mut tokens = vec![0; 15];
        for n in 0..3 {
            let own = there(n);
            let places = (0..5).filter(|&t| rows[n][t] != 0);
            places.enumerate().for_each(|(i, t)| tokens[t * 3 + n] = own[if turned { own.len() - 1 - i } else { i }]);
        }
        tokens
    };
    let logits = |network: &mut Network, tokens: &[u32]| {
        let batch = Batch { steps: 5, rows: 3, inputs: tokens, ..Batch::default() };
        let mut all = vec![None; 15];
        let mut state = network.new_state(3);
        network.predict_each(&batch, &mut state, |t, n, row| all[t * 3 + n] = Some(row.to_vec()));
        all
    };
    for cell in ["simple_rnn", "lstm", "gru"] {
        let layer = |more: &str| format!("{{ type = \"{cell}\", {inner}{more} }}");
        let mut forward = build(&text(&layer(""), ""), None);
        let mut backward = build(&text(&layer(", go_backwards = true"), ""), Some(&forward));
        let want = logits(&mut forward, &batch(true));
        assert_eq!(logits(&mut backward, &batch(false)), want, "{cell}");
        // What stands behind it reads them in this order too.
        let behind = "{ type = \"gru\", units = 4, return_sequences = true }, ";
        let mut forward = build(&text(&layer(""), behind), None);
        let mut backward = build(&text(&layer(", go_backwards = true"), behind), Some(&forward));
        let want = logits(&mut forward, &batch(true));
        assert_eq!(logits(&mut backward, &batch(false)), want, "{cell}");
    }
}

#[test]
fn the_dropout_of_a_recurrent_layer_is_a_variational_dropout_layer_before_it() {
    let text = |before: &str, layer: &str| {
        format!(
            "initializer = {{ uniform = 0.4 }}\nlayers = [{{ type = \"embedding\", output_dim = 9, mask_zero = true }}, {before}{layer}, \
             {{ type = \"dense\" }}]"
        )
    };
    for cell in ["simple_rnn", "lstm", "gru"] {
        let one = |more: &str| format!("type = \"{cell}\", units = 13, return_sequences = true{more}");
        let both = |more: &str| format!("type = \"bidirectional\", layer = {{ {} }}", one(more));
        for (plain, dropping) in [(one(""), one(", dropout = 0.3")), (both(""), both(", dropout = 0.3"))] {
            let before = "{ type = \"dropout\", rate = 0.3, variational = true }, ";
            let declared = model(&text(before, &format!("{{ {plain} }}")), "");
            let short = model(&text("", &format!("{{ {dropping} }}")), "");
            assert!(trace(&short, options(6, 5)) == trace(&declared, options(6, 5)), "{dropping}");
            let without = model(&text("", &format!("{{ {plain} }}")), "");
            assert!(trace(&short, options(6, 5)).0 != trace(&without, options(6, 5)).0, "{dropping}");
        }
    }
    let bad = toml::from_str(&text("", "{ type = \"gru\", units = 3, dropout = 1.0 }")).unwrap();
    assert!(Graph::new(&bad, V).unwrap_err().to_string().contains("gru/dropout"));
}
