//! What the runs of a command are called.

/// Bytes of a folder's name at most, before a precision, a number or a time is added; file systems take 255.
const LONGEST: usize = 64;

/// The name in tables: the optimizer and its own settings, as given.
pub(super) fn label(text: &str) -> String {
    let parts: Vec<&str> = text.split(':').flat_map(str::split_whitespace).collect();
    parts.join(" ")
}

/// The name of the folder: as many of the label's settings as fit, from the first on.
pub(super) fn folder(label: &str) -> String {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "=.+-_".contains(c);
    let mut name = String::new();
    for word in label.split(' ') {
        let word: String = word
            .chars()
            .map(|c| if allowed(c) { c } else { '-' })
            .collect();
        if name.is_empty() {
            name.push_str(&word[..word.len().min(LONGEST)]);
        } else if name.len() + 1 + word.len() <= LONGEST {
            name.push(' ');
            name.push_str(&word);
        } else {
            break;
        }
    }
    name
}

/// `name`, numbered if it is taken.
pub(super) fn unique(name: String, taken: impl Fn(&str) -> bool) -> String {
    if !taken(&name) {
        return name;
    }
    (2..)
        .map(|k| format!("{name} {k}"))
        .find(|numbered| !taken(numbered))
        .unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_short_list_of_settings_is_the_name_and_of_a_long_one_only_its_beginning() {
        assert_eq!(label(" adam : lr=1e-4"), "adam lr=1e-4");
        assert_eq!(folder("adam lr=1e-4"), "adam lr=1e-4");
        let long = format!("shampoo{}", " root-interval=1".repeat(30));
        assert_eq!(
            folder(&long),
            "shampoo root-interval=1 root-interval=1 root-interval=1"
        );
        let one = format!("band-{}4-sonew", "0".repeat(300));
        assert_eq!(folder(&one).len(), LONGEST);
        assert_eq!(folder("adam a/b=.."), "adam a-b=..");
    }

    #[test]
    fn a_name_that_is_taken_gets_the_next_number() {
        let taken = |name: &str| ["adam", "adam 2"].contains(&name);
        assert_eq!(unique("adam".into(), taken), "adam 3");
        assert_eq!(unique("sgd".into(), taken), "sgd");
    }
}
