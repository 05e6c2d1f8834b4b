use std::path::Path;

use flate2::{Compression, write::GzEncoder};
use proptest::prelude::*;

use super::input::Input;
use super::*;

mod matrices;

const FILE: &str = "v";

fn path() -> &'static Path {
    Path::new(FILE)
}

fn parse(bytes: &[u8]) -> Result<Loaded> {
    read_bytes(path(), bytes, &ReadOptions::default())
}

/// What is read of these bytes, which are of a matrix and its list of words.
fn of_matrix(format: Format, bytes: &[u8], words: &[u8]) -> Result<Loaded> {
    let words = Input::of_bytes(Path::new("w"), words);
    read_matrix(Input::of_bytes(path(), bytes), words, format, &ReadOptions::default())
}

fn words_of(vectors: &WordVectors, format: Format) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    list::write(&mut Out { name: FILE.into(), sink: &mut bytes }, vectors, format)?;
    Ok(bytes)
}

/// What is read of what is written.
fn there_and_back(vectors: &WordVectors, format: Format) -> Result<Loaded> {
    let bytes = write_bytes(vectors, format)?;
    let read = match format {
        Format::NumPy | Format::Safetensors | Format::Projector => {
            of_matrix(format, &bytes, &words_of(vectors, format)?)?
        }
        // Four bytes that are digits, say, are a file of either kind.
        Format::Word2VecBinary | Format::GensimBinary => {
            read_bytes(path(), &bytes, &ReadOptions { format: Some(format), ..ReadOptions::default() })?
        }
        _ => parse(&bytes)?,
    };
    assert_eq!(write_bytes(&read.vectors, format)?, bytes, "{format}: written again");
    Ok(read)
}

/// Formats that keep all but counts.
const READ: [Format; 7] = [
    Format::Word2VecText,
    Format::Word2VecBinary,
    Format::GensimBinary,
    Format::Glove,
    Format::Safetensors,
    Format::NumPy,
    Format::Projector,
];

fn small() -> WordVectors {
    let rows = [("the", [1.0, -0.0, 1e-42]), ("naïve", [0.1, f32::MAX, f32::MIN_POSITIVE]), ("中", [-3.5, 1e10, 2.0])];
    WordVectors::from_rows(3, rows).unwrap()
}

#[test]
fn every_format_gives_the_same_bits_back() {
    for format in READ {
        let read = there_and_back(&small(), format).unwrap();
        assert_eq!((read.vectors, read.format, read.repeated), (small(), format, 0));
    }
}

#[test]
fn what_is_written_is_what_the_formats_say() {
    let vectors = WordVectors::from_rows(2, [("a", [1.0, -0.5]), ("bc", [0.1, 1e-8])]).unwrap();
    let text = |format| String::from_utf8(write_bytes(&vectors, format).unwrap()).unwrap();
    assert_eq!(text(Format::Word2VecText), "2 2\na 1.0 -0.5\nbc 0.1 1e-8\n");
    assert_eq!(text(Format::Glove), "a 1.0 -0.5\nbc 0.1 1e-8\n");
    assert_eq!(text(Format::Projector), "1.0\t-0.5\n0.1\t1e-8\n");
    let bytes = |feed: &[u8]| {
        let row = |word: &[u8], values: [f32; 2]| [word, b" ", &values.map(f32::to_le_bytes).concat(), feed].concat();
        [&b"2 2\n"[..], &row(b"a", [1.0, -0.5]), &row(b"bc", [0.1, 1e-8])].concat()
    };
    assert_eq!(write_bytes(&vectors, Format::Word2VecBinary).unwrap(), bytes(b"\n"));
    assert_eq!(write_bytes(&vectors, Format::GensimBinary).unwrap(), bytes(b""));
    let numpy = write_bytes(&vectors, Format::NumPy).unwrap();
    assert_eq!(numpy.len(), 128 + 16);
    let header = "\u{1}\0v\0{'descr': '<f4', 'fortran_order': False, 'shape': (2, 2), }";
    assert_eq!(numpy[..6], *b"\x93NUMPY");
    assert!(numpy[6..].starts_with(header.as_bytes()) && numpy[127] == b'\n');
}

