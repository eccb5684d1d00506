//! What tensors have of their own within one optimizer, and the tables that its launches take.

use std::collections::BTreeMap;

use serde::Serialize;
use sonew_kernels::arena::{Layout, TensorRate, TensorRates};
use sonew_kernels::context::Context;
use sonew_kernels::sonew::RowChains;

use crate::{Error, Keeper};

/// What tensors have of their own, one for each; nothing where all are as the optimizer says.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Own {
    pub rates: Option<Vec<TensorRate>>,
    /// Values of a row whose chain is its own; 0 of a tensor that is one chain.
    pub rows: Option<Vec<usize>>,
}

/// The same on the device.
pub(crate) struct OwnTables {
    own: Own,
    pub rates: Option<TensorRates>,
    pub rows: Option<RowChains>,
}

/// What of a tensor's own a state depends on: not the learning rate.
#[derive(Serialize)]
#[serde(rename_all = "kebab-case")]
struct Kept {
    weight_decay: Option<f64>,
    row: usize,
}

impl Own {
    /// Uploads the tables.
    pub fn tables(self, context: &Context, layout: &Layout) -> Result<OwnTables, Error> {
        let rates = self.rates.as_deref();
        let rates = rates.map(|it| TensorRates::new(context, layout, it));
        let rows = self.rows.as_deref();
        let rows = rows.map(|it| RowChains::new(context, layout, it));
        Ok(OwnTables {
            rates: rates.transpose()?,
            rows: rows.transpose()?,
            own: self,
        })
    }
}

impl OwnTables {
    /// Tells what was set of its own of each tensor.
    pub fn keep(&self, keeper: &mut Keeper<'_>, layout: &Layout) -> Result<(), Error> {
        let Own { rates, rows } = &self.own;
        if rates.is_none() && rows.is_none() {
            return Ok(());
        }
        let names = layout.names().iter().enumerate();
        let kept: BTreeMap<&str, Kept> = names
            .map(|(tensor, name)| {
                let kept = Kept {
                    weight_decay: rates.as_ref().map(|it| it[tensor].weight_decay),
                    row: rows.as_ref().map_or(0, |it| it[tensor]),
                };
                (name.as_str(), kept)
            })
            .collect();
        keeper.settings("tensors", &kept, &())
    }
}
