//! `unroll vectors export` and `import`: files of word vectors for other programs, and from them.

use std::path::{Path, PathBuf};

use clap::Args;
use serde_json::json;
use unroll::corpus::{Source, check_output};
use unroll::error::Result;
use unroll::report::{Out, bytes, count, json_line};
use unroll::vectors::formats::{Format, check_name, files_written, write};

use super::format_parser;
use super::open::{Read, Reading};

/// Writes word vectors for other programs.
///
/// Every format keeps the bits of each f32 and the bytes of each word; a word that a format cannot hold is refused.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll vectors export books.safetensors --out books.bin                   word2vec's binary format\n  \
    unroll vectors export books.safetensors --out books.tsv                   for the Embedding Projector\n  \
    unroll vectors export glove.6B.100d.txt --out glove.npy                   from one into another\n  \
    unroll vectors export runs/words --out words.txt                          the embedding of a language model")]
pub(crate) struct Export {
    /// The file of word vectors, or the run of a model with an embedding
    file: PathBuf,
    /// File to write
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Format of the file [default: by its extension .bin, .npy, .safetensors or .tsv, otherwise word2vec's text]
    #[arg(long, value_name = "FORMAT", value_parser = format_parser())]
    to: Option<Format>,
    #[command(flatten)]
    reading: Reading,
    /// Print a JSON object instead of text
    #[arg(long)]
    json: bool,
}

/// Reads word vectors written by another program, describes them, and writes them as a safetensors file and a list of words.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
    unroll vectors import GoogleNews-vectors-negative300.bin.gz --limit 500000 --out news.safetensors\n  \
    unroll vectors import glove.840B.300d.txt --keep-first --out glove.safetensors\n  \
    unroll vectors import vectors.npy --words vocabulary.txt --out mine.safetensors")]
pub(crate) struct Import {
    /// File of word2vec, gensim, GloVe, fastText (.vec), the Embedding Projector, NumPy or safetensors, gzipped or not
    file: PathBuf,
    /// Safetensors file to write, with the words beside it [default: write nothing]
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    #[command(flatten)]
    reading: Reading,
    /// Print a JSON object instead of text
    #[arg(long)]
    json: bool,
}

impl Export {
    pub(crate) fn run(self) -> Result<()> {
        let format = self.to.unwrap_or_else(|| Format::of_name(&self.out));
        check_name(&self.out, format)?;
        let loaded = self.reading.read(&self.file)?;
        convert(&loaded, &self.file, Some((&self.out, format)), self.json)
    }
}

impl Import {
    pub(crate) fn run(self) -> Result<()> {
        if let Some(out) = &self.out {
            check_name(out, Format::Safetensors)?;
        }
        let loaded = self.reading.read(&self.file)?;
        let to = self.out.as_deref().map(|out| (out, Format::Safetensors));
        convert(&loaded, &self.file, to, self.json)
    }
}

/// Writes what was read to a file other than those it was read from, and reports it.
fn convert(loaded: &Read, file: &Path, to: Option<(&Path, Format)>, as_json: bool) -> Result<()> {
    let sources: Vec<Source> = loaded.files.iter().cloned().map(Source::Path).collect();
    for written in to.map(|(path, format)| files_written(path, format)).unwrap_or_default() {
        check_output("--out", &sources, &written)?;
    }
    let written = to.map(|(path, format)| write(path, &loaded.vectors, format)).transpose()?.unwrap_or_default();
    let (words, dim) = (loaded.vectors.len(), loaded.vectors.dim());
    let size = |path: &PathBuf| path.metadata().map_or(0, |metadata| metadata.len());
    let mut out = Out::stdout();
    if as_json {
        let files: Vec<_> = written.iter().map(|path| json!({ "file": path, "bytes": size(path) })).collect();
        return out.line(&json_line(&json!({
            "file": file,
            "format": loaded.kind,
            "words": words,
            "dimensions": dim,
            "counted": loaded.vectors.is_counted(),
            "left_out": loaded.repeated,
            "written": files,
        }))?);
    }
    let counted = if loaded.vectors.is_counted() { ", with counts" } else { "" };
    let name = file.display();
    out.line(&format!("{name}: {}, {} words of {dim} values{counted}", loaded.kind, count(words as u64)))?;
    written.iter().try_for_each(|path| out.line(&format!("{}: {}", path.display(), bytes(size(path)))))
}
