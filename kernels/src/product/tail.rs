//! What becomes of the sums: written to C as they are, or as what the network makes of them.

use cubecl::prelude::*;

use super::factors::Parts;
use super::kernel::Plan;
use crate::network::activation::rational_tanh;
use crate::network::loss::{cross_entropy, error_of_logit};
use crate::precision::{Native, Pairs, PrecisionKind, Storage};

/// What is written to C for a sum s. ν rounds to the format of the network's values.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Tail {
    /// weight · s, and keep · C beside it.
    Scaled {
        /// Whether C is kept.
        keeps: bool,
        /// Whether B has a last column of ones, whose sums, those of the rows of A, go elsewhere.
        line_sums: bool,
    },
    /// ν(tanh(ν(s) + bias)), or ν(ν(s) + bias) of a linear layer.
    Activation {
        /// No tanh.
        linear: bool,
        /// ν.
        rounding: Rounding,
    },
    /// ν(ν(s) (1 − a²)), with the activation a that lies beside, or ν(s) of a linear layer.
    Derivative {
        /// No tanh.
        linear: bool,
        /// ν.
        rounding: Rounding,
    },
    /// Of the logit z = ν(ν(s) + bias) and the target t that lies beside, ν(weight · (σ(z) − t)); and the sum of the tile's losses,
    /// max(z, 0) − z t + ln(1 + e^{−|z|}).
    Loss {
        /// Whether C is written.
        gradient: bool,
        /// ν.
        rounding: Rounding,
    },
}

impl Tail {
    pub(super) const fn is_loss(self) -> bool {
        matches!(self, Self::Loss { .. })
    }

    const fn has_line_sums(self) -> bool {
        matches!(
            self,
            Self::Scaled {
                line_sums: true,
                ..
            }
        )
    }

    pub(super) const fn keeps(self) -> bool {
        matches!(self, Self::Scaled { keeps: true, .. })
    }

    const fn writes(self) -> bool {
        !matches!(
            self,
            Self::Loss {
                gradient: false,
                ..
            }
        )
    }

    const fn is_scaled(self) -> bool {
        matches!(self, Self::Scaled { .. })
    }

    const fn is_derivative(self) -> bool {
        matches!(self, Self::Derivative { .. })
    }

    const fn is_linear(self) -> bool {
        matches!(
            self,
            Self::Activation { linear: true, .. }
                | Self::Derivative { linear: true, .. }
                | Self::Loss { .. }
        )
    }

    const fn rounding(self) -> Rounding {
        match self {
            Self::Scaled { .. } => Rounding::None,
            Self::Activation { rounding, .. }
            | Self::Derivative { rounding, .. }
            | Self::Loss { rounding, .. } => rounding,
        }
    }
}

/// To what format the network's values are rounded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Rounding {
    /// They are f32.
    None,
    /// bf16.
    Bf16,
    /// f16.
    F16,
}

impl Rounding {
    /// To the format of a precision's parameters.
    pub fn of(precision: PrecisionKind) -> Self {
        match precision {
            PrecisionKind::F32 => Self::None,
            PrecisionKind::Bf16 | PrecisionKind::Bf16Mixed => Self::Bf16,
            PrecisionKind::F16 | PrecisionKind::F16Mixed => Self::F16,
        }
    }

    /// What a rounded value is exactly.
    pub fn parts(self) -> Option<Parts> {
        match self {
            Self::None => None,
            Self::Bf16 => Some(Parts::Bf16),
            Self::F16 => Some(Parts::F16),
        }
    }
}

/// x, rounded.
#[cube]
pub(crate) fn rounded(x: f32, #[comptime] rounding: Rounding) -> f32 {
    if comptime!(rounding == Rounding::Bf16) {
        Pairs::nearest(x)
    } else if comptime!(rounding == Rounding::F16) {
        Native::<half::f16>::nearest(x)
    } else {
        x
    }
}

/// The entries of a unit, and where they go.
#[derive(CubeType, Clone, Copy)]
pub(super) struct Entries {
    /// Its first row in C.
    pub first_row: usize,
    /// Its first column in C.
    pub first_column: usize,
    /// Rows of C; none if the unit writes nothing.
    pub rows: usize,
    /// Columns of the product, a column of ones included.
    pub columns: usize,
    pub offset: usize,
    pub row_stride: usize,
    /// Where the bias begins, or the sums of the rows of A go.
    pub line: usize,
    pub beside: usize,
    pub beside_stride: usize,
}

