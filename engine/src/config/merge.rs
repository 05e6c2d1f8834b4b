//! Merging a configuration from its sources, and telling where each value came from.

use std::collections::BTreeMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::de::{DeTable, DeValue};
use toml::{Spanned, Table, Value};

use super::layers::WrongLayer;
use super::{RunConfig, nearest};
use crate::error::{At, Error, Result};

/// The largest configuration file that is read, in bytes; such files are untrusted.
const LARGEST_FILE: u64 = 1 << 20;

/// Where a value of the configuration came from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Origin {
    /// A recipe, by its name.
    Recipe(String),
    /// A file, with the line counted from 1.
    File(PathBuf, u64),
    /// An option of the command, as it was typed.
    Flag(String),
}

impl fmt::Display for Origin {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Origin::Recipe(name) => write!(f, "recipe {name}"),
            Origin::File(path, line) => write!(f, "{}, line {line}", path.display()),
            Origin::Flag(flag) => f.write_str(flag),
        }
    }
}

/// Where each given key of a merged configuration came from; keys are dotted (`optimizer.lr`).
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Origins(BTreeMap<String, Origin>);

impl Origins {
    /// Whether `key` was given by any source.
    pub fn given(&self, key: &str) -> bool {
        self.0.contains_key(key)
    }

    /// Where `key` was given.
    pub fn of(&self, key: &str) -> Option<&Origin> {
        self.0.get(key)
    }

    /// The given keys of a section, without the section's name.
    pub fn keys_of<'a>(&'a self, section: &'a str) -> impl Iterator<Item = &'a str> {
        self.0.keys().filter_map(move |key| key.strip_prefix(section)?.strip_prefix('.'))
    }

    /// The refusal of the value of `key`, which names the option, or the file and line, that gave it.
    pub fn refuse(&self, key: &str, what: impl fmt::Display) -> Error {
        match self.0.get(key) {
            Some(Origin::Flag(flag)) => Error::option(flag, what),
            Some(Origin::File(path, line)) => Error::input_at(path, At::Line(*line), format!("`{key}` {what}")),
            Some(Origin::Recipe(name)) => Error::usage(format!("recipe {name}: `{key}` {what}")),
            None => Error::usage(format!("`{key}` {what}")),
        }
    }
}

/// A key whose value decides which other keys of its section have a meaning.
///
/// Where a later source changes the head, members that earlier sources gave are dropped: `--optimizer adam` over a
/// recipe with RMSprop's `decay` does not inherit the decay.
struct Family {
    section: &'static str,
    head: &'static str,
    members: &'static [&'static str],
}

const FAMILIES: &[Family] = &[
    Family {
        section: "optimizer",
        head: "rule",
        members: &["lr", "momentum", "decay", "beta1", "beta2", "epsilon", "epsilon_inside", "weight_decay", "lazy"],
    },
    Family { section: "schedule", head: "kind", members: &["factor", "after", "every", "patience", "min_lr", "decay"] },
    Family {
        section: "model",
        head: "cell",
        members: &["activation", "reset_after", "unit_forget_bias", "recurrent_bias"],
    },
    Family {
        section: "model.head",
        head: "kind",
        members: &[
            "label_smoothing",
            "z_loss",
            "samples",
            "noise",
            "power",
            "log_partition",
            "remove_hits",
            "cutoffs",
            "reduction",
            "classes",
        ],
    },
    Family { section: "model", head: "init", members: &["init_scale", "init_biases", "unit_forget_bias"] },
    Family {
        section: "model",
        head: "graph",
        members: &[
            "cell",
            "activation",
            "reset_after",
            "hidden",
            "layers",
            "embedding",
            "dropout",
            "tied",
            "init",
            "init_scale",
            "init_biases",
            "unit_forget_bias",
            "recurrent_bias",
        ],
    },
];

/// The section of this dotted name.
fn section<'t>(table: &'t Table, name: &str) -> Option<&'t Table> {
    name.split('.').try_fold(table, |table, part| table.get(part)?.as_table())
}

/// Merges the sources of a configuration, given in order: what comes later wins, key by key.
#[derive(Debug, Clone, Default)]
pub struct Resolver {
    table: Table,
    origins: Origins,
}

