//! Archives and lists of a release: the same files make the same bytes.

use std::io::Read;

use flate2::read::GzDecoder;
use xtask::archive::{File, gzip, tar};
use xtask::dist::sums;
use xtask::reproduce::differences;

/// A moment in 2025, in seconds.
const TIME: u64 = 1_750_000_000;

fn files() -> Vec<File> {
    vec![
        File::new("folder/man/a.1", "page"),
        File::program("folder/program", "bytes"),
        File::new("folder/LICENSE", "text"),
    ]
}

#[test]
fn the_order_of_files_changes_no_byte() {
    let mut turned = files();
    turned.reverse();
    let packed = tar(&files(), TIME).unwrap();
    assert_eq!(packed, tar(&turned, TIME).unwrap());
    assert_eq!(gzip(&packed).unwrap(), gzip(&packed).unwrap());
    assert_ne!(packed, tar(&files(), TIME + 1).unwrap());
    assert_ne!(packed, tar(&files()[1..], TIME).unwrap());
}

#[test]
fn an_archive_has_no_owner_one_time_and_folders_before_their_files() {
    let packed = gzip(&tar(&files(), TIME).unwrap()).unwrap();
    let mut plain = Vec::new();
    GzDecoder::new(packed.as_slice()).read_to_end(&mut plain).unwrap();
    let mut archive = tar::Archive::new(plain.as_slice());
    let mut seen = Vec::new();
    for entry in archive.entries().unwrap() {
        let mut entry = entry.unwrap();
        let header = entry.header().clone();
        assert_eq!((header.uid().unwrap(), header.gid().unwrap(), header.mtime().unwrap()), (0, 0, TIME));
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        let path = entry.path().unwrap().display().to_string();
        seen.push((path, header.mode().unwrap(), text));
    }
    let told: Vec<(&str, u32, &str)> =
        seen.iter().map(|(path, mode, text)| (path.as_str(), *mode, text.as_str())).collect();
    assert_eq!(
        told,
        [
            ("folder", 0o755, ""),
            ("folder/LICENSE", 0o644, "text"),
            ("folder/man", 0o755, ""),
            ("folder/man/a.1", 0o644, "page"),
            ("folder/program", 0o755, "bytes"),
        ]
    );
}

#[test]
fn digests_are_listed_as_sha256sum_reads_them() {
    let listed = sums(&[File::new("a", "abc"), File::new("b", "")]);
    let abc = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
    let nothing = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(listed, format!("{abc}  a\n{nothing}  b\n"));
}

#[test]
fn two_releases_that_differ_are_told_apart() {
    let one = files();
    assert_eq!(differences(&one, &files()), [""; 0]);
    let mut other = files();
    other[1].bytes = b"bites".to_vec();
    other[2].bytes = b"text and more".to_vec();
    other.remove(0);
    other.push(File::new("folder/extra", ""));
    assert_eq!(
        differences(&one, &other),
        [
            "folder/man/a.1 is made once only",
            "folder/program differs from byte 1 on",
            "folder/LICENSE differs from byte 4 on",
            "folder/extra is made once only",
        ]
    );
}
