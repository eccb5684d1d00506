//! First weights, batch orders and the array files they travel in.

mod arrays;
mod orders;
mod weights;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use sonew_harness::arrays::{Array, write};

fn file_with(folder: &Path, named: &[(&str, Array)]) -> PathBuf {
    let path = folder.join("arrays.safetensors");
    let named: BTreeMap<String, Array> = named
        .iter()
        .map(|(name, array)| ((*name).into(), array.clone()))
        .collect();
    write(&path, &named).unwrap();
    path
}

/// The bytes of a safetensors file: name, element type, shape and data of each array.
fn stored(arrays: &[(&str, &str, &str, &[u8])]) -> Vec<u8> {
    let (mut entries, mut data) = (Vec::new(), Vec::new());
    for (name, dtype, shape, bytes) in arrays {
        let begin = data.len();
        data.extend_from_slice(bytes);
        let end = data.len();
        entries.push(format!(
            r#""{name}":{{"dtype":"{dtype}","shape":{shape},"data_offsets":[{begin},{end}]}}"#
        ));
    }
    let header = format!("{{{}}}", entries.join(","));
    [
        &(header.len() as u64).to_le_bytes()[..],
        header.as_bytes(),
        &data,
    ]
    .concat()
}

fn bytes<T: Copy, const N: usize>(values: &[T], of: fn(T) -> [u8; N]) -> Vec<u8> {
    values.iter().flat_map(|&value| of(value)).collect()
}
