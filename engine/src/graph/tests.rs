mod masks;
mod sums;

use super::*;

/// The text of a model in which `"CELL"` stands for a type of layer: made this one, which may have options behind a
/// comma.
pub(crate) fn with_cell(text: &str, cell: &str) -> String {
    let (name, options) = cell.split_at(cell.find(',').unwrap_or(cell.len()));
    text.replace("\"CELL\"", &format!("\"{name}\"{options}"))
}

fn graph(text: &str, vocabulary: usize) -> Result<Graph> {
    Graph::new(&toml::from_str(text).unwrap(), vocabulary)
}

#[test]
fn the_character_model_of_two_layers_has_keras_table() {
    let text = r#"
        layers = [
            { type = "one_hot" },
            { type = "lstm", units = 128, return_sequences = true },
            { type = "lstm", units = 128, return_sequences = true },
            { type = "dense", activation = "softmax" },
        ]
    "#;
    let graph = graph(text, 65).unwrap();
    let rows: Vec<_> = graph.rows().into_iter().map(|r| (r.name, r.class, r.output_shape, r.params)).collect();
    let row = |n: &str, c: &str, s: &str, p| (n.to_owned(), c.to_owned(), s.to_owned(), p);
    assert_eq!(
        rows,
        [
            row("sequence", "InputLayer", "(None, None)", 0),
            row("one_hot", "OneHot", "(None, None, 65)", 0),
            row("lstm", "LSTM", "(None, None, 128)", 4 * 128 * (65 + 128 + 1)),
            row("lstm_1", "LSTM", "(None, None, 128)", 4 * 128 * 257),
            row("dense", "Dense", "(None, None, 65)", 129 * 65),
        ]
    );
}

#[test]
fn bengios_model_has_the_published_number_of_parameters() {
    let text = r#"
        input_length = 6
        layers = [
            { type = "embedding", output_dim = 100 },
            { type = "reshape", target_shape = [600] },
            { type = "dense", name = "hidden", units = 60, activation = "tanh" },
            { type = "dense", name = "pre_output_1" },
            { type = "dense", name = "pre_output_2", inputs = ["reshape"] },
            { type = "add", inputs = ["pre_output_1", "pre_output_2"] },
            { type = "activation", activation = "softmax" },
        ]
    "#;
    let graph = graph(text, 17964).unwrap();
    assert_eq!(graph.parameter_count(), 13_724_628);
    assert_eq!(graph.rows()[1].output_shape, "(None, 6, 100)");
    assert_eq!(graph.rows()[2].output_shape, "(None, 600)");
    assert!(!graph.is_sequence());
}

#[test]
fn a_simple_rnn_of_the_tutorials_has_42_parameters() {
    let text = r#"
        loss = "binary_cross_entropy"
        layers = [
            { type = "one_hot" },
            { type = "simple_rnn", units = 3 },
            { type = "dense", units = 1 },
        ]
    "#;
    assert_eq!(graph(text, 10).unwrap().rows()[2].params, 42);
}

/// The rows of a table: class, shape, parameters.
fn table(text: &str, classes: usize) -> Vec<(String, String, u64)> {
    graph(text, classes).unwrap().rows().into_iter().map(|row| (row.class, row.output_shape, row.params)).collect()
}

/// A model of these layers on vectors.
fn on_vectors(length: usize, input: &str, layers: &str) -> String {
    format!("input_length = {length}\nlayers = [{{ type = \"input\", {input} }}, {layers}]")
}

