use std::fs;
use std::io::Write;
use std::path::{Path, PathBuf};

use super::*;
use crate::text::{EncodingErrors, Level, TextOptions, Tokenizer};

/// A folder for one test, and what is made in it.
struct Folder(tempfile::TempDir);

impl Folder {
    fn new() -> Folder {
        Folder(tempfile::tempdir().expect("a folder"))
    }

    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    fn write(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("written");
        path
    }

    /// What stands in the folder.
    fn names(&self) -> Vec<String> {
        let entries = fs::read_dir(self.0.path()).expect("a folder");
        let mut names: Vec<String> =
            entries.map(|entry| entry.expect("an entry").file_name().to_string_lossy().into_owned()).collect();
        names.sort();
        names
    }
}

fn gzip(bytes: &[u8]) -> Vec<u8> {
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    encoder.write_all(bytes).expect("memory");
    encoder.finish().expect("memory")
}

fn try_build(sources: &[Source], output: &Path, encoding: Encoding<'_>, threads: usize) -> Result<BuildReport> {
    build(Build { sources, output, encoding, threads, memory: None, entropy_rate: None, progress: None, cancel: None })
}

fn build_path(path: &Path, output: &Path, options: &TextOptions, threads: usize) -> Result<BuildReport> {
    try_build(&[Source::Path(path.to_owned())], output, Encoding::New(options), threads)
}

fn all_tokens(source: &impl TokenSource) -> Vec<u32> {
    let mut tokens = vec![0; source.len() as usize];
    source.read(0, &mut tokens).expect("a good file");
    tokens
}

/// Several megabytes of text in several scripts, with words of every frequency.
fn long_text() -> String {
    let mut text = String::new();
    for i in 0_u64..400_000 {
        let n = i.wrapping_mul(i).wrapping_mul(0x9e37_79b9) >> 7;
        let rare = n % (1 + i % 5000);
        match n % 7 {
            0 => text.push_str(&format!("wort{rare} ")),
            1 => text.push_str("자유로우며\u{3000}"),
            2 => text.push_str("👩‍👩‍👧 🇰🇷🇯🇵"),
            3 => text.push_str("e\u{301}te\u{301}, "),
            4 => text.push_str(&format!("{rare}\n")),
            _ => text.push_str("the "),
        }
    }
    text
}

const LEVELS: [Level; 4] = [Level::Byte, Level::Char, Level::Grapheme, Level::Word];

#[test]
fn the_file_is_the_same_however_many_threads_build_it() {
    let folder = Folder::new();
    let text = long_text();
    let path = folder.write("long.txt", &text);
    assert!(text.len() > 3 << 20, "several pieces");
    for level in LEVELS {
        let options = TextOptions { max_size: if level == Level::Word { 500 } else { 0 }, ..TextOptions::new(level) };
        let serial = folder.path("serial");
        let report = build_path(&path, &serial, &options, 1).expect("built");
        let bytes = fs::read(&serial).expect("written");
        for threads in [2, 3, 8] {
            let parallel = folder.path("parallel");
            build_path(&path, &parallel, &options, threads).expect("built");
            assert!(fs::read(&parallel).expect("written") == bytes, "{level}, {threads} threads");
        }
        // And the same as in memory.
        let (tokenizer, memory) = MemoryTokens::from_text(&text, &options).expect("tokens");
        let corpus = Corpus::open(&serial).expect("a good file");
        assert!(corpus.tokenizer().vocabulary().iter().eq(tokenizer.vocabulary().iter()), "{level}");
        assert_eq!(all_tokens(&corpus), memory.tokens());
        assert_eq!(corpus.fingerprint(), memory.fingerprint());
        let info = corpus.info();
        assert_eq!((info.text_bytes, info.text_chars), (text.len() as u64, text.chars().count() as u64));
        assert_eq!((report.tokens, info.tokens), (corpus.len(), corpus.len()));
        let unknown = tokenizer.vocabulary().unknown();
        let count = memory.tokens().iter().filter(|&&id| Some(id) == unknown).count() as u64;
        assert_eq!(report.unknown, count);
        assert_eq!(count > 0, level == Level::Word);
        if level != Level::Word {
            assert_eq!(tokenizer.decode(memory.tokens()), text);
        }
    }
    assert_eq!(folder.names(), ["long.txt", "parallel", "serial"], "no temporary file is left");
}

