//! Named f32 tensors in safetensors files.
//!
//! The format (<https://github.com/huggingface/safetensors>): eight bytes with the length of a header, little-endian;
//! the header, JSON that maps a name to `dtype`, `shape` and `data_offsets`; the tensors' bytes, little-endian, without
//! gaps. Files are written piece by piece, so that no second copy of the parameters stands in memory, through the
//! durable calls of [`super::storage`] (the crate's own writer does not sync), and read piece by piece; the crate reads
//! their header, with checked arithmetic, and all is compared with what the model expects before anything is copied.

use std::collections::{BTreeSet, HashMap};
use std::fmt;
use std::io;

use crate::graph::HeadLayouts;

use safetensors::tensor::{Dtype, Metadata, TensorInfo};
use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, Visitor};

/// A tensor to be written.
#[derive(Debug, Clone)]
pub struct TensorRef<'a> {
    /// Its name, such as `lstm_1/recurrent_kernel`.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its elements in row-major order.
    pub data: &'a [f32],
}

/// A tensor that owns its elements, such as a carried state.
#[derive(Debug, Clone, PartialEq)]
pub struct NamedTensor {
    /// Its name, such as `lstm_1/h`.
    pub name: String,
    /// Its dimensions.
    pub shape: Vec<usize>,
    /// Its elements in row-major order.
    pub data: Vec<f32>,
}

/// The name and dimensions of a tensor that a file must hold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TensorSpec {
    /// The name.
    pub name: String,
    /// The dimensions.
    pub shape: Vec<usize>,
}

impl NamedTensor {
    /// A view for writing.
    pub fn as_ref(&self) -> TensorRef<'_> {
        TensorRef { name: self.name.clone(), shape: self.shape.clone(), data: &self.data }
    }

    /// Its name and dimensions.
    pub fn spec(&self) -> TensorSpec {
        TensorSpec { name: self.name.clone(), shape: self.shape.clone() }
    }
}

impl TensorSpec {
    /// The number of elements. It saturates: whoever uses it refuses so large a size.
    pub fn len(&self) -> usize {
        self.shape.iter().fold(1, |n: usize, &d| n.saturating_mul(d))
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes that are read at a time.
const PIECE: usize = 1 << 20;

/// Bytes that a file of these tensors has at most: the data, and room for its header.
pub(crate) fn size_limit(specs: &[TensorSpec]) -> u64 {
    specs.iter().fold(4096, |n: u64, spec| {
        let header = 256 + 2 * spec.name.len() + 24 * spec.shape.len();
        n.saturating_add((spec.len() as u64).saturating_mul(4)).saturating_add(header as u64)
    })
}

/// The key under which a file says how the weights of the heads lie, in JSON.
pub(crate) const HEADS: &str = "unroll.heads";

/// What stands before the elements of a file of tensors of f32 with these names and shapes, whose sizes fit an address.
pub(crate) fn file_start<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize])>) -> io::Result<Vec<u8>> {
    start_of_weights(tensors, &HeadLayouts::default())
}

/// The same of weights, with how those of the heads lie where that is known.
fn start_of_weights<'a>(
    tensors: impl Iterator<Item = (&'a str, &'a [usize])>,
    heads: &HeadLayouts,
) -> io::Result<Vec<u8>> {
    let mut offset = 0usize;
    let mut infos = Vec::new();
    for (name, shape) in tensors {
        let end = offset + 4 * shape.iter().product::<usize>();
        infos.push((
            name.to_owned(),
            TensorInfo { dtype: Dtype::F32, shape: shape.to_vec(), data_offsets: (offset, end) },
        ));
        offset = end;
    }
    // One entry: several would stand in any order.
    let about = match heads.is_empty() {
        true => None,
        false => Some(HashMap::from([(HEADS.to_owned(), serde_json::to_string(heads)?)])),
    };
    let metadata = Metadata::new(about, infos).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' '); // data aligned to eight bytes, as the format asks
    let mut start = (header.len() as u64).to_le_bytes().to_vec();
    start.append(&mut header);
    Ok(start)
}

/// Writes the file's bytes, in order and in pieces of at most 1 MiB, to `write`.
pub(crate) fn write(
    tensors: &[TensorRef],
    heads: &HeadLayouts,
    mut write: impl FnMut(&[u8]) -> io::Result<()>,
) -> io::Result<()> {
    for tensor in tensors {
        let elements = tensor.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        assert_eq!(elements, Some(tensor.data.len()), "the shape {:?} of {}", tensor.shape, tensor.name);
    }
    let specs = tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice()));
    write(&start_of_weights(specs, heads)?)?;
    let mut piece = Vec::with_capacity(super::manifest::CHUNK);
    for tensor in tensors {
        for values in tensor.data.chunks(super::manifest::CHUNK / 4) {
            piece.clear();
            piece.extend(values.iter().flat_map(|v| v.to_le_bytes()));
            write(&piece)?;
        }
    }
    Ok(())
}

