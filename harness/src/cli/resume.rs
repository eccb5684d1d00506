//! `train --resume`: the command line that a run began with, with what is asked of it now behind it.

use std::path::{Path, PathBuf};

use clap::{Args, CommandFactory, FromArgMatches};
use serde_json::Value;

use super::{Cli, Command};
use crate::train::checkpoint::{CheckpointError, Every};
use crate::train::record::RunFile;

/// Checkpoints of a run.
#[derive(Debug, Clone, Args)]
pub struct CheckpointArgs {
    /// Write a checkpoint to the run's folder after every N epochs (or Nsteps), when the run is asked to stop, and at its end; the
    /// last two are kept.
    #[arg(long, value_name = "N[epochs|steps]")]
    pub checkpoint_every: Option<Every>,
    /// Go on with the run in DIR from its newest checkpoint, with the options it began with but for --quiet, --json and --verbose.
    /// Options given beside it come on top: the learning rate, its schedule, the epochs, the device and what is printed may change.
    #[arg(long, value_name = "DIR", conflicts_with_all = ["out", "overwrite"])]
    pub resume: Option<PathBuf>,
}

/// The command of a run and what is asked on top, read as one: as if everything had been asked at once, the later of two values
/// counting. Arguments as a process has them, the program's own name left out.
///
/// # Errors
/// [`CheckpointError::NotResumable`] if the run was not begun by `train`, or with options that this version does not know.
pub fn resumed(
    folder: &Path,
    run: &RunFile,
    own: &[String],
) -> Result<(Command, Vec<String>), CheckpointError> {
    let refused = |reason: String| CheckpointError::NotResumable {
        path: folder.into(),
        reason,
    };
    if run.config.is_array() {
        let reason = "it is a comparison, and only a run of `sonew train` is resumed";
        return Err(refused(reason.into()));
    }
    let unknown = "its run.json does not say by which command it was begun";
    let words = run.config.get("command").and_then(Value::as_array);
    let words = words.ok_or_else(|| refused(unknown.into()))?;
    let words = words.iter().filter_map(Value::as_str).map(String::from);
    let mut all: Vec<String> = words.collect();
    match all.first().map(String::as_str) {
        Some("train") => {}
        Some(other) => {
            let reason =
                format!("it was begun by `sonew {other}`, and only `sonew train` is resumed");
            return Err(refused(reason));
        }
        None => return Err(refused(unknown.into())),
    }
    // Who looks on now says what is to be printed.
    all.retain(|word| !["--quiet", "--json", "--verbose"].contains(&word.as_str()));
    let own = asked_on_top(own);
    if own.iter().any(|it| it == "--lr" || it.starts_with("--lr=")) {
        drop_inline_lr(&mut all);
    }
    all.extend(own);
    let later_counts = |it: clap::Command| it.args_override_self(true);
    let command = Cli::command().mut_subcommands(later_counts);
    let words = std::iter::once("sonew".to_owned()).chain(all.iter().cloned());
    let read = command.try_get_matches_from(words);
    let read = read.and_then(|matches| Cli::from_arg_matches(&matches));
    let unknown = |error: clap::Error| refused(format!("its options cannot be read: {error}"));
    Ok((read.map_err(unknown)?.command, all))
}

/// Removes the learning rate that stands with the optimizer, before which `--lr` would not count.
fn drop_inline_lr(words: &mut [String]) {
    let mut of_optimizer = false;
    for word in words {
        if of_optimizer || word.starts_with("--optimizer=") {
            let parts = word.split(':').filter(|part| !part.starts_with("lr="));
            *word = parts.collect::<Vec<_>>().join(":");
        }
        of_optimizer = word == "--optimizer";
    }
}

/// The words but for the subcommand and `--resume` with its folder.
fn asked_on_top(own: &[String]) -> Vec<String> {
    let mut words = own.iter().skip_while(|word| *word != "train").skip(1);
    let mut asked = Vec::new();
    while let Some(word) = words.next() {
        match word.strip_prefix("--resume") {
            Some("") => {
                words.next();
            }
            Some(rest) if rest.starts_with('=') => {}
            _ => asked.push(word.clone()),
        }
    }
    asked
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::train::record::RunStatus;

    fn run(words: &[&str]) -> RunFile {
        RunFile {
            status: RunStatus::Running,
            config: serde_json::json!({ "command": words }),
            summary: Value::Null,
        }
    }

    #[test]
    fn what_is_asked_on_top_counts_and_the_rest_stays() {
        let folder = Path::new("runs/a");
        let begun = run(&[
            "train",
            "--optimizer",
            "adam",
            "--lr",
            "1e-3",
            "--out",
            "runs/a",
        ]);
        let own = ["train", "--resume", "runs/a", "--lr=1e-4", "--quiet"].map(String::from);
        let (command, words) = resumed(folder, &begun, &own).unwrap();
        let Command::Train {
            optimizer,
            run: asked,
            ..
        } = command
        else {
            panic!("{command:?}");
        };
        assert_eq!(
            (optimizer.as_str(), asked.lr, asked.quiet),
            ("adam", Some(1e-4), true)
        );
        assert_eq!(words[words.len() - 2..], ["--lr=1e-4", "--quiet"]);
        let printing = ["train", "--json", "--quiet", "--verbose", "--lr", "1e-3"];
        let (command, _) = resumed(folder, &run(&printing), &own[..3]).unwrap();
        let Command::Train { run: asked, .. } = command else {
            panic!("{command:?}");
        };
        assert!(!asked.quiet && !asked.json && !asked.verbose && asked.lr == Some(1e-3));
        let own = ["train", "--resume=runs/a"].map(String::from);
        let (_, again) = resumed(folder, &begun, &own).unwrap();
        assert_eq!(again.len(), 7);
    }

    #[test]
    fn what_train_did_not_begin_is_refused() {
        for words in [
            &["compare", "--epochs", "2"][..],
            &[],
            &["train", "--no-such-option"],
        ] {
            assert!(
                resumed(Path::new("runs/a"), &run(words), &[]).is_err(),
                "{words:?}"
            );
        }
    }
}