#[test]
fn large_files_are_mapped_and_read_as_small_ones_are() {
    let folder = Folder::new();
    let text = long_text();
    let path = folder.write("long.txt", &text);
    for (level, width) in [(Level::Byte, 1), (Level::Word, 2)] {
        let output = folder.path("corpus");
        // Six times the text, to be well beyond what is read at once.
        let sources = vec![Source::Path(path.clone()); 6];
        try_build(&sources, &output, Encoding::New(&TextOptions::new(level)), 2).expect("built");
        let corpus = Corpus::open(&output).expect("a good file");
        let small = Corpus::from_bytes(fs::read(&output).expect("written"), &output).expect("a good file");
        assert_eq!(corpus.info().token_bytes, width);
        assert_eq!(all_tokens(&corpus), all_tokens(&small));
        assert_eq!(corpus.fingerprint(), small.fingerprint());
        let mut some = [0; 3000];
        corpus.read(1_048_000, &mut some).expect("a good file");
        assert_eq!(some, all_tokens(&small)[1_048_000..1_051_000]);
    }
}

#[test]
fn files_folders_and_gzip() {
    let folder = Folder::new();
    let texts = folder.path("texts");
    fs::create_dir(&texts).expect("made");
    fs::create_dir(texts.join("more.txt")).expect("made");
    for (name, content) in
        [("b.txt", "b one\n".as_bytes()), (".hidden.txt", b"no"), ("notes.md", b"no"), ("x", b"no\0")]
    {
        fs::write(texts.join(name), content).expect("written");
    }
    // Two members, as `cat a.gz b.gz` makes.
    let members = [gzip(b"a two\nla"), gzip(b"st line")].concat();
    fs::write(texts.join("a.txt.gz"), members).expect("written");
    let output = folder.path("corpus");
    let report = build_path(&texts, &output, &TextOptions::new(Level::Word), 2).expect("built");
    assert_eq!(report.inputs, [texts.join("a.txt.gz"), texts.join("b.txt")]);
    let corpus = Corpus::open(&output).expect("a good file");
    assert_eq!(corpus.tokenizer().decode(&all_tokens(&corpus)), "a two\nlast line\nb one\n");

    // Without .txt files, whatever holds text.
    let other = folder.path("other");
    fs::create_dir(&other).expect("made");
    for (name, content) in [("2.md", "two"), ("1.md", "one "), ("image", "\0\0"), ("empty", "")] {
        fs::write(other.join(name), content).expect("written");
    }
    let report = build_path(&other, &output, &TextOptions::new(Level::Char), 1).expect("built");
    assert_eq!(report.inputs, [other.join("1.md"), other.join("2.md")]);
    let corpus = Corpus::open(&output).expect("a good file");
    assert_eq!(corpus.tokenizer().decode(&all_tokens(&corpus)), "one two");
}

#[test]
fn a_known_vocabulary_encodes_a_validation_text() {
    let folder = Folder::new();
    let (train, valid) = (folder.write("train.txt", "a b a\n"), folder.write("valid.txt", "\u{feff}b c\na"));
    let report = build_path(&train, &folder.path("train"), &TextOptions::new(Level::Word), 1).expect("built");
    let known = Encoding::Known(&report.tokenizer);
    try_build(&[Source::Path(valid)], &folder.path("valid"), known, 1).expect("built");
    let corpus = Corpus::open(folder.path("valid")).expect("a good file");
    assert_eq!(corpus.tokenizer().decode(&all_tokens(&corpus)), "b <unk>\na\n");
    assert!(corpus.tokenizer().vocabulary().check_same(report.tokenizer.vocabulary()).is_ok());
}