impl Resolver {
    /// The built-in defaults alone.
    pub fn new() -> Resolver {
        Resolver::default()
    }

    /// Lays the TOML text of the recipe `name` over what is there.
    ///
    /// # Errors
    /// Where the text is no valid configuration.
    pub fn recipe(&mut self, name: &str, text: &str) -> Result<()> {
        self.text(text, |_| Origin::Recipe(name.to_owned()))
    }

    /// Lays a TOML file over what is there.
    ///
    /// # Errors
    /// Where the file cannot be read, or holds an unknown key or a value of the wrong kind; the error has the line.
    pub fn file(&mut self, path: &Path) -> Result<()> {
        let size = std::fs::metadata(path).map_err(|source| Error::read(path, source))?.len();
        if size > LARGEST_FILE {
            return Err(Error::input(
                path,
                format!("a configuration of {size} bytes is more than the {LARGEST_FILE} that are read"),
            ));
        }
        let bytes = std::fs::read(path).map_err(|source| Error::read(path, source))?;
        let text = String::from_utf8(bytes).map_err(|error| {
            let at = error.utf8_error().valid_up_to() as u64;
            Error::input_at(path, At::Byte(at), "the configuration is not valid UTF-8")
        })?;
        self.text(&text, |line| Origin::File(path.to_owned(), line))
    }

    /// Lays one value over what is there: the option `flag` of the command gave `key` (dotted) this value.
    ///
    /// # Errors
    /// Where the key is unknown or the value is of the wrong kind.
    pub fn set(&mut self, flag: &str, key: &str, value: Value) -> Result<()> {
        let key = &of_model(key);
        let mut table = Table::new();
        let mut innermost = &mut table;
        let mut parts = key.split('.').peekable();
        while let Some(part) = parts.next() {
            if parts.peek().is_none() {
                innermost.insert(part.to_owned(), value.clone());
                break;
            }
            let entry = innermost.entry(part).or_insert_with(|| Value::Table(Table::new()));
            let Value::Table(next) = entry else { unreachable!("the entry was just made a table") };
            innermost = next;
        }
        let parsed = RunConfig::deserialize(Value::Table(table.clone()));
        parsed.map_err(|error| {
            let layer = WrongLayer::find(&table).map(|layer| layer.what);
            Error::option(flag, layer.unwrap_or_else(|| friendly(error.message())))
        })?;
        let mut origins = BTreeMap::new();
        origins.insert(key.to_owned(), Origin::Flag(flag.to_owned()));
        self.lay(table, origins);
        Ok(())
    }

    /// The value that `key` (dotted) has so far, if any source gave it one.
    pub fn value(&self, key: &str) -> Option<&Value> {
        match key.rsplit_once('.') {
            None => self.table.get(key),
            Some((name, key)) => section(&self.table, name)?.get(key),
        }
    }

    /// Lays `key=value` over what is there, as `--set` takes it. The value is TOML; a bare word is a string.
    ///
    /// # Errors
    /// As [`Resolver::set`], and where there is no `=`.
    pub fn assign(&mut self, assignment: &str) -> Result<()> {
        let Some((key, value)) = assignment.split_once('=') else {
            return Err(Error::option("--set", format!("`{assignment}` has no `=`"))
                .mend("write --set key=value, such as --set optimizer.lr=0.01"));
        };
        let key = key.trim().replace('-', "_");
        if key.is_empty() || key.split('.').any(str::is_empty) {
            return Err(Error::option("--set", format!("`{assignment}` names no key"))
                .mend("write --set key=value, such as --set optimizer.lr=0.01"));
        }
        self.set(&format!("--set {key}"), &key, literal(value.trim()))
    }

    /// The merged configuration, checked, with the origin of every given key.
    ///
    /// # Errors
    /// Where a value is out of range or has no meaning beside the others.
    pub fn finish(self) -> Result<(RunConfig, Origins)> {
        let merged = RunConfig::deserialize(Value::Table(self.table));
        let config = merged.map_err(|error| Error::usage(friendly(error.message())))?;
        super::validate::validate(&config, &self.origins)?;
        Ok((config, self.origins))
    }

