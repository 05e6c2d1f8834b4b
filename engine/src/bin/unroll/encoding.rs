//! Bytes of a text that are not UTF-8.

use clap::Args;
use unroll::error::Result;
use unroll::text::EncodingErrors;

/// What is done with them.
#[derive(Debug, Args)]
pub(crate) struct Encoding {
    /// How to handle text that is not UTF-8 [default: as in the run's training, otherwise strict]
    #[arg(long, value_parser = ["strict", "replace", "skip"])]
    encoding_errors: Option<String>,
}

impl Encoding {
    /// What was asked for.
    pub(crate) fn errors(&self) -> Result<Option<EncodingErrors>> {
        self.encoding_errors.as_deref().map(str::parse).transpose()
    }

    /// Whether anything was.
    pub(crate) fn is_given(&self) -> bool {
        self.encoding_errors.is_some()
    }
}
