//! Indentation, of which `CubeCL`'s texts have little.

const STEP: &str = "    ";

/// The lines of `text`, each indented by the brackets open before it, no two empty ones in a row.
pub(crate) fn indented(text: &str) -> String {
    let mut result = String::with_capacity(text.len());
    let mut depth = 0usize;
    for line in text.lines().map(str::trim) {
        if line.is_empty() {
            if !result.ends_with("\n\n") {
                result.push('\n');
            }
            continue;
        }
        // A comment's brackets open nothing, and a preprocessor's line belongs to no block.
        let code = line.split("//").next().unwrap_or_default();
        let outdent = code.chars().take_while(|&it| closes(it)).count();
        if !line.starts_with('#') {
            result.push_str(&STEP.repeat(depth.saturating_sub(outdent)));
        }
        result.push_str(line);
        result.push('\n');
        for character in code.chars() {
            if "{([".contains(character) {
                depth += 1;
            } else if closes(character) {
                depth = depth.saturating_sub(1);
            }
        }
    }
    result
}

fn closes(character: char) -> bool {
    "})]".contains(character)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn blocks_are_indented_and_empty_lines_are_single() {
        let text = "#include <a>\n\n\nvoid f(\nint a\n) {\nif (a) {\n// why {\n} else {\nx = int4{\n1, 2};\n}\n}";
        let expected = "#include <a>\n\nvoid f(\n    int a\n) {\n    if (a) {\n        // why {\n    } else {\n        x = int4{\n            1, 2};\n    }\n}\n";
        assert_eq!(indented(text), expected);
    }
}
