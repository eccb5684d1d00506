//! Which examples make up the batch of each step: drawn from a seed, or read from a file.

use std::collections::BTreeMap;
use std::hash::Hasher;
use std::ops::Range;
use std::path::Path;

use cubecl::hash::StableHasher;
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

use crate::arrays::{self, Array, Arrays, ArraysError};
use crate::workloads::Examples;

/// Stream of the first epoch; epoch e uses this plus e. Stream 0 draws the first weights.
const FIRST_STREAM: u64 = 1;

/// Why there is no batch order.
#[derive(Debug, thiserror::Error)]
pub enum OrderError {
    /// The batch is empty or larger than the data set.
    #[error(
        "batch order: expected a batch (--batch) of 1 to {} {many}, found {batch}; change the batch size or use more {many}",
        .examples.count, many = .examples.many
    )]
    Batch {
        /// Examples of a batch.
        batch: usize,
        /// The examples there are.
        examples: Examples,
    },
    /// The file's array does not have the run's shape.
    #[error(
        "batch order from {path}: expected array \"order\" to have shape [steps ≥ {steps}, {batch}], found {found:?}"
    )]
    Shape {
        /// The file.
        path: String,
        /// Steps of the run.
        steps: usize,
        /// Examples of a batch.
        batch: usize,
        /// The shape found.
        found: Vec<usize>,
    },
    /// The file names an example that does not exist.
    #[error(
        "batch order from {path}: expected {} indices below {}, found {index} in step {step}",
        .examples.one, .examples.count
    )]
    Index {
        /// The file.
        path: String,
        /// The step, from 0.
        step: usize,
        /// The index.
        index: u32,
        /// The examples there are.
        examples: Examples,
    },
    /// A step past the end of the file was asked for.
    #[error("batch order: step {step} was asked for, but the file given has only {steps} steps")]
    PastEnd {
        /// The step, from 0.
        step: usize,
        /// Steps in the file.
        steps: usize,
    },
    /// The file cannot be read or written, or holds no array `order` of integers.
    #[error("batch order: {0}")]
    Arrays(#[from] ArraysError),
}

/// The batches of a run, B examples each.
#[derive(Debug, Clone)]
pub struct BatchOrder {
    examples: usize,
    batch: usize,
    source: Source,
}

#[derive(Debug, Clone)]
enum Source {
    /// The permutation of one epoch, remade when another epoch is asked for.
    Seeded {
        seed: u64,
        epoch: Option<usize>,
        permutation: Vec<u32>,
    },
    /// `[steps, B]`.
    Given { indices: Vec<u32> },
}

impl BatchOrder {
    /// A fresh permutation of all examples each epoch; those left over after the last whole batch are dropped.
    ///
    /// An epoch's order depends on the seed and the epoch's number only (`ChaCha8`, a stream for each epoch), so any
    /// epoch can be drawn without those before it.
    ///
    /// # Errors
    /// [`OrderError::Batch`] if the batch is empty or larger than the data set.
    pub fn shuffled(examples: Examples, batch: usize, seed: u64) -> Result<Self, OrderError> {
        check_batch(examples, batch)?;
        Ok(Self {
            examples: examples.count,
            batch,
            source: Source::Seeded {
                seed,
                epoch: None,
                permutation: Vec::new(),
            },
        })
    }

    /// Reads array `order` (integers of any width, `[steps, B]`) from a safetensors file; it must hold at least `steps` steps.
    ///
    /// # Errors
    /// [`OrderError`] if the array is missing or not the only one, has another shape, or holds something else than integers
    /// that examples have.
    pub fn load(
        path: impl AsRef<Path>,
        examples: Examples,
        batch: usize,
        steps: usize,
    ) -> Result<Self, OrderError> {
        check_batch(examples, batch)?;
        let name = path.as_ref().display().to_string();
        let mut arrays = Arrays::read(&path)?;
        let (shape, indices) = arrays.take_u32("order")?;
        arrays.require_only("a batch order", &["order"])?;
        match shape.as_slice() {
            &[rows, columns] if rows >= steps && columns == batch => {}
            _ => {
                return Err(OrderError::Shape {
                    path: name,
                    steps,
                    batch,
                    found: shape,
                });
            }
        }
        if let Some(position) = indices
            .iter()
            .position(|&index| index as usize >= examples.count)
        {
            return Err(OrderError::Index {
                path: name,
                step: position / batch,
                index: indices[position],
                examples,
            });
        }
        Ok(Self {
            examples: examples.count,
            batch,
            source: Source::Given { indices },
        })
    }

