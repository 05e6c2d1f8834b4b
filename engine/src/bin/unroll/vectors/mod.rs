//! `unroll vectors`: word vectors, their files, and what they are used for. A file a command.

mod convert;

use std::path::{Path, PathBuf};

use clap::{Args, Subcommand};
use unroll::error::Result;
use unroll::report::count;
use unroll::vectors::formats::{Format, Loaded, ReadOptions, read};

use crate::show::warn;

/// Uses word vectors: nearest words, analogies, similarities, and files of other programs.
#[derive(Debug, Args)]
pub(crate) struct VectorsCommand {
    #[command(subcommand)]
    what: What,
}

#[derive(Debug, Subcommand)]
enum What {
    Export(convert::Export),
    Import(convert::Import),
}

impl VectorsCommand {
    pub(crate) fn run(self) -> Result<()> {
        match self.what {
            What::Export(export) => export.run(),
            What::Import(import) => import.run(),
        }
    }
}

/// How a file of word vectors is read.
#[derive(Debug, Default, Args)]
pub(crate) struct Reading {
    /// The file's format, where its first bytes do not say it
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    from: Option<Format>,
    /// The list of words of a safetensors file or NumPy array [default: the file of its name that ends in .words]
    #[arg(long, value_name = "FILE")]
    words: Option<PathBuf>,
    /// The tensor of a safetensors file that has several matrices
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,
    /// Reads the first N words only
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Of words that stand several times takes the first, instead of refusing the file
    #[arg(long)]
    keep_first: bool,
}

impl Reading {
    /// Reads a file, and warns of what was left out.
    pub(crate) fn read(&self, path: &Path) -> Result<Loaded> {
        let options = ReadOptions {
            format: self.from,
            words: self.words.clone(),
            tensor: self.tensor.clone(),
            limit: self.limit,
            keep_first: self.keep_first,
        };
        let loaded = read(path, &options)?;
        if loaded.repeated > 0 {
            let rows = count(loaded.repeated);
            warn(&format!("{}: {rows} rows were left out, as their words had stood before", path.display()));
        }
        Ok(loaded)
    }
}

/// The names of formats.
pub(crate) fn format_parser() -> impl clap::builder::TypedValueParser<Value = Format> {
    use clap::builder::TypedValueParser;
    let names = Format::ALL.map(|(_, name)| name);
    clap::builder::PossibleValuesParser::new(names).try_map(|name| name.parse::<Format>())
}