#[test]
fn the_tables_of_the_tutorials_are_those_of_keras() {
    let rnn = |input: &str, options: &str| {
        table(&on_vectors(2, input, &format!("{{ type = \"simple_rnn\", units = 3{options} }}")), 3)
    };
    let row = |class: &str, shape: &str, params| (class.to_owned(), shape.to_owned(), params);
    assert_eq!(rnn("width = 10", ""), [row("InputLayer", "(None, 2, 10)", 0), row("SimpleRNN", "(None, 3)", 42)]);
    assert_eq!(rnn("width = 10, batch_size = 8", "")[1], row("SimpleRNN", "(8, 3)", 42));
    assert_eq!(rnn("width = 10, batch_size = 8", ", return_sequences = true")[1], row("SimpleRNN", "(8, 2, 3)", 42));
    let lstm = |options: &str| {
        table(&on_vectors(4, "width = 5, batch_size = 1", &format!("{{ type = \"lstm\", units = 3{options} }}")), 3)
    };
    assert_eq!(lstm("")[1], row("LSTM", "(1, 3)", 108));
    assert_eq!(
        lstm(", return_sequences = true, return_state = true")[1],
        row("LSTM", "[(1, 4, 3), (1, 3), (1, 3)]", 108)
    );
    assert_eq!(lstm(", return_state = true")[1], row("LSTM", "[(1, 3), (1, 3), (1, 3)]", 108));
    let dense = "{ type = \"time_distributed\", layer = { type = \"dense\", units = 8 } }";
    assert_eq!(
        table(&on_vectors(10, "width = 16, batch_size = 32", dense), 8),
        [row("InputLayer", "(32, 10, 16)", 0), row("TimeDistributed", "(32, 10, 8)", 136)]
    );
    // Deep: the tutorials' two layers; and both ways, whose outputs stand side by side.
    let deep = "{ type = \"simple_rnn\", units = 3, return_sequences = true }, { type = \"simple_rnn\", units = 3 }";
    assert_eq!(
        table(&on_vectors(2, "width = 10", deep), 3)[1..],
        [row("SimpleRNN", "(None, 2, 3)", 42), row("SimpleRNN", "(None, 3)", 21)]
    );
    let both = |options: &str, merge: &str| {
        let layer = format!("layer = {{ type = \"lstm\", units = 3{options} }}");
        let text = format!("{{ type = \"bidirectional\"{merge}, {layer} }}");
        table(&on_vectors(4, "width = 5, batch_size = 1", &text), 3)[1].clone()
    };
    assert_eq!(both("", ""), row("Bidirectional", "(1, 6)", 216));
    assert_eq!(both(", return_sequences = true", ""), row("Bidirectional", "(1, 4, 6)", 216));
    assert_eq!(both(", return_sequences = true", ", merge_mode = \"sum\""), row("Bidirectional", "(1, 4, 3)", 216));
    assert_eq!(
        both(", return_sequences = true, return_state = true", ""),
        row("Bidirectional", "[(1, 4, 6), (1, 3), (1, 3), (1, 3), (1, 3)]", 216)
    );
}

#[test]
fn inputs_of_vectors_stand_beside_tokens() {
    let text = r#"
        layers = [
            { type = "embedding", output_dim = 4 },
            { type = "lstm", units = 3 },
            { type = "input", name = "picture", width = 7, sequence = false },
            { type = "dense", name = "seen", units = 3 },
            { type = "concatenate", inputs = ["lstm", "seen"] },
            { type = "dense" },
        ]
    "#;
    let graph = graph(text, 5).unwrap();
    let rows = graph.rows();
    assert_eq!(rows[3].output_shape, "(None, 7)");
    assert!(rows[3].connected_to.is_empty());
    assert_eq!(rows[4].connected_to, ["picture"]);
    assert_eq!((graph.takes_tokens(), graph.vector_inputs().count(), graph.batch_size()), (true, 1, None));
}

