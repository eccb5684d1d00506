//! The command line.

/// The words of the command line without the name of the program. What is no text is written with replacement characters.
pub fn words_of_this_process() -> Vec<String> {
    let words = std::env::args_os().skip(1);
    words
        .map(|word| word.to_string_lossy().into_owned())
        .collect()
}
