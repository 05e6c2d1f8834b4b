//! The bodies of the fuzz targets `manifest` and `checkpoint`: any bytes are read as the files of a checkpoint.
//!
//! Nothing may panic, and nothing may be allocated that the bytes do not cover. What is accepted must be what it would
//! be written as.

use super::manifest::Manifest;
use super::state::{Best, TrainerState};
use super::tensors::{self, Checked, TensorSpec};
use crate::graph::HeadLayouts;

/// Any bytes as a manifest: what is accepted is written and read back unchanged, and verifies no file but its own.
pub fn manifest(bytes: &[u8]) {
    // A fuzzer cannot guess the manifest's own checksum, so a body without one is also read with it.
    let _refused = Manifest::decode(bytes);
    let Ok(manifest) = Manifest::decode(&super::manifest::seal(bytes.to_vec())) else { return };
    let written = manifest.encode().map(|written| Manifest::decode(&written));
    assert!(matches!(written, Ok(Ok(read)) if read == manifest), "what was written is not read back");
    for file in &manifest.files {
        assert!(file.verify(bytes).is_err() || file.bytes == bytes.len() as u64);
    }
}

/// Any bytes as the other files of a checkpoint, chosen by the first byte.
pub fn checkpoint(bytes: &[u8]) {
    let Some((&kind, bytes)) = bytes.split_first() else { return };
    match kind % 3 {
        0 => state(bytes),
        1 => {
            let _hint: Result<Best, _> = serde_json::from_slice(bytes);
        }
        _ => tensors(bytes),
    }
}

fn state(bytes: &[u8]) {
    let Ok(state) = serde_json::from_slice::<TrainerState>(bytes) else { return };
    let Ok(written) = serde_json::to_vec(&state) else { return };
    let read: Result<TrainerState, _> = serde_json::from_slice(&written);
    assert!(matches!(read, Ok(read) if read == state), "what was written is not read back");
}

fn tensors(bytes: &[u8]) {
    let spec = |name: &str, shape: &[usize]| TensorSpec { name: name.into(), shape: shape.into() };
    let specs = [spec("a", &[2, 3]), spec("b", &[]), spec("c", &[0])];
    let Ok(checked) = Checked::new("weights", Box::new(bytes.to_vec()), &specs) else { return };
    let values: Vec<Vec<f32>> = specs
        .iter()
        .map(|spec| {
            let mut values = vec![0.0; spec.len()];
            assert!(checked.copy(&spec.name, &mut values).is_ok(), "{} cannot be read again", spec.name);
            assert!(values.iter().all(|value| value.is_finite()), "{} was accepted", spec.name);
            values
        })
        .collect();
    let refs: Vec<_> = specs
        .iter()
        .zip(&values)
        .map(|(spec, data)| tensors::TensorRef { name: spec.name.clone(), shape: spec.shape.clone(), data })
        .collect();
    let mut written = Vec::new();
    let done = tensors::write(&refs, &HeadLayouts::default(), |piece| {
        written.extend_from_slice(piece);
        Ok(())
    });
    assert!(
        done.is_ok() && Checked::new("weights", Box::new(written), &specs).is_ok(),
        "what was written is not read back"
    );
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::{Key, Purpose};

    /// Seeds that are accepted, and many small changes of each.
    #[test]
    fn changed_seeds_do_not_panic() {
        let state = serde_json::to_vec(&TrainerState::default()).unwrap();
        let entry = super::super::manifest::FileEntry {
            name: "weights.safetensors".into(),
            bytes: 3,
            crc32c: "00000000".into(),
            chunks: vec!["00000000".into()],
        };
        let format = super::super::manifest::FORMAT;
        let chunk = super::super::manifest::CHUNK;
        let manifest_seed = serde_json::to_vec(&Manifest { format, step: 5, chunk, files: vec![entry] }).unwrap();
        let data = [0.5f32; 7];
        let tensor =
            |name: &str, shape: &[usize], data| tensors::TensorRef { name: name.into(), shape: shape.into(), data };
        let mut tensors_seed = vec![2];
        let refs = [tensor("a", &[2, 3], &data[..6]), tensor("b", &[], &data[..1]), tensor("c", &[0], &[])];
        tensors::write(&refs, &HeadLayouts::default(), |piece| {
            tensors_seed.extend_from_slice(piece);
            Ok(())
        })
        .unwrap();
        let state_seed = [&[0][..], &state].concat();
        let best_seed = b"\x01{\"step\":5,\"loss\":1.5}".to_vec();
        let key = Key::new(1, Purpose::Bench);
        for (s, seed) in [state_seed, best_seed, tensors_seed, manifest_seed].iter().enumerate() {
            for i in 0..4000 {
                let mut bytes = seed.clone();
                for change in 0..i % 4 {
                    let word = key.layer(s).word(4 * i + change) as usize;
                    let at = word % bytes.len();
                    match word >> 29 {
                        0 => bytes.truncate(at + 1),
                        1 => bytes.insert(at, b'9'),
                        2 => bytes[at] = b'9',
                        3 => drop(bytes.remove(at)),
                        _ => bytes[at] ^= 1 << (word >> 20 & 7),
                    }
                    if bytes.is_empty() {
                        break;
                    }
                }
                checkpoint(&bytes);
                manifest(&bytes);
            }
        }
    }
}
