//! Corpus files that are damaged, cut, forged or changed while they are open.

use super::*;

/// A small corpus file with every kind of section.
fn small_file(folder: &Folder) -> Vec<u8> {
    let path = folder.write("small.txt", "to be or not to be\n".repeat(3));
    let sources = [Source::Path(path)];
    let (output, options) = (folder.path("small"), TextOptions::new(Level::Word));
    build(Build {
        sources: &sources,
        output: &output,
        encoding: Encoding::New(&options),
        errors: None,
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
