//! What tensors have of their own in some checks: rates, and rows that are chains.

use super::bench::Bench;
use crate::arena::{TensorRate, TensorRates};
use crate::error::Error;
use crate::sonew::RowChains;

/// What each tensor has, and the tables of it, if there are any.
pub(super) struct Own {
    pub rates: Vec<TensorRate>,
    /// Values of a row; 0 where the tensor is one chain.
    pub rows: Vec<usize>,
    tables: Option<(TensorRates, RowChains)>,
}

impl Own {
    /// What differs from tensor to tensor, or what a launch without tables gives all of them.
    pub fn new(bench: &Bench<'_>, own: bool, weight_decay: f64) -> Result<Self, Error> {
        let lengths = bench.layout.tensors().iter().map(ExactSizeIterator::len);
        if !own {
            let all = TensorRate {
                lr: 1.0,
                weight_decay,
            };
            return Ok(Self {
                rates: lengths.clone().map(|_| all).collect(),
                rows: lengths.map(|_| 0).collect(),
                tables: None,
            });
        }
        let rates: Vec<_> = (0..lengths.len()).map(rate).collect();
        let rows: Vec<_> = lengths.enumerate().map(|(t, n)| row(t, n)).collect();
        let tables = (
            TensorRates::new(bench.context, &bench.layout, &rates)?,
            RowChains::new(bench.context, &bench.layout, &rows)?,
        );
        Ok(Self {
            rates,
            rows,
            tables: Some(tables),
        })
    }

    /// The table of rates.
    pub fn rates(&self) -> Option<&TensorRates> {
        self.tables.as_ref().map(|(rates, _)| rates)
    }

    /// The table of rows.
    pub fn rows(&self) -> Option<&RowChains> {
        self.tables.as_ref().map(|(_, rows)| rows)
    }
}

/// Of every fourth tensor 0: it stays where it is.
fn rate(tensor: usize) -> TensorRate {
    TensorRate {
        lr: 0.5 * (tensor % 4) as f64,
        weight_decay: 0.125 * (tensor % 3) as f64,
    }
}

/// Long rows, the shortest ones that there are, and now and then a tensor that is one chain.
fn row(tensor: usize, n: usize) -> usize {
    let shortest = (2..=n).find(|p| n.is_multiple_of(*p)).unwrap_or(1);
    match tensor % 5 {
        4 => 0,
        0 | 2 => n / shortest,
        _ => shortest,
    }
}