#[test]
fn mistakes_are_named() {
    let cases = [
        ("layers = []", "the model has no layers"),
        ("[[layers]]\ntype = \"lstm\"\nunits = 3", "layer `lstm`: lstm takes numbers, its input is tokens"),
        (
            "[[layers]]\ntype = \"one_hot\"\nnum_classes = 4",
            "layer `one_hot`: num_classes = 4 is less than the vocabulary's 5 tokens",
        ),
        (
            "[[layers]]\ntype = \"one_hot\"\n[[layers]]\ntype = \"lstm\"\nunits = 3\n[[layers]]\ntype = \"gru\"\nunits = 3",
            "layer `gru`: a recurrent layer needs a value for each step, its input is (None, 3)",
        ),
        (
            "[[layers]]\ntype = \"one_hot\"\n[[layers]]\ntype = \"dense\"\nunits = 3\ninputs = [\"two\"]",
            "layer `dense` takes `two`, which does not stand before it",
        ),
        ("[[layers]]\ntype = \"one_hot\"\n[[layers]]\ntype = \"dense\"\nunits = 4", "the loss needs 5 outputs"),
        (
            "[[layers]]\ntype = \"embedding\"\noutput_dim = 9223372036854775807",
            "has more elements than a machine can address",
        ),
        (
            "[[layers]]\ntype = \"one_hot\"\n[[layers]]\ntype = \"lstm\"\nunits = 4611686018427387904",
            "has more elements than a machine can address",
        ),
    ];
    for (text, want) in cases {
        let error = graph(text, 5).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let cell = |layer: &str| format!("layers = [{{ type = \"one_hot\" }}, {{ {layer} }}, {{ type = \"dense\" }}]");
    let cases = [
        ("type = \"gru\", units = 3, peephole = true", "layer `gru`: peephole belongs to lstm"),
        (
            "type = \"simple_rnn\", units = 3, recurrent_activation = \"sigmoid\"",
            "layer `simple_rnn`: recurrent_activation belongs to lstm and gru",
        ),
        (
            "type = \"lstm\", units = 3, recurrent_activation = \"softmax\"",
            "layer `lstm`: softmax is no function of a cell",
        ),
        (
            "type = \"bidirectional\", layer = { type = \"gru\", units = 3, go_backwards = true }",
            "layer `bidirectional`: a bidirectional layer reads both ways",
        ),
        (
            "type = \"time_distributed\", layer = { type = \"lstm\", units = 3 }",
            "layer `time_distributed`: time_distributed has no form of lstm",
        ),
        ("type = \"input\", width = 3, inputs = [\"one_hot\"]", "layer `input`: input takes what comes with the batch"),
        ("type = \"input\", width = 0", "layer `input`: width must be at least 1"),
        (
            "type = \"lstm\", units = 3, kernel_initializer = { uniform = -1.0 }",
            "`lstm/kernel` cannot be drawn by uniform = -1",
        ),
        (
            "type = \"gru\", units = 3, bias_initializer = { constant = nan }",
            "`gru/bias` cannot be drawn by constant = NaN",
        ),
        (
            "type = \"bidirectional\", layer = { type = \"gru\", name = \"in\", units = 3 }",
            "the layer within has a name or inputs (set them on the bidirectional layer)",
        ),
        (
            "type = \"lstm\", units = 3, use_bias = false, unit_forget_bias = true",
            "layer `lstm`: unit_forget_bias is about a bias, and use_bias is false",
        ),
        (
            "type = \"reshape\", target_shape = [2, 2] }, { type = \"gru\", units = 3",
            "layer `reshape`: reshape needs a fixed number of steps",
        ),
    ];
    for (layer, want) in cases {
        let error = graph(&cell(layer), 5).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
    // Where there are no steps, the layer that took them is named.
    let deep = "{ type = \"gru\", name = \"first\", units = 3 }, { type = \"dropout\", rate = 0.5 }, { type = \"lstm\", units = 3 }";
    let error = graph(&on_vectors(2, "width = 3", deep), 5).unwrap_err().to_string();
    assert!(error.ends_with("(set return_sequences = true on layer `first`)"), "{error}");
    let reshaped = "{ type = \"reshape\", target_shape = [3, 2] }, { type = \"lstm\", units = 3 }";
    let error = graph(&on_vectors(2, "width = 3", reshaped), 5).unwrap_err().to_string();
    assert!(error.ends_with("(give it a sequence: what has no steps gets them by repeat_vector)"), "{error}");
    let gru = "{ type = \"gru\", units = 3 }, { type = \"time_distributed\", layer = { type = \"dense\" } }";
    let text = on_vectors(2, "width = 3", gru);
    assert!(graph(&text, 5).unwrap_err().to_string().contains("needs a value for each step, its input is (None, 3)"));
    let text = on_vectors(
        2,
        "width = 3, batch_size = 4",
        "{ type = \"gru\", units = 3 }, { type = \"input\", name = \"two\", width = 5, batch_size = 8 }, { type = \"dense\" }",
    );
    let error = graph(&text, 5).unwrap_err().to_string();
    assert!(error.contains("layer `two`: batch_size = 8, another input has 4"), "{error}");
}

#[test]
fn an_lstm_starts_with_its_forget_gate_open() {
    let text = "[[layers]]\ntype = \"one_hot\"\n[[layers]]\ntype = \"lstm\"\nunits = 5\n[[layers]]\ntype = \"dense\"";
    let graph = graph(text, 7).unwrap();
    let bias = graph.params().iter().find(|p| p.name == "lstm/bias").unwrap();
    assert_eq!(bias.ones, Some(5..10));
    let shut = self::graph(&text.replace("units = 5", "units = 5\nunit_forget_bias = false"), 7).unwrap();
    assert!(shut.params().iter().all(|p| p.ones.is_none()));
    assert!(graph.params().iter().all(|p| p.range.start % 16 == 0));
}

#[test]
fn karpathys_model_with_its_two_biases_has_his_number_of_parameters() {
    let lstm = "[[layers]]\ntype = \"lstm\"\nunits = 128\nreturn_sequences = true\nrecurrent_bias = true\n";
    let text = format!("[[layers]]\ntype = \"one_hot\"\n{lstm}{lstm}[[layers]]\ntype = \"dense\"\n");
    // char-rnn's own count for tiny Shakespeare.
    assert_eq!(graph(&text, 65).unwrap().parameter_count(), 240_321);
    let gru = text.replace("lstm", "gru");
    assert!(graph(&gru, 65).unwrap_err().to_string().contains("recurrent_bias belongs to simple_rnn and lstm"));
}

#[test]
fn a_layer_is_tied_to_the_table_of_its_own_words() {
    let text = |table: &str, options: &str| {
        format!(
            r#"layers = [
                {{ type = "embedding", name = "read", inputs = ["source"], output_dim = 4, mask_zero = true }},
                {{ type = "gru", name = "encoder", units = 4 }},
                {{ type = "embedding", name = "written", inputs = ["sequence"], output_dim = 4{options} }},
                {{ type = "gru", units = 4, return_sequences = true, initial_state = ["encoder"] }},
                {{ type = "dense", tied_to = "{table}" }},
            ]"#
        )
    };
    let with = |table: &str, options: &str| {
        let config: ModelConfig = toml::from_str(&text(table, options)).unwrap();
        Graph::with_source(&config, 5, 5)
    };
    assert!(with("written", "").is_ok());
    let error = with("read", "").unwrap_err().to_string();
    assert!(error.contains("tied_to = \"read\" is a table of the words of the `source`"), "{error}");
    let error = with("written", ", input_dim = 9").unwrap_err().to_string();
    assert!(error.contains("4 x 5, the table it is tied to is 9 x 4 (leave the embedding's input_dim"), "{error}");
    let drawn = text("written", "").replace("tied_to", "kernel_initializer = \"zeros\", tied_to");
    let config: ModelConfig = toml::from_str(&drawn).unwrap();
    let error = Graph::with_source(&config, 5, 5).unwrap_err().to_string();
    assert!(error.contains("kernel_initializer and tied_to"), "{error}");
}

#[test]
fn states_and_directions_that_do_not_fit_are_named() {
    let embedding = "{ type = \"embedding\", output_dim = 4 }";
    let encoder = "{ type = \"lstm\", name = \"encoder\", units = 3, return_state = true }";
    let both = "{ type = \"bidirectional\", merge_mode = \"none\", layer = { type = \"gru\", units = 3 } }";
    let decoder = |options: &str| {
        format!(
            "{embedding}, {encoder}, {{ type = \"lstm\", inputs = [\"embedding\"], units = 3, {options} }}, {{ type = \"dense\" }}"
        )
    };
    let states = |names: &str| decoder(&format!("initial_state = [{names}]"));
    let cases = [
        (
            states("\"encoder/h\""),
            "layer `lstm`: initial_state names 1, the layer begins from 2: h and c (name a layer for each)",
        ),
        (
            states("\"encoder/h\", \"embedding\""),
            "initial_state `embedding` is (None, None, 4), the layer's states are (None, 3)",
        ),
        (
            states("\"encoder/h\", \"encoder/d\""),
            "takes `encoder/d`, which layer `encoder` does not give (it gives `encoder/h`, `encoder/c`)",
        ),
        (
            states("\"encoder/h\", \"decoder/c\""),
            "takes `decoder/c`, which does not stand before it (layers before it are sequence, embedding, encoder)",
        ),
        (states("\"encoder/h\", \"embedding/c\""), "it is not a recurrent layer"),
        (
            states("\"encoder/h\", \"encoder/c\"").replace("return_state = true", "stateful = false"),
            "set return_state = true on it",
        ),
        (
            format!("{embedding}, {both}, {{ type = \"dense\" }}"),
            "layer `bidirectional` has merge_mode = \"none\" and so two outputs",
        ),
        (format!("{embedding}, {both}"), "layer `bidirectional` has merge_mode = \"none\" and so two outputs"),
        (
            format!(
                "{embedding}, {{ type = \"bidirectional\", layer = {{ type = \"gru\", units = 3, initial_state = [\"embedding\"] }} }}"
            ),
            "the layer within has an initial_state",
        ),
    ];
    for (layers, want) in cases {
        let error = graph(&format!("layers = [{layers}]"), 5).unwrap_err();
        assert!(error.to_string().contains(want), "{error}\n{want}");
        assert_eq!(error.exit_code(), 2);
    }
    let graph = graph(&format!("layers = [{}]", states("\"encoder/h\", \"encoder/c\"")), 5).unwrap();
    let rows = graph.rows();
    assert_eq!(
        rows.iter().map(|row| &row.name[..]).collect::<Vec<_>>(),
        ["sequence", "embedding", "encoder", "lstm", "dense"]
    );
    assert_eq!(rows[3].connected_to, ["embedding", "encoder/h", "encoder/c"]);
}

#[test]
fn what_cannot_be_dropped_is_named() {
    let model = |embedding: &str, layer: &str| {
        format!(
            "layers = [{{ type = \"embedding\", output_dim = 4, {embedding} }}, {{ {layer} }}, {{ type = \"dense\" }}]"
        )
    };
    for (text, want) in [
        (model("dropout = 1.0", "type = \"lstm\", units = 3"), "layer `embedding`: dropout 1 is not in [0, 1)"),
        (
            model("", "type = \"lstm\", units = 3, weight_drop = -0.5"),
            "layer `lstm`: weight_drop -0.5 is not in [0, 1)",
        ),
        (model("", "type = \"dropout\", rate = 1.5"), "layer `dropout`: rate 1.5 is not in [0, 1)"),
        (
            model("", "type = \"lstm\", units = 3 }, { type = \"dropout\", rate = 0.5, variational = true"),
            "layer `dropout`: variational dropout works over time steps, its input is (None, 3)",
        ),
    ] {
        let error = graph(&text, 5).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
}

#[test]
fn a_vector_is_repeated_for_every_step() {
    let picture = "{ type = \"input\", width = 6, sequence = false }";
    let text = |first: &str, repeat: &str| {
        format!("input_length = 4\nlayers = [{first}, {{ {repeat} }}, {{ type = \"dense\" }}]")
    };
    let rows = graph(&text(picture, "type = \"repeat_vector\", n = 4"), 5).unwrap().rows();
    assert_eq!((&rows[1].class[..], &rows[1].output_shape[..]), ("RepeatVector", "(None, 4, 6)"));
    for (text, want) in [
        (
            text(picture, "type = \"repeat_vector\", n = 3"),
            "layer `repeat_vector`: n = 3, and the model's input_length is 4",
        ),
        (
            text("{ type = \"input\", width = 6 }", "type = \"repeat_vector\""),
            "repeat_vector takes one vector a row, its input is (None, 4, 6)",
        ),
    ] {
        let error = graph(&text, 5).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
}

#[test]
fn rows_are_normalised_by_their_width_and_states_kept_by_their_rates() {
    let model = |layer: &str| {
        let text = format!(
            "initializer = {{ uniform = 0.1 }}\nlayers = [{{ type = \"embedding\", output_dim = 6 }}, {{ {layer} }}, \
             {{ type = \"lstm\", units = 3 }}, {{ type = \"dense\" }}]"
        );
        graph(&text, 5)
    };
    let whole = model("type = \"layer_normalization\"").unwrap();
    let row = &whole.rows()[2];
    assert_eq!((&row.class[..], &row.output_shape[..], row.params), ("LayerNormalization", "(None, None, 6)", 12));
    let gamma = whole.params().iter().find(|p| p.name == "layer_normalization/gamma").unwrap();
    // The model's initializer is that of weights.
    assert_eq!((&gamma.shape[..], gamma.initializer), (&[6][..], Initializer::Ones));
    for (options, params) in [("center = false", 6), ("scale = false", 6), ("center = false, scale = false", 0)] {
        let rows = model(&format!("type = \"layer_normalization\", {options}")).unwrap().rows();
        assert_eq!(rows[2].params, params, "{options}");
    }
    let within = model("type = \"time_distributed\", layer = { type = \"layer_normalization\" }").unwrap();
    assert_eq!(within.parameter_count(), whole.parameter_count());
    for (layer, want) in [
        ("type = \"layer_normalization\", epsilon = -1.0", "epsilon -1 is not a positive number"),
        ("type = \"activation_regularization\", alpha = -1.0", "alpha -1 is no positive number"),
        (
            "type = \"lstm\", units = 3 }, { type = \"activation_regularization\", beta = 1.0",
            "layer `activation_regularization`: beta works on time steps, its input is (None, 3)",
        ),
        ("type = \"gru\", units = 3, zoneout_cell = 0.5, return_sequences = true", "zoneout_cell belongs to lstm"),
        (
            "type = \"gru\", units = 3, zoneout = 1.0, return_sequences = true",
            "layer `gru`: zoneout 1 is not in [0, 1)",
        ),
        (
            "type = \"lstm\", units = 3, recurrent_dropout = -0.5, return_sequences = true",
            "recurrent_dropout -0.5 is not in [0, 1)",
        ),
    ] {
        let error = model(layer).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
    }
    let error = graph(
        "input_length = 2\nlayers = [{ type = \"embedding\", output_dim = 6 }, { type = \"reshape\", target_shape = [3, 4] }, \
         { type = \"layer_normalization\" }, { type = \"dense\" }]",
        5,
    );
    assert!(error.unwrap_err().to_string().contains("layer_normalization works on one axis after time"));
}

#[test]
fn a_tied_head_without_a_bias_leaves_that_of_the_layer_before_as_it_is() {
    for bias in [true, false] {
        let text = format!(
            "head = {{ kind = 'nce' }}\nlayers = [{{ type = 'embedding', name = 'e', output_dim = 3 }}, \
             {{ type = 'lstm', units = 3, return_sequences = true }}, {{ type = 'dense', tied_to = 'e', use_bias = {bias} }}]"
        );
        let graph = graph(&text, 5).unwrap();
        let roles: Vec<Role> = graph.params().iter().map(|spec| spec.role).collect();
        let own = [Role::Embeddings, Role::Kernel, Role::RecurrentKernel, Role::Bias, Role::WordBias];
        assert_eq!(roles, own[..if bias { 5 } else { 4 }]);
    }
}
