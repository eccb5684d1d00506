//! Dense layers in device memory, whose losses are fetched many at once, so that a step waits for nothing.

use sonew_kernels::arena::{Arena, Layout};
use sonew_kernels::context::Context;
use sonew_kernels::error::Error;
use sonew_kernels::network::DenseLayers;
use sonew_kernels::precision::{Format, PrecisionKind};

use super::NetworkError;

/// Batches whose losses the device keeps before they are fetched.
const SLOTS: usize = 64;

/// Layers, their gradient, and the losses that nobody asked for yet.
pub(in crate::workloads) struct DeviceLayers {
    precision: PrecisionKind,
    /// Parameters in f32 and the gradient in the parameters' format, where that is another.
    narrow: Option<[Arena; 2]>,
    layout: Layout,
    layers: DenseLayers,
    batch: usize,
    /// The gradient in f32, whose gaps stay zero.
    gradient: Arena,
    /// Batches whose losses are on the device.
    unread: usize,
    /// Losses that were fetched and not asked for yet.
    losses: Vec<f64>,
}

impl DeviceLayers {
    /// Of these layers, whose batches have so many rows, with their tensors in an arena.
    pub fn new(
        context: &Context,
        precision: PrecisionKind,
        layout: Layout,
        mut layers: DenseLayers,
        batch: usize,
    ) -> Result<Self, NetworkError> {
        layers.reserve(context, SLOTS)?;
        let zeros = |format: Format| Arena::zeros(context, &layout, format);
        let narrow = (precision.parameter_bytes() < 4)
            .then(|| [zeros(Format::F32), zeros(precision.format())]);
        Ok(Self {
            precision,
            narrow,
            gradient: zeros(Format::F32),
            layout,
            layers,
            batch,
            unread: 0,
            losses: Vec::new(),
        })
    }

    pub fn layout(&self) -> &Layout {
        &self.layout
    }

    /// The gradient, times `scale`, of the batch that `take_in` gives the layers, which is also given the parameters in f32. Its loss
    /// stays on the device.
    pub fn gradients(
        &mut self,
        context: &Context,
        params: &Arena,
        scale: f64,
        take_in: impl FnOnce(&mut DenseLayers, &Arena) -> Result<(), Error>,
    ) -> Result<Arena, NetworkError> {
        if self.unread == SLOTS {
            self.settle(context)?;
        }
        let params = &self.wide_params(context, params)?;
        let layers = &mut self.layers;
        take_in(layers, params)?;
        let slot = self.unread;
        self.unread += 1;
        layers.forward(context, params.handle(), self.batch, Some(scale), slot)?;
        layers.backward(context, params.handle(), self.gradient.handle())?;
        let Some([_, narrow]) = &self.narrow else {
            return Ok(self.gradient.clone());
        };
        self.precision.narrow(context, &self.gradient, narrow)?;
        Ok(narrow.clone())
    }

    /// The parameters in f32.
    fn wide_params(&self, context: &Context, params: &Arena) -> Result<Arena, NetworkError> {
        let Some([wide, _]) = &self.narrow else {
            return Ok(params.clone());
        };
        self.precision.widen(context, params, wide)?;
        Ok(wide.clone())
    }

    /// The losses of the batches since this was last asked; waits for them.
    pub fn losses(&mut self, context: &Context) -> Result<Vec<f64>, NetworkError> {
        self.settle(context)?;
        Ok(std::mem::take(&mut self.losses))
    }

    /// The loss of the batch whose gradient was asked for last, which is then not among [`DeviceLayers::losses`]; waits for it.
    pub fn last_loss(&mut self, context: &Context) -> Result<f64, NetworkError> {
        self.settle(context)?;
        self.losses.pop().ok_or_else(|| NetworkError::Shape {
            argument: "the batches",
            found: "none".into(),
            expected: "one whose loss nobody asked for".into(),
        })
    }

    /// Fetches the losses that the device has, before their slots are used again.
    fn settle(&mut self, context: &Context) -> Result<(), NetworkError> {
        if self.unread > 0 {
            let rows = vec![self.batch; self.unread];
            let found = self.layers.mean_losses(context, &rows)?;
            self.losses.extend(found);
            self.unread = 0;
        }
        Ok(())
    }

    /// The mean loss over `count` rows, in batches, the last of which may be short: `take_in` gives the layers so many rows from one on,
    /// and is given the parameters in f32.
    pub fn mean_loss(
        &mut self,
        context: &Context,
        params: &Arena,
        count: usize,
        mut take_in: impl FnMut(&mut DenseLayers, &Arena, usize, usize) -> Result<(), Error>,
    ) -> Result<f64, NetworkError> {
        self.settle(context)?;
        let params = &self.wide_params(context, params)?;
        let batch = self.batch;
        let layers = &mut self.layers;
        layers.reserve(context, count.div_ceil(batch))?;
        let starts = (0..count).step_by(batch);
        let rows: Vec<usize> = starts.map(|first| batch.min(count - first)).collect();
        for (slot, &rows) in rows.iter().enumerate() {
            take_in(layers, params, slot * batch, rows)?;
            layers.forward(context, params.handle(), rows, None, slot)?;
        }
        let losses = layers.mean_losses(context, &rows)?;
        let total: f64 = losses.iter().zip(&rows).map(|(l, &n)| l * n as f64).sum();
        Ok(total / count as f64)
    }
}
