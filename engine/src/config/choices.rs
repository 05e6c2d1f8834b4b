//! Settings of a task that are a word, or something else in its place: a number, or a table.

use std::collections::BTreeMap;
use std::fmt;

use serde::de::{Error, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Factors of the losses of the classes.
#[derive(Debug, Clone, Default, PartialEq)]
pub enum ClassWeights {
    /// `none`: none.
    #[default]
    None,
    /// `balanced`: the number of samples by the number of classes times that of the class's own, so that each class
    /// weighs the same.
    Balanced,
    /// A table: that of each label, 1 of those that it does not name.
    Of(BTreeMap<String, f64>),
}

/// The probability from which on a sample of two classes is of the second.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub enum Threshold {
    /// `half`: one half.
    #[default]
    Half,
    /// `accuracy`: the one with the best accuracy on the validation data.
    Accuracy,
    /// `f1`: the one with the best F1 of the second class on the validation data.
    F1,
    /// A number: that.
    Fixed(f64),
}

impl Serialize for ClassWeights {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            ClassWeights::None => "none".serialize(serializer),
            ClassWeights::Balanced => "balanced".serialize(serializer),
            ClassWeights::Of(weights) => weights.serialize(serializer),
        }
    }
}

impl Serialize for Threshold {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Threshold::Half => "half".serialize(serializer),
            Threshold::Accuracy => "accuracy".serialize(serializer),
            Threshold::F1 => "f1".serialize(serializer),
            Threshold::Fixed(number) => number.serialize(serializer),
        }
    }
}

impl<'d> Deserialize<'d> for ClassWeights {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<ClassWeights, D::Error> {
        struct Choice;
        impl<'d> Visitor<'d> for Choice {
            type Value = ClassWeights;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`none`, `balanced` or a table of labels and their weights, { ham = 1.0, spam = 2.0 }")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<ClassWeights, E> {
                match word {
                    "none" => Ok(ClassWeights::None),
                    "balanced" => Ok(ClassWeights::Balanced),
                    _ => Err(E::unknown_variant(word, &["none", "balanced", "{ LABEL = WEIGHT }"])),
                }
            }

            fn visit_map<M: MapAccess<'d>>(self, mut map: M) -> Result<ClassWeights, M::Error> {
                let mut weights = BTreeMap::new();
                while let Some((label, weight)) = map.next_entry()? {
                    weights.insert(label, weight);
                }
                Ok(ClassWeights::Of(weights))
            }
        }
        deserializer.deserialize_any(Choice)
    }
}

impl<'d> Deserialize<'d> for Threshold {
    fn deserialize<D: Deserializer<'d>>(deserializer: D) -> Result<Threshold, D::Error> {
        struct Choice;
        impl Visitor<'_> for Choice {
            type Value = Threshold;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("`half`, `accuracy`, `f1` or a probability")
            }

            fn visit_str<E: Error>(self, word: &str) -> Result<Threshold, E> {
                match word {
                    "half" => Ok(Threshold::Half),
                    "accuracy" => Ok(Threshold::Accuracy),
                    "f1" => Ok(Threshold::F1),
                    _ => Err(E::unknown_variant(word, &["half", "accuracy", "f1", "a number such as 0.3"])),
                }
            }

            fn visit_f64<E: Error>(self, number: f64) -> Result<Threshold, E> {
                Ok(Threshold::Fixed(number))
            }

            fn visit_i64<E: Error>(self, number: i64) -> Result<Threshold, E> {
                Ok(Threshold::Fixed(number as f64))
            }
        }
        deserializer.deserialize_any(Choice)
    }
}

/// A column by its name or by its number, which is a name too.
#[derive(Deserialize)]
#[serde(transparent)]
struct Column(#[serde(deserialize_with = "name_or_number")] String);

fn name_or_number<'d, D: Deserializer<'d>>(deserializer: D) -> Result<String, D::Error> {
    struct Name;
    impl Visitor<'_> for Name {
        type Value = String;

        fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
            f.write_str("the name of a column or its number from 0")
        }

        fn visit_str<E: Error>(self, name: &str) -> Result<String, E> {
            Ok(name.to_owned())
        }

        fn visit_i64<E: Error>(self, number: i64) -> Result<String, E> {
            Ok(number.to_string())
        }
    }
    deserializer.deserialize_any(Name)
}

/// A column that may be given.
pub(super) fn column<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Option<String>, D::Error> {
    Ok(Some(Column::deserialize(deserializer)?.0))
}

/// Several columns.
pub(super) fn columns<'d, D: Deserializer<'d>>(deserializer: D) -> Result<Vec<String>, D::Error> {
    Ok(Vec::<Column>::deserialize(deserializer)?.into_iter().map(|column| column.0).collect())
}
