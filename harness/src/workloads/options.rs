//! What can be asked of workloads on the command line.

use std::fmt::Debug;
use std::rc::Rc;

use clap::{ArgMatches, Args, Command};
use serde_json::{Map, Value};

use super::Workload;
use crate::train::TrainError;

/// A workload's own options. All workloads share one command line, so no two may have an option, or a type, of the same name.
pub trait Options: Debug {
    /// What `run.json` says of them beside what it says of every run.
    fn settings(&self) -> Map<String, Value>;

    /// Reads the data and lays out the tensors; neither opens a device nor writes anything.
    ///
    /// # Errors
    /// Data that cannot be read, and options that do not fit them.
    fn open(&self) -> Result<Box<dyn Workload>, TrainError>;
}

/// A workload in the list of all.
pub struct Entry {
    /// Its name on the command line.
    pub name: &'static str,
    augment: fn(Command) -> Command,
    read: fn(&ArgMatches) -> Result<Rc<dyn Options>, clap::Error>,
}

impl Entry {
    /// The workload that these options open.
    pub const fn of<O: Options + Args + 'static>(name: &'static str) -> Self {
        Self {
            name,
            augment: O::augment_args,
            read: |matches| Ok(Rc::new(O::from_arg_matches(matches)?)),
        }
    }

    /// Adds its options to a command.
    pub fn augment(&self, command: Command) -> Command {
        (self.augment)(command)
    }

    /// Reads its options.
    ///
    /// # Errors
    /// As [`clap::FromArgMatches`].
    pub fn read(&self, matches: &ArgMatches) -> Result<Rc<dyn Options>, clap::Error> {
        (self.read)(matches)
    }
}
