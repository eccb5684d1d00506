//! Where files are written to: what stands there keeps being what it is, and any path that the system takes is taken.

#![cfg(unix)]

use std::collections::BTreeMap;
use std::ffi::OsString;
use std::fs::{self, File};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStringExt;
use std::os::unix::fs::{FileTypeExt, MetadataExt, OpenOptionsExt, PermissionsExt, symlink};
use std::path::Path;
use std::process::{Command, Stdio};

use sonew_harness::arrays::{self, Array, Arrays};
use sonew_harness::lab::tune::TunedFile;

fn some() -> BTreeMap<String, Array> {
    BTreeMap::from([("a".to_owned(), Array::f32([2], vec![1.0, 2.0]))])
}

fn write(path: impl AsRef<Path>) {
    let path = path.as_ref();
    arrays::write(path, &some()).unwrap_or_else(|error| panic!("{error}"));
}

#[track_caller]
fn holds_arrays(path: impl AsRef<Path>) {
    let mut read = Arrays::read(path).unwrap();
    assert_eq!(read.take_f32("a").unwrap().1, [1.0, 2.0]);
}

fn names_in(folder: &Path) -> Vec<OsString> {
    let mut names: Vec<OsString> = fs::read_dir(folder)
        .unwrap()
        .map(|entry| entry.unwrap().file_name())
        .collect();
    names.sort();
    names
}

fn made(program: &str, arguments: &[&str], path: &Path) -> bool {
    let mut command = Command::new(program);
    command.arg(path).args(arguments).stderr(Stdio::null());
    command.status().unwrap().success()
}

#[test]
fn a_symbolic_link_stays_one_and_what_it_leads_to_is_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    fs::create_dir(path("far")).unwrap();
    fs::write(path("far/target"), "old").unwrap();
    // Relative to the folder of the link, which is itself reached through one.
    symlink("target", path("far/second")).unwrap();
    symlink("far", path("door")).unwrap();
    symlink("door/second", path("first")).unwrap();
    write(path("first"));
    holds_arrays(path("far/target"));
    for link in ["first", "door", "far/second"] {
        assert!(path(link).is_symlink(), "{link}");
    }
    assert_eq!(names_in(folder.path()), ["door", "far", "first"]);
    assert_eq!(names_in(&path("far")), ["second", "target"]);

    fs::write(path("far/target"), "old").unwrap();
    TunedFile::default().write(&path("first")).unwrap();
    assert!(path("first").is_symlink());
    assert!(TunedFile::read(&path("far/target")).is_ok());
}

#[test]
fn a_link_that_leads_to_nothing_makes_what_it_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    symlink("new", path("second")).unwrap();
    symlink(path("second"), path("first")).unwrap();
    write(path("first"));
    assert!(path("first").is_symlink() && path("second").is_symlink());
    holds_arrays(path("new"));
}

#[test]
fn links_in_a_circle_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (one, other) = (folder.path().join("one"), folder.path().join("other"));
    symlink(&one, &other).unwrap();
    symlink(&other, &one).unwrap();
    let error = arrays::write(&one, &some()).unwrap_err().to_string();
    assert!(error.contains("one") && error.contains("link"), "{error}");
    assert_eq!(names_in(folder.path()), ["one", "other"]);
}

#[test]
fn a_pipe_is_written_to_and_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let pipe = folder.path().join("pipe");
    assert!(made("mkfifo", &[], &pipe));
    // Does not wait for somebody who writes.
    let mut options = File::options();
    let mut reader = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open(&pipe)
        .unwrap();
    write(&pipe);
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());
    let mut came = Vec::new();
    reader.read_to_end(&mut came).unwrap();
    let copy = folder.path().join("copy");
    fs::write(&copy, came).unwrap();
    holds_arrays(copy);
}

#[test]
fn a_device_is_written_to_and_stays_one() {
    let folder = tempfile::tempdir().unwrap();
    let device = folder.path().join("null");
    let node = made("mknod", &["c", "1", "3"], &device);
    if node {
        write(&device);
    }
    // Where only root may make a node, the one there is: as an open file, whose folder takes no other in its place.
    let open = File::options().write(true).open("/dev/null").unwrap();
    write(format!("/proc/self/fd/{}", open.as_raw_fd()));
    let device = if node {
        &device
    } else {
        Path::new("/dev/null")
    };
    let kind = fs::symlink_metadata(device).unwrap().file_type();
    assert!(kind.is_char_device(), "{kind:?}");
}

#[test]
fn names_as_long_as_the_system_takes_and_of_any_bytes_are_taken() {
    let folder = tempfile::tempdir().unwrap();
    let no_text = OsString::from_vec(b"not \xff text".to_vec());
    for name in [OsString::from("n".repeat(255)), no_text] {
        let path = folder.path().join(name);
        for _ in 0..2 {
            write(&path);
            holds_arrays(&path);
        }
    }
    let inner = folder.path().join("inner");
    fs::create_dir(&inner).unwrap();
    write(inner.join("../up"));
    holds_arrays(folder.path().join("up"));
    assert_eq!(names_in(folder.path()).len(), 4);
}

