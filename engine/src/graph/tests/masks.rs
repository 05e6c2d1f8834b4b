//! Masks that do not fit, and what is said of them.

use super::*;

#[test]
fn masks_that_do_not_fit_are_named() {
    let embedding = "[[layers]]\ntype = \"embedding\"\noutput_dim = 4\n";
    let masked = format!("{embedding}mask_zero = true\n");
    let second = "[[layers]]\ntype = \"embedding\"\nname = \"two\"\ninputs = [\"sequence\"]\noutput_dim = 4\n";
    let add = "[[layers]]\ntype = \"add\"\ninputs = [\"embedding\", \"two\"]\n";
    let end = "[[layers]]\ntype = \"lstm\"\nunits = 3\n[[layers]]\ntype = \"dense\"\n";
    let masking = "[[layers]]\ntype = \"masking\"\n";
    let reshape = "[[layers]]\ntype = \"reshape\"\ntarget_shape = [8]\n[[layers]]\ntype = \"dense\"\n";
    let cases = [
        (format!("{masked}{second}{add}{end}"), "layer `embedding` masks steps, layer `two` gives them all"),
        (
            format!("{masked}{second}{masking}mask_value = 1.0\n{add}{end}"),
            "layers `embedding` and `masking` mask different steps",
        ),
        (format!("[[layers]]\ntype = \"one_hot\"\n{masking}{end}"), "layer `masking`: masking takes the vectors"),
        (
            format!("input_length = 2\n{masked}{reshape}"),
            "layer `embedding` masks steps, and layer `reshape` joins all steps of its input",
        ),
        (
            format!("{masked}{}", end.replace("units = 3", "units = 3\nzero_output_for_mask = true")),
            "layer `lstm`: zero_output_for_mask is about the outputs of all steps",
        ),
        (format!("{embedding}{masking}mask_value = nan\n{end}"), "layer `masking`: mask_value is not a number"),
    ];
    for (text, want) in cases {
        let error = graph(&text, 5).unwrap_err();
        assert!(error.to_string().contains(want), "{error}");
        assert_eq!(error.exit_code(), 2);
    }
    let error = graph(&format!("{masked}{end}"), 1).unwrap_err().to_string();
    assert!(error.contains("mask_zero makes the only token of the vocabulary padding"), "{error}");
    let both = format!("{masked}{}{add}{end}", second.replace("output_dim", "mask_zero = true\noutput_dim"));
    assert_eq!(graph(&both, 5).unwrap().mask_rule(), Some(MaskRule::TokenZero));
    let layer = graph(&format!("{embedding}{masking}{end}"), 5).unwrap();
    assert_eq!(layer.mask_rule(), Some(MaskRule::Rows { table: 0, value: 0.0 }));
    assert_eq!(layer.rows()[2].class, "Masking");

    let input = "[[layers]]\ntype = \"input\"\nwidth = 4\n";
    let layer = graph(&format!("{input}{masking}mask_value = 2.0\n{end}"), 5).unwrap();
    assert_eq!(layer.mask_rule(), Some(MaskRule::Vectors { input: 0, value: 2.0 }));
    let join = |two: &str| format!("[[layers]]\ntype = \"concatenate\"\ninputs = [\"masking\", \"{two}\"]\n{end}");
    let beside = format!("{input}{masking}{}", input.replace("width", "name = \"two\"\nwidth"));
    let error = graph(&format!("{beside}{}", join("two")), 5).unwrap_err().to_string();
    assert!(error.contains("layer `masking` masks steps, layer `two` gives them all"), "{error}");
    let error = graph(&format!("{input}{masking}{second}{}", join("two")), 5).unwrap_err().to_string();
    assert!(error.contains("layer `masking` masks steps, layer `two` gives them all"), "{error}");
    let row = format!("{input}sequence = false\n{masking}[[layers]]\ntype = \"dense\"\n");
    assert!(graph(&row, 5).unwrap_err().to_string().contains("those of each step of an input layer"));
    // Vectors beside tokens lack the steps that these lack.
    let tokens = format!(
        "{masked}{}{}",
        input.replace("width", "name = \"two\"\nwidth"),
        join("two").replace("masking", "embedding")
    );
    assert_eq!(graph(&tokens, 5).unwrap().mask_rule(), Some(MaskRule::TokenZero));
}
