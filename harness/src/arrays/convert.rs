//! The values of an array, from the type they are stored in to the one that is asked for.

use std::fmt::Display;

use half::{bf16, f16};

/// Why stored values are not those asked for.
#[derive(Debug, PartialEq)]
pub(super) enum Refusal {
    /// They are of another kind.
    Kind,
    /// One of them, flat from 0, does not fit.
    Value { position: usize, value: String },
}

/// Floating-point values as f32: those of 16 bits exactly, those of 64 rounded to nearest.
///
/// What rounding would turn from a number into infinity or zero is refused: the file means something else by it. Infinities
/// and NaN stay what they are.
pub(super) fn to_f32(dtype: &str, bytes: &[u8]) -> Result<Vec<f32>, Refusal> {
    Ok(match dtype {
        "F32" => words(bytes).map(f32::from_le_bytes).collect(),
        "F16" => words(bytes)
            .map(|word| f16::from_le_bytes(word).to_f32())
            .collect(),
        "BF16" => words(bytes)
            .map(|word| bf16::from_le_bytes(word).to_f32())
            .collect(),
        "F64" => return each(bytes, f64::from_le_bytes, narrowed),
        _ => return Err(Refusal::Kind),
    })
}

/// Integers of any width as u32.
pub(super) fn to_u32(dtype: &str, bytes: &[u8]) -> Result<Vec<u32>, Refusal> {
    match dtype {
        "U8" => each(bytes, u8::from_le_bytes, |value| Some(value.into())),
        "U16" => each(bytes, u16::from_le_bytes, |value| Some(value.into())),
        "U32" => each(bytes, u32::from_le_bytes, Some),
        "U64" => each(bytes, u64::from_le_bytes, |value| value.try_into().ok()),
        "I8" => each(bytes, i8::from_le_bytes, |value| value.try_into().ok()),
        "I16" => each(bytes, i16::from_le_bytes, |value| value.try_into().ok()),
        "I32" => each(bytes, i32::from_le_bytes, |value| value.try_into().ok()),
        "I64" => each(bytes, i64::from_le_bytes, |value| value.try_into().ok()),
        _ => Err(Refusal::Kind),
    }
}

fn narrowed(value: f64) -> Option<f32> {
    let near = value as f32;
    let kept = near.is_finite() == value.is_finite() && (near == 0.0) == (value == 0.0);
    kept.then_some(near)
}

fn each<const N: usize, T: Copy + Display, U>(
    bytes: &[u8],
    read: impl Fn([u8; N]) -> T,
    convert: impl Fn(T) -> Option<U>,
) -> Result<Vec<U>, Refusal> {
    let mut values = Vec::with_capacity(bytes.len() / N);
    for (position, word) in words(bytes).enumerate() {
        let value = read(word);
        let converted = convert(value).ok_or_else(|| Refusal::Value {
            position,
            value: value.to_string(),
        })?;
        values.push(converted);
    }
    Ok(values)
}

/// The format is little-endian whatever the machine is.
fn words<const N: usize>(bytes: &[u8]) -> impl ExactSizeIterator<Item = [u8; N]> {
    bytes.as_chunks().0.iter().copied()
}
