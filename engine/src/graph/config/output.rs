//! What a model with several outputs is trained on.

use super::{HeadConfig, Loss};
use serde::{Deserialize, Serialize};

/// One of several outputs: a layer, and the loss of its output.
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
    /// The name of the layer, and of the output.
    pub layer: String,
    /// Its loss.
    #[serde(default)]
    pub loss: Loss,
    /// The weight of its loss in the sum that training minimises (Keras' `loss_weights`); 1 unless given.
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
