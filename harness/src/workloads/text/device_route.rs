//! The route of graphics processors: the codes of an epoch are uploaded at once, and all else happens in device memory.

use sonew_kernels::arena::Arena;
use sonew_kernels::context::Context;
use sonew_kernels::network::{CodedRows, DenseLayers};
use sonew_kernels::precision::PrecisionKind;
use sonew_kernels::product::Multiplication;

use super::Text;
use super::contexts::{Contexts, Gathered, no_batch, require_batch};
use crate::train::TrainError;
use crate::workloads::Objective;
use crate::workloads::layers::{DeviceLayers, NetworkError};

/// The network on a device, with all contexts, and an order of them.
pub(super) struct DeviceRoute<'a> {
    contexts: &'a Contexts,
    layers: DeviceLayers,
    batch: usize,
    /// All contexts in the order of the text.
    all: CodedRows,
    /// None before the first is taken in.
    order: Option<CodedRows>,
}

fn upload(context: &Context, length: usize, rows: &Gathered) -> Result<CodedRows, NetworkError> {
    Ok(CodedRows::new(context, &rows.codes, length, &rows.next)?)
}

impl<'a> DeviceRoute<'a> {
    pub fn new(
        text: &'a Text,
        context: &Context,
        precision: PrecisionKind,
        batch: usize,
        products: Multiplication,
    ) -> Result<Self, NetworkError> {
        let arena = text.layout.arena_len();
        let layers = DenseLayers::between_codes(
            context,
            text.table,
            text.dense(),
            precision,
            arena,
            batch,
            products,
        )?;
        let layout = text.layout.clone();
        let contexts = &text.contexts;
        Ok(Self {
            layers: DeviceLayers::new(context, precision, layout, layers, batch)?,
            all: upload(context, contexts.length(), &contexts.all()?)?,
            contexts,
            batch,
            order: None,
        })
    }
}

impl Objective for DeviceRoute<'_> {
    fn set_order(&mut self, context: &Context, indices: Vec<u32>) -> Result<(), TrainError> {
        let rows = self.contexts.gather(&indices)?;
        self.order = Some(upload(context, self.contexts.length(), &rows)?);
        Ok(())
    }

    fn gradients(
        &mut self,
        context: &Context,
        params: &Arena,
        number: usize,
        scale: f64,
    ) -> Result<Arena, TrainError> {
        let batch = self.batch;
        let first = number.saturating_mul(batch);
        let Some(order) = &self.order else {
            return Err(no_batch(0, first, batch).into());
        };
        require_batch(order.count(), first, batch)?;
        let take_in = |layers: &mut DenseLayers, params: &Arena| {
            layers.look_up(context, params.handle(), order, first, batch)
        };
        Ok(self.layers.gradients(context, params, scale, take_in)?)
    }

    fn losses(&mut self, context: &Context) -> Result<Vec<f64>, TrainError> {
        Ok(self.layers.losses(context)?)
    }

    fn tells_at_once(&self) -> bool {
        false
    }

    fn evaluate(&mut self, context: &Context, params: &Arena) -> Result<f64, TrainError> {
        let all = &self.all;
        let take_in = |layers: &mut DenseLayers, params: &Arena, first: usize, rows: usize| {
            layers.look_up(context, params.handle(), all, first, rows)
        };
        let count = all.count();
        Ok(self.layers.mean_loss(context, params, count, take_in)?)
    }
}
