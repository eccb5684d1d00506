//! The parameters of a kernel's text, and buffers with an end in the place of pointers.

use crate::recorder::Source;

/// A buffer as the text declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Parameter {
    /// Whether the text promises that nobody writes it while the kernel runs.
    pub constant: bool,
    /// Whether the text may write it.
    pub writable: bool,
}

/// The text with `host::Buffer<T>` in the place of `T*` among the parameters, and what it said about each.
pub(super) fn guarded(kernel: &Source) -> Result<(String, Vec<Parameter>), String> {
    let strange = || format!("the parameters of {} are not as expected", kernel.entry);
    let head = format!("{} (\n", kernel.entry);
    let (before, rest) = kernel.text.split_once(&head).ok_or_else(strange)?;
    let (list, after) = rest.split_once("\n)").ok_or_else(strange)?;
    let mut found = Vec::new();
    let parameters: Vec<String> = list
        .trim()
        .split(", ")
        .map(|parameter| match parameter.rsplit_once("* ") {
            None => parameter.to_owned(),
            Some((value, name)) => {
                let bare = name.trim_start_matches("__restrict__ ");
                let read_only = value.starts_with("const ");
                found.push(Parameter {
                    constant: read_only && bare != name,
                    writable: !read_only,
                });
                format!("host::Buffer<{value}> {bare}")
            }
        })
        .collect();
    let text = format!("{before}{head}{}\n){after}", parameters.join(", "));
    Ok((text, found))
}

/// The text with `host::Shared<T>` in the place of the pointers into a cube's shared memory.
pub(super) fn with_traced_shared_memory(text: &str) -> String {
    let line = |line: &str| -> Option<String> {
        let (value, rest) = line.trim_start().split_once(" *shared_memory_")?;
        let (number, start) = rest.split_once(" = ")?;
        let offset = start.rsplit_once('[')?.1.split_once(']')?.0;
        let start = start.trim_end_matches(';');
        Some(format!(
            "host::Shared<{value}> shared_memory_{number}{{{start}, {offset}}};"
        ))
    };
    let mut out = String::with_capacity(text.len());
    for plain in text.lines() {
        out.push_str(&line(plain).unwrap_or_else(|| plain.to_owned()));
        out.push('\n');
    }
    out
}
