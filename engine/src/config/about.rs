//! The section `[about]` of a recipe.

use serde::{Deserialize, Serialize};

/// What a recipe says about itself.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct About {
    /// The name it is called by.
    pub name: String,
    /// One line.
    pub summary: String,
    /// Who published it, and where.
    pub source: String,
    /// The text it is meant for.
    pub data: String,
    /// Whether somebody has run it to its end with this program.
    pub run_to_end: bool,
    /// What else a user should know.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}
