//! The states of Shampoo by their names. They are the same wherever products run and roots are computed, so a state of one
//! place is loaded in another.

use sonew_kernels::kronecker::{Blocking, RootEvidence, RootHistory, Side, Stop};
use sonew_kernels::precision::Precision;

use super::ShampooOptimizer;
use crate::state::Slice;
use crate::{Error, Keeper};

impl<P: Precision> ShampooOptimizer<P> {
    pub(super) fn keep_states(&mut self, keeper: &mut Keeper<'_>) -> Result<(), Error> {
        keeper.family::<_, P>(&self.config)?;
        self.own.keep(keeper, &self.layout)?;
        keeper.record("steps", &mut self.step)?;
        let mut loaded = self.loaded;
        keeper.report(|| self.seen(), &mut loaded)?;
        self.loaded = loaded;
        let context = &*self.context;
        let states = &mut self.states;
        keeper.arena(context, "momentum", &mut states.momentum)?;
        keeper.arena(context, "graft_momentum", &mut states.graft_momentum)?;
        if let Some(second) = &mut states.second {
            keeper.arena(context, "second_moment", second)?;
        }
        let (factors, roots) = (&mut self.factors, &mut self.roots);
        let (names, blocking) = (self.layout.names(), &self.blocking);
        let mut found = None;
        keeper.slices(
            slices(names, blocking, "statistics"),
            || Ok(factors.statistics(context)?.into_owned()),
            |values| found = Some(values),
        )?;
        if let Some(values) = found.take() {
            factors.set_statistics(context, values);
        }
        keeper.slices(
            slices(names, blocking, "root"),
            || roots.in_use(context, factors),
            |values| found = Some(values),
        )?;
        if let Some(values) = found.take() {
            roots.use_instead(context, factors, values);
        }
        if self.config.spread_roots {
            let mut begun = None;
            keeper.slices(
                slices(names, blocking, "statistics_of_interval"),
                || Ok(roots.pending(context)?.0),
                |values| begun = Some(values),
            )?;
            keeper.slices(
                slices(names, blocking, "next_root"),
                || Ok(roots.pending(context)?.1),
                |values| found = Some(values),
            )?;
            if let (Some(statistics), Some(next)) = (begun, found) {
                roots.set_pending(context, statistics, next);
            }
        }
        let histories = if keeper.takes() {
            roots.found(context)?
        } else {
            Vec::new()
        };
        let mut kept: Vec<Kept> = histories.iter().map(kept).collect();
        keeper.record("roots", &mut kept)?;
        if keeper.loads() {
            let histories: Vec<RootHistory> = kept.into_iter().map(history).collect();
            roots.set_found(context, histories)?;
        }
        Ok(())
    }
}

/// The matrices of all factors, `tensor/left_what` and `tensor/right_what`; of a tensor in several blocks with their number.
fn slices<'a>(
    names: &'a [String],
    blocking: &'a Blocking,
    what: &'a str,
) -> impl Iterator<Item = Slice> + 'a {
    let blocks = blocking.blocks();
    blocking.factors().iter().map(move |factor| {
        let tensor = blocks[factor.block].tensor;
        let first = blocks.partition_point(|other| other.tensor < tensor);
        let many = blocks.get(first + 1).is_some_and(|it| it.tensor == tensor);
        let block = if many {
            format!("block{}/", factor.block - first)
        } else {
            String::new()
        };
        let side = match factor.side {
            Side::Left => "left",
            Side::Right => "right",
        };
        Slice {
            name: format!("{}/{block}{side}_{what}", names[tensor]),
            shape: vec![factor.n, factor.n],
            range: factor.range.clone(),
        }
    })
}

/// A history with its numbers as bits, for some are infinite: how the last root was found, then refusals in a row, in all, and
/// the most in a row.
type Kept = (Option<KeptEvidence>, [u32; 3]);
/// Iterations, raises, and the bits of residual, check and ridge.
type KeptEvidence = (u32, u32, [u64; 3], Stop);

fn kept(history: &RootHistory) -> Kept {
    let last = history.last.map(|it| {
        let bits = [it.residual, it.check, it.ridge].map(f64::to_bits);
        (it.iterations, it.raises, bits, it.stop)
    });
    (last, [history.failures, history.refused, history.longest])
}

fn history((last, [failures, refused, longest]): Kept) -> RootHistory {
    let last = last.map(|(iterations, raises, bits, stop)| {
        let [residual, check, ridge] = bits.map(f64::from_bits);
        RootEvidence {
            iterations,
            residual,
            check,
            ridge,
            raises,
            stop,
        }
    });
    RootHistory {
        last,
        failures,
        refused,
        longest,
    }
}
