//! How a kernel descends, and whether its tensor has a rate of its own.

/// How a kernel descends.
#[derive(Clone, Copy)]
pub(super) struct Descending {
    /// Of the launch.
    pub lr: f64,
    pub weight_decay: f64,
    /// What the tensor multiplies lr by, if it has a rate of its own.
    pub factor: Option<f64>,
}

impl Descending {
    /// The learning rate of the tensor.
    pub fn own_lr(&self) -> f64 {
        self.lr * self.factor.unwrap_or(1.0)
    }
}
