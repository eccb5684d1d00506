//! A fixed order and fixed places for the shared memories of a CUDA text, which `CubeCL` 0.10 declares
//! and places in the order of a hash.

/// A shared memory as it is declared, in two lines:
/// `// Shared array size: 64, 256 bytes` and
/// `float *shared_memory_3 = reinterpret_cast<float*>(&dynamic_shared_mem[0]);`.
struct Memory<'a> {
    comment: &'a str,
    before: &'a str,
    after: &'a str,
    number: u32,
    bytes: usize,
    offset: usize,
}

const ARRAY: &str = "dynamic_shared_mem[";

/// The text with its shared memories sorted by number, and those that are alike placed so.
pub(crate) fn settled(text: &str) -> String {
    let lines: Vec<&str> = text.split('\n').collect();
    let first = lines.iter().position(|it| it.starts_with("// Shared "));
    let Some((before, rest)) = first.and_then(|at| lines.split_at_checked(at)) else {
        return text.to_owned();
    };
    let mut memories: Vec<Memory> = rest.chunks_exact(2).map_while(parse).collect();
    let after = &rest[2 * memories.len()..];
    memories.sort_by_key(|memory| memory.number);
    if let Some(alignment) = before.last().and_then(|line| alignment(line)) {
        place(&mut memories, alignment);
    }
    let declare = |it: &Memory| format!("{}\n{}{}{}", it.comment, it.before, it.offset, it.after);
    let mut parts: Vec<String> = before.iter().copied().map(str::to_owned).collect();
    parts.extend(memories.iter().map(declare));
    parts.extend(after.iter().copied().map(str::to_owned));
    parts.join("\n")
}

/// The alignment of the memory of which the others are parts: the largest of theirs.
fn alignment(line: &str) -> Option<usize> {
    let (_, rest) = line.split_once("__align__(")?;
    rest.split_once(')')?.0.parse().ok()
}

fn parse<'a>(lines: &[&'a str]) -> Option<Memory<'a>> {
    let &[comment, declaration] = lines else {
        return None;
    };
    let sizes = comment.strip_prefix("// Shared ")?.strip_suffix(" bytes")?;
    let (_, name) = declaration.split_once("shared_memory_")?;
    let (before, offset) = declaration.split_at(declaration.find(ARRAY)? + ARRAY.len());
    let (offset, after) = offset.split_at(offset.find(']')?);
    Some(Memory {
        comment,
        before,
        after,
        number: name.split_once(' ')?.0.parse().ok()?,
        bytes: sizes.rsplit_once(' ')?.1.parse().ok()?,
        offset: offset.parse().ok()?,
    })
}

/// Among memories of one size that do not overlap, lets the offsets ascend with the numbers.
///
/// Any of them may take another's place if every other memory overlaps all of their places, so that
/// it is never in use at the same time as any of them, or none.
fn place(memories: &mut [Memory<'_>], alignment: usize) {
    let mut sizes: Vec<usize> = memories.iter().map(|it| it.bytes).collect();
    sizes.sort_unstable();
    sizes.dedup();
    for size in sizes {
        let alike = |it: &Memory| it.bytes == size;
        let mut places: Vec<usize> = memories
            .iter()
            .filter(|it| alike(it))
            .map(|it| it.offset)
            .collect();
        places.sort_unstable();
        let apart = places.windows(2).all(|it| it[0] + size <= it[1]);
        let aligned = places.iter().all(|place| place % alignment == 0);
        let exchangeable = memories.iter().filter(|it| !alike(it)).all(|other| {
            let overlaps = |&&place: &&usize| {
                place < other.offset + other.bytes && other.offset < place + size
            };
            let count = places.iter().filter(overlaps).count();
            count == 0 || count == places.len()
        });
        if apart && aligned && exchangeable {
            for (memory, place) in memories.iter_mut().filter(|it| alike(it)).zip(places) {
                memory.offset = place;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A text that declares memories of (number, bytes, offset).
    fn text(memories: &[(u32, usize, usize)]) -> String {
        let mut text =
            "{\nextern __shared__ __align__(16) uint8 dynamic_shared_mem[];\n".to_owned();
        for (number, bytes, offset) in memories {
            text += &format!(
                "// Shared array size: 2, {bytes} bytes\nfloat *shared_memory_{number} = reinterpret_cast<float*>(&dynamic_shared_mem[{offset}]);\n"
            );
        }
        text + "a;\n}"
    }

    #[test]
    fn like_memories_are_sorted_and_placed_by_number() {
        let expected = text(&[(3, 64, 0), (7, 64, 64), (9, 32, 128)]);
        assert_eq!(
            settled(&text(&[(9, 32, 128), (7, 64, 0), (3, 64, 64)])),
            expected
        );
        assert_eq!(settled(&expected), expected);
        assert_eq!(settled("a;\nb;"), "a;\nb;");
        // One that overlaps both is in use at another time than either.
        let expected = text(&[(3, 64, 0), (7, 64, 64), (9, 256, 0)]);
        assert_eq!(
            settled(&text(&[(7, 64, 0), (9, 256, 0), (3, 64, 64)])),
            expected
        );
    }

    #[test]
    fn places_are_kept_where_an_exchange_may_be_wrong() {
        for memories in [
            // 9 overlaps only the place of 7.
            [(3, 64, 64), (7, 64, 0), (9, 32, 0)],
            // 3 and 9 lie in the same place.
            [(3, 64, 64), (7, 64, 0), (9, 64, 64)],
            // The place of 3 is not aligned.
            [(3, 64, 72), (7, 64, 0), (9, 32, 200)],
        ] {
            assert_eq!(settled(&text(&memories)), text(&memories));
        }
    }
}
