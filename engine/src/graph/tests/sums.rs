//! Heads in the place of a sum of dense layers.

use super::*;

#[test]
fn a_head_in_the_place_of_a_sum_takes_what_its_terms_take() {
    let model = |head: &str, end: &str| {
        let text = format!(
            r#"
            input_length = 3
            head = {{ kind = "{head}" }}
            layers = [
                {{ type = "embedding", output_dim = 4 }},
                {{ type = "reshape", target_shape = [12] }},
                {{ type = "dense", units = 5, activation = "tanh" }},
                {end}
                {{ type = "activation", activation = "softmax" }},
            ]
            "#
        );
        graph(&text, 7)
    };
    let sum = r#"{ type = "dense", use_bias = false },
        { type = "dense", inputs = ["reshape"] },
        { type = "add", inputs = ["dense_1", "dense_2"] },"#;
    let joined = r#"{ type = "concatenate", inputs = ["dense", "reshape"] }, { type = "dense", name = "add" },"#;
    for head in ["sampled_softmax", "nce", "adaptive_softmax", "class_softmax", "hierarchical_softmax"] {
        let [given, meant] = [sum, joined].map(|end| model(head, end).unwrap());
        assert_eq!(given.params(), meant.params(), "{head}");
        assert_eq!(given.nodes().len(), meant.nodes().len());
        // What is kept of a model is what it was resolved as.
        assert_eq!(given.redeclared(given.config()).unwrap().params(), given.params());
    }
    let message = |end: &str| model("nce", end).unwrap_err().to_string();
    insta::assert_snapshot!(message(&sum.replacen("use_bias = false", "kernel_initializer = \"zeros\"", 1)), @"the dense layers that `add` adds draw their parameters in different ways, and under this head they are one layer (give them the same kernel_initializer and the same bias_initializer)");
    insta::assert_snapshot!(message(&sum.replacen("use_bias = false", "activation = \"relu\"", 1)), @"layer `add`: a head of kind nce ends a model in place of a dense layer (add only dense layers without an activation, or end the model in a dense layer)");
}