/// The bytes of a safetensors file of these tensors.
///
/// # Errors
/// [`crate::Error::Run`] where a name occurs twice or the header cannot be written.
pub fn tensor_file(tensors: &[TensorRef]) -> crate::Result<Vec<u8>> {
    weight_file(tensors, &HeadLayouts::default())
}

/// [`tensor_file`] of weights in the layout of a checkpoint, with the layouts of the heads.
///
/// # Errors
/// As [`tensor_file`].
pub fn weight_file(tensors: &[TensorRef], heads: &HeadLayouts) -> crate::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(tensors.iter().map(|tensor| 4 * tensor.data.len() + 256).sum());
    let written = write(tensors, heads, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    written.map_err(|error| crate::Error::run(format!("cannot write tensors: {error}")))?;
    Ok(bytes)
}

/// Bytes of a file that are read piece by piece.
#[allow(clippy::len_without_is_empty, reason = "nobody asks")]
pub(crate) trait Pieces {
    /// How many there are.
    fn len(&self) -> u64;
    /// Reads those from `at` on into `out`, which ends before they do. The error says why it cannot.
    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), String>;
}

impl Pieces for Vec<u8> {
    fn len(&self) -> u64 {
        self.as_slice().len() as u64
    }
    fn read(&self, at: u64, out: &mut [u8]) -> Result<(), String> {
        out.copy_from_slice(&self[at as usize..at as usize + out.len()]);
        Ok(())
    }
}

/// A file of tensors that was compared with what was expected, and stays where it is until they are copied.
pub(crate) struct Checked {
    bytes: Box<dyn Pieces>,
    tensors: Metadata,
    /// Where the first element stands.
    start: u64,
}

/// Why a file of tensors is not accepted.
#[derive(Debug)]
pub(crate) enum Refusal {
    /// The file is not what was written.
    Damaged(String),
    /// The file is whole but belongs to another model.
    Foreign(String),
}

impl Checked {
    /// Reads what stands in front of the tensors, and checks that `bytes` hold exactly the expected ones, all finite.
    pub(crate) fn new(file: &str, bytes: Box<dyn Pieces>, expected: &[TensorSpec]) -> Result<Self, Refusal> {
        let (tensors, start) = header(file, &*bytes, expected).map_err(Refusal::Damaged)?;
        let checked = Self { bytes, tensors, start };
        for spec in expected {
            let Some(tensor) = checked.tensors.info(&spec.name) else {
                return Err(Refusal::Foreign(format!("{file} lacks the tensor {}", spec.name)));
            };
            if tensor.dtype != Dtype::F32 {
                let found = tensor.dtype;
                return Err(Refusal::Foreign(format!("{file}: {} is {found} where F32 is expected", spec.name)));
            }
            if tensor.shape != spec.shape {
                return Err(Refusal::Foreign(format!(
                    "{file}: {} has shape {:?} where the model has {:?}",
                    spec.name, tensor.shape, spec.shape
                )));
            }
        }
        let tensors = checked.tensors.tensors();
        if tensors.len() != expected.len() {
            let mut unknown: Vec<_> = tensors.keys().map(String::as_str).collect();
            unknown.retain(|name| expected.iter().all(|spec| spec.name != *name));
            unknown.sort_unstable();
            return Err(Refusal::Foreign(format!("{file} has tensors that the model lacks: {}", unknown.join(", "))));
        }
        for spec in expected {
            let mut bad = None;
            let look = |from: usize, values: &[f32]| {
                bad = bad.or_else(|| values.iter().position(|v| !v.is_finite()).map(|i| from + i));
            };
            checked.for_each_piece(&spec.name, look).map_err(Refusal::Damaged)?;
            if let Some(i) = bad {
                return Err(Refusal::Damaged(format!("{file}: element {i} of {} is not finite", spec.name)));
            }
        }
        Ok(checked)
    }

    /// Calls `look` with the elements of the tensor `name`, piece by piece, and with the place of the first of each.
    #[track_caller]
    fn for_each_piece(&self, name: &str, mut look: impl FnMut(usize, &[f32])) -> Result<(), String> {
        let Some(tensor) = self.tensors.info(name) else { panic!("{name} was not among the expected tensors") };
        let (from, to) = tensor.data_offsets;
        let (mut bytes, mut values) = (vec![0; (to - from).min(PIECE)], Vec::new());
        for at in (from..to).step_by(PIECE) {
            let piece = &mut bytes[..(to - at).min(PIECE)];
            self.bytes.read(self.start + at as u64, piece)?;
            values.clear();
            values.extend(piece.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b)));
            look((at - from) / 4, &values);
        }
        Ok(())
    }

    /// Copies the tensor `name` to `out`. The error says why it cannot be read any more. Panics if it was not expected
    /// with this many elements.
    #[track_caller]
    pub(crate) fn copy(&self, name: &str, out: &mut [f32]) -> Result<(), String> {
        let elements = self.tensors.info(name).map(|tensor| tensor.shape.iter().product());
        assert_eq!(elements, Some(out.len()), "the elements of {name}");
        self.for_each_piece(name, |from, values| out[from..from + values.len()].copy_from_slice(values))
    }
}

