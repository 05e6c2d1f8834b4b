//! Opening and reading token files.

use std::fs::{self, File, Metadata};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicU64, Ordering};

use super::TokenSource;
use super::format::{self, CHUNK, HEADER, Header, REBUILD};
use super::map::Map;
use crate::error::{Error, Result};
use crate::text::{Tokenizer, parse_vocabulary};

/// Files up to this size are read into memory, larger ones are mapped.
const READ_LIMIT: u64 = 4 << 20;

/// Token files up to this size have every checksum checked when they are opened, larger ones have each chunk checked
/// when it is first read, so that a corpus larger than memory opens at once.
const CHECK_LIMIT: u64 = 1 << 30;

/// Most bytes of the vocabulary section: some thirty million words.
const VOCABULARY_LIMIT: u64 = 1 << 30;

/// A token file, open for reading.
#[derive(Debug)]
pub struct Corpus {
    path: PathBuf,
    header: Header,
    tokenizer: Tokenizer,
    bytes: Bytes,
    /// The CRC32C of each chunk of tokens.
    checksums: Vec<u32>,
    /// One bit a chunk: whether its checksum was found right.
    checked: Vec<AtomicU64>,
    identity: Option<Identity>,
    fingerprint: u64,
}

/// What a corpus says of itself.
#[derive(Debug, Clone, PartialEq)]
pub struct Info {
    /// Tokens.
    pub tokens: u64,
    /// Different tokens there can be.
    pub vocabulary_size: u64,
    /// Bytes that one token takes in the file.
    pub token_bytes: u32,
    /// Bytes of the text that the tokens stand for.
    pub text_bytes: u64,
    /// Characters (Unicode scalar values) of that text.
    pub text_chars: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// True entropy rate of the text's source in nats a token, if it is known.
    pub entropy_rate: Option<f64>,
}

#[derive(Debug)]
enum Bytes {
    Read(Vec<u8>),
    Mapped(Map),
}

impl Bytes {
    fn len(&self) -> usize {
        match self {
            Bytes::Read(bytes) => bytes.len(),
            Bytes::Mapped(map) => map.len(),
        }
    }

    /// The range must lie within the length.
    fn copy(&self, start: usize, out: &mut [u8]) {
        match self {
            Bytes::Read(bytes) => out.copy_from_slice(&bytes[start..start + out.len()]),
            Bytes::Mapped(map) => map.copy(start, out),
        }
    }
}

/// By what a file is known again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Identity {
    len: u64,
    modified: Option<std::time::SystemTime>,
    #[cfg(unix)]
    inode: (u64, u64),
}

impl Identity {
    pub(super) fn of(metadata: &Metadata) -> Identity {
        #[cfg(unix)]
        use std::os::unix::fs::MetadataExt;
        Identity {
            len: metadata.len(),
            modified: metadata.modified().ok(),
            #[cfg(unix)]
            inode: (metadata.dev(), metadata.ino()),
        }
    }

    /// Whether both are one file, under whatever names. Where the system has no number for a file, one of the same length that
    /// was changed at the same time is taken for it.
    pub(super) fn is_same_file(&self, other: &Identity) -> bool {
        #[cfg(unix)]
        return self.inode == other.inode;
        #[cfg(not(unix))]
        return self == other;
    }

    /// Says how the file at `path` differs from the one that was opened.
    pub(super) fn check(&self, path: &Path) -> Result<()> {
        let metadata = match fs::metadata(path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => {
                return Err(Error::input(path, "the file was removed while it was in use").mend("put it back"));
            }
            other => other.map_err(|e| Error::read(path, e))?,
        };
        let now = Identity::of(&metadata);
        let what = if now.len < self.len {
            format!("the file was cut short while it was in use: {} bytes where there were {}", now.len, self.len)
        } else if now.len > self.len {
            format!("the file grew while it was in use: {} bytes where there were {}", now.len, self.len)
        } else if now != (Identity { modified: now.modified, ..*self }) {
            "another file was put in its place while it was in use".to_owned()
        } else if now != *self {
            "the file was changed while it was in use".to_owned()
        } else {
            return Ok(());
        };
        Err(Error::input(path, what).mend("let nothing write to it during a run, and run the command again"))
    }
}

