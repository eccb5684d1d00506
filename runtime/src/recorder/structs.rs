//! A fixed order for the vector types of a CUDA text, which `CubeCL` 0.10 defines in that of a hash.

const START: &str = "\nstruct __align__(";
const END: &str = "\n};";

/// The text with its aligned structs sorted. They consist of scalars, so any order is valid.
pub(crate) fn sorted(text: &str) -> String {
    let Some(first) = text.find(START) else {
        return text.to_owned();
    };
    let (before, mut rest) = text.split_at(first);
    let mut structs = Vec::new();
    while rest.starts_with(START) {
        let Some(end) = rest.find(END) else { break };
        let (definition, after) = rest.split_at(end + END.len());
        structs.push(definition);
        rest = after;
    }
    structs.sort_unstable_by_key(|definition| key(definition));
    format!("{before}{}{rest}", structs.concat())
}

/// The struct's name, its number last so that widths ascend.
fn key(definition: &str) -> (&str, u32, &str) {
    let head = definition.split('{').next().unwrap_or_default();
    let name = head.split_whitespace().next_back().unwrap_or_default();
    let (element, width) = name.rsplit_once('_').unwrap_or((name, ""));
    (element, width.parse().unwrap_or_default(), definition)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn structs_come_by_element_then_width_and_nothing_else_moves() {
        let define = |name: &str| format!("{START}16) {name} {{\n    float i_0;{END}");
        let parts = [define("float_16"), define("__half_2"), define("float_4")];
        let rest = "\nstruct info_st {\n    \n};\n\nvoid f() {}";
        let text = format!("typedef int x;\n{}{rest}", parts.concat());
        let expected = format!("typedef int x;\n{}{}{}{rest}", parts[1], parts[2], parts[0]);
        assert_eq!(sorted(&text), expected);
        assert_eq!(sorted(rest), rest);
    }
}