/// The header of a file: offsets without gaps, lengths that are those of shape and type, and no name twice, of which the crate
/// would keep the last.
pub(crate) fn parse_header(json: &[u8]) -> serde_json::Result<Metadata> {
    let header = serde_json::from_slice(json)?;
    serde_json::from_slice::<Distinct>(json)?;
    Ok(header)
}

/// An object whose names differ.
struct Distinct;

impl<'de> Deserialize<'de> for Distinct {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_map(Distinct)
    }
}

impl<'de> Visitor<'de> for Distinct {
    type Value = Self;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an object of tensors")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self, A::Error> {
        let mut names = BTreeSet::new();
        while let Some((name, IgnoredAny)) = map.next_entry::<String, _>()? {
            if let Some(name) = names.replace(name) {
                return Err(A::Error::custom(format!("two tensors are named `{name}`")));
            }
        }
        Ok(self)
    }
}

/// What stands in front of the tensors of a file of no more bytes than these tensors need, and where they begin.
fn header(file: &str, bytes: &dyn Pieces, expected: &[TensorSpec]) -> Result<(Metadata, u64), String> {
    let (mut first, len) = ([0; 8], bytes.len());
    if len < 8 {
        return Err(format!("{file} ends within the length of its header"));
    }
    bytes.read(0, &mut first)?;
    let header = u64::from_le_bytes(first);
    if header > len - 8 || header > size_limit(expected) {
        return Err(format!("{file} has {len} bytes and a header of {header}"));
    }
    let mut json = vec![0; header as usize];
    bytes.read(8, &mut json)?;
    // Offsets and sizes are compared with each other when it is read.
    let tensors = parse_header(&json).map_err(|e| format!("{file}: its header does not parse: {e}"))?;
    let data = tensors.tensors().values().map(|tensor| tensor.data_offsets.1 as u64).max().unwrap_or(0);
    match 8 + header + data {
        end if end == len => Ok((tensors, 8 + header)),
        end => Err(format!("{file}: its tensors end at byte {end} of {len}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use safetensors::tensor::SafeTensors;

    fn file(tensors: &[TensorRef]) -> Vec<u8> {
        tensor_file(tensors).unwrap()
    }

    fn example() -> (Vec<NamedTensor>, Vec<u8>) {
        let a = NamedTensor { name: "b/kernel".into(), shape: vec![2, 3], data: vec![1.0, -0.0, 3.5, 4.0, 5.0, 1e-45] };
        let b = NamedTensor { name: "a/bias".into(), shape: vec![0], data: vec![] };
        let c = NamedTensor { name: "c".into(), shape: vec![], data: vec![f32::MAX] };
        let tensors = vec![a, b, c];
        let bytes = file(&tensors.iter().map(NamedTensor::as_ref).collect::<Vec<_>>());
        (tensors, bytes)
    }

    #[test]
    fn round_trip_keeps_every_bit() {
        let (tensors, bytes) = example();
        let specs: Vec<_> = tensors.iter().map(NamedTensor::spec).collect();
        assert!(bytes.len() as u64 <= size_limit(&specs));
        let checked = Checked::new("t", Box::new(bytes), &specs).unwrap_or_else(|e| panic!("{e:?}"));
        for tensor in &tensors {
            let mut out = vec![f32::NAN; tensor.data.len()];
            checked.copy(&tensor.name, &mut out).unwrap();
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&out), bits(&tensor.data), "{}", tensor.name);
        }
    }

    #[test]
    fn says_what_does_not_fit() {
        let (tensors, bytes) = example();
        let specs: Vec<_> = tensors.iter().map(NamedTensor::spec).collect();
        let refusal = |bytes: &[u8], specs: &[TensorSpec]| match Checked::new("t", Box::new(bytes.to_vec()), specs) {
            Err(Refusal::Damaged(m)) => format!("damaged: {m}"),
            Err(Refusal::Foreign(m)) => format!("foreign: {m}"),
            Ok(_) => "accepted".into(),
        };
        let mut other = specs.clone();
        other[0].shape = vec![3, 2];
        assert_eq!(refusal(&bytes, &other), "foreign: t: b/kernel has shape [2, 3] where the model has [3, 2]");
        other[0].name = "d".into();
        assert_eq!(refusal(&bytes, &other), "foreign: t lacks the tensor d");
        assert_eq!(refusal(&bytes, &specs[..1]), "foreign: t has tensors that the model lacks: a/bias, c");
        assert!(refusal(&bytes[..bytes.len() - 1], &specs).starts_with("damaged"));
        let mut nan = tensors.clone();
        nan[0].data[4] = f32::NAN;
        let nan = file(&nan.iter().map(NamedTensor::as_ref).collect::<Vec<_>>());
        assert_eq!(refusal(&nan, &specs), "damaged: t: element 4 of b/kernel is not finite");
        let whole = SafeTensors::deserialize(&bytes).unwrap();
        assert_eq!(whole.tensor("c").unwrap().data(), f32::MAX.to_le_bytes());
    }
}