impl Corpus {
    /// Opens a token file: a small one is read into memory, a larger one is mapped.
    ///
    /// Nothing is believed before it is checked: the header by its own checksum, version and sizes, which must add up
    /// to the file's length; the list of checksums and the vocabulary by theirs, the vocabulary also by its hash and
    /// its own rules; the tokens by a checksum for each mebibyte, now in files of up to 1 GiB and at the first use in
    /// larger ones, and each token again, when it is read, by being less than the vocabulary's size.
    ///
    /// # Errors
    /// [`Error::Input`] says what is wrong with the file.
    pub fn open(path: impl AsRef<Path>) -> Result<Corpus> {
        let path = path.as_ref();
        let mut file = File::open(path).map_err(|e| Error::read(path, e))?;
        let metadata = file.metadata().map_err(|e| Error::read(path, e))?;
        if metadata.is_dir() {
            return Err(Error::input(path, "is a folder, not a corpus file").mend("name a file in it"));
        }
        let identity = Identity::of(&metadata);
        let bytes = if identity.len <= READ_LIMIT {
            let mut bytes = Vec::new();
            file.by_ref().take(READ_LIMIT + 1).read_to_end(&mut bytes).map_err(|e| Error::read(path, e))?;
            Bytes::Read(bytes)
        } else {
            Bytes::Mapped(Map::new(&file, path).map_err(|e| Error::io(path, "cannot map into memory", e))?)
        };
        Corpus::from_parts(bytes, path, Some(identity))
    }

    /// A corpus from the bytes of a token file, named `path` in messages.
    ///
    /// # Errors
    /// As [`open`](Self::open).
    pub fn from_bytes(bytes: Vec<u8>, path: impl AsRef<Path>) -> Result<Corpus> {
        Corpus::from_parts(Bytes::Read(bytes), path.as_ref(), None)
    }

    fn from_parts(bytes: Bytes, path: &Path, identity: Option<Identity>) -> Result<Corpus> {
        let mut start = [0; HEADER];
        let present = bytes.len().min(HEADER);
        bytes.copy(0, &mut start[..present]);
        let header = Header::parse(&start[..present], bytes.len() as u64, path)?;
        // The header's sizes add up to the length of the file, so these fit.
        let tokens_end = HEADER + (header.count * u64::from(header.width)) as usize;
        let chunks = (tokens_end - HEADER).div_ceil(CHUNK);
        let damaged =
            |what: &str| Error::input(path, format!("{what} damaged: the checksum does not match")).mend(REBUILD);

        let mut list = vec![0; chunks * 4];
        bytes.copy(tokens_end, &mut list);
        if crc32c::crc32c(&list) != header.checksums_crc {
            return Err(damaged("the list of checksums is"));
        }
        let checksums: Vec<u32> = list.as_chunks::<4>().0.iter().map(|&bytes| u32::from_le_bytes(bytes)).collect();

        if header.vocabulary_bytes > VOCABULARY_LIMIT {
            let what =
                format!("the vocabulary takes {} bytes; at most {VOCABULARY_LIMIT} are read", header.vocabulary_bytes);
            return Err(Error::input(path, what));
        }
        let mut vocabulary = vec![0; header.vocabulary_bytes as usize];
        bytes.copy(tokens_end + list.len(), &mut vocabulary);
        if crc32c::crc32c(&vocabulary) != header.vocabulary_crc {
            return Err(damaged("the vocabulary is"));
        }
        let vocabulary = parse_vocabulary(&vocabulary, path)?;
        if vocabulary.len() as u64 != header.vocabulary_size || vocabulary.hash() != header.vocabulary_hash {
            return Err(Error::input(path, "the vocabulary is not the one that the header names").mend(REBUILD));
        }

        let fingerprint = format::fingerprint(header.count, header.vocabulary_size, checksums.iter().copied());
        let corpus = Corpus {
            path: path.to_owned(),
            header,
            tokenizer: Tokenizer::new(vocabulary),
            bytes,
            checked: (0..chunks.div_ceil(64)).map(|_| AtomicU64::new(0)).collect(),
            checksums,
            identity,
            fingerprint,
        };
        if corpus.bytes.len() as u64 <= CHECK_LIMIT {
            corpus.verify()?;
        }
        Ok(corpus)
    }

    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The tokenizer that made the tokens.
    pub fn tokenizer(&self) -> &Tokenizer {
        &self.tokenizer
    }