#[cfg(unix)]
#[test]
fn a_pipe_is_copied_and_read_twice() {
    let folder = Folder::new();
    let text = long_text();
    let plain = folder.write("plain.txt", &text);
    let pipe = folder.path("pipe");
    let made = std::process::Command::new("mkfifo").arg(&pipe).status().expect("mkfifo");
    assert!(made.success());
    for (name, content) in [("plain", text.clone().into_bytes()), ("gzip", gzip(text.as_bytes()))] {
        let options = TextOptions::new(Level::Word);
        let writer = std::thread::spawn({
            let pipe = pipe.clone();
            move || fs::write(pipe, content).expect("written")
        });
        build_path(&pipe, &folder.path("from-pipe"), &options, 2).expect("built");
        writer.join().expect("written");
        build_path(&plain, &folder.path("from-file"), &options, 2).expect("built");
        let read = |name| fs::read(folder.path(name)).expect("written");
        assert!(read("from-pipe") == read("from-file"), "{name}");
    }
    assert_eq!(folder.names(), ["from-file", "from-pipe", "pipe", "plain.txt"], "no copy is left");
}

#[test]
fn bad_texts_have_their_messages() {
    let folder = Folder::new();
    let output = folder.write("corpus", "what stood there");
    let mut messages = Vec::new();
    let mut fails = |sources: &[PathBuf], encoding: Encoding<'_>| {
        let sources: Vec<Source> = sources.iter().cloned().map(Source::Path).collect();
        // The message must not depend on which thread is first.
        let errors = [1, 3].map(|threads| try_build(&sources, &output, encoding, threads).expect_err("bad"));
        let errors = errors.map(|error| format!("{} (exit code {})", error, error.exit_code()));
        assert_eq!(errors[0], errors[1]);
        messages.push(errors[0].replace(&*folder.0.path().to_string_lossy(), "FOLDER"));
    };
    let (char, word, byte) =
        (TextOptions::new(Level::Char), TextOptions::new(Level::Word), TextOptions::new(Level::Byte));
    let many = [b"caf\xc3\xa9 \xff! \xff".as_slice(), &[b'x'; 1 << 21], b"\xff"].concat();
    let known = Tokenizer::from_text("abc\n", &char).expect("tokens");
    let none = folder.path("none");
    fs::create_dir(&none).expect("made");
    folder.write("none/image", b"\0\0");
    fails(&[folder.path("missing.txt")], Encoding::New(&char));
    fails(&[], Encoding::New(&char));
    fails(&[none], Encoding::New(&char));
    fails(&[folder.write("empty.txt", "")], Encoding::New(&char));
    fails(&[folder.write("empty.txt", "")], Encoding::New(&byte));
    fails(&[folder.path("empty.txt"), folder.path("empty.txt")], Encoding::New(&word));
    fails(&[folder.write("latin.txt", many)], Encoding::New(&char));
    fails(&[folder.write("late.txt", [&[b'x'; (1 << 20) - 1], b"\xe3\x81".as_slice()].concat())], Encoding::New(&char));
    fails(&[folder.write("utf16.txt", b"\xff\xfea\0b\0")], Encoding::New(&char));
    fails(&[folder.write("one-word.txt", vec![b'x'; 3 << 20])], Encoding::New(&word));
    fails(&[folder.write("word.txt", vec![b'x'; 1 << 17])], Encoding::New(&word));
    fails(&[folder.write("cut.gz", &gzip(b"some text that is packed")[..20])], Encoding::New(&char));
    let mut damaged = gzip("some text that is packed, and damaged".repeat(50).as_bytes());
    damaged[40] ^= 0x55;
    fails(&[folder.write("damaged.gz", damaged)], Encoding::New(&char));
    let long = ["abc".repeat(800_000), "aéb".to_owned(), "x".repeat(3_000_000)].concat();
    fails(&[folder.write("valid.txt", long)], Encoding::Known(&known));
    fails(&[folder.path("valid.txt")], Encoding::New(&TextOptions { lowercase: true, ..char.clone() }));
    insta::assert_snapshot!(messages.join("\n"));
    assert_eq!(fs::read(&output).expect("still there"), b"what stood there");
    assert!(!folder.names().iter().any(|name| name.starts_with('.')), "{:?}", folder.names());
}