    /// Lays the TOML text of a file without a name over what is there.
    pub(super) fn untrusted(&mut self, text: &str) -> Result<()> {
        self.text(text, |line| Origin::File(PathBuf::from("input"), line))
    }

    fn text(&mut self, text: &str, origin: impl Fn(u64) -> Origin) -> Result<()> {
        let place = |error: &toml::de::Error| locate(text, error, &origin);
        let spanned = DeTable::parse(text).map_err(|error| place(&error))?;
        let mut table: Table = toml::from_str(text).map_err(|error| place(&error))?;
        toml::from_str::<RunConfig>(text).map_err(|error| {
            let layer = WrongLayer::find(&table);
            let found = layer.and_then(|layer| Some((layer.offset(spanned.get_ref())?, layer.what)));
            found.map_or_else(|| place(&error), |(offset, what)| placed(line_column(text, offset), what, &origin))
        })?;
        let mut origins = BTreeMap::new();
        leaves(spanned.get_ref(), "", &mut |key, offset| {
            origins.insert(key, origin(line_column(text, offset).0));
        });
        // What a recipe says about itself is no setting.
        table.remove("about");
        origins.retain(|key, _| !key.starts_with("about."));
        self.lay(table, origins);
        Ok(())
    }

    /// Lays checked values over what is there.
    fn lay(&mut self, mut table: Table, origins: BTreeMap<String, Origin>) {
        lift_head(&mut table);
        let origins: BTreeMap<_, _> = origins.into_iter().map(|(key, origin)| (of_model(&key), origin)).collect();
        for family in FAMILIES {
            let [changed, before] = [&table, &self.table]
                .map(|table| section(table, family.section).and_then(|table| table.get(family.head)));
            if changed.is_none() || changed == before {
                continue;
            }
            for member in family.members {
                let mut parts = family.section.split('.');
                let found = parts.try_fold(&mut self.table, |table, part| table.get_mut(part)?.as_table_mut());
                if let Some(section) = found {
                    section.remove(*member);
                }
                self.origins.0.remove(&format!("{}.{member}", family.section));
            }
        }
        overlay(&mut self.table, table);
        self.origins.0.extend(origins);
    }
}

/// Where the head of a graph stands, and where that of any model does.
const HEADS: [&str; 2] = ["model.graph.head", "model.head"];

/// The key by which the sources are merged: the head of a graph is the model's, so that what comes later wins whichever
/// names it.
fn of_model(key: &str) -> String {
    let [of_graph, of_model] = HEADS;
    match key.strip_prefix(of_graph) {
        Some(rest) if rest.is_empty() || rest.starts_with('.') => format!("{of_model}{rest}"),
        _ => key.to_owned(),
    }
}

/// Moves the head of a graph to where that of any model stands.
fn lift_head(table: &mut Table) {
    let Some(model) = table.get_mut("model").and_then(Value::as_table_mut) else { return };
    let Some(graph) = model.get_mut("graph").and_then(Value::as_table_mut) else { return };
    let Some(head) = graph.remove("head") else { return };
    let beside = model.insert("head".to_owned(), head);
    if let (Some(Value::Table(head)), Some(Value::Table(beside))) = (model.get_mut("head"), beside) {
        overlay(head, beside);
    }
}

/// Lays the entries of `over` over those of `under`, tables entry by entry.
fn overlay(under: &mut Table, over: Table) {
    for (key, value) in over {
        match (under.get_mut(&key), value) {
            (Some(Value::Table(below)), Value::Table(above)) => overlay(below, above),
            (_, value) => {
                under.insert(key, value);
            }
        }
    }
}

/// Calls `found` with the dotted key and the byte offset of every value that is no table. Lists count as one value.
fn leaves(table: &DeTable<'_>, prefix: &str, found: &mut impl FnMut(String, usize)) {
    for (key, value) in table {
        let name = if prefix.is_empty() { key.get_ref().to_string() } else { format!("{prefix}.{}", key.get_ref()) };
        match value.get_ref() {
            DeValue::Table(inner) => leaves(inner, &name, found),
            _ => found(name, Spanned::span(key).start),
        }
    }
}

