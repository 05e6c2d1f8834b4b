//! What the heads of a model are, with every setting that was left to them.

use std::fmt;

use serde::Serialize;

use super::config::{HeadConfig, HeadKind, Loss, Noise, WordOrder};
use super::partition::WordPartition;
use super::{Graph, Output};

/// The head of an output whose loss is the cross-entropy.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct HeadSettings {
    /// The layer that gives the logits.
    pub layer: String,
    /// All settings that have a meaning for this kind, defaults included; of an exact softmax only those that were
    /// given.
    #[serde(flatten)]
    pub head: HeadConfig,
}

/// As a configuration has it: `kind = "nce", samples = 1024, ...`
impl fmt::Display for HeadSettings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let lines = toml::to_string(&self.head).map_err(|_| fmt::Error)?;
        f.write_str(&lines.trim_end().replace('\n', ", "))
    }
}

impl HeadSettings {
    /// One line about a head; `None` for the plain softmax.
    pub fn line(&self) -> Option<String> {
        (!self.head.is_default()).then(|| format!("head of {}: {self}", self.layer))
    }
}

impl Graph {
    /// The heads of all outputs whose loss is the cross-entropy.
    pub fn heads(&self) -> Vec<HeadSettings> {
        let of_words = self.outputs.iter().filter(|output| output.loss() == Loss::CrossEntropy);
        let settings = |output: &Output| HeadSettings {
            layer: self.nodes[output.logits()].name.clone(),
            head: self.head_settings(output),
        };
        of_words.map(settings).collect()
    }

    /// A line for each head that is not the plain softmax.
    pub fn head_lines(&self) -> impl Iterator<Item = String> {
        self.heads().into_iter().filter_map(|settings| settings.line())
    }

    /// The head of an output, with the settings that it was left.
    fn head_settings(&self, output: &Output) -> HeadConfig {
        let (mut head, words) = (output.head().clone(), output.classes());
        if head.kind.samples_words() {
            head.samples = Some(head.sample_size());
            head.noise = Some(head.noise.unwrap_or_default());
            head.power = (head.noise == Some(Noise::Unigram)).then(|| head.noise_power());
        }
        if head.kind == HeadKind::Nce {
            head.log_partition = Some(head.taken_log_partition(words));
            head.remove_hits = Some(head.removes_hits());
        }
        if let WordPartition::Clusters(_, tails) = output.partition() {
            match head.kind {
                HeadKind::ClassSoftmax => head.classes = Some(tails.iter().map(|tail| tail.clusters()).sum()),
                _ => {
                    head.cutoffs = tails.iter().map(|tail| tail.starts[0] as usize).collect();
                    head.reduction = Some(head.tail_reduction());
                }
            }
        }
        if head.kind.partitions_words() {
            let by_context = self.order(&head, words).is_some();
            head.order = Some(if by_context { WordOrder::Context } else { WordOrder::Frequency });
        }
        head
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::graph::ModelConfig;

    #[test]
    fn heads_are_told_with_the_settings_that_were_left_to_them() {
        let told = |head: &str, words: usize| {
            let text = format!(
                "head = {{ {head} }}\nlayers = [{{ type = 'embedding', output_dim = 8 }}, {{ type = 'dense' }}]"
            );
            let config: ModelConfig = toml::from_str(&text).unwrap();
            Graph::new(&config, words).unwrap().head_lines().collect::<Vec<_>>().join("\n")
        };
        assert_eq!(told("kind = 'softmax'", 10), "");
        insta::assert_snapshot!(told("kind = 'softmax', z_loss = 1e-4", 10), @r#"head of dense: kind = "softmax", z_loss = 0.0001"#);
        insta::assert_snapshot!(told("kind = 'sampled_softmax', noise = 'unigram'", 10), @r#"head of dense: kind = "sampled_softmax", samples = 1024, noise = "unigram", power = 0.75"#);
        insta::assert_snapshot!(told("kind = 'nce', samples = 7", 1), @r#"head of dense: kind = "nce", samples = 7, noise = "log_uniform", log_partition = 0.0, remove_hits = false"#);
        insta::assert_snapshot!(told("kind = 'adaptive_softmax'", 10_000), @r#"head of dense: kind = "adaptive_softmax", cutoffs = [2000], reduction = 4.0, order = "frequency""#);
        insta::assert_snapshot!(told("kind = 'class_softmax', order = 'context'", 100), @r#"head of dense: kind = "class_softmax", classes = 23, order = "frequency""#);
        insta::assert_snapshot!(told("kind = 'hierarchical_softmax'", 100), @r#"head of dense: kind = "hierarchical_softmax", order = "frequency""#);
    }
}