    /// Writes the first `steps` batches to the file that [`BatchOrder::load`] reads.
    ///
    /// # Errors
    /// [`OrderError::PastEnd`] if there are fewer, [`OrderError::Arrays`] if the file cannot be written.
    pub fn save(&mut self, path: impl AsRef<Path>, steps: usize) -> Result<(), OrderError> {
        let indices = self.batches(0..steps)?;
        let order = Array::u32([steps, self.batch], indices);
        Ok(arrays::write(
            path,
            &BTreeMap::from([("order".to_owned(), order)]),
        )?)
    }

    /// What tells the batches of the first `steps` steps from others: the seed, or a digest of those of a file.
    pub fn digest(&self, steps: usize) -> String {
        match &self.source {
            Source::Seeded { seed, .. } => format!("seed {seed}"),
            Source::Given { indices } => {
                let taken = &indices[..indices.len().min(steps * self.batch)];
                let mut hasher = StableHasher::new();
                hasher.write(bytemuck::cast_slice(taken));
                format!("{:032x}", hasher.finalize())
            }
        }
    }

    /// Whole batches in one pass over the examples.
    pub fn steps_per_epoch(&self) -> usize {
        self.examples / self.batch
    }

    /// The examples of the batches of `steps`, one after the other.
    ///
    /// # Errors
    /// As [`BatchOrder::batch`].
    pub fn batches(&mut self, steps: Range<usize>) -> Result<Vec<u32>, OrderError> {
        let mut indices = Vec::with_capacity(steps.len() * self.batch);
        for step in steps {
            indices.extend_from_slice(self.batch(step)?);
        }
        Ok(indices)
    }

    /// The examples of a step's batch, B indices. Steps count from 0 over the whole run.
    ///
    /// # Errors
    /// [`OrderError::PastEnd`] past the end of a file; never for a shuffled order.
    pub fn batch(&mut self, step: usize) -> Result<&[u32], OrderError> {
        let per_epoch = self.steps_per_epoch();
        match &mut self.source {
            Source::Seeded {
                seed,
                epoch,
                permutation,
            } => {
                let wanted = step / per_epoch;
                if *epoch != Some(wanted) {
                    *permutation = permutation_of_epoch(self.examples, *seed, wanted);
                    *epoch = Some(wanted);
                }
                let start = step % per_epoch * self.batch;
                Ok(&permutation[start..start + self.batch])
            }
            Source::Given { indices } => {
                let past_end = OrderError::PastEnd {
                    step,
                    steps: indices.len() / self.batch,
                };
                indices.chunks_exact(self.batch).nth(step).ok_or(past_end)
            }
        }
    }
}

fn check_batch(examples: Examples, batch: usize) -> Result<(), OrderError> {
    // Indices are u32.
    if batch == 0 || batch > examples.count || u32::try_from(examples.count).is_err() {
        return Err(OrderError::Batch { batch, examples });
    }
    Ok(())
}

/// Fisher–Yates, written out here so that a new version of a library cannot change the order.
fn permutation_of_epoch(examples: usize, seed: u64, epoch: usize) -> Vec<u32> {
    let mut random = ChaCha8Rng::seed_from_u64(seed);
    random.set_stream(FIRST_STREAM + epoch as u64);
    let mut permutation: Vec<u32> = (0..examples as u32).collect();
    for last in (1..permutation.len()).rev() {
        permutation.swap(last, below(&mut random, last as u32 + 1) as usize);
    }
    permutation
}

/// A uniform number below `bound` ≥ 1 (Lemire 2019: multiply, and reject the few that would be favoured).
fn below(random: &mut ChaCha8Rng, bound: u32) -> u32 {
    let rejected_below = bound.wrapping_neg() % bound;
    loop {
        let product = u64::from(random.next_u32()) * u64::from(bound);
        if product as u32 >= rejected_below {
            return (product >> 32) as u32;
        }
    }
}
