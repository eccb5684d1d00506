//! Files that something has happened to. Ten thousand of each kind are read, the same ones each time: the reader comes to an
//! end without a panic, takes memory in proportion to the file, and says where a file is wrong that it refuses.

mod arrays;
mod damage;
mod idx;
mod memory;
mod tuned;

use std::fs::File;
use std::io::{Seek, Write};

/// How many files of each kind.
const CASES: u64 = 10_000;

/// Puts other content into a file. Emptying it first would have some file systems write it out each time.
fn refill(mut file: &File, content: &[u8]) {
    file.rewind().unwrap();
    file.write_all(content).unwrap();
    file.set_len(content.len() as u64).unwrap();
}
