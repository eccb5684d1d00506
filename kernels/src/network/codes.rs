//! Rows of codes, and the class of each row, on the device: what a workload of text or of categories trains on.

use cubecl::server::Handle;

use crate::context::Context;
use crate::error::Error;

const OPERATION: &str = "rows of codes";

/// Rows of codes below some number, and a class for each row, in the order of the batches.
#[derive(Clone, Debug)]
pub struct CodedRows {
    /// `[rows, places]`.
    pub(super) codes: Handle,
    /// `[rows]`.
    pub(super) classes: Handle,
    rows: usize,
    places: usize,
    /// All codes are below it.
    code_bound: usize,
    /// All classes are below it.
    class_bound: usize,
}

impl CodedRows {
    /// Uploads rows of `places` codes each, without gaps, and as many classes as rows.
    ///
    /// # Errors
    /// [`Error::Shape`] for no rows, for rows of no places, for rows that do not match the classes, and for more codes than kernels
    /// can index; [`Error::TooLarge`] for more than a buffer of the device holds.
    pub fn new(
        context: &Context,
        codes: &[u32],
        places: usize,
        classes: &[u32],
    ) -> Result<Self, Error> {
        let rows = classes.len();
        let matches = rows.checked_mul(places) == Some(codes.len());
        if codes.is_empty() || !matches || codes.len() >> 31 != 0 {
            return Err(Error::Shape {
                operation: OPERATION,
                argument: "codes",
                found: format!("{} codes and {rows} classes", codes.len()),
                expected: format!("{places} codes for each class, at least one and fewer than 2³¹"),
            });
        }
        context.require_buffer(OPERATION, "codes", 4 * codes.len() as u64)?;
        let bound = |words: &[u32]| words.iter().max().map_or(0, |&most| most as usize + 1);
        Ok(Self {
            codes: context.upload(codes),
            classes: context.upload(classes),
            rows,
            places,
            code_bound: bound(codes),
            class_bound: bound(classes),
        })
    }

    /// Rows there are.
    pub fn count(&self) -> usize {
        self.rows
    }

    /// Codes of a row.
    pub fn places(&self) -> usize {
        self.places
    }

    /// Requires the rows `first` to `first + rows`.
    pub(super) fn require(
        &self,
        operation: &'static str,
        first: usize,
        rows: usize,
    ) -> Result<(), Error> {
        let inside = first
            .checked_add(rows)
            .is_some_and(|end| end <= self.rows && rows > 0);
        if inside {
            return Ok(());
        }
        Err(Error::Shape {
            operation,
            argument: "batch",
            found: format!("{rows} rows from {first} on"),
            expected: format!("at least one of {}", self.rows),
        })
    }

    /// Requires codes below `codes`, the rows of a table.
    pub(super) fn require_codes(&self, operation: &'static str, codes: usize) -> Result<(), Error> {
        below(operation, "codes", self.code_bound, codes)
    }

    /// Requires classes below `classes`, the columns of logits.
    pub(super) fn require_classes(
        &self,
        operation: &'static str,
        classes: usize,
    ) -> Result<(), Error> {
        below(operation, "classes", self.class_bound, classes)
    }
}

fn below(
    operation: &'static str,
    argument: &'static str,
    bound: usize,
    count: usize,
) -> Result<(), Error> {
    if bound <= count {
        return Ok(());
    }
    Err(Error::Shape {
        operation,
        argument,
        found: format!("{}", bound - 1),
        expected: format!("numbers below {count}"),
    })
}
