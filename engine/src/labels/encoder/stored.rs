//! An encoder as a run keeps it. Its outputs are the classes alone where there is one.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::config::{TaskConfig, TaskKind};
use crate::error::{Error, Result};

use super::{Encoder, FORMAT, Labels, TASK};

/// What a size is at most.
const LARGEST: usize = u32::MAX as usize;

impl Encoder {
    /// The encoder that a run keeps.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn from_json(task: &TaskConfig, bytes: &[u8]) -> Result<Encoder, String> {
        let mut encoder: Encoder = serde_json::from_slice(bytes).map_err(|error| format!("does not parse: {error}"))?;
        if encoder.format != FORMAT {
            return Err(format!("has format {}, this version reads format {FORMAT}", encoder.format));
        }
        if encoder.sizes().any(|size| size > LARGEST) {
            return Err(format!("has a size of more than {LARGEST}"));
        }
        let labels = !task.kind.has_labels()
            || encoder.outputs.len() == task.labels.len().max(1)
                && (0..encoder.outputs.len()).all(|o| encoder.outputs[o].classes.len() >= 2 || encoder.is_number(o));
        let source = encoder.source.is_some() == (task.kind == TaskKind::Translate);
        if encoder.kind != task.kind || !labels || !source || encoder.words.is_empty() && encoder.arrays.is_none() {
            return Err("does not belong to this run's configuration".to_owned());
        }
        encoder.prepare = task.prepare.clone();
        Ok(encoder)
    }

    /// The sizes that it states, and that do not follow from what it has.
    fn sizes(&self) -> impl Iterator<Item = usize> {
        let arrays = self.arrays.map_or([0; 2], |arrays| [arrays.vocabulary, arrays.steps]);
        arrays.into_iter().chain([self.longest, self.longest_source()])
    }

    /// As the run keeps it.
    ///
    /// # Errors
    /// [`Error::Run`] where it cannot be written as JSON.
    pub fn to_json(&self) -> Result<Vec<u8>> {
        serde_json::to_vec(self).map_err(|error| Error::run(format!("cannot write {TASK}: {error}")))
    }

    /// A hash of what decides the tokens of a text.
    pub fn hash(&self) -> u64 {
        let words: String = self.words.iter().map(|(word, count)| format!("{word}\t{count}\n")).collect();
        let rest: String = self
            .outputs
            .iter()
            .flat_map(|output| &output.classes)
            .map(|class| format!("{class}\n"))
            .chain(self.characters.iter().map(char::to_string))
            .chain(self.arrays.map(|arrays| format!("{} {}", arrays.vocabulary, arrays.steps)))
            .chain(
                self.source
                    .iter()
                    .flat_map(|(words, _)| words.iter().map(|(word, count)| format!("{word}\t{count}\n"))),
            )
            .chain(self.counts.iter().flatten().map(|count| format!("{count}\n")))
            .collect();
        u64::from(crc32c::crc32c(words.as_bytes())) << 32 | u64::from(crc32c::crc32c(rest.as_bytes()))
    }
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Stored {
    One(Vec<String>),
    Several(Vec<Labels>),
}

pub(super) fn one() -> Vec<Labels> {
    vec![Labels::default()]
}

pub(super) fn is_plain(outputs: &[Labels]) -> bool {
    outputs == one()
}

pub(super) fn serialize<S: Serializer>(outputs: &[Labels], serializer: S) -> Result<S::Ok, S::Error> {
    match outputs {
        [one] => one.classes.serialize(serializer),
        several => several.serialize(serializer),
    }
}

pub(super) fn deserialize<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Vec<Labels>, D::Error> {
    Ok(match Stored::deserialize(deserializer)? {
        Stored::One(classes) => vec![Labels { name: String::new(), classes }],
        Stored::Several(outputs) => outputs,
    })
}
