//! Safetensors files that others wrote: the header is checked whole, and a tensor's size compared, before room is made.

use std::collections::BTreeMap;
use std::fmt;
use std::fs::File;
use std::io::{self, Cursor, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use safetensors::tensor::Dtype;

use crate::error::{At, Error, Result};
use crate::graph::HeadLayouts;
use crate::train::{HEADS, parse_header};

/// Bytes of a header at most, as the format's own library has it.
const LARGEST_HEADER: u64 = 100_000_000;

/// Bytes that are read at once.
const PIECE: usize = 1 << 16;

trait Bytes: Read + Seek {}
impl<T: Read + Seek> Bytes for T {}

/// A safetensors file that may hold anything; its header was found in order.
pub struct WeightFile {
    path: PathBuf,
    bytes: Box<dyn Bytes>,
    tensors: BTreeMap<String, Entry>,
    /// How the weights of the heads lie, where that is known; a file of another program does not say it.
    heads: HeadLayouts,
    /// How they do if the file is of the model that it is said to be like.
    likely: HeadLayouts,
}

/// A tensor in the file.
#[derive(Clone, Debug)]
pub(super) struct Entry {
    pub(super) shape: Vec<usize>,
    dtype: Dtype,
    /// Its first byte in the file.
    at: u64,
}

impl Entry {
    /// `F32 [2600, 650]`
    pub(super) fn describe(&self) -> String {
        format!("{} {:?}", self.dtype, self.shape)
    }
}

impl fmt::Debug for WeightFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WeightFile").field("path", &self.path).field("tensors", &self.tensors).finish_non_exhaustive()
    }
}

impl WeightFile {
    /// Opens a file and reads its header.
    ///
    /// # Errors
    /// [`Error::Input`] where it is missing or no whole safetensors file.
    pub fn open(path: impl Into<PathBuf>) -> Result<WeightFile> {
        let path = path.into();
        let file = File::open(&path).map_err(|error| Error::read(&path, error))?;
        let metadata = file.metadata().map_err(|error| Error::read(&path, error))?;
        if !metadata.is_file() {
            return Err(Error::input(&path, "is not a file").mend("name a .safetensors file"));
        }
        WeightFile::new(path, Box::new(file), metadata.len())
    }

    /// The same of bytes in memory; `path` names them in messages.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub fn from_bytes(path: impl Into<PathBuf>, bytes: Vec<u8>) -> Result<WeightFile> {
        let size = bytes.len() as u64;
        WeightFile::new(path.into(), Box::new(Cursor::new(bytes)), size)
    }

    fn new(path: PathBuf, mut bytes: Box<dyn Bytes>, size: u64) -> Result<WeightFile> {
        let wrong = |at: u64, what: String| {
            let error = Error::input_at(&path, At::Byte(at), format!("is not a safetensors file: {what}"));
            match signature(&path) {
                Some(mend) => error.mend(mend),
                None => error,
            }
        };
        let mut start = [0; 8];
        if size < 8 {
            return Err(wrong(size, format!("it has {size} bytes")));
        }
        bytes.read_exact(&mut start).map_err(|error| Error::read(&path, error))?;
        let length = u64::from_le_bytes(start);
        if length > LARGEST_HEADER || length > size - 8 {
            return Err(wrong(0, format!("a header of {length} bytes in a file of {size}")));
        }
        let mut header = vec![0; length as usize];
        bytes.read_exact(&mut header).map_err(|error| Error::read(&path, error))?;
        let header = parse_header(&header).map_err(|error| wrong(8 + place_in(&header, &error), error.to_string()))?;
        let (data, held) = (header.data_len() as u64, size - 8 - length);
        if data != held {
            let what = format!("the tensors have {data} bytes, the file has {held} for them");
            return Err(wrong(8 + length + data.min(held), what));
        }
        let entry = |(name, info): (String, &safetensors::tensor::TensorInfo)| {
            let at = 8 + length + info.data_offsets.0 as u64;
            (name, Entry { shape: info.shape.clone(), dtype: info.dtype, at })
        };
        let tensors = header.tensors().into_iter().map(entry).collect();
        let heads = match header.metadata().as_ref().and_then(|about| about.get(HEADS)) {
            Some(heads) => serde_json::from_str(heads).map_err(|error| wrong(8, format!("`{HEADS}`: {error}")))?,
            None => HeadLayouts::default(),
        };
        Ok(WeightFile { path, bytes, tensors, heads, likely: HeadLayouts::default() })
    }

    /// The file's name in messages.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The names of the tensors, in alphabetical order, and their shapes.
    pub fn tensors(&self) -> impl Iterator<Item = (&str, &[usize])> {
        self.tensors.iter().map(|(name, entry)| (name.as_str(), entry.shape.as_slice()))
    }

    /// How the weights of the heads lie, where that is known.
    pub fn heads(&self) -> &HeadLayouts {
        &self.heads
    }

    /// How they do unless the file is another program's.
    pub(super) fn likely_heads(&self) -> &HeadLayouts {
        if self.heads.is_empty() { &self.likely } else { &self.heads }
    }

    /// Has the weights of the heads lie as those of this model, a checkpoint of which the file is, where it does not say it.
    pub fn set_heads(&mut self, heads: HeadLayouts) {
        if self.heads.is_empty() {
            self.heads = heads;
        }
    }

    /// The same of a model that the file is said to be like: another program may have written it.
    pub fn set_likely_heads(&mut self, heads: HeadLayouts) {
        self.likely = heads;
    }

    pub(super) fn entry(&self, name: &str) -> Option<&Entry> {
        self.tensors.get(name)
    }

    /// The elements of a tensor as f32, of which f16 and bf16 are a part.
    ///
    /// # Errors
    /// [`Error::Input`] where there is no such tensor, it has another type or an element is not finite.
    pub fn read(&mut self, name: &str) -> Result<Vec<f32>> {
        let len = self.tensors.get(name).map_or(0, |entry| entry.shape.iter().product());
        let mut values = Vec::with_capacity(len); // was checked against the bytes of the file
        self.pieces(name, PIECE, |piece| {
            values.extend_from_slice(piece);
            Ok(())
        })?;
        Ok(values)
    }

    /// Hands out the same, as many elements at a time as there are in `most` (but in the last piece).
    ///
    /// # Errors
    /// As [`read`](Self::read), and what `take` answers.
    pub(crate) fn pieces(&mut self, name: &str, most: usize, mut take: impl FnMut(&[f32]) -> Result<()>) -> Result<()> {
        let path = &self.path;
        let Some(Entry { shape, dtype, at: first }) = self.tensors.get(name) else {
            return Err(Error::input(path, format!("the tensor `{name}` is missing")));
        };
        let (width, convert): (usize, fn(&[u8]) -> f32) = match dtype {
            Dtype::F32 => (4, |b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])),
            Dtype::F16 => (2, |b| from_half(u16::from_le_bytes([b[0], b[1]]))),
            Dtype::BF16 => (2, |b| f32::from_bits(u32::from(u16::from_le_bytes([b[0], b[1]])) << 16)),
            other => {
                return Err(Error::input(path, format!("`{name}` is {other}, weights are F32, F16 or BF16"))
                    .mend("save it as float32"));
            }
        };
        let len = shape.iter().product::<usize>(); // was checked against the bytes of the file
        let failed = |error: io::Error| Error::read(path, error);
        self.bytes.seek(SeekFrom::Start(*first)).map_err(failed)?;
        let most = most.min(len);
        let (mut bytes, mut piece, mut done) = (vec![0; most * width], Vec::with_capacity(most), 0);
        while done < len {
            let bytes = &mut bytes[..(len - done).min(most) * width];
            self.bytes.read_exact(bytes).map_err(failed)?;
            piece.clear();
            piece.extend(bytes.chunks_exact(width).map(convert));
            if let Some(at) = piece.iter().position(|value| !value.is_finite()) {
                let element = done + at;
                let (byte, what) =
                    (first + (element * width) as u64, format!("element {element} of `{name}` is not finite"));
                return Err(Error::input_at(path, At::Byte(byte), what));
            }
            take(&piece)?;
            done += piece.len();
        }
        Ok(())
    }
}

