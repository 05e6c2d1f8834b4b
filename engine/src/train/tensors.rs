//! Named f32 tensors in safetensors files.
//!
//! The format (<https://github.com/huggingface/safetensors>): eight bytes with the length of a header, little-endian;
//! the header, JSON that maps a name to `dtype`, `shape` and `data_offsets`; the tensors' bytes, little-endian, without
//! gaps. Files are written piece by piece, so that no second copy of the parameters stands in memory, through the
//! durable calls of [`super::storage`] (the crate's own writer does not sync); they are read by the crate, whose
//! arithmetic is checked, and compared with what the model expects before anything is copied.

use std::collections::HashMap;
use std::io;

use safetensors::tensor::{Dtype, Metadata, SafeTensors, TensorInfo};

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

/// A tensor of its own, such as a carried state.
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
    /// The number of elements. Saturates: a size that does not fit is refused as too large by its user.
    pub fn len(&self) -> usize {
        self.shape.iter().fold(1, |n: usize, &d| n.saturating_mul(d))
    }

    /// Whether it has no elements.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// Bytes that a file of these tensors has at most: the data, and room for its header.
pub(crate) fn size_limit(specs: &[TensorSpec]) -> u64 {
    specs.iter().fold(4096, |n: u64, spec| {
        let header = 256 + 2 * spec.name.len() + 24 * spec.shape.len();
        n.saturating_add((spec.len() as u64).saturating_mul(4)).saturating_add(header as u64)
    })
}

/// What stands before the elements of a file of tensors of f32 with these names and shapes, whose sizes fit an address.
pub(crate) fn file_start<'a>(tensors: impl Iterator<Item = (&'a str, &'a [usize])>) -> io::Result<Vec<u8>> {
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
    let metadata = Metadata::new(None::<HashMap<String, String>>, infos).map_err(io::Error::other)?;
    let mut header = serde_json::to_vec(&metadata)?;
    header.resize(header.len().next_multiple_of(8), b' '); // data aligned to eight bytes, as the format asks
    let mut start = (header.len() as u64).to_le_bytes().to_vec();
    start.append(&mut header);
    Ok(start)
}

/// Writes the file's bytes, in order and in pieces of at most 1 MiB, to `write`.
pub(crate) fn write(tensors: &[TensorRef], mut write: impl FnMut(&[u8]) -> io::Result<()>) -> io::Result<()> {
    for tensor in tensors {
        let elements = tensor.shape.iter().try_fold(1usize, |n, &d| n.checked_mul(d));
        assert_eq!(elements, Some(tensor.data.len()), "the shape {:?} of {}", tensor.shape, tensor.name);
    }
    write(&file_start(tensors.iter().map(|tensor| (tensor.name.as_str(), tensor.shape.as_slice())))?)?;
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
/// [`crate::Error::Run`] where a name stands twice or the header cannot be written.
pub fn tensor_file(tensors: &[TensorRef]) -> crate::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(tensors.iter().map(|tensor| 4 * tensor.data.len() + 256).sum());
    let written = write(tensors, |piece| {
        bytes.extend_from_slice(piece);
        Ok(())
    });
    written.map_err(|error| crate::Error::run(format!("cannot write tensors: {error}")))?;
    Ok(bytes)
}

/// A file of tensors that was compared with what was expected.
pub(crate) struct Checked {
    bytes: Vec<u8>,
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
    /// Parses `bytes` and checks that they hold exactly the expected tensors, all finite.
    pub(crate) fn new(file: &str, bytes: Vec<u8>, expected: &[TensorSpec]) -> Result<Self, Refusal> {
        let parsed = SafeTensors::deserialize(&bytes).map_err(|e| Refusal::Damaged(format!("{file}: {e}")))?;
        for spec in expected {
            let Ok(tensor) = parsed.tensor(&spec.name) else {
                return Err(Refusal::Foreign(format!("{file} lacks the tensor {}", spec.name)));
            };
            if tensor.dtype() != Dtype::F32 {
                let found = tensor.dtype();
                return Err(Refusal::Foreign(format!("{file}: {} is {found} where F32 is expected", spec.name)));
            }
            if tensor.shape() != spec.shape {
                return Err(Refusal::Foreign(format!(
                    "{file}: {} has shape {:?} where the model has {:?}",
                    spec.name,
                    tensor.shape(),
                    spec.shape
                )));
            }
            if let Some(i) = values(tensor.data()).position(|v| !v.is_finite()) {
                return Err(Refusal::Damaged(format!("{file}: element {i} of {} is not finite", spec.name)));
            }
        }
        if parsed.len() != expected.len() {
            let mut unknown = parsed.names();
            unknown.retain(|name| expected.iter().all(|spec| spec.name != *name));
            unknown.sort_unstable();
            return Err(Refusal::Foreign(format!("{file} has tensors that the model lacks: {}", unknown.join(", "))));
        }
        Ok(Self { bytes })
    }

    /// Copies the tensor `name` to `out`. Panics if it was not expected with this many elements.
    #[track_caller]
    pub(crate) fn copy(&self, name: &str, out: &mut [f32]) {
        let Ok(parsed) = SafeTensors::deserialize(&self.bytes) else { unreachable!("parsed before") };
        let Ok(tensor) = parsed.tensor(name) else { panic!("{name} was not among the expected tensors") };
        assert_eq!(tensor.data().len(), out.len() * 4, "the elements of {name}");
        for (out, value) in out.iter_mut().zip(values(tensor.data())) {
            *out = value;
        }
    }
}

fn values(bytes: &[u8]) -> impl Iterator<Item = f32> {
    bytes.as_chunks::<4>().0.iter().map(|b| f32::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

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
        let checked = Checked::new("t", bytes, &specs).unwrap_or_else(|e| panic!("{e:?}"));
        for tensor in &tensors {
            let mut out = vec![f32::NAN; tensor.data.len()];
            checked.copy(&tensor.name, &mut out);
            let bits = |v: &[f32]| v.iter().map(|x| x.to_bits()).collect::<Vec<_>>();
            assert_eq!(bits(&out), bits(&tensor.data), "{}", tensor.name);
        }
    }

    #[test]
    fn says_what_does_not_fit() {
        let (tensors, bytes) = example();
        let specs: Vec<_> = tensors.iter().map(NamedTensor::spec).collect();
        let refusal = |bytes: &[u8], specs: &[TensorSpec]| match Checked::new("t", bytes.to_vec(), specs) {
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