#[test]
fn invalid_bytes_are_replaced_or_left_out() {
    let folder = Folder::new();
    let path = folder.write("latin.txt", b"caf\xe9 \xff\xfeol\xc3\xa9");
    for (errors, expected) in
        [(EncodingErrors::Replace, "caf\u{fffd} \u{fffd}\u{fffd}olé"), (EncodingErrors::Skip, "caf olé")]
    {
        let options = TextOptions { errors, ..TextOptions::new(Level::Char) };
        build_path(&path, &folder.path("corpus"), &options, 1).expect("built");
        let corpus = Corpus::open(folder.path("corpus")).expect("a good file");
        assert_eq!(corpus.tokenizer().decode(&all_tokens(&corpus)), expected);
    }
}

#[test]
fn an_interrupt_ends_the_work_and_leaves_nothing() {
    let folder = Folder::new();
    let sources = [Source::Path(folder.write("long.txt", long_text()))];
    let options = TextOptions::new(Level::Word);
    let cancel = std::sync::atomic::AtomicBool::new(false);
    let seen = std::sync::Mutex::new(Vec::new());
    let progress = |now: Progress| {
        seen.lock().expect("whole").push(now);
        cancel.store(now.pass == 2 && now.bytes > 1 << 20, std::sync::atomic::Ordering::Relaxed);
    };
    let output = folder.path("corpus");
    let error = build(Build {
        sources: &sources,
        output: &output,
        encoding: Encoding::New(&options),
        threads: 2,
        memory: None,
        entropy_rate: None,
        progress: Some(&progress),
        cancel: Some(&cancel),
    });
    assert_eq!(error.expect_err("interrupted").exit_code(), 130);
    assert_eq!(folder.names(), ["long.txt"]);
    let seen = seen.into_inner().expect("whole");
    assert!(seen.is_sorted_by_key(|progress| (progress.pass, progress.bytes)) && seen.len() > 5);
}

#[test]
fn what_a_killed_process_left_is_overwritten_and_a_living_one_is_left_in_peace() {
    let folder = Folder::new();
    let text = folder.write("text.txt", "to be");
    let options = TextOptions::new(Level::Char);
    let left = folder.write(".corpus.tmp", vec![b'x'; 10_000]);
    build_path(&text, &folder.path("corpus"), &options, 1).expect("built");
    assert_eq!(folder.names(), ["corpus", "text.txt"]);
    Corpus::open(folder.path("corpus")).expect("a good file");
    let held = fs::File::create(&left).expect("made");
    held.lock().expect("held");
    let error = build_path(&text, &folder.path("corpus"), &options, 1).expect_err("held");
    assert!(error.to_string().contains("another process is writing this file"), "{error}");
    assert!(left.exists());
}

/// A small corpus file with every kind of section.
fn small_file(folder: &Folder) -> Vec<u8> {
    let path = folder.write("small.txt", "to be or not to be\n".repeat(3));
    let sources = [Source::Path(path)];
    let (output, options) = (folder.path("small"), TextOptions::new(Level::Word));
    build(Build {
        sources: &sources,
        output: &output,
        encoding: Encoding::New(&options),
        threads: 1,
        memory: None,
        entropy_rate: Some(1.25),
        progress: None,
        cancel: None,
    })
    .expect("built");
    fs::read(output).expect("written")
}

#[test]
fn a_file_cut_anywhere_is_refused() {
    let good = small_file(&Folder::new());
    let corpus = Corpus::from_bytes(good.clone(), "small").expect("a good file");
    assert_eq!((corpus.len(), corpus.info().entropy_rate), (21, Some(1.25)));
    for end in 0..good.len() {
        let error = Corpus::from_bytes(good[..end].to_vec(), "small").expect_err("cut");
        assert!(error.to_string().contains("cut short"), "{end}: {error}");
        assert_eq!(error.exit_code(), 3);
    }
    let longer = Corpus::from_bytes([good, vec![0]].concat(), "small").expect_err("longer").to_string();
    assert!(longer.contains("1 bytes after its end"), "{longer}");
}

