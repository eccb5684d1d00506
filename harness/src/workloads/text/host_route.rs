//! The route of CPU adapters: parameters are read from the device and gradients written to it; all between happens in host memory.

use std::ops::Range;

use sonew_kernels::arena::Arena;
use sonew_kernels::context::Context;
use sonew_kernels::network::coded_rows::{
    look_up, softmax_loss, softmax_loss_and_gradient, table_gradient,
};
use sonew_kernels::precision::PrecisionKind;

use super::Text;
use super::contexts::{Contexts, Gathered, require_batch};
use crate::train::TrainError;
use crate::workloads::Objective;
use crate::workloads::layers::{HostLayers, NetworkError};

/// The network in host memory, and the losses it found.
pub(super) struct HostRoute<'a> {
    contexts: &'a Contexts,
    /// Where the table lies in the arena.
    table: Range<usize>,
    width: usize,
    layers: HostLayers,
    batch: usize,
    /// Empty before the first is taken in.
    order: Vec<u32>,
    /// What a batch stands for, and its gradient.
    inputs: [Vec<f32>; 2],
    /// Of batches that were not asked for yet.
    losses: Vec<f64>,
}

impl<'a> HostRoute<'a> {
    pub fn new(text: &'a Text, precision: PrecisionKind, batch: usize) -> Self {
        let values = batch * text.sizes[0];
        Self {
            contexts: &text.contexts,
            table: text.layout.tensors()[0].clone(),
            width: text.table.width,
            layers: HostLayers::new(precision, text.layout.clone(), text.layers(), batch),
            batch,
            order: Vec::new(),
            inputs: [vec![0.0; values], vec![0.0; values]],
            losses: Vec::new(),
        }
    }

    /// The loss of a batch, and its gradient times `scale`, which the layers then have.
    fn find(&mut self, params: &[f32], batch: &Gathered, scale: f64) -> Result<f64, NetworkError> {
        let Gathered { codes, next } = batch;
        let [input, delta] = &mut self.inputs;
        look_up(&params[self.table.clone()], self.width, codes, input);
        let loss = |logits: &mut [f32]| softmax_loss_and_gradient(logits, next, scale);
        let layers = &mut self.layers;
        let loss = layers.forward_and_back(params, input, loss, Some(delta))?;
        let gradient = &mut layers.gradient()[self.table.clone()];
        table_gradient(delta, self.width, codes, gradient);
        Ok(loss)
    }

    /// The mean loss over all contexts, in batches; the last may be short.
    fn mean_loss(&mut self, params: &[f32]) -> Result<f64, NetworkError> {
        let all: Vec<u32> = (0..self.contexts.count() as u32).collect();
        let mut total = 0.0;
        for numbers in all.chunks(self.batch) {
            let Gathered { codes, next } = self.contexts.gather(numbers)?;
            let input = &mut self.inputs[0][..codes.len() * self.width];
            look_up(&params[self.table.clone()], self.width, &codes, input);
            let logits = self.layers.logits(params, input, next.len())?;
            total += softmax_loss(logits, &next) * next.len() as f64;
        }
        Ok(total / all.len() as f64)
    }
}

const READING: &str = "reading parameters";

impl Objective for HostRoute<'_> {
    fn set_order(&mut self, _: &Context, indices: Vec<u32>) -> Result<(), TrainError> {
        self.order = indices;
        Ok(())
    }

    fn gradients(
        &mut self,
        context: &Context,
        params: &Arena,
        number: usize,
        scale: f64,
    ) -> Result<Arena, TrainError> {
        let first = number.saturating_mul(self.batch);
        require_batch(self.order.len(), first, self.batch)?;
        let batch = self
            .contexts
            .gather(&self.order[first..first + self.batch])?;
        let find = |params: &[f32]| self.find(params, &batch, scale);
        let loss = params
            .view(context, READING, find)
            .map_err(NetworkError::from)??;
        let (layout, format) = (params.layout(), params.format());
        let gradient = self.layers.gradient();
        let gradient = Arena::from_values(context, layout, format, gradient);
        let gradient = gradient.map_err(NetworkError::from)?;
        self.losses.push(loss);
        Ok(gradient)
    }

    fn losses(&mut self, _: &Context) -> Result<Vec<f64>, TrainError> {
        Ok(std::mem::take(&mut self.losses))
    }

    fn tells_at_once(&self) -> bool {
        true
    }

    fn evaluate(&mut self, context: &Context, params: &Arena) -> Result<f64, TrainError> {
        let find = |params: &[f32]| self.mean_loss(params);
        let loss = params.view(context, READING, find);
        Ok(loss.map_err(NetworkError::from)??)
    }
}
