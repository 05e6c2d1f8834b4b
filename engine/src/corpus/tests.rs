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
    build(Build {
        sources,
        output,
        encoding,
        errors: None,
        threads,
        memory: None,
        entropy_rate: None,
        progress: None,
        cancel: None,
    })
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
        errors: None,
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
fn an_interrupt_behind_the_last_chunk_ends_the_work() {
    let (send, ended) = std::sync::mpsc::channel();
    std::thread::spawn(move || {
        let folder = Folder::new();
        let mut inputs = source::resolve(&[Source::Path(folder.write("short.txt", "to be"))]).expect("readable");
        let cancel = std::sync::atomic::AtomicBool::new(false);
        let reading = count::reading(&TextOptions::new(Level::Char), 1, None, (None, Some(&cancel)));
        let work = |(): &mut (), _: &chunks::Chunk| {
            // Meanwhile the other worker has found the end of the text.
            std::thread::sleep(std::time::Duration::from_millis(100));
            cancel.store(true, std::sync::atomic::Ordering::Relaxed);
            Ok(())
        };
        let workers =
            parallel::each_chunk(chunks::Chunks::new(&mut inputs, reading), vec![(); 2], work, |(), _| Ok(()));
        _ = send.send(workers.map_err(|error| error.exit_code()));
    });
    let workers =
        ended.recv_timeout(std::time::Duration::from_secs(20)).expect("no worker waits for a turn that never comes");
    assert_eq!(workers, Err(130));
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

mod counting;
mod damage;
mod data;
#[cfg(unix)]
mod outputs;
mod streams;