#[test]
fn a_bit_flipped_anywhere_is_found() {
    let good = small_file(&Folder::new());
    for bit in 0..good.len() * 8 {
        let mut bad = good.clone();
        bad[bit / 8] ^= 1 << (bit % 8);
        assert!(Corpus::from_bytes(bad, "small").is_err(), "bit {bit}");
    }
}

/// A file with this header field changed and the header's checksum made right again, as an attacker would.
fn forged(good: &[u8], at: usize, value: &[u8]) -> String {
    let mut bad = good.to_vec();
    bad[at..at + value.len()].copy_from_slice(value);
    let crc = crc32c::crc32c(&bad[..124]);
    bad[124..128].copy_from_slice(&crc.to_le_bytes());
    Corpus::from_bytes(bad, "small").expect_err("forged").to_string()
}

#[test]
fn bad_files_have_their_messages() {
    let good = small_file(&Folder::new());
    let flipped = |at: usize| {
        let mut bad = good.clone();
        bad[at] ^= 1;
        Corpus::from_bytes(bad, "small").expect_err("flipped").to_string()
    };
    let mut wrong_token = good.clone();
    wrong_token[128] = 200;
    let crc = crc32c::crc32c(&wrong_token[128..128 + 21]).to_le_bytes();
    wrong_token[149..153].copy_from_slice(&crc);
    let crc = crc32c::crc32c(&crc).to_le_bytes();
    wrong_token[72..76].copy_from_slice(&crc);
    let crc = crc32c::crc32c(&wrong_token[..124]).to_le_bytes();
    wrong_token[124..128].copy_from_slice(&crc);
    let wrong_token = Corpus::from_bytes(wrong_token, "small").expect("checksums are right");
    let all = [
        Corpus::from_bytes(b"To be, or not to be, that is the question".repeat(9), "small")
            .expect_err("text")
            .to_string(),
        flipped(8),
        flipped(13),
        flipped(130),
        flipped(150),
        flipped(good.len() - 2),
        forged(&good, 12, &2_u32.to_le_bytes()),
        forged(&good, 16, &u64::MAX.to_le_bytes()),
        forged(&good, 16, &(1_u64 << 40).to_le_bytes()),
        forged(&good, 24, &0_u64.to_le_bytes()),
        forged(&good, 24, &3_u64.to_le_bytes()),
        forged(&good, 24, &60_u64.to_le_bytes()),
        forged(&good, 32, &7_u64.to_le_bytes()),
        forged(&good, 40, &u64::MAX.to_le_bytes()),
        wrong_token.read(0, &mut [0; 3]).expect_err("not in the vocabulary").to_string(),
    ];
    insta::assert_snapshot!(all.join("\n"));
}

#[test]
fn a_file_that_changes_while_it_is_open_is_noticed() {
    let folder = Folder::new();
    let good = small_file(&folder);
    let path = folder.path("small");
    let mut messages = Vec::new();
    let mut after = |change: &dyn Fn()| {
        fs::write(&path, &good).expect("written");
        let corpus = Corpus::open(&path).expect("a good file");
        corpus.recheck().expect("nothing happened");
        change();
        messages.push(corpus.recheck().expect_err("changed").to_string());
    };
    after(&|| fs::write(&path, &good[..100]).expect("written"));
    after(&|| fs::write(&path, [good.as_slice(), b"more"].concat()).expect("written"));
    after(&|| {
        let past = std::time::SystemTime::UNIX_EPOCH + std::time::Duration::from_secs(1_000_000_000);
        fs::File::options().write(true).open(&path).and_then(|file| file.set_modified(past)).expect("touched");
    });
    after(&|| {
        let modified = fs::metadata(&path).and_then(|metadata| metadata.modified()).expect("there");
        fs::write(folder.path("new"), &good).expect("written");
        fs::File::options()
            .write(true)
            .open(folder.path("new"))
            .and_then(|file| file.set_modified(modified))
            .expect("touched");
        fs::rename(folder.path("new"), &path).expect("renamed");
    });
    after(&|| fs::remove_file(&path).expect("removed"));
    insta::assert_snapshot!(messages.join("\n").replace(&*folder.0.path().to_string_lossy(), "FOLDER"));
}