#[test]
fn files_are_written_whole_with_their_lists_and_read_by_name() {
    let folder = tempfile::tempdir().unwrap();
    let mut counted = WordVectors::new(2, true);
    counted.push("the".as_bytes(), 70, &[1.0, 2.0]).unwrap();
    counted.push(b"\xe9t\xe9", 3, &[3.0, 4.0]).unwrap();
    for (name, second, keeps_counts) in [
        ("a.txt", None, false),
        ("b.bin", None, false),
        ("c.safetensors", Some("c.safetensors.words"), true),
        ("d.npy", Some("d.npy.words"), true),
    ] {
        let file = folder.path().join(name);
        let written = write(&file, &counted, Format::of_name(&file)).unwrap();
        let expected: Vec<PathBuf> =
            [Some(name), second].into_iter().flatten().map(|n| folder.path().join(n)).collect();
        assert_eq!(written, expected);
        let read = read(&file, &ReadOptions::default()).unwrap();
        assert_eq!((read.format, read.vectors.is_counted()), (Format::of_name(&file), keeps_counts));
        assert_eq!(read.vectors.row(1), [3.0, 4.0]);
        assert_eq!(read.vectors.word(1), b"\xe9t\xe9");
        assert_eq!(read.vectors.count(0), keeps_counts.then_some(70));
    }
    let refused = write(&folder.path().join("e.tsv"), &counted, Format::Projector).unwrap_err();
    insta::assert_snapshot!(refused, @r#"word 2 is "\xe9t\xe9": projector cannot hold what is not UTF-8 (write it as safetensors: --to safetensors)"#);
    let names: Vec<_> = std::fs::read_dir(folder.path()).unwrap().map(|entry| entry.unwrap().file_name()).collect();
    assert_eq!(names.len(), 6, "{names:?}");
}

#[test]
fn packed_files_are_unpacked() {
    let folder = tempfile::tempdir().unwrap();
    for format in [Format::Word2VecText, Format::Word2VecBinary, Format::Glove] {
        let file = folder.path().join("v.gz");
        let mut packer = GzEncoder::new(std::fs::File::create(&file).unwrap(), Compression::fast());
        packer.write_all(&write_bytes(&small(), format).unwrap()).unwrap();
        packer.finish().unwrap();
        let read = read(&file, &ReadOptions::default()).unwrap();
        assert_eq!((read.vectors, read.format), (small(), format));
    }
}

#[test]
fn damage_of_a_packed_file_is_told_by_its_byte() {
    let mut packer = GzEncoder::new(Vec::new(), Compression::fast());
    packer.write_all(&write_bytes(&small(), Format::Glove).unwrap()).unwrap();
    let mut packed = packer.finish().unwrap();
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("v.gz");
    let refused = |bytes: &[u8]| {
        std::fs::write(&file, bytes).unwrap();
        let error = read(&file, &ReadOptions::default()).unwrap_err().to_string();
        error.replace(&format!("{}/", folder.path().display()), "")
    };
    insta::assert_snapshot!(refused(&packed[..packed.len() - 1]), @"v.gz, byte 84: the gzip data was cut short, at this byte of what it holds (download or compress it again)");
    let sum = packed.len() - 8;
    packed[sum] ^= 1;
    insta::assert_snapshot!(refused(&packed), @"v.gz, byte 84: the gzip data is damaged: corrupt gzip stream does not have a matching checksum, at this byte of what it holds (download or compress it again)");
}

#[test]
fn lines_of_other_programs_are_understood() {
    // A blank behind the last number (word2vec, fastText), carriage returns, several blanks, no line feed at the end.
    let read = parse(b"2 2\na 1 2 \nb  3e0\t+4").unwrap();
    assert_eq!(read.vectors.words().collect::<Vec<_>>(), [&b"a"[..], b"b "]);
    assert_eq!(read.vectors.row(1), [3.0, 4.0]);
    let read = parse(b"2 2\r\na 1 2\r\nb 3 4\r\n\r\n").unwrap();
    assert_eq!((read.vectors.word(1), read.vectors.row(1)), (&b"b"[..], &[3.0, 4.0][..]));
    // GloVe: words with spaces, words that are numbers.
    let read = parse(b". . . 1 2\n7 3 4\nat x@y.z 5 6\n").unwrap();
    assert_eq!(read.format, Format::Glove);
    assert_eq!(read.vectors.words().collect::<Vec<_>>(), [&b". . ."[..], b"7", b"at x@y.z"]);
    assert_eq!(there_and_back(&read.vectors, Format::Glove).unwrap().vectors, read.vectors);
    // Bytes that are no UTF-8, a space that is not ASCII's.
    let read = parse(b"2 1\n\xff\xfe 1.5\na\xc2\xa0b 2.5\n").unwrap();
    assert_eq!(read.vectors.words().collect::<Vec<_>>(), [&b"\xff\xfe"[..], b"a\xc2\xa0b"]);
    // The first of several, where that is asked for, and the first words alone.
    let keep = ReadOptions { keep_first: true, ..ReadOptions::default() };
    let read = read_bytes(path(), b"a 1\na 2\nb 3\n", &keep).unwrap();
    assert_eq!((read.vectors.len(), read.repeated, read.vectors.row(0)), (2, 1, &[1.0][..]));
    for format in [Format::Word2VecText, Format::Word2VecBinary, Format::Glove] {
        let limit = ReadOptions { limit: Some(2), ..ReadOptions::default() };
        let read = read_bytes(path(), &write_bytes(&small(), format).unwrap(), &limit).unwrap();
        assert_eq!(read.vectors.words().collect::<Vec<_>>(), [&b"the"[..], "naïve".as_bytes()]);
    }
}

#[test]
fn damaged_text_is_refused_by_its_line() {
    let refused = |text: &str| parse(text.as_bytes()).unwrap_err().to_string();
    insta::assert_snapshot!(refused(""), @"v: is empty");
    insta::assert_snapshot!(refused("2 2\na 1 2\nb 3\n"), @r#"v, line 3: 1 numbers stand behind the word "b", the others have 2"#);
    insta::assert_snapshot!(refused("2 2\nabc 1 2\n3\n"), @r#"v, line 3: 0 numbers stand behind the word "3", the others have 2"#);
    insta::assert_snapshot!(refused("2 2\na 1 2\nb 1 2 3\n"), @"v, line 3: more than the 2 numbers of the other words follow a word");
    insta::assert_snapshot!(refused("2 2\na 1 2\nb 1 x\n"), @r#"v, line 3: "x" stands where value 2 of 2 of the vector is expected"#);
    insta::assert_snapshot!(refused("2 2\na 1 2\nb 1 nan\n"), @r#"v, line 3: "b": value 2 of the vector is NaN"#);
    insta::assert_snapshot!(refused("2 2\na 1 2\nb 1e39 1\n"), @r#"v, line 3: "b": value 1 of the vector is inf"#);
    insta::assert_snapshot!(refused("2 2\na 1 2\na 3 4\n"), @r#"v, line 3: "a": the word stands here again; it was word 1 before (--keep-first takes the first of them)"#);
    insta::assert_snapshot!(refused("2 2\na 1 2\n 3 4\n"), @r#"v, line 3: "": a word without a letter"#);
    insta::assert_snapshot!(refused("2 2\na 1 2\n\nb 3 4\n"), @"v, line 3: an empty line stands where a word is expected");
    insta::assert_snapshot!(refused("3 2\nabcdef 1 2\nb 3 4\n"), @"v, line 4: the file ends after 2 words, its first line says 3 (download it again, or fix that line)");
    insta::assert_snapshot!(refused("1 2\na 1 2\nb 3 4\n"), @"v, line 3: a line follows the 1 words that the first line says there are");
    insta::assert_snapshot!(refused("99999999999 2\na 1 2\n"), @"v, line 1: announces 99999999999 words with vectors of 2 values, and 6 bytes follow");
    insta::assert_snapshot!(refused("18446744073709551615 4611686018427387904\na 1 2\n"), @"v, line 1: announces vectors of 4611686018427387904 values, more than 16777216");
    insta::assert_snapshot!(refused("-5 10\na 1 2\n"), @"v, line 1: announces -5 words with vectors of 10 values");
    insta::assert_snapshot!(refused("99999999999999999999 10\na 1 2\n"), @"v, line 1: announces 99999999999999999999 words with vectors of 10 values");
    insta::assert_snapshot!(refused("0 2\n"), @"v, line 1: announces 0 words with vectors of 2 values");
    insta::assert_snapshot!(refused("Hundreds of people have been forced\nto flee"), @r#"v: is not a file of word vectors: its first line does not end in numbers, "Hundreds of people have been forced" (to make vectors of the words of a text, use `unroll vectors train`)"#);
    insta::assert_snapshot!(refused("a 1 2\nb 3\n"), @r#"v, line 2: 1 numbers stand behind the word "b", the others have 2"#);
}

#[test]
fn damaged_binaries_are_refused_by_their_byte() {
    let whole = write_bytes(&small(), Format::Word2VecBinary).unwrap();
    assert!(parse(&whole).is_ok());
    let refused = |bytes: &[u8]| parse(bytes).unwrap_err().to_string();
    insta::assert_snapshot!(refused(&whole[..whole.len() - 3]), @r#"v, byte 41: the file ends within the vector of word 3 of 3, "中": 10 of its 12 bytes are there"#);
    let said = |words: &str| [format!("{words} 3\n").as_bytes(), &whole[4..]].concat();
    insta::assert_snapshot!(refused(&said("2")), @"v, byte 41: more bytes follow the 2 words that the first line says there are");
    insta::assert_snapshot!(refused(&said("4000000000000")), @"v, line 1: announces 4000000000000 words with vectors of 3 values, and 54 bytes follow");
    let mut nan = whole.clone();
    nan[8..12].copy_from_slice(&f32::NAN.to_le_bytes());
    insta::assert_snapshot!(refused(&nan), @r#"v, byte 4: "the": value 1 of the vector is NaN"#);
    let long = [b"1 3\n", &[b'x'; 70_000][..]].concat();
    let binary = ReadOptions { format: Some(Format::Word2VecBinary), ..ReadOptions::default() };
    let error = read_bytes(path(), &long, &binary).unwrap_err();
    insta::assert_snapshot!(error, @"v, byte 4: word 1 does not end within 65536 bytes: the file is damaged before");
    let error = read_bytes(path(), b"1 1\nabcdefgh", &binary).unwrap_err();
    insta::assert_snapshot!(error, @"v, byte 4: the file ends within word 1 of 1, before its vector");
    let error = read_bytes(path(), b"2 1\na 1234\nabcdefghijk 123", &binary).unwrap_err();
    insta::assert_snapshot!(error, @r#"v, byte 11: the file ends within the vector of word 2 of 2, "abcdefghijk": 3 of its 4 bytes are there"#);
    let cut = |length: usize| {
        assert!(read_bytes(path(), &whole[..length], &binary).is_err(), "{length} bytes of {}", whole.len());
    };
    (0..whole.len()).for_each(cut);
    insta::assert_snapshot!(refused(&whole[..whole.len() - 1]), @"v, byte 57: no line feed follows the vector of word 3, as it does those before");
    let mut within = whole.clone();
    within.insert(6, b'\n');
    within.truncate(within.len() - 1);
    insta::assert_snapshot!(refused(&within), @r#"v, byte 6: a line feed stands in word 1 of 3, "th\ne": the file is damaged here or before"#);
    let gensim = write_bytes(&small(), Format::GensimBinary).unwrap();
    insta::assert_snapshot!(refused(&[&gensim[..], b"\n"].concat()), @"v, byte 55: a line feed follows the vector of word 3, and none those before");
}

#[test]
fn damaged_matrices_and_lists_are_refused() {
    let (npy, words) = (write_bytes(&small(), Format::NumPy).unwrap(), words_of(&small(), Format::NumPy).unwrap());
    let refused = |format, bytes: &[u8], words: &[u8]| of_matrix(format, bytes, words).unwrap_err().to_string();
    insta::assert_snapshot!(refused(Format::NumPy, &npy[..npy.len() - 1], &words), @"v, byte 163: the file ends here, an array of the shape (3, 3) ends at byte 164 (download or write it again)");
    insta::assert_snapshot!(refused(Format::NumPy, &npy, b"a\nb\n"), @"w: has 2 words, the matrix 3 rows (name the list that belongs to the matrix)");
    insta::assert_snapshot!(refused(Format::NumPy, &npy, b"a\nb\nc\nd\n"), @"w, line 4: has more words than the matrix has rows, which are 3");
    insta::assert_snapshot!(refused(Format::NumPy, &npy, b"a\nb\na\n"), @r#"w, line 3: "a": the word stands here again; it was word 1 before (--keep-first takes the first of them)"#);
    insta::assert_snapshot!(refused(Format::NumPy, &npy, b"a\t1\nb\nc\t2\n"), @"w, line 2: has no tab and number behind the word, as the first line has");
    let mut nan = npy.clone();
    nan[128 + 16..128 + 20].copy_from_slice(&f32::NEG_INFINITY.to_le_bytes());
    insta::assert_snapshot!(refused(Format::NumPy, &nan, &words), @"v, byte 144: row 2, column 2 is -inf");
    let wide = String::from_utf8_lossy(&npy[10..128]).replace("<f4", "<f8");
    let wide = [&npy[..10], wide.as_bytes(), &npy[128..]].concat();
    insta::assert_snapshot!(refused(Format::NumPy, &wide, &words), @"v: has numbers of the kind `<f8`, word vectors are `<f4` (write it by numpy.save(file, numpy.ascontiguousarray(vectors, dtype='<f4')))");
    insta::assert_snapshot!(refused(Format::NumPy, &npy[..60], &words), @"v, byte 0: is cut short in its header (download or write it again)");
    insta::assert_snapshot!(refused(Format::NumPy, &[&npy[..], b"more"].concat(), &words), @"v, byte 164: more bytes follow the 3 rows (download or write it again)");
    let safe = write_bytes(&small(), Format::Safetensors).unwrap();
    insta::assert_snapshot!(refused(Format::Safetensors, &safe[..safe.len() - 1], &words), @"v, byte 107: is not a safetensors file: the tensors have 36 bytes, the file has 35 for them");
    let mut nan = safe.clone();
    let last = nan.len() - 4;
    nan[last..].copy_from_slice(&f32::NAN.to_le_bytes());
    insta::assert_snapshot!(refused(Format::Safetensors, &nan, &words), @"v, byte 104: element 8 of `vectors` is not finite");
    let mut brace = safe.clone();
    brace[9] = b'}';
    insta::assert_snapshot!(refused(Format::Safetensors, &brace, &words), @"v, byte 10: is not a safetensors file: trailing characters at line 1 column 3");
    insta::assert_snapshot!(refused(Format::Safetensors, &safe, b"a\nb"), @"w: has 2 words, the matrix 3 rows (name the list that belongs to the matrix)");
    let missing = read(Path::new("nowhere.bin"), &ReadOptions::default()).unwrap_err();
    assert_eq!(missing.exit_code(), 3);
}

#[test]
fn words_that_a_format_cannot_hold_are_refused_by_name() {
    for (word, format) in [
        ("New York", Format::Word2VecBinary),
        ("a\nb", Format::GensimBinary),
        ("a\nb", Format::Glove),
        (" ", Format::Word2VecText),
        ("route 66", Format::Word2VecText),
        ("a\tb", Format::Safetensors),
        ("a\tb", Format::Projector),
    ] {
        let vectors = WordVectors::from_rows(1, [("fine", [1.0]), (word, [2.0])]).unwrap();
        let refused = match format {
            Format::Safetensors | Format::Projector => words_of(&vectors, format).unwrap_err(),
            _ => write_bytes(&vectors, format).unwrap_err(),
        };
        assert_eq!(refused.exit_code(), 2);
        assert!(refused.to_string().starts_with("word 2 is "), "{refused}");
    }
}

#[test]
fn small_binaries_that_begin_like_text_are_known_by_their_end() {
    let kind = |bytes: &[u8]| detect::format(&mut Input::of_bytes(path(), bytes)).unwrap();
    // A value of the bytes `a`, line feed, `?`, `?`; of `1`, line feed, and so on; and two values that are dots and digits.
    for bytes in [&b"1 1\na a\n??"[..], b"1 1\na a\n??\n", b"1 1\na 1\n??\n", b"2 1\na 1\n..b 0\n21"] {
        assert_eq!(kind(bytes), Format::Word2VecBinary, "{}", String::from_utf8_lossy(bytes));
    }
    // What is text from beginning to end is text; so is what is damaged and no binary file either.
    for bytes in [&b"1 1\na 1234\n"[..], b"2 1\na 1\nb 2\n", b"2 2\na 1 2\nb 1", b"1 2\na 0.5 e\n"] {
        assert_eq!(kind(bytes), Format::Word2VecText, "{}", String::from_utf8_lossy(bytes));
    }
}

proptest! {
    /// Whatever words and bits a table has: it is refused when it is written, or comes back as it was.
    #[test]
    fn tables_come_back_from_every_format(
        dim in 1_usize..20,
        words in prop::collection::hash_set(prop::collection::vec(prop_oneof![
            4 => prop::sample::select(b"ab1. \xc3\xa9".to_vec()), 1 => any::<u8>(),
        ], 1..6), 1..9),
        seed in any::<u32>(),
    ) {
        let bits = |i: usize| seed.wrapping_add(i as u32).wrapping_mul(0x9e37_79b9);
        let value = |i: usize| Some(f32::from_bits(bits(i))).filter(|x| x.is_finite()).unwrap_or(i as f32);
        let rows = words.iter().enumerate().map(|(row, word)| {
            (word, (0..dim).map(|column| value(row * dim + column)).collect::<Vec<_>>())
        });
        let vectors = WordVectors::from_rows(dim, rows).unwrap();
        for format in READ {
            match there_and_back(&vectors, format) {
                Ok(read) => prop_assert_eq!(&read.vectors, &vectors, "{}", format),
                Err(error) => prop_assert_eq!(error.exit_code(), 2, "{}: {}", format, error),
            }
        }
    }

    #[test]
    fn no_bytes_panic(at in 0_usize..60, bytes in prop::collection::vec(any::<u8>(), 0..12), format in 0_usize..7) {
        let mut file = write_bytes(&small(), READ[format]).unwrap();
        let end = (at + bytes.len()).min(file.len());
        file.splice(at.min(end)..end, bytes);
        for format in [None, Some(READ[format])] {
            let read = read_bytes(path(), &file, &ReadOptions { format, ..ReadOptions::default() });
            if let Ok(read) = read {
                prop_assert!(!read.vectors.is_empty());
            }
        }
        let _read = of_matrix(READ[format], &file, b"a\nb\nc\n");
    }
}

/// The files of other programs, where the folder with them is at hand.
#[test]
fn published_files_are_read_without_loss_or_refused() {
    let Some(data) = std::env::var_os("UNROLL_DATA") else {
        println!("SKIPPED: UNROLL_DATA names no folder with files of other programs");
        return;
    };
    let folder = Path::new(&data).join("pretrained/word2vec-format");
    let open = |name: &str| read(&folder.join(name), &ReadOptions::default());
    for (name, format, words, dim, first) in [
        ("EN.1-10.cbow1_wind5_hs0_neg10_size300_smpl1e-05.txt", Format::Word2VecText, 20, 300, "one"),
        ("IT.1-10.cbow1_wind5_hs0_neg10_size300_smpl1e-05.txt", Format::Word2VecText, 20, 300, "uno"),
        ("euclidean_vectors.bin", Format::GensimBinary, 2747, 10, "the"),
        ("test_glove.txt", Format::Glove, 76, 50, "the"),
        ("word2vec_pre_kv_c", Format::Word2VecText, 1750, 10, "the"),
    ] {
        let Loaded { vectors, format: found, .. } = open(name).unwrap();
        assert_eq!((found, vectors.len(), vectors.dim()), (format, words, dim), "{name}");
        assert_eq!((vectors.find(first), &*vectors.text(0)), (Some(0), first), "{name}");
        for other in READ {
            assert_eq!(there_and_back(&vectors, other).unwrap().vectors, vectors, "{name} by {other}");
        }
        if format == Format::GensimBinary {
            let bytes = std::fs::read(folder.join(name)).unwrap();
            assert!(write_bytes(&vectors, format).unwrap() == bytes, "{name} is not written byte for byte");
        } else {
            // Each number that stands there, as f64, is nearest to the f32 that was read.
            let text = std::fs::read_to_string(folder.join(name)).unwrap();
            let lines = text.lines().skip(usize::from(format == Format::Word2VecText));
            for (row, line) in lines.enumerate() {
                let numbers = line.trim_end().split(' ').skip(1).map(|number| number.parse::<f64>().unwrap() as f32);
                assert!(numbers.eq(vectors.row(row).iter().copied()), "{name}, word {}", row + 1);
            }
        }
    }
    let refused = |name: &str| {
        let error = open(name).unwrap_err();
        assert_eq!(error.exit_code(), 3);
        error.to_string().replace(&folder.display().to_string(), "DIR")
    };
    insta::assert_snapshot!(refused("lee_background.cor"), @r#"DIR/lee_background.cor: is not a file of word vectors: its first line does not end in numbers, "Hundreds of people have been forced to vacate their homes in..." (to make vectors of the words of a text, use `unroll vectors train`)"#);
    insta::assert_snapshot!(refused("non_ascii_fasttext.bin"), @"DIR/non_ascii_fasttext.bin: is a model of fastText, with the vectors of parts of words (read the file of vectors beside it, which ends in .vec, or write it with `fasttext print-word-vectors`)");
}

/// Of a large file only the words of a text are wanted: the others take no memory.
#[test]
fn only_the_words_that_are_wanted_are_kept() {
    let all = WordVectors::from_rows(3, (0..2000).map(|i| (format!("w{i}"), [i as f32, 0.5, -1.0]))).unwrap();
    let only: HashSet<Vec<u8>> = ["w7", "w1999", "absent"].map(|word| word.as_bytes().to_vec()).into();
    let options = ReadOptions { only: Some(Arc::new(only)), ..ReadOptions::default() };
    let folder = tempfile::tempdir().unwrap();
    for (name, format) in [("v.txt", Format::Word2VecText), ("v.bin", Format::Word2VecBinary), ("v.npy", Format::NumPy)]
        .into_iter()
        .chain([("v.safetensors", Format::Safetensors), ("v.tsv", Format::Projector)])
    {
        let path = folder.path().join(name);
        write(&path, &all, format).unwrap();
        let kept = read(&path, &options).unwrap().vectors;
        assert_eq!((kept.len(), kept.find(b"w8")), (2, None), "{format}");
        assert_eq!(kept.row(kept.find(b"w1999").unwrap())[..3], [1999.0, 0.5, -1.0], "{format}");
    }
    assert_eq!((options.most(2000), options.most(2)), (3, 2));
}