/// The byte of a header at which its reader found something wrong, its first where that is the header as a whole.
fn place_in(header: &[u8], error: &serde_json::Error) -> u64 {
    let lines = header.split_inclusive(|&byte| byte == b'\n').take(error.line().saturating_sub(1));
    (lines.map(<[u8]>::len).sum::<usize>() + error.column().saturating_sub(1)) as u64
}

/// How to turn a file that is known by its name into one that is read here.
fn signature(path: &Path) -> Option<&'static str> {
    match path.extension()?.to_str()? {
        "h5" | "hdf5" | "keras" => Some("turn it into one by benches/peers/keras_weights.py"),
        "pt" | "pth" | "bin" | "ckpt" => {
            Some("in Python: safetensors.torch.save_file(torch.load(FILE, weights_only=True), \"weights.safetensors\")")
        }
        _ => None,
    }
}

/// The value of IEEE 754's binary16: sign, 5 bits of exponent with bias 15, 10 bits of fraction.
pub(crate) fn from_half(bits: u16) -> f32 {
    let sign = if bits >> 15 == 1 { -1.0 } else { 1.0 };
    let (exponent, fraction) = (i32::from(bits >> 10 & 31), f32::from(bits & 1023));
    let magnitude = match exponent {
        0 => fraction * 2f32.powi(-24),
        31 if fraction == 0.0 => f32::INFINITY,
        31 => f32::NAN,
        _ => (1024.0 + fraction) * 2f32.powi(exponent - 25),
    };
    sign * magnitude
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_tensors_of_one_name_are_refused() {
        let header = br#"{"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}"#;
        let file = [&(header.len() as u64).to_le_bytes(), &header[..], &[0; 4]].concat();
        let error = WeightFile::from_bytes("a.safetensors", file).err().unwrap().to_string();
        assert!(error.contains("two tensors are named `a`"), "{error}");
    }

    #[test]
    fn halves_have_their_value() {
        for (bits, value) in
            [(0, 0.0), (0x3c00, 1.0), (0xc000, -2.0), (0x7bff, 65504.0), (1, 2f32.powi(-24)), (0x3555, 0.333_251_95)]
        {
            assert_eq!(from_half(bits), value, "{bits:#x}");
        }
        assert_eq!(from_half(0x8000).to_bits(), (-0.0f32).to_bits());
        assert!(from_half(0x7c00).is_infinite() && from_half(0x7e00).is_nan());
        // Every positive number is larger than the one before it.
        assert!((0..0x7c00).all(|bits| from_half(bits) < from_half(bits + 1)));
    }
}
