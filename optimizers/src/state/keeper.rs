//! How an optimizer declares its states: once, for taking them, for comparing them with others, and for loading those.

use std::collections::BTreeSet;
use std::ops::Range;

use serde::Serialize;
use serde::de::DeserializeOwned;
use serde_json::Value;
use sonew_kernels::arena::Arena;
use sonew_kernels::context::Context;
use sonew_kernels::precision::{Format, Precision};

use super::{State, StateArray, StateError};
use crate::settings::Family;
use crate::{Error, StepReport};

/// Passes over the states of an optimizer ([`Optimizer::keep`](crate::Optimizer::keep)), which tells it each by its name. A pass
/// either takes them, or compares them with those of a [`State`] and changes nothing, or loads those.
pub struct Keeper<'a> {
    pass: Pass<'a>,
    /// What the names of settings and records begin with.
    scope: String,
}

enum Pass<'a> {
    Take(&'a mut State),
    Compare(&'a State, BTreeSet<String>),
    Load(&'a State),
}

/// Some values of a buffer that have a name of their own.
pub(crate) struct Slice {
    pub name: String,
    pub shape: Vec<usize>,
    pub range: Range<usize>,
}

impl<'a> Keeper<'a> {
    pub(crate) fn taking(state: &'a mut State) -> Self {
        Self::of(Pass::Take(state))
    }

    pub(crate) fn comparing(state: &'a State) -> Self {
        Self::of(Pass::Compare(state, BTreeSet::new()))
    }

    pub(crate) fn loading(state: &'a State) -> Self {
        Self::of(Pass::Load(state))
    }

    fn of(pass: Pass<'a>) -> Self {
        Self {
            pass,
            scope: String::new(),
        }
    }

    /// Whether the optimizer is to go on from what it is told.
    pub fn loads(&self) -> bool {
        matches!(self.pass, Pass::Load(_))
    }

    /// Whether the optimizer is asked for what it has.
    pub(crate) fn takes(&self) -> bool {
        matches!(self.pass, Pass::Take(_))
    }

    /// Passes over what is inside of another optimizer, whose settings and records are called `scope/…`.
    ///
    /// # Errors
    /// Those of `inside`.
    pub fn scoped(
        &mut self,
        scope: &str,
        inside: impl FnOnce(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let length = self.scope.len();
        self.scope += scope;
        self.scope.push('/');
        let outcome = inside(self);
        self.scope.truncate(length);
        outcome
    }

    /// Settings that states depend on. A key that the state does not know, for it is older, is to have its default.
    ///
    /// # Errors
    /// [`StateError::Setting`] with the first that differs, [`StateError::Missing`].
    pub fn settings(
        &mut self,
        part: &str,
        settings: &impl Serialize,
        defaults: &impl Serialize,
    ) -> Result<(), Error> {
        let name = format!("{}{part}", self.scope);
        let own = serde_json::to_value(settings).unwrap_or_default();
        match &mut self.pass {
            Pass::Take(state) => {
                state.settings.insert(name, own);
            }
            Pass::Compare(state, met) => {
                let found = state.settings.get(&name).ok_or_else(|| missing(&name))?;
                let defaults = serde_json::to_value(defaults).unwrap_or_default();
                require_same(&name, found, &own, &defaults)?;
                met.insert(name);
            }
            Pass::Load(_) => {}
        }
        Ok(())
    }

    /// The settings of a family, with those of the precision.
    pub(crate) fn family<F: Family, P: Precision>(&mut self, settings: &F) -> Result<(), Error> {
        let defaults = F::named(&settings.name());
        self.settings("optimizer", settings, &defaults)?;
        self.settings("precision", &P::NAME, &())
    }

    /// A counter, or anything else that has a JSON form without infinities.
    ///
    /// # Errors
    /// As [`Keeper::value`].
    pub fn record<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &str,
        value: &mut T,
    ) -> Result<(), Error> {
        let told = self.value(name, value)?;
        if let (true, Some(told)) = (self.loads(), told) {
            *value = told;
        }
        Ok(())
    }

    /// As [`Keeper::record`], but returns the value of the state that is compared or loaded.
    ///
    /// # Errors
    /// [`StateError::Missing`], [`StateError::Damaged`] for one of another type.
    pub fn value<T: Serialize + DeserializeOwned>(
        &mut self,
        name: &str,
        value: &T,
    ) -> Result<Option<T>, Error> {
        let name = format!("{}{name}", self.scope);
        match &mut self.pass {
            Pass::Take(state) => {
                let value =
                    serde_json::to_value(value).map_err(|error| StateError::Unwritable {
                        reason: format!("{name}: {error}"),
                    })?;
                state.records.insert(name, value);
                Ok(None)
            }
            Pass::Compare(state, met) => {
                let value = read(state, &name)?;
                met.insert(name);
                Ok(Some(value))
            }
            Pass::Load(state) => Ok(Some(read(state, &name)?)),
        }
    }

    /// What the last step saw, `found` only where states are taken. Nobody can find it again after a state was loaded, so
    /// it goes to `loaded` then.
    pub(crate) fn report(
        &mut self,
        found: impl FnOnce() -> Result<StepReport, Error>,
        loaded: &mut Option<StepReport>,
    ) -> Result<(), Error> {
        let found = match self.pass {
            Pass::Take(_) => found()?,
            Pass::Compare(..) | Pass::Load(_) => StepReport::default(),
        };
        let told = self.value("report", &found)?;
        if self.loads() {
            *loaded = told;
        }
        Ok(())
    }

    /// An arena: an array for each of its tensors, called `tensor/name`. Ghost columns are made anew.
    ///
    /// # Errors
    /// [`StateError::Missing`], [`StateError::Shape`], or what reading the arena refuses.
    pub fn arena(&mut self, context: &Context, name: &str, arena: &mut Arena) -> Result<(), Error> {
        let layout = arena.layout().clone();
        let tensors = layout.names().iter().zip(layout.shapes());
        let names = tensors.map(|(tensor, shape)| (format!("{tensor}/{name}"), shape.clone()));
        let format = arena.format();
        match &mut self.pass {
            Pass::Take(state) => {
                for ((name, shape), values) in names.zip(arena.tensors(context)?) {
                    put(state, name, shape, format, values)?;
                }
            }
            Pass::Compare(state, met) => {
                for (name, shape) in names {
                    get(state, &name, &shape, format)?;
                    met.insert(name);
                }
            }
            Pass::Load(state) => {
                let tensors = names.map(|(name, shape)| get(state, &name, &shape, format));
                let tensors = tensors.collect::<Result<Vec<&[f32]>, _>>()?;
                *arena = match arena.ghosts() {
                    Some(ghosts) => {
                        Arena::of_with_ghosts(context, &layout, format, &tensors, ghosts)?
                    }
                    None => Arena::of(context, &layout, format, &tensors)?,
                };
            }
        }
        Ok(())
    }

    /// Slices of a buffer of f32, which is read where states are taken, and written where they are loaded.
    ///
    /// # Errors
    /// [`StateError::Missing`], [`StateError::Shape`], and those of `read`.
    pub(crate) fn slices(
        &mut self,
        slices: impl Iterator<Item = Slice>,
        read: impl FnOnce() -> Result<Vec<f32>, Error>,
        write: impl FnOnce(Vec<f32>),
    ) -> Result<(), Error> {
        let format = Format::F32;
        match &mut self.pass {
            Pass::Take(state) => {
                let all = read()?;
                for Slice { name, shape, range } in slices {
                    put(state, name, shape, format, all[range].to_vec())?;
                }
            }
            Pass::Compare(state, met) => {
                for Slice { name, shape, .. } in slices {
                    get(state, &name, &shape, format)?;
                    met.insert(name);
                }
            }
            Pass::Load(state) => {
                let mut all = Vec::new();
                for Slice { name, shape, range } in slices {
                    all.resize(all.len().max(range.end), 0.0);
                    all[range].copy_from_slice(get(state, &name, &shape, format)?);
                }
                write(all);
            }
        }
        Ok(())
    }

    /// Requires, after everything was compared, that the state has nothing else.
    pub(crate) fn require_all_met(self) -> Result<(), Error> {
        let Pass::Compare(state, met) = self.pass else {
            return Ok(());
        };
        let arrays = state.arrays.keys();
        let names = arrays
            .chain(state.settings.keys())
            .chain(state.records.keys());
        match names.into_iter().find(|name| !met.contains(*name)) {
            Some(name) => Err(StateError::Extra { name: name.clone() }.into()),
            None => Ok(()),
        }
    }
}

fn missing(name: &str) -> StateError {
    StateError::Missing { name: name.into() }
}

fn read<T: DeserializeOwned>(state: &State, name: &str) -> Result<T, StateError> {
    let value = state.records.get(name).ok_or_else(|| missing(name))?;
    serde_json::from_value(value.clone()).map_err(|error| StateError::Damaged {
        reason: format!("{name}: {error}"),
    })
}

fn put(
    state: &mut State,
    name: String,
    shape: Vec<usize>,
    format: Format,
    values: Vec<f32>,
) -> Result<(), StateError> {
    let array = StateArray::new(shape, format, values);
    let array = array.ok_or_else(|| StateError::Unwritable {
        reason: format!("{name} has more or fewer values than its shape says"),
    })?;
    match state.arrays.insert(name.clone(), array) {
        None => Ok(()),
        Some(_) => Err(StateError::Unwritable {
            reason: format!("there are two arrays called {name}"),
        }),
    }
}

fn get<'a>(
    state: &'a State,
    name: &str,
    shape: &[usize],
    format: Format,
) -> Result<&'a [f32], StateError> {
    let array = state.arrays.get(name).ok_or_else(|| missing(name))?;
    if (array.shape(), array.format()) == (shape, format) {
        return Ok(array.values());
    }
    Err(StateError::Shape {
        name: name.into(),
        found: format!("{} of {:?}", array.format(), array.shape()),
        expected: format!("{format} of {shape:?}"),
    })
}

/// Requires that settings are the same, those that `found` lacks being the defaults.
fn require_same(
    part: &str,
    found: &Value,
    own: &Value,
    defaults: &Value,
) -> Result<(), StateError> {
    let differs = |key: &str, found: &Value, own: &Value| StateError::Setting {
        part: part.into(),
        key: key.into(),
        found: found.to_string(),
        expected: own.to_string(),
    };
    let (Value::Object(found), Value::Object(own)) = (found, own) else {
        return if found == own {
            Ok(())
        } else {
            Err(differs("value", found, own))
        };
    };
    for (key, own) in own {
        let default = defaults.get(key).unwrap_or(&Value::Null);
        let found = found.get(key).unwrap_or(default);
        if found != own {
            return Err(differs(key, found, own));
        }
    }
    match found.iter().find(|(key, _)| !own.contains_key(*key)) {
        Some((key, found)) => Err(differs(key, found, &Value::Null)),
        None => Ok(()),
    }
}
