//! An array of a state: values in the format that they are held in.

use sonew_kernels::precision::Format;

/// Values of one tensor, or of one factor.
#[derive(Clone, Debug, PartialEq)]
pub struct StateArray {
    shape: Vec<usize>,
    format: Format,
    /// Widened: every number of a format is one of f32.
    values: Vec<f32>,
}

impl StateArray {
    /// An array, or `None` if there are not as many values as the shape says. The values are numbers of the format.
    pub fn new(shape: Vec<usize>, format: Format, values: Vec<f32>) -> Option<Self> {
        let mut lengths = shape.iter();
        let count = lengths.try_fold(1usize, |n, &length| n.checked_mul(length));
        (count == Some(values.len())).then_some(Self {
            shape,
            format,
            values,
        })
    }

    /// The lengths of its axes, row-major.
    pub fn shape(&self) -> &[usize] {
        &self.shape
    }

    /// The format that the values are held in.
    pub fn format(&self) -> Format {
        self.format
    }

    /// The values, widened.
    pub fn values(&self) -> &[f32] {
        &self.values
    }

    /// The values as they lie in a file.
    pub(super) fn bytes(&self) -> Vec<u8> {
        let mut bytes = self.format.encode(&self.values);
        // An odd number of 16-bit values is filled up to a whole word.
        bytes.truncate(self.format.bytes() * self.values.len());
        bytes
    }

    /// Of what lies in a file.
    pub(super) fn of_bytes(shape: Vec<usize>, format: Format, bytes: &[u8]) -> Option<Self> {
        let count = bytes.len() / format.bytes();
        let mut words = bytes.to_vec();
        words.resize(bytes.len().next_multiple_of(4), 0);
        let mut values = format.decode(&words);
        values.truncate(count);
        Self::new(shape, format, values)
    }
}
