//! The manifest of a checkpoint: which files it has, their lengths and checksums, and a checksum of itself.
//!
//! A manifest is one line of JSON,
//!
//! ```text
//! {"format":1,"step":1234,"chunk":1048576,"files":[{"name":"weights.safetensors","bytes":812,"crc32c":"89abcdef",
//! "chunks":["89abcdef"]}],"manifest_crc32c":"01234567"}
//! ```
//!
//! written last, so that a folder with a whole manifest is a whole checkpoint. `crc32c` is the Castagnoli checksum
//! (RFC 3720, section 12.1) of the file, `chunks` those of its pieces of 1 MiB, so that a message can say where a
//! damaged file is damaged. `manifest_crc32c` is that of every byte before the comma that stands in front of it; that
//! ending has one spelling only, so that no single changed bit goes unnoticed.

use serde::{Deserialize, Serialize};

/// The format that this version writes and reads.
pub const FORMAT: u32 = 1;

/// Bytes that one chunk checksum covers.
pub const CHUNK: usize = 1 << 20;

/// The name of the manifest in a checkpoint's folder.
pub const MANIFEST: &str = "manifest.json";

/// A manifest is small: a chunk of a file takes eleven bytes in it. More than this (6 TB of tensors) is refused unread.
pub(crate) const MANIFEST_LIMIT: u64 = 64 << 20;

/// What a checkpoint consists of.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Manifest {
    /// [`FORMAT`].
    pub format: u32,
    /// The training step after which it was written.
    pub step: u64,
    /// [`CHUNK`].
    pub chunk: usize,
    /// Every other file of the checkpoint.
    pub files: Vec<FileEntry>,
}

/// One file of a checkpoint.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct FileEntry {
    /// Its name in the checkpoint's folder.
    pub name: String,
    /// Its length.
    pub bytes: u64,
    /// CRC-32C of all of it, eight hexadecimal digits.
    pub crc32c: String,
    /// CRC-32C of each chunk.
    pub chunks: Vec<String>,
}

/// Sums up the checksums of a file while it is written or read.
#[derive(Debug, Clone, Default)]
pub(crate) struct Checksums {
    bytes: u64,
    whole: u32,
    chunk: u32,
    chunks: Vec<String>,
}

impl Checksums {
    pub(crate) fn update(&mut self, mut bytes: &[u8]) {
        while !bytes.is_empty() {
            let room = CHUNK - (self.bytes % CHUNK as u64) as usize;
            let (now, later) = bytes.split_at(room.min(bytes.len()));
            self.whole = crc32c::crc32c_append(self.whole, now);
            self.chunk = crc32c::crc32c_append(self.chunk, now);
            self.bytes += now.len() as u64;
            if self.bytes.is_multiple_of(CHUNK as u64) {
                self.end_chunk();
            }
            bytes = later;
        }
    }

    fn end_chunk(&mut self) {
        self.chunks.push(hex(self.chunk));
        self.chunk = 0;
    }

    pub(crate) fn entry(mut self, name: &str) -> FileEntry {
        if !self.bytes.is_multiple_of(CHUNK as u64) {
            self.end_chunk();
        }
        FileEntry { name: name.into(), bytes: self.bytes, crc32c: hex(self.whole), chunks: self.chunks }
    }
}

fn hex(crc: u32) -> String {
    format!("{crc:08x}")
}

/// The ending of a manifest whose bytes before it are `body`.
fn ending(body: &[u8]) -> String {
    format!(",\"manifest_crc32c\":\"{:08x}\"}}\n", crc32c::crc32c(body))
}

/// Puts the checksum in the place of the closing brace.
pub(crate) fn seal(mut body: Vec<u8>) -> Vec<u8> {
    body.pop();
    let ending = ending(&body);
    body.extend_from_slice(ending.as_bytes());
    body
}

impl Manifest {
    /// The file's bytes.
    pub(crate) fn encode(&self) -> Result<Vec<u8>, serde_json::Error> {
        Ok(seal(serde_json::to_vec(self)?))
    }

