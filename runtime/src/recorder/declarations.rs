//! A fixed order for the declarations of mutable variables, which `CubeCL` 0.10 groups by type in the
//! order of a hash.

/// The text with each run of declarations without a value sorted by the variables' numbers.
pub(crate) fn sorted(text: &str) -> String {
    let mut lines: Vec<&str> = text.split('\n').collect();
    for run in lines.chunk_by_mut(|a, b| number(a).is_some() && number(b).is_some()) {
        run.sort_by_key(|line| number(line));
    }
    lines.join("\n")
}

/// The 3 of `float l_mut_3;` in CUDA C++ or `var l_mut_3: f32;` in WGSL.
fn number(line: &str) -> Option<u32> {
    let statement = line.trim().strip_suffix(';')?;
    if statement.contains('=') {
        return None;
    }
    let name = match statement.strip_prefix("var ") {
        Some(declaration) => declaration.split_once(':')?.0,
        None => statement.split_once(' ')?.1,
    };
    name.strip_prefix("l_mut_")?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn declarations_come_by_number_and_nothing_else_moves() {
        let cuda = "a;\nfloat l_mut_10;\nuint32_2 l_mut_2;\nl_mut_2 = l_1;\nbool l_mut_3;\n}";
        let expected = "a;\nuint32_2 l_mut_2;\nfloat l_mut_10;\nl_mut_2 = l_1;\nbool l_mut_3;\n}";
        assert_eq!(sorted(cuda), expected);
        let wgsl = "var l_mut_4: vec2<f32>;\nvar l_mut_0: u32;\nvar l_mut_1: u32 = 2;\n";
        let expected = "var l_mut_0: u32;\nvar l_mut_4: vec2<f32>;\nvar l_mut_1: u32 = 2;\n";
        assert_eq!(sorted(wgsl), expected);
    }
}
