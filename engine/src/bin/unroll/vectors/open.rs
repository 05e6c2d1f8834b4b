//! What the commands of word vectors read: a file, or the embedding of a run.

use std::collections::HashSet;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use clap::Args;
use unroll::error::{Error, Result};
use unroll::graph::Role;
use unroll::network::require_memory;
use unroll::report::count;
use unroll::train::{CONFIG, VOCABULARY};
use unroll::vectors::WordVectors;
use unroll::vectors::formats::{Format, ReadOptions, files_read, read};

use unroll_kernels::mat::padded;

use super::format_parser;
use crate::show::warn;
use crate::train::REST;
use crate::trained::{Opened, Trained, which};

/// How word vectors are read.
#[derive(Debug, Args)]
pub(crate) struct Reading {
    /// Format of the file, if its first bytes do not identify it
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    from: Option<Format>,
    /// File with the words of a matrix [default: the file name with .words appended; X.metadata.tsv for X.tsv]
    #[arg(long, value_name = "FILE")]
    words: Option<PathBuf>,
    /// Tensor to read from a safetensors file with several matrices, or embedding to read from a run with several
    #[arg(long, value_name = "NAME")]
    tensor: Option<String>,
    /// Read only the first N words
    #[arg(long, value_name = "N")]
    limit: Option<usize>,
    /// Keep the first of repeated words, instead of refusing the file
    #[arg(long)]
    keep_first: bool,
    /// Checkpoint of a run: best, newest, or the number of a step
    #[arg(long, default_value = "best")]
    checkpoint: String,
}

/// What was read.
pub(crate) struct Read {
    pub(crate) vectors: WordVectors,
    /// What it was read from: a format, or `run`.
    pub(crate) kind: String,
    /// Rows left out because their words had occurred before.
    pub(crate) repeated: u64,
    /// The files that it was read from.
    pub(crate) files: Vec<PathBuf>,
}

impl Default for Reading {
    fn default() -> Reading {
        let checkpoint = "best".to_owned();
        Reading { from: None, words: None, tensor: None, limit: None, keep_first: false, checkpoint }
    }
}

impl Reading {
    /// To see what there is.
    pub(crate) fn of_first_word() -> Reading {
        Reading { limit: Some(1), ..Reading::default() }
    }

    /// Reads a file or a run, and warns of what was left out.
    pub(crate) fn read(&self, path: &Path) -> Result<Read> {
        self.read_words(path, None)
    }

    /// The same of these words alone, where only they are wanted.
    pub(crate) fn read_words(&self, path: &Path, only: Option<Arc<HashSet<Vec<u8>>>>) -> Result<Read> {
        if self.limit == Some(0) {
            return Err(Error::option("--limit", "must be at least 1, got 0"));
        }
        if path.is_dir() {
            return self.run(path, only);
        }
        let options = ReadOptions {
            format: self.from,
            words: self.words.clone(),
            tensor: self.tensor.clone(),
            limit: self.limit,
            keep_first: self.keep_first,
            only,
        };
        if self.checkpoint != "best" {
            let what = format!("{} is a file, not a run", path.display());
            return Err(Error::option("--checkpoint", what).mend("leave it out, or name a run"));
        }
        let loaded = read(path, &options)?;
        if loaded.repeated > 0 {
            let rows = count(loaded.repeated);
            warn(&format!("{}: {rows} rows were left out, as their words had stood before", path.display()));
        }
        loaded.doubts.iter().for_each(|doubt| warn(&format!("{}: {doubt}", path.display())));
        let files = files_read(path, loaded.format, &options)?;
        Ok(Read { vectors: loaded.vectors, kind: loaded.format.to_string(), repeated: loaded.repeated, files })
    }

    /// The embedding of a language model.
    fn run(&self, path: &Path, only: Option<Arc<HashSet<Vec<u8>>>>) -> Result<Read> {
        let given =
            [("--from", self.from.is_some()), ("--words", self.words.is_some()), ("--keep-first", self.keep_first)];
        for (option, given) in given {
            if given {
                let what = format!("{} is a run, whose tokens are known", path.display());
                return Err(Error::option(option, what).mend("leave it out, or name a file"));
            }
        }
        let trained = Trained::of(Opened::open(path)?)?;
        let graph = &trained.graph;
        let tables: Vec<_> = graph.params().iter().filter(|spec| spec.role == Role::Embeddings).collect();
        let wanted = |name: &str| self.tensor.as_deref().is_none_or(|wanted| wanted == name);
        let mut chosen = tables.iter().filter(|spec| wanted(&spec.name));
        let (Some(spec), None) = (chosen.next(), chosen.next()) else {
            let names: Vec<&str> = tables.iter().map(|spec| spec.name.as_str()).collect();
            return Err(match names[..] {
                [] => Error::input(path, "the model has no embedding: its tokens have no vectors")
                    .mend("train one that has an embedding: --emsize N"),
                _ => Error::input(path, format!("the model's embeddings are {}", names.join(", ")))
                    .mend("name one with --tensor NAME"),
            });
        };
        let (vocabulary, dim) = (trained.tokenizer.vocabulary(), spec.shape[1]);
        let words = vocabulary.len().min(self.limit.unwrap_or(usize::MAX));
        let kept = words.min(only.as_ref().map_or(usize::MAX, |only| only.len()));
        let weights = trained.weights(which(&self.checkpoint)?)?;
        // The table, and its rows as vectors.
        require_memory("reading this embedding", 4 * (spec.len() + kept * padded(dim)) as u64 + REST)
            .map_err(|error| error.mend("read fewer words with --limit N"))?;
        let mut table = vec![0.0; spec.len()];
        weights.copy(&spec.name, &mut table)?;
        let mut vectors = WordVectors::new(dim, true);
        vectors.reserve(kept);
        let wanted = |word: &str| only.as_ref().is_none_or(|only| only.contains(word.as_bytes()));
        let rows = vocabulary.iter().zip(table.chunks_exact(dim)).take(words);
        for ((word, count), row) in rows.filter(|((word, _), _)| wanted(word)) {
            vectors
                .push(word.as_bytes(), count, row)
                .map_err(|fault| Error::input(path, format!("{word:?}: {fault}")))?;
        }
        let files = [CONFIG, VOCABULARY].map(|name| trained.folder.join(name)).into_iter().chain([weights.file()]);
        Ok(Read { vectors, kind: "run".to_owned(), repeated: 0, files: files.collect() })
    }
}
