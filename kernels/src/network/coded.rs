//! Dense layers between codes: the first takes in rows of a table, which are trained like weights, and the logits of the last are
//! compared with a class a row.

use cubecl::server::Handle;

use super::codes::CodedRows;
use super::dense::{DenseLayers, Layer, OPERATION};
use super::embedding::Embedding;
use super::room::stride;
use crate::context::Context;
use crate::error::Error;
use crate::launch::require_bytes;
use crate::precision::PrecisionKind;
use crate::product::Multiplication;

/// What the first layer takes in and the last one's logits are compared with, where both are codes.
pub(super) struct Codes {
    pub embedding: Embedding,
    /// The rows that were taken in last: the first of them, and how many.
    pub taken: Option<(CodedRows, [usize; 2])>,
}

impl Codes {
    /// The rows that were taken in, and the first of them.
    pub(super) fn require(&self, rows: usize) -> Result<(&CodedRows, usize), Error> {
        let taken = self.taken.as_ref();
        let as_many = taken.filter(|(_, [_, taken])| *taken == rows);
        as_many.map_or_else(
            || {
                Err(Error::Shape {
                    operation: OPERATION,
                    argument: "rows",
                    found: rows.to_string(),
                    expected: match taken {
                        Some((_, [_, taken])) => format!("the {taken} that were looked up"),
                        None => "rows that were looked up before".into(),
                    },
                })
            },
            |(codes, [first, _])| Ok((codes, *first)),
        )
    }
}

impl DenseLayers {
    /// Makes room for batches of `batch` rows of codes. The first layer takes in the rows of the table that they stand for, side by
    /// side; the last has a logit for each class, and the loss of a row is the softmax cross-entropy of its class.
    ///
    /// # Errors
    /// As [`DenseLayers::new`], without ends that are alike; [`Error::Shape`] for a table outside of the arena, or one whose rows do
    /// not make up what the first layer takes in, and for a last layer with tanh.
    pub fn between_codes(
        context: &Context,
        embedding: Embedding,
        layers: Vec<Layer>,
        precision: PrecisionKind,
        arena: usize,
        batch: usize,
        multiplication: Multiplication,
    ) -> Result<Self, Error> {
        let inside = embedding.end().is_some_and(|end| end <= arena);
        let inputs = layers.first().map_or(0, |layer| layer.inputs);
        let logits = layers.last().is_some_and(|layer| layer.linear);
        if !inside || !inputs.is_multiple_of(embedding.width) || !logits {
            return Err(Error::Shape {
                operation: OPERATION,
                argument: "embedding",
                found: format!("{embedding:?}, a last layer that is linear: {logits}"),
                expected: format!(
                    "a table in an arena of {arena} values, some rows of which make {inputs} inputs, and logits"
                ),
            });
        }
        let embedding = Some(embedding);
        Self::between(
            context,
            layers,
            precision,
            arena,
            batch,
            multiplication,
            embedding,
        )
    }

    /// Takes in what the rows `first` to `first + rows` of codes stand for. `params` is an arena of f32.
    ///
    /// # Errors
    /// [`Error::Shape`] for layers that are not between codes, for more rows than a batch or the codes have, or none, for rows of
    /// another length, and for codes or classes that the layers do not know; [`Error::Length`] for a buffer of another length; launch
    /// errors as [`Context::launch`].
    pub fn look_up(
        &mut self,
        context: &Context,
        params: &Handle,
        codes: &CodedRows,
        first: usize,
        rows: usize,
    ) -> Result<(), Error> {
        require_bytes(OPERATION, "params", params, 4 * self.arena as u64)?;
        self.require_rows(rows)?;
        let (inputs, places) = (self.layers[0].inputs, codes.places());
        let classes = self.layers.last().map_or(0, |layer| layer.outputs);
        codes.require_classes(OPERATION, classes)?;
        let to = self.room.own_input(0);
        let between = self.codes.as_mut();
        let Some(between) = between.filter(|it| it.embedding.columns(places) == inputs) else {
            return Err(Error::Shape {
                operation: OPERATION,
                argument: "codes",
                found: format!("rows of {places}"),
                expected: format!(
                    "rows of a table that make {inputs} inputs, in layers between codes"
                ),
            });
        };
        between.taken = None;
        let embedding = between.embedding;
        embedding.look_up(context, params, codes, [first, rows], &to, stride(inputs))?;
        between.taken = Some((codes.clone(), [first, rows]));
        Ok(())
    }
}
