//! What a model with several outputs is trained on.

use super::{HeadConfig, Loss};
use serde::{Deserialize, Serialize};

/// One of several outputs: a layer, and the loss that is taken of it.
///
/// ```
/// use unroll::graph::{Loss, OutputConfig};
/// let output: OutputConfig = toml::from_str("layer = \"stars\"\nloss = \"mean_squared_error\"\nweight = 0.2")?;
/// assert_eq!((output.loss, output.weight), (Loss::MeanSquaredError, 0.2));
/// # Ok::<(), toml::de::Error>(())
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct OutputConfig {
    /// The layer, by its name; the output bears it too.
    pub layer: String,
    /// What is minimised of it.
    #[serde(default)]
    pub loss: Loss,
    /// The factor of its loss in what is minimised of the whole model; 1 unless given (Keras' `loss_weights`).
    #[serde(default = "one")]
    pub weight: f32,
    /// How its cross-entropy is computed.
    #[serde(default, skip_serializing_if = "HeadConfig::is_default")]
    pub head: HeadConfig,
}

fn one() -> f32 {
    1.0
}

impl Default for OutputConfig {
    fn default() -> Self {
        Self { layer: String::new(), loss: Loss::default(), weight: one(), head: HeadConfig::default() }
    }
}
