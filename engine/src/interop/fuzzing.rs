//! The bodies of the fuzz targets `weights` and `token_list`.

use std::path::Path;

use crate::graph::{Graph, ModelConfig};

use crate::text::{Level, TextOptions};

use super::{Form, Mapping, WeightFile, export, vocabulary};

const MODEL: &str = r#"layers = [
    { type = "embedding", output_dim = 2 },
    { type = "bidirectional", layer = { type = "gru", units = 2, return_sequences = true } },
    { type = "lstm", units = 2, return_sequences = true, recurrent_bias = true },
    { type = "dense" },
]"#;

/// Any bytes as a file of weights: what a model takes of it is finite, and comes back as it was taken.
///
/// # Panics
///
/// When it does not.
pub fn weights(bytes: &[u8]) {
    let Ok(mut file) = WeightFile::from_bytes("fuzz", bytes.to_vec()) else { return };
    let Ok(model) = toml::from_str::<ModelConfig>(MODEL) else { return };
    let Ok(graph) = Graph::new(&model, 3) else { return };
    let mapping = Mapping { ignore: vec!["x".to_owned()], ..Mapping::default() };
    let mut params = vec![0.0; graph.arena()];
    if file.load(&graph, &mapping, &mut params).is_err() {
        return;
    }
    assert!(params.iter().all(|value| value.is_finite()), "a value that is not finite was accepted");
    let Ok(tensors) = export(&graph, &params, Form::PyTorch, &Mapping::default()) else { return };
    let tensors: Vec<_> = tensors.iter().map(crate::train::NamedTensor::as_ref).collect();
    let Ok(written) = crate::train::tensor_file(&tensors) else { return };
    let mut again = vec![0.0; graph.arena()];
    let read =
        WeightFile::from_bytes("fuzz", written).and_then(|mut f| f.load(&graph, &Mapping::default(), &mut again));
    assert!(read.is_ok(), "what was written is refused");
    let bits = |values: &[f32]| values.iter().map(|value| value.to_bits()).collect::<Vec<_>>();
    assert_eq!(bits(&again), bits(&params), "what was written is not read back");
}

/// Any bytes as the tokens of another program's model, in JSON; the first says of which level. What is accepted has each token once.
///
/// # Panics
///
/// When it has not.
pub fn token_list(bytes: &[u8]) {
    let Some((&level, list)) = bytes.split_first() else { return };
    let level = [Level::Byte, Level::Char, Level::Grapheme, Level::Word][usize::from(level % 4)];
    let Ok(tokens) = vocabulary::parse_list(list, Path::new("fuzz"), &TextOptions::new(level)) else { return };
    for (id, (token, _)) in tokens.iter().enumerate() {
        assert_eq!(tokens.id(token), Some(id as u32), "the id of {token:?}");
    }
    let written = tokens.to_file();
    let read = crate::text::parse_vocabulary(written.as_bytes(), Path::new("fuzz"));
    assert!(read.is_ok_and(|read| read.hash() == tokens.hash()), "what was written is not read back: {written}");
}