    /// Reads and checks a manifest.
    ///
    /// # Errors
    /// What is wrong with it.
    pub fn decode(bytes: &[u8]) -> Result<Self, String> {
        let body = bytes.len().checked_sub(ending(b"").len()).ok_or("the manifest is cut short")?;
        let (body, found) = bytes.split_at(body);
        if found != ending(body).as_bytes() {
            return Err("the manifest's own checksum does not fit".into());
        }
        let mut json = body.to_vec();
        json.push(b'}');
        let manifest: Self = serde_json::from_slice(&json).map_err(|e| format!("the manifest does not parse: {e}"))?;
        if manifest.format != FORMAT {
            return Err(format!("it has format {}, this version reads format {FORMAT}", manifest.format));
        }
        if manifest.chunk != CHUNK {
            return Err(format!("its checksums cover chunks of {} bytes instead of {CHUNK}", manifest.chunk));
        }
        for (i, file) in manifest.files.iter().enumerate() {
            // A name is joined to the checkpoint's folder and must not lead out of it.
            let plain = |b: u8| b.is_ascii_alphanumeric() || b == b'-' || b == b'_' || b == b'.';
            if file.name.is_empty() || file.name.starts_with('.') || !file.name.bytes().all(plain) {
                return Err(format!("{:?} is not the name of a checkpoint's file", file.name));
            }
            if manifest.files[..i].iter().any(|other| other.name == file.name) {
                return Err(format!("the manifest lists {} twice", file.name));
            }
            if file.chunks.len() as u64 != file.bytes.div_ceil(CHUNK as u64) {
                return Err(format!(
                    "{} has {} chunk checksums for {} bytes",
                    file.name,
                    file.chunks.len(),
                    file.bytes
                ));
            }
        }
        Ok(manifest)
    }

    /// The entry of a file.
    pub fn file(&self, name: &str) -> Option<&FileEntry> {
        self.files.iter().find(|file| file.name == name)
    }
}

impl FileEntry {
    /// Checks chunk `i` of the file against its entry, which has a checksum of it. The error says where it is damaged.
    pub(crate) fn verify_chunk(&self, i: usize, chunk: &[u8]) -> Result<(), String> {
        if hex(crc32c::crc32c(chunk)) == self.chunks[i] {
            return Ok(());
        }
        let (name, start) = (&self.name, i * CHUNK);
        let end = start + chunk.len();
        Err(format!("{name} is damaged between bytes {start} and {end}: its checksum does not fit"))
    }

    /// Checks the file's contents against its entry. The error says where it is damaged.
    pub(crate) fn verify(&self, contents: &[u8]) -> Result<(), String> {
        if contents.len() as u64 != self.bytes {
            return Err(format!("{} has {} bytes instead of {}", self.name, contents.len(), self.bytes));
        }
        contents.chunks(CHUNK).enumerate().try_for_each(|(i, chunk)| self.verify_chunk(i, chunk))?;
        let mut whole = Checksums::default();
        whole.update(contents);
        if whole.entry(&self.name).crc32c != self.crc32c {
            return Err(format!("{} is damaged: its checksum does not fit", self.name));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn example() -> Manifest {
        let mut sums = Checksums::default();
        sums.update(&vec![7; CHUNK - 1]);
        sums.update(&[8; 3]);
        let mut none = Checksums::default();
        none.update(&[]);
        Manifest { format: FORMAT, step: 12, chunk: CHUNK, files: vec![sums.entry("a.bin"), none.entry("b.bin")] }
    }

    /// The check value of CRC-32C, of nine digits (RFC 3720 uses the same polynomial; Castagnoli et al. 1993).
    #[test]
    fn checksum_is_crc32c() {
        let mut sums = Checksums::default();
        sums.update(b"1234");
        sums.update(b"56789");
        let entry = sums.entry("x");
        assert_eq!((entry.crc32c.as_str(), entry.bytes, entry.chunks.len()), ("e3069283", 9, 1));
        assert_eq!(entry.chunks[0], entry.crc32c);
    }

    #[test]
    fn round_trip_and_chunks() {
        let manifest = example();
        assert_eq!(manifest.files[0].chunks.len(), 2);
        assert_eq!(manifest.files[1].chunks.len(), 0);
        assert_eq!(Manifest::decode(&manifest.encode().unwrap()).unwrap(), manifest);
        let mut contents = vec![7; CHUNK - 1];
        contents.extend([8; 3]);
        manifest.files[0].verify(&contents).unwrap();
        contents[CHUNK] ^= 1;
        let message = manifest.files[0].verify(&contents).unwrap_err();
        assert!(message.contains("between bytes 1048576 and 1048578"), "{message}");
    }

    #[test]
    fn every_bit_and_every_length_matters() {
        let bytes = example().encode().unwrap();
        for len in 0..bytes.len() {
            assert!(Manifest::decode(&bytes[..len]).is_err(), "cut to {len} bytes");
        }
        for bit in 0..bytes.len() * 8 {
            let mut changed = bytes.clone();
            changed[bit / 8] ^= 1 << (bit % 8);
            assert!(Manifest::decode(&changed).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn names_stay_in_the_folder() {
        for name in ["../x", "/etc/passwd", "", "a/b", ".hidden", "a\\b"] {
            let mut manifest = example();
            manifest.files[0].name = name.into();
            assert!(Manifest::decode(&manifest.encode().unwrap()).is_err(), "{name:?}");
        }
        let mut manifest = example();
        manifest.files[1].name = "a.bin".into();
        assert!(Manifest::decode(&manifest.encode().unwrap()).unwrap_err().contains("twice"));
    }
}
