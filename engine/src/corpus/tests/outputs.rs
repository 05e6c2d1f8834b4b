//! What stands already where a file is to be written.

use std::os::unix::fs::symlink;
use std::thread;

use super::*;

fn fifo(folder: &Folder, name: &str) -> PathBuf {
    let path = folder.path(name);
    let mode = rustix::fs::Mode::RUSR | rustix::fs::Mode::WUSR;
    rustix::fs::mknodat(rustix::fs::CWD, &path, rustix::fs::FileType::Fifo, mode, 0).expect("a pipe");
    path
}

#[test]
fn a_symbolic_link_stays_and_its_target_is_replaced_whole() {
    let folder = Folder::new();
    let (target, far) = (folder.write("target", "old"), tempfile::tempdir().expect("a folder"));
    let (near, link) = (folder.path("near"), far.path().join("link"));
    symlink("target", &near).expect("a link");
    symlink(&near, &link).expect("a link");
    write_file(&link, b"new").expect("written");
    assert_eq!(fs::read(&target).expect("read"), b"new");
    assert!(link.is_symlink() && near.is_symlink() && !target.is_symlink());
    // The file behind a link need not be there.
    fs::remove_file(&target).expect("removed");
    write_file(&link, b"newer").expect("written");
    assert_eq!(
        (fs::read(&target).expect("read"), folder.names()),
        (b"newer".to_vec(), vec!["near".into(), "target".into()])
    );
    let (one, two) = (folder.path("one"), folder.path("two"));
    symlink(&one, &two).expect("a link");
    symlink(&two, &one).expect("a link");
    assert_eq!(write_file(&one, b"round").expect_err("round and round").exit_code(), 5);
    let error = write_file(folder.0.path(), b"a folder").expect_err("a folder");
    assert!(error.to_string().contains("it is a folder"), "{error}");
}

#[test]
fn a_pipe_stays_and_what_is_written_goes_through_it() {
    let folder = Folder::new();
    let (text, pipe) = (folder.write("text.txt", "to be or not to be"), fifo(&folder, "pipe"));
    let (options, whole) = (TextOptions::new(Level::Word), folder.path("whole"));
    build_path(&text, &whole, &options, 1).expect("built");
    let reader = thread::spawn({
        let pipe = pipe.clone();
        move || fs::read(pipe).expect("read")
    });
    let report = build_path(&text, &pipe, &options, 1).expect("built");
    let passed = reader.join().expect("read");
    assert_eq!(passed, fs::read(&whole).expect("read"));
    assert_eq!(report.file_bytes, passed.len() as u64);
    assert_eq!(folder.names(), ["pipe", "text.txt", "whole"]);
    assert!(!fs::metadata(&pipe).expect("still there").is_file());
}

#[test]
fn what_is_read_is_not_written_over() {
    let folder = Folder::new();
    let text = folder.write("text.txt", "to be or not to be");
    let (link, hard) = (folder.path("link"), folder.path("hard.tokens"));
    symlink(&text, &link).expect("a link");
    fs::hard_link(&text, &hard).expect("a link");
    for output in [&text, &link, &hard] {
        for source in [&text, folder.0.path()] {
            let error = build_path(source, output, &TextOptions::new(Level::Char), 1).expect_err("itself");
            assert_eq!(error.exit_code(), 2, "{error}");
            assert!(error.to_string().contains("text.txt, which is read"), "{error}");
        }
    }
    assert_eq!(fs::read(&text).expect("still there"), b"to be or not to be");
    build_path(&text, &folder.write("other", "gone"), &TextOptions::new(Level::Char), 1).expect("another");
}