/// The value of `--set`: TOML where it is TOML, else a string.
fn literal(text: &str) -> Value {
    let parsed: Option<Value> =
        toml::from_str::<Table>(&format!("value = {text}\n")).ok().and_then(|mut table| match table.len() {
            1 => table.remove("value"),
            _ => None, // a line break smuggled in more keys
        });
    parsed.unwrap_or_else(|| Value::String(text.to_owned()))
}

fn locate(text: &str, error: &toml::de::Error, origin: &impl Fn(u64) -> Origin) -> Error {
    let what = friendly(error.message());
    match (error.span(), origin(1)) {
        (Some(span), _) => placed(line_column(text, span.start), what, origin),
        (None, Origin::File(path, _)) => Error::input(path, what),
        (None, other) => Error::usage(format!("{other}: {what}")),
    }
}

/// What is wrong at a line and column.
fn placed((line, column): (u64, u64), what: String, origin: &impl Fn(u64) -> Origin) -> Error {
    match origin(line) {
        Origin::File(path, _) => Error::input_at(path, At::LineColumn(line, column), what),
        other => Error::usage(format!("{other}: {what}")),
    }
}

/// The line and column of a byte offset, counted from 1; columns count characters.
fn line_column(text: &str, offset: usize) -> (u64, u64) {
    let before = text.get(..offset).unwrap_or(text);
    let line = before.matches('\n').count() as u64 + 1;
    let column = before.rsplit('\n').next().unwrap_or("").chars().count() as u64 + 1;
    (line, column)
}

/// What other programs call a key, and the key.
const ELSEWHERE: &[(&str, &str)] = &[
    ("learning_rate", "optimizer.lr"),
    ("lr", "optimizer.lr"),
    ("grad_clip", "optimizer.clip_value"),
    ("clip_norm", "optimizer.clip_norm"),
    ("optimizer", "optimizer.rule"),
    ("schedule", "schedule.kind"),
    ("batch_size", "train.batch"),
    ("seq_length", "train.steps"),
    ("bptt", "train.steps"),
    ("epochs", "train.epochs"),
    ("max_steps", "train.max_steps"),
    ("rnn_size", "model.hidden"),
    ("hidden_size", "model.hidden"),
    ("num_layers", "model.layers"),
    ("dropout", "model.dropout"),
    ("embedding", "model.embedding"),
    ("temperature", "sample.temperature"),
    ("level", "data.level"),
    ("input_length", "model.graph.input_length"),
];

/// Serde's message in the user's words, with the nearest valid word.
pub(crate) fn friendly(message: &str) -> String {
    for (kind, noun) in [("unknown field ", "key"), ("unknown variant ", "value")] {
        let Some(rest) = message.strip_prefix(kind) else { continue };
        let words: Vec<&str> = rest.split('`').skip(1).step_by(2).collect();
        let [word, valid @ ..] = words.as_slice() else { continue };
        let elsewhere = || nearest(word, ELSEWHERE.iter().map(|(name, _)| *name));
        return match (nearest(word, valid.iter().copied()), elsewhere()) {
            (Some(near), _) => format!("unknown {noun} `{word}`; did you mean `{near}`?"),
            (None, Some(name)) if noun == "key" => {
                let key = ELSEWHERE.iter().find(|(known, _)| *known == name).map_or("", |(_, key)| key);
                format!("unknown key `{word}`; did you mean `{key}`?")
            }
            _ => format!("unknown {noun} `{word}`; valid are {}", valid.join(", ")),
        };
    }
    let words = [
        ("expected usize", "expected a whole number, 0 or more"),
        ("expected u64", "expected a whole number, 0 or more"),
        ("expected u32", "expected a whole number from 0 to 4294967295"),
        ("expected f64", "expected a number"),
        ("expected f32", "expected a number"),
        ("expected a boolean", "expected true or false"),
        ("expected a sequence", "expected a list"),
        ("expected string or map", "expected a name in quotes"),
        ("expected a map", "expected a section"),
        ("expected path string", "expected a path in quotes"),
    ];
    let mut message = message.lines().collect::<Vec<_>>().join(" ");
    for (serde, ours) in words {
        message = message.replace(serde, ours);
    }
    match message.find("expected struct ") {
        Some(start) => message[..start].to_owned() + "expected a section",
        None => message,
    }
}
