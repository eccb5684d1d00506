//! Arenas as the arguments of a launch: that they belong together, and how a kernel takes them.

use cubecl::prelude::*;
use sonew_runtime::Gpu;

use super::buffer::Arena;
use super::layout::Layout;
use crate::error::Error;
use crate::launch::array;
use crate::precision::{Format, HostFormat};
use crate::sonew::Ghosts;

impl Arena {
    /// The buffer as a kernel takes it, in vectors of `width` values.
    pub(crate) fn vectors(&self, width: usize) -> ArrayArg<Gpu> {
        array(self.handle(), self.values() / width)
    }

    /// Requires that it is of that layout and format, without ghost columns.
    ///
    /// # Errors
    /// [`Error::Shape`] if not, with `argument` as its name.
    pub fn require(
        &self,
        operation: &'static str,
        argument: &'static str,
        layout: &Layout,
        format: Format,
    ) -> Result<(), Error> {
        self.check(operation, argument, layout, format, None)
    }

    /// Refuses another format, another layout, and other ghost columns than expected.
    fn check(
        &self,
        operation: &'static str,
        argument: &'static str,
        layout: &Layout,
        format: Format,
        ghosts: Option<Ghosts>,
    ) -> Result<(), Error> {
        let refused = |found: String, expected: String| {
            Err(Error::Shape {
                operation,
                argument,
                found,
                expected,
            })
        };
        if self.format() != format {
            let found = format!("an arena of {}", self.format());
            return refused(found, format!("one of {format}"));
        }
        let place = |it: &Layout| {
            let tensors = it.tensors().len();
            format!(
                "{} values of {tensors} tensors in {} blocks",
                it.parameters(),
                it.blocks()
            )
        };
        if !self.layout().agrees(layout) {
            let found = format!("an arena of {}", place(self.layout()));
            let expected = format!("the layout of the others: {}", place(layout));
            return refused(found, expected);
        }
        let behind = |ghosts: Option<Ghosts>| match ghosts {
            None => "no ghost columns".to_owned(),
            Some(ghosts) => ghosts.description(),
        };
        if self.ghosts() != ghosts {
            let found = format!("an arena with {}", behind(self.ghosts()));
            return refused(found, behind(ghosts));
        }
        Ok(())
    }
}

/// Requires arenas of that layout in a format, without ghost columns; each has the name of an argument.
///
/// # Errors
/// [`Error::Shape`] with the first that is not.
pub fn require<'a, S: HostFormat>(
    operation: &'static str,
    layout: &Layout,
    arenas: impl IntoIterator<Item = (&'static str, &'a Arena)>,
) -> Result<(), Error> {
    require_with_ghosts::<S>(operation, layout, None, arenas)
}

/// Requires arenas of that layout in a format, with these ghost columns.
pub(crate) fn require_with_ghosts<'a, S: HostFormat>(
    operation: &'static str,
    layout: &Layout,
    ghosts: Option<Ghosts>,
    arenas: impl IntoIterator<Item = (&'static str, &'a Arena)>,
) -> Result<(), Error> {
    for (argument, arena) in arenas {
        arena.check(operation, argument, layout, S::FORMAT, ghosts)?;
    }
    Ok(())
}

/// Arenas under one name, as [`require`] takes them.
pub(crate) fn named<'a>(
    argument: &'static str,
    arenas: impl IntoIterator<Item = &'a Arena>,
) -> impl Iterator<Item = (&'static str, &'a Arena)> {
    arenas.into_iter().map(move |arena| (argument, arena))
}

/// A sequence of arenas as a kernel takes it, in vectors of `width` values.
pub(crate) fn sequence<'a, E: CubePrimitive>(
    arenas: impl IntoIterator<Item = &'a Arena>,
    width: usize,
) -> SequenceArg<Gpu, Array<E>> {
    let mut sequence = SequenceArg::new();
    for arena in arenas {
        sequence.push(arena.vectors(width));
    }
    sequence
}