#[test]
fn a_path_that_has_no_room_for_another_name_is_written_in_place() {
    let folder = tempfile::tempdir().unwrap();
    let mut path = folder.path().to_path_buf();
    // The longest path is 4095 bytes; it ends in a name of one.
    loop {
        let room = 4093 - path.as_os_str().len() - 1;
        path.push("d".repeat(if room > 255 { 200 } else { room }));
        if room <= 255 {
            break;
        }
    }
    fs::create_dir_all(&path).unwrap();
    path.push("f");
    for _ in 0..2 {
        write(&path);
        holds_arrays(&path);
    }
}

#[test]
fn a_folder_is_no_place_for_content_and_nothing_is_left_in_it() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path();
    for place in [
        path.to_path_buf(),
        path.join(".."),
        path.join("."),
        "/".into(),
    ] {
        let error = arrays::write(&place, &some()).unwrap_err().to_string();
        assert!(error.contains("irectory"), "{error}");
    }
    for nowhere in ["new/", "no/such", ""] {
        let place = if nowhere.is_empty() {
            "".into()
        } else {
            path.join(nowhere)
        };
        assert!(arrays::write(&place, &some()).is_err(), "{nowhere}");
    }
    assert!(names_in(path).is_empty(), "{:?}", names_in(path));
}

#[test]
fn a_file_that_is_replaced_keeps_its_mode_and_its_readers_their_content() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    for mode in [0o600, 0o640, 0o666, 0o755] {
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        let old = fs::metadata(&path).unwrap();
        write(&path);
        let new = fs::metadata(&path).unwrap();
        assert_eq!(new.mode(), old.mode());
        assert_eq!((new.uid(), new.gid()), (old.uid(), old.gid()));
    }
    fs::write(&path, "old").unwrap();
    let mut reader = File::open(&path).unwrap();
    write(&path);
    let mut text = String::new();
    reader.read_to_string(&mut text).unwrap();
    assert_eq!(text, "old");
    assert_eq!(names_in(folder.path()), ["file"]);
}

#[test]
fn a_file_that_may_not_be_written_is_not_replaced() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("file");
    fs::write(&path, "old").unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o444)).unwrap();
    // Root may write whatever the mode is.
    let allowed = File::options().write(true).open(&path).is_ok();
    assert_eq!(arrays::write(&path, &some()).is_ok(), allowed);
    assert_eq!(fs::read(&path).unwrap() == b"old", !allowed);
}

/// The root of the 1×1 matrix 16, written by the program to one of its own streams.
fn root_to(path: impl AsRef<Path>, stdout: Stdio) -> Vec<u8> {
    let folder = tempfile::tempdir().unwrap();
    let input = folder.path().join("s");
    let s = BTreeMap::from([("s".to_owned(), Array::f32([1, 1], vec![16.0]))]);
    arrays::write(&input, &s).unwrap();
    let done = Command::new(env!("CARGO_BIN_EXE_sonew"))
        .args(["kernel", "inverse-root", "--in"])
        .arg(&input)
        .arg("--out")
        .arg(path.as_ref())
        .stdout(stdout)
        .output()
        .unwrap();
    assert!(done.status.success(), "{done:?}");
    done.stdout
}

#[track_caller]
fn holds_the_root(bytes: &[u8]) {
    let file = tempfile::NamedTempFile::new().unwrap();
    fs::write(file.path(), bytes).unwrap();
    let x = Arrays::read(file.path()).unwrap().take_f32("x").unwrap().1;
    assert!((x[0] - 0.5).abs() < 1e-6, "{x:?}");
}

#[test]
fn standard_output_takes_a_file_whatever_it_leads_to() {
    let folder = tempfile::tempdir().unwrap();
    // As /dev/stdout is, which a wrong program that is run by root would replace for everybody.
    let own = folder.path().join("stdout");
    symlink("/proc/self/fd/1", &own).unwrap();
    for name in [
        own.as_path(),
        Path::new("/proc/self/fd/1"),
        Path::new("/dev/fd/1"),
    ] {
        holds_the_root(&root_to(name, Stdio::piped()));
    }
    assert!(own.is_symlink());
    let path = folder.path().join("out");
    fs::write(&path, "kept").unwrap();
    let appended = File::options().append(true).open(&path).unwrap();
    root_to(&own, appended.into());
    let found = fs::read(&path).unwrap();
    assert!(found.starts_with(b"kept"));
    holds_the_root(&found[4..]);
    // A file that has lost its name is still a file.
    let mut nameless = tempfile::tempfile().unwrap();
    root_to(&own, nameless.try_clone().unwrap().into());
    let mut found = Vec::new();
    std::io::Seek::rewind(&mut nameless).unwrap();
    nameless.read_to_end(&mut found).unwrap();
    holds_the_root(&found);
}
