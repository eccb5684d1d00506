//! What is trained, as asked for: the options of all workloads, and `--workload` where there are several.

use std::rc::Rc;

use clap::builder::PossibleValuesParser;
use clap::error::ErrorKind;
use clap::parser::ValueSource;
use clap::{Arg, ArgMatches, Args, Command, FromArgMatches};
use serde_json::{Map, Value};

use crate::train::TrainError;
use crate::workloads::{ALL, Entry, Options, Workload};

const WORKLOAD: &str = "workload";
/// Where the help shows the options of all workloads but the first: after those of every run.
const BEHIND: usize = 1000;

/// A workload and its options.
#[derive(Clone, Debug)]
pub struct WorkloadArgs {
    options: Rc<dyn Options>,
    settings: Map<String, Value>,
}

impl WorkloadArgs {
    /// Reads the data and lays out the tensors.
    ///
    /// # Errors
    /// As [`Options::open`].
    pub fn open(&self) -> Result<Box<dyn Workload>, TrainError> {
        self.options.open()
    }

    /// What `run.json` says of it: its options, and, but for the first workload, its name.
    pub fn settings(&self) -> Map<String, Value> {
        self.settings.clone()
    }

    fn read(all: &[Entry], matches: &ArgMatches) -> Result<Self, clap::Error> {
        let asked = match all {
            [_] => None,
            _ => matches.get_one::<String>(WORKLOAD),
        };
        let named = |entry: &&Entry| asked.is_none_or(|name| name == entry.name);
        let Some((at, entry)) = all.iter().enumerate().find(|(_, entry)| named(entry)) else {
            return Err(clap::Error::raw(
                ErrorKind::InvalidValue,
                "no such workload",
            ));
        };
        for other in all.iter().filter(|it| it.name != entry.name) {
            refuse_options(other, matches)?;
        }
        let options = entry.read(matches)?;
        let mut settings = Map::new();
        if at > 0 {
            settings.insert(WORKLOAD.into(), entry.name.into());
        }
        settings.extend(options.settings());
        Ok(Self { options, settings })
    }
}

/// Refuses options of a workload that is not trained: they would have no effect.
fn refuse_options(other: &Entry, matches: &ArgMatches) -> Result<(), clap::Error> {
    let own = other.augment(Command::new(other.name));
    let given =
        |arg: &&Arg| matches.value_source(arg.get_id().as_str()) == Some(ValueSource::CommandLine);
    match own.get_arguments().find(given).and_then(Arg::get_long) {
        None => Ok(()),
        Some(option) => Err(clap::Error::raw(
            ErrorKind::ArgumentConflict,
            format!(
                "--{option} is for --{WORKLOAD} {}, which is not trained\n",
                other.name
            ),
        )),
    }
}

/// Adds the options of all workloads to a command.
fn augment(all: &[Entry], command: Command) -> Command {
    let [first, others @ ..] = all else {
        return command;
    };
    let mut command = first.augment(command);
    if others.is_empty() {
        return command;
    }
    let options = command.get_arguments().filter(|it| !it.is_positional());
    let next = options.count();
    let names = PossibleValuesParser::new(all.iter().map(|entry| entry.name));
    let workload = Arg::new(WORKLOAD)
        .long(WORKLOAD)
        .value_name("NAME")
        .value_parser(names)
        .default_value(first.name)
        .help("What is trained");
    command = command.next_display_order(BEHIND).arg(workload);
    for entry in others {
        command = entry.augment(command);
    }
    command.next_display_order(next)
}

impl Args for WorkloadArgs {
    fn augment_args(command: Command) -> Command {
        augment(ALL, command)
    }

    fn augment_args_for_update(command: Command) -> Command {
        augment(ALL, command)
    }
}

impl FromArgMatches for WorkloadArgs {
    fn from_arg_matches(matches: &ArgMatches) -> Result<Self, clap::Error> {
        Self::read(ALL, matches)
    }

    fn update_from_arg_matches(&mut self, matches: &ArgMatches) -> Result<(), clap::Error> {
        *self = Self::read(ALL, matches)?;
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::workloads::autoencoder::AutoencoderOptions;

    #[derive(Clone, Debug, Args)]
    struct Second {
        #[arg(long, default_value_t = 8)]
        context: usize,
    }

    impl Options for Second {
        fn settings(&self) -> Map<String, Value> {
            [("context".to_owned(), self.context.into())]
                .into_iter()
                .collect()
        }

        fn open(&self) -> Result<Box<dyn Workload>, TrainError> {
            Err(TrainError::Shape {
                argument: "--context",
                found: self.context.to_string(),
                expected: "a workload that can be opened".into(),
            })
        }
    }

    fn two() -> [Entry; 2] {
        [
            Entry::of::<AutoencoderOptions>("autoencoder"),
            Entry::of::<Second>("second"),
        ]
    }

    fn read(all: &[Entry], arguments: &str) -> Result<WorkloadArgs, clap::Error> {
        let command = augment(all, Command::new("sonew").no_binary_name(true));
        WorkloadArgs::read(
            all,
            &command.try_get_matches_from(arguments.split_whitespace())?,
        )
    }

    #[test]
    fn one_workload_needs_no_name() {
        let settings = read(ALL, "--sizes 4,2,4").unwrap().settings();
        assert_eq!(Value::from(settings).to_string(), r#"{"sizes":[4,2,4]}"#);
        assert!(read(&two()[..1], "--workload autoencoder").is_err());
    }

    #[test]
    fn the_workload_that_is_named_gives_its_settings_and_is_opened() {
        let unnamed = read(&two(), "--sizes 4,2,4").unwrap().settings();
        assert_eq!(Value::from(unnamed).to_string(), r#"{"sizes":[4,2,4]}"#);
        let second = read(&two(), "--workload second --context 3").unwrap();
        let settings = Value::from(second.settings()).to_string();
        assert_eq!(settings, r#"{"workload":"second","context":3}"#);
        let refused = second.open().err().map(|error| error.to_string());
        assert!(refused.is_some_and(|it| it.starts_with("--context is 3")));
        assert!(read(&two(), "--workload third").is_err());
    }

    #[test]
    fn an_option_of_another_workload_is_refused() {
        for (arguments, refused) in [
            ("--workload second --sizes 4,2,4", "--sizes"),
            ("--context 3", "--context"),
        ] {
            let error = read(&two(), arguments).unwrap_err().to_string();
            assert!(
                error.contains(refused) && error.contains("not trained"),
                "{error}"
            );
        }
    }
}
