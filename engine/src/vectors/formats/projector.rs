//! The two tables that the Embedding Projector of TensorFlow loads: the vectors, a line each, and what they are of. With one
//! column that second table has no heading; with more it must have one.

use std::io::Write;

use super::{Out, cannot_hold};
use crate::error::Result;
use crate::vectors::WordVectors;

pub(super) fn vectors<W: Write>(out: &mut Out<W>, vectors: &WordVectors) -> Result<()> {
    let mut line = Vec::new();
    for row in 0..vectors.len() {
        line.clear();
        for (column, value) in vectors.row(row).iter().enumerate() {
            let gap = if column > 0 { "\t" } else { "" };
            // Writing to memory does not fail.
            let _ = write!(line, "{gap}{value:?}");
        }
        line.push(b'\n');
        out.put(&line)?;
    }
    Ok(())
}

pub(super) fn metadata<W: Write>(out: &mut Out<W>, vectors: &WordVectors) -> Result<()> {
    if vectors.is_counted() {
        out.put(b"word\tcount\n")?;
    }
    for (row, word) in vectors.words().enumerate() {
        if word.iter().any(|byte| b"\t\n\r".contains(byte)) || std::str::from_utf8(word).is_err() {
            let why = "tabs, line breaks or what is not UTF-8";
            return Err(cannot_hold(vectors, row, "a table of the Embedding Projector", why));
        }
        out.put(word)?;
        if let Some(count) = vectors.count(row) {
            out.put(format!("\t{count}").as_bytes())?;
        }
        out.put(b"\n")?;
    }
    Ok(())
}