#[test]
fn damage_in_a_mapped_file_is_named() {
    let folder = Folder::new();
    let path = folder.write("long.txt", vec![b'x'; 6 << 20]);
    let output = folder.path("corpus");
    build_path(&path, &output, &TextOptions::new(Level::Byte), 1).expect("built");
    let mut bytes = fs::read(&output).expect("written");
    bytes[128 + (5 << 20) + 77] ^= 4;
    fs::write(&output, bytes).expect("written");
    let error = Corpus::open(&output).expect_err("damaged").to_string();
    assert!(error.contains("tokens 5242880 to 6291455 are damaged"), "{error}");
}

mod data;
mod streams;

/// The vocabulary file of the text at `path`, and how many lists were written to the disk.
fn counted(path: &Path, options: &TextOptions, threads: usize, memory: Option<u64>) -> Result<(String, usize)> {
    let (sources, beside) = ([Source::Path(path.to_owned())], path.with_extension("vocabulary"));
    let args = Counting { sources: &sources, options, beside: &beside, threads, memory, progress: None, cancel: None };
    vocabulary(args).map(|counted| (counted.vocabulary.to_file(), counted.lists))
}

#[test]
fn a_vocabulary_depends_on_neither_threads_nor_memory() {
    let folder = Folder::new();
    // Three mebibytes: words that come often, some as often as others, words that come once or twice, <unk> and <eos>.
    let mut text = String::new();
    for i in 0..300_000_u32 {
        text.push_str(&format!("w{} {}", i.wrapping_mul(i) % 1499, if i % 9 == 0 { "\n" } else { "" }));
        if i % 3 == 0 {
            text.push_str(&format!("rare{} ", i % 70_000));
        }
    }
    text.push_str("<unk> <unk> <eos>");
    let path = folder.write("text.txt", &text);
    let words = TextOptions::new(Level::Word);
    let all = [
        TextOptions { min_count: 3, unknown: Some(true), ..words.clone() },
        TextOptions { max_size: 500, unknown: Some(true), ..words.clone() },
        TextOptions { min_count: 2, max_size: 1000, unknown: Some(true), eos: Some(false), ..words.clone() },
    ];
    for options in all {
        let (whole, lists) = counted(&path, &options, 1, None).expect("counted");
        assert_eq!(lists, 0);
        let in_memory = Tokenizer::from_text(&text, &options).expect("a vocabulary");
        assert_eq!(whole.lines().count(), in_memory.vocabulary().to_file().lines().count());
        for (threads, memory) in [(1, 1 << 20), (3, 1 << 20), (2, 1 << 30)] {
            let (found, lists) = counted(&path, &options, threads, Some(memory)).expect("counted");
            assert_eq!(lists > 1, memory == 1 << 20, "{lists} lists in {memory}");
            assert!(found == whole, "{threads} threads, {memory} bytes: another vocabulary");
        }
    }
    // Graphemes are strings and characters at once.
    let graphemes = TextOptions::new(Level::Grapheme);
    let whole = |threads, memory| counted(&path, &graphemes, threads, memory).expect("counted").0;
    assert!(whole(2, Some(1 << 20)) == whole(1, None));
    // All words are too many.
    let error = counted(&path, &words, 2, Some(1 << 20)).expect_err("too little");
    assert!(
        error.to_string().contains("are frequent enough for the vocabulary, and do not fit into 256.00 KB"),
        "{error}"
    );
    assert_eq!(counted(&path, &words, 2, Some(1000)).expect_err("too little").exit_code(), 2);
    assert_eq!(folder.names(), ["text.txt"], "nothing is left beside it");
    // A token file in little memory is that of much.
    let file = |name: &str, memory| {
        let options = TextOptions { min_count: 3, unknown: Some(true), ..words.clone() };
        let (sources, output) = ([Source::Path(path.clone())], folder.path(name));
        let args = Build {
            sources: &sources,
            output: &output,
            encoding: Encoding::New(&options),
            threads: 2,
            memory,
            entropy_rate: None,
            progress: None,
            cancel: None,
        };
        build(args).expect("built");
        fs::read(output).expect("written")
    };
    assert!(file("little", Some(1 << 20)) == file("much", None));
}
