//! The body of the fuzz target `vectors`.

use std::path::Path;

use super::input::Input;
use super::{Format, Loaded, ReadOptions, read_bytes, read_matrix, write_bytes};
use crate::error::Result;

/// Any bytes as a file of word vectors; the first says which format it is read as, and whether repeated words are left out.
/// What is accepted is finite, and comes back from every format that can hold it.
///
/// # Panics
///
/// When it does not.
pub fn vectors(bytes: &[u8]) {
    let Some((&first, file)) = bytes.split_first() else { return };
    let formats = [Format::Word2VecText, Format::Word2VecBinary, Format::GensimBinary, Format::Glove];
    let format =
        formats.into_iter().chain([Format::NumPy, Format::Safetensors, Format::Projector]).nth(usize::from(first & 7));
    let options = ReadOptions { format, keep_first: first & 8 > 0, ..ReadOptions::default() };
    let Ok(Loaded { vectors, .. }) = parse(file, b"a\nb\nc\n", &options) else { return };
    for row in 0..vectors.len() {
        assert!(vectors.row(row).iter().all(|value| value.is_finite()), "row {row}");
        assert_eq!(vectors.find(vectors.word(row)), Some(row));
    }
    for format in formats {
        let Ok(written) = write_bytes(&vectors, format) else { continue };
        let options = ReadOptions { format: Some(format), ..ReadOptions::default() };
        let read = read_bytes(Path::new("fuzz"), &written, &options);
        assert!(read.is_ok_and(|read| read.vectors == vectors), "what was written as {format} is not read back");
    }
}

fn parse(file: &[u8], words: &[u8], options: &ReadOptions) -> Result<Loaded> {
    let path = Path::new("fuzz");
    match options.format {
        Some(format @ (Format::NumPy | Format::Safetensors | Format::Projector)) => {
            read_matrix(Input::of_bytes(path, file), Input::of_bytes(Path::new("words"), words), format, options)
        }
        _ => read_bytes(path, file, options),
    }
}