/// Writes a unit's entries; returns the sum of their losses.
#[cube]
pub(super) fn finish<NC: Size>(
    c: &mut Array<Vector<f32, NC>>,
    besides: &Sequence<Array<Vector<f32, NC>>>,
    extra: &mut Sequence<Array<f32>>,
    sums: &Array<f32>,
    entries: Entries,
    keep: f32,
    weight: f32,
    #[comptime] plan: Plan,
) -> f32 {
    let blueprint = comptime!(plan.blueprint);
    let mut loss = 0.0f32;
    let own_columns = entries.columns - comptime!(if plan.tail.has_line_sums() { 1 } else { 0 });
    #[unroll]
    for i in 0..blueprint.unit_rows {
        let row = entries.first_row + comptime!(blueprint.row(i));
        if row < entries.rows {
            #[unroll]
            for v in 0..comptime!(blueprint.unit_columns / plan.width) {
                let j = comptime!(v * plan.width);
                let column = entries.first_column + comptime!(blueprint.column(j));
                let first = comptime!(i * blueprint.unit_columns + j);
                if column < own_columns {
                    loss += write(
                        c, besides, sums, entries, row, column, first, keep, weight, plan,
                    );
                }
                if comptime!(plan.tail.has_line_sums()) {
                    write_line_sum(
                        extra,
                        sums,
                        entries,
                        row,
                        column,
                        own_columns,
                        first,
                        weight,
                        plan,
                    );
                }
            }
        }
    }
    loss
}

/// Writes a vector of entries of a row.
#[cube]
fn write<NC: Size>(
    c: &mut Array<Vector<f32, NC>>,
    besides: &Sequence<Array<Vector<f32, NC>>>,
    sums: &Array<f32>,
    entries: Entries,
    row: usize,
    column: usize,
    #[comptime] first: usize,
    keep: f32,
    weight: f32,
    #[comptime] plan: Plan,
) -> f32 {
    let width = comptime!(plan.width);
    let rounding = comptime!(plan.tail.rounding());
    let at = (entries.offset + row * entries.row_stride + column) / width;
    let beside = (entries.beside + row * entries.beside_stride + column) / width;
    let line = (entries.line + column) / width;
    let mut loss = 0.0f32;
    let mut vector = Vector::<f32, NC>::empty();
    if comptime!(plan.tail.is_scaled()) {
        let kept = kept(c, at, plan);
        #[unroll]
        for lane in 0..width {
            let value = weight * sums[first + lane];
            vector[lane] = if comptime!(plan.tail.keeps()) {
                value + keep * kept[lane]
            } else {
                value
            };
        }
    } else if comptime!(plan.tail.is_derivative()) {
        #[unroll]
        for lane in 0..width {
            vector[lane] = rounded(sums[first + lane], rounding);
        }
        if comptime!(!plan.tail.is_linear()) {
            let activation = besides.index(0usize)[beside];
            #[unroll]
            for lane in 0..width {
                let a = activation[lane];
                vector[lane] = rounded(vector[lane] * (1.0f32 - a * a), rounding);
            }
        }
    } else {
        let bias = besides.index(0usize)[line];
        #[unroll]
        for lane in 0..width {
            let z = rounded(sums[first + lane], rounding) + bias[lane];
            vector[lane] = if comptime!(plan.tail.is_linear()) {
                rounded(z, rounding)
            } else {
                rounded(rational_tanh(z), rounding)
            };
        }
        if comptime!(plan.tail.is_loss()) {
            let targets = besides.index(1usize)[beside];
            #[unroll]
            for lane in 0..width {
                let (z, target) = (vector[lane], targets[lane]);
                loss += cross_entropy(z, target);
                vector[lane] = rounded(weight * error_of_logit(z, target), rounding);
            }
        }
    }
    if comptime!(plan.tail.writes()) {
        c[at] = vector;
    }
    loss
}

/// What C holds, where it counts.
#[cube]
pub(super) fn kept<NC: Size>(
    c: &Array<Vector<f32, NC>>,
    at: usize,
    #[comptime] plan: Plan,
) -> Vector<f32, NC> {
    if comptime!(plan.tail.keeps()) {
        c[at]
    } else {
        Vector::empty()
    }
}

/// Writes the sum of a row of A, if the column of ones is among this vector's.
#[cube]
fn write_line_sum(
    extra: &mut Sequence<Array<f32>>,
    sums: &Array<f32>,
    entries: Entries,
    row: usize,
    column: usize,
    ones: usize,
    #[comptime] first: usize,
    weight: f32,
    #[comptime] plan: Plan,
) {
    #[unroll]
    for lane in 0..plan.width {
        if column + lane == ones {
            extra.index_mut(0usize)[entries.line + row] = weight * sums[first + lane];
        }
    }
}
