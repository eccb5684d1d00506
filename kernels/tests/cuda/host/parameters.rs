//! The parameters of a kernel's text, and buffers with an end in the place of pointers.

use sonew_runtime::source::Source;

/// A buffer as the text declares it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Parameter {
    /// Whether the text promises that nobody writes it while the kernel runs.
    pub constant: bool,
    /// Whether the text may write it.
    pub writable: bool,
}

/// The text with `host::Buffer<T>` in the place of `T*` among the parameters, and what it said about each.
pub fn guarded(kernel: &Source) -> Result<(String, Vec<Parameter>), String> {
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
