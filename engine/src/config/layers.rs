//! What is wrong in a list of layers: which layer, and which of its keys.
//!
//! A layer's `type` decides which keys it has, so serde reads the whole list before it interprets any of it, and then
//! no longer knows where anything stood. Here each layer is read by itself; the key to blame is the one whose removal
//! changes the error.

use serde::Deserialize;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::merge::friendly;
use crate::graph::LayerConfig;

/// A layer that is none, and why.
pub(super) struct WrongLayer {
    /// What is wrong, with the layer's place, type and name.
    pub(super) what: String,
    /// Its place in the list, from 0.
    place: usize,
    /// The key to blame, and those around it, outermost first; empty: none alone.
    keys: Vec<String>,
}

impl WrongLayer {
    /// The first wrong layer of `model.graph.layers`, if there is one.
    pub(super) fn find(config: &Table) -> Option<WrongLayer> {
        let layers = config.get("model")?.get("graph")?.get("layers")?.as_array()?;
        let mut layers = layers.iter().enumerate().filter_map(|(place, layer)| Some((place, layer.as_table()?)));
        layers.find_map(|(place, layer)| Some(WrongLayer::new(place, layer, &error(layer)?)))
    }

    fn new(place: usize, layer: &Table, error: &str) -> WrongLayer {
        let keys = if error.starts_with("missing field") { Vec::new() } else { to_blame(layer, error) };
        let error = &of_initializer(layer, &keys, error);
        let word = |key: &str| layer.get(key).and_then(Value::as_str).map(|word| format!("`{word}`"));
        let words: Vec<String> = ["type", "name"].into_iter().filter_map(word).collect();
        let which = if words.is_empty() { String::new() } else { format!(" ({})", words.join(", ")) };
        // An unknown key is named by what is wrong with it.
        let key = match keys.last() {
            Some(key) if !error.contains(&format!("`{key}`")) => format!("`{key}`: "),
            _ => String::new(),
        };
        WrongLayer { what: format!("layer {}{which}: {key}{}", place + 1, friendly(error)), place, keys }
    }

    /// The byte offset in the text that `config` was read from.
    pub(super) fn offset(&self, config: &DeTable<'_>) -> Option<usize> {
        let layers = config.get("model")?.get_ref().get("graph")?.get_ref().get("layers")?.get_ref();
        let layer = layers.get(self.place)?;
        let mut found = layer.span().start;
        let mut inner: &Spanned<DeValue<'_>> = layer;
        for key in &self.keys {
            let (own, value) = inner.get_ref().as_table()?.iter().find(|(own, _)| own.get_ref() == key)?;
            (found, inner) = (own.span().start, value);
        }
        Some(found)
    }
}

/// What is wrong with a layer.
fn error(layer: &Table) -> Option<String> {
    LayerConfig::deserialize(Value::Table(layer.clone())).err().map(|error| error.message().to_owned())
}

/// The error as one of an initializer, where that has no number or one too many: the value at `keys`.
fn of_initializer(layer: &Table, keys: &[String], error: &str) -> String {
    let Some(name) = keys.last() else { return error.to_owned() };
    if error.ends_with("expected unit") {
        return format!("`{name}` takes no number: \"{name}\"");
    }
    let of = |table: &Table, key: &String| table.get(key).cloned();
    let around = keys[..keys.len() - 1].iter().try_fold(layer.clone(), |table, key| match of(&table, key) {
        Some(Value::Table(inner)) => Some(inner),
        _ => None,
    });
    match around.and_then(|table| of(&table, name)) {
        Some(Value::String(name)) if error.contains("expected newtype variant") => {
            format!("`{name}` takes a number: {{ {name} = 0.05 }}")
        }
        _ => error.to_owned(),
    }
}

/// The key without which the error is another, the innermost first. The `type` decides what all others mean, so it is
/// to blame where none of them is.
fn to_blame(layer: &Table, error_of_all: &str) -> Vec<String> {
    let mut paths = Vec::new();
    keys(layer, &mut Vec::new(), &mut paths);
    let (types, others): (Vec<_>, Vec<_>) = paths.iter().partition(|path| path.last().is_some_and(|key| key == "type"));
    let mut needed = None;
    for path in others.into_iter().chain(types) {
        let mut without = layer.clone();
        remove(&mut without, path);
        match error(&without) {
            Some(left) if left == error_of_all => {}
            // A key that the layer cannot be without changes the error in any case: it is to blame where no other is.
            Some(left) if left.starts_with("missing field") => _ = needed.get_or_insert(path),
            _ => return path.clone(),
        }
    }
    needed.cloned().unwrap_or_default()
}

/// All keys of a table with those around them, the inner ones first.
fn keys(table: &Table, around: &mut Vec<String>, found: &mut Vec<Vec<String>>) {
    for (key, value) in table {
        around.push(key.clone());
        if let Value::Table(inner) = value {
            keys(inner, around, found);
        }
        found.push(around.clone());
        around.pop();
    }
}

fn remove(table: &mut Table, path: &[String]) {
    match path {
        [key] => _ = table.remove(key),
        [key, rest @ ..] => {
            if let Some(Value::Table(inner)) = table.get_mut(key) {
                remove(inner, rest);
            }
        }
        [] => {}
    }
}