    /// What the corpus says of itself.
    pub fn info(&self) -> Info {
        Info {
            tokens: self.header.count,
            vocabulary_size: self.header.vocabulary_size,
            token_bytes: self.header.width,
            text_bytes: self.header.text_bytes,
            text_chars: self.header.text_chars,
            file_bytes: self.bytes.len() as u64,
            entropy_rate: Some(self.header.entropy_rate).filter(|rate| rate.is_finite()),
        }
    }

    /// Checks every chunk of tokens that was not checked before.
    ///
    /// # Errors
    /// [`Error::Input`] names the tokens that are damaged.
    pub fn verify(&self) -> Result<()> {
        (0..self.checksums.len()).try_for_each(|chunk| self.check_chunk(chunk))
    }

    fn token_bytes(&self) -> usize {
        (self.header.count * u64::from(self.header.width)) as usize
    }

    fn check_chunk(&self, chunk: usize) -> Result<()> {
        let (word, bit) = (&self.checked[chunk / 64], 1 << (chunk % 64));
        if word.load(Ordering::Relaxed) & bit != 0 {
            return Ok(());
        }
        let (start, end) = (chunk * CHUNK, ((chunk + 1) * CHUNK).min(self.token_bytes()));
        let mut buffer = [0; 16 << 10];
        let mut crc = 0;
        for at in (start..end).step_by(buffer.len()) {
            let piece = &mut buffer[..(end - at).min(16 << 10)];
            self.bytes.copy(HEADER + at, piece);
            crc = crc32c::crc32c_append(crc, piece);
        }
        if crc != self.checksums[chunk] {
            let width = self.header.width as usize;
            let what =
                format!("tokens {} to {} are damaged: the checksum does not match", start / width, end / width - 1);
            return Err(Error::input(&self.path, what).mend(REBUILD));
        }
        word.fetch_or(bit, Ordering::Relaxed);
        Ok(())
    }

    /// Copies tokens out, each of `W` bytes, and returns the first that is not in the vocabulary.
    fn copy_tokens<const W: usize>(&self, start: u64, out: &mut [u32], from: impl Fn([u8; W]) -> u32) -> Option<u64> {
        let mut buffer = [[0; W]; 1024];
        let mut at = start;
        for piece in out.chunks_mut(buffer.len()) {
            let copied = &mut buffer[..piece.len()];
            self.bytes.copy(HEADER + at as usize * W, copied.as_flattened_mut());
            for (token, &bytes) in piece.iter_mut().zip(copied.iter()) {
                *token = from(bytes);
            }
            let size = self.header.vocabulary_size as u32;
            if let Some(wrong) = piece.iter().position(|&token| token >= size) {
                return Some(at + wrong as u64);
            }
            at += piece.len() as u64;
        }
        None
    }
}

impl TokenSource for Corpus {
    fn len(&self) -> u64 {
        self.header.count
    }

    fn vocabulary_size(&self) -> usize {
        self.header.vocabulary_size as usize
    }

    fn read(&self, start: u64, out: &mut [u32]) -> Result<()> {
        let start = format::checked_start(start, out.len(), self.len());
        if out.is_empty() {
            return Ok(());
        }
        let width = u64::from(self.header.width);
        let last = (start + out.len() as u64) * width - 1;
        for chunk in (start * width) as usize / CHUNK..=last as usize / CHUNK {
            self.check_chunk(chunk)?;
        }
        let wrong = match self.header.width {
            1 => self.copy_tokens(start, out, |[byte]| u32::from(byte)),
            2 => self.copy_tokens(start, out, |bytes| u32::from(u16::from_le_bytes(bytes))),
            _ => self.copy_tokens(start, out, u32::from_le_bytes),
        };
        match wrong {
            None => Ok(()),
            Some(at) => Err(Error::input(
                &self.path,
                format!(
                    "token {at} is not in the vocabulary of {}: the file is damaged or was changed",
                    self.vocabulary_size()
                ),
            )
            .mend(REBUILD)),
        }
    }

    fn recheck(&self) -> Result<()> {
        self.identity.map_or(Ok(()), |identity| identity.check(&self.path))
    }

    fn fingerprint(&self) -> u64 {
        self.fingerprint
    }
}
