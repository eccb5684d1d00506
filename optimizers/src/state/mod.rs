//! The state of an optimizer: all that its next step depends on beside weights, gradients and learning rate.
//!
//! A state knows neither device nor backend nor blueprint. What is kept of a tensor has the tensor's name
//! (`w0/first_moment`), its shape and the format it is held in, so a number that comes back has the bits that it had. Ghost columns
//! and scratch are no state: they are made anew.
//!
//! [`Optimizer::state`](crate::Optimizer::state) takes one, [`Optimizer::load_state`](crate::Optimizer::load_state) goes on from it. An
//! [`Archive`] holds states, weights and what else a run needs as bytes.

mod archive;
mod array;
mod error;
mod keeper;

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

pub use archive::Archive;
pub use array::StateArray;
pub use error::StateError;
pub use keeper::Keeper;
pub(crate) use keeper::Slice;

/// The state of an optimizer.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct State {
    /// The settings that it was found with, by the part of the optimizer that has them.
    settings: BTreeMap<String, Value>,
    /// Counters, and what else is no array.
    records: BTreeMap<String, Value>,
    /// By tensor and state, such as `w0/first_moment`.
    arrays: BTreeMap<String, StateArray>,
}

/// What of a state is no array, as an archive holds it.
#[derive(Serialize, Deserialize)]
struct Head {
    settings: BTreeMap<String, Value>,
    records: BTreeMap<String, Value>,
}

/// The name of a state's head in an archive, and what the names of its arrays begin with.
const IN_ARCHIVE: &str = "state";

impl State {
    /// The arrays, by tensor and state.
    pub fn arrays(&self) -> &BTreeMap<String, StateArray> {
        &self.arrays
    }

    /// The settings that it was found with.
    pub fn settings(&self) -> &BTreeMap<String, Value> {
        &self.settings
    }

    /// Puts it into an archive, where [`State::of_archive`] finds it.
    pub fn put_into(self, archive: &mut Archive) {
        let head = Head {
            settings: self.settings,
            records: self.records,
        };
        // Maps of strings have a JSON form.
        let head = serde_json::to_string(&head).unwrap_or_default();
        archive.texts.insert(IN_ARCHIVE.into(), head);
        let named = self.arrays.into_iter();
        let named = named.map(|(name, array)| (format!("{IN_ARCHIVE}/{name}"), array));
        archive.arrays.extend(named);
    }

    /// The state that an archive holds.
    ///
    /// # Errors
    /// [`StateError::Damaged`] if it holds none.
    pub fn of_archive(archive: &Archive) -> Result<Self, StateError> {
        let head = archive.texts.get(IN_ARCHIVE).ok_or(StateError::Damaged {
            reason: "it holds no state of an optimizer".into(),
        })?;
        let head: Head = serde_json::from_str(head).map_err(|error| StateError::Damaged {
            reason: format!("its settings and counters cannot be read: {error}"),
        })?;
        let begin = format!("{IN_ARCHIVE}/");
        let own = archive.arrays.iter();
        let own = own.filter_map(|(name, it)| Some((name.strip_prefix(&begin)?, it)));
        Ok(Self {
            settings: head.settings,
            records: head.records,
            arrays: own
                .map(|(name, it)| (name.to_owned(), it.clone()))
                .collect(),
        })
    }

    /// As bytes: an archive with nothing else in it.
    ///
    /// # Errors
    /// As [`Archive::to_bytes`].
    pub fn to_bytes(self) -> Result<Vec<u8>, StateError> {
        let mut archive = Archive::default();
        self.put_into(&mut archive);
        archive.to_bytes()
    }

    /// Of the bytes of an archive, which may hold other things too.
    ///
    /// # Errors
    /// As [`Archive::of_bytes`] and [`State::of_archive`].
    pub fn of_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        Self::of_archive(&Archive::of_bytes(bytes)?)
    }
}
