//! Commands of the program in processes of their own, which end in time.

use std::io::{BufRead, BufReader, Read};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use serde::Serialize;
use serde_json::Value;

use super::ReportError;
use crate::process::streams::note;

/// How a command ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum End {
    /// With status 0, and JSON.
    Well,
    /// Otherwise, by itself.
    Badly,
    /// It was ended, as its time was up.
    Late,
}

/// What a command of the program printed.
#[derive(Debug, Serialize)]
pub(super) struct Part {
    /// The arguments.
    pub command: String,
    /// How long it took.
    pub seconds: f64,
    /// The JSON that it printed, if it did.
    pub output: Option<Value>,
    /// How it ended, if not well.
    pub failure: Option<String>,
    /// Of what kind that end was.
    #[serde(skip)]
    pub end: End,
}

impl Part {
    /// Runs a command that prints JSON, and ends it after `time`; what it says on standard error is passed on.
    ///
    /// # Errors
    /// [`ReportError::Program`] if it cannot be run.
    pub fn run(program: &Path, arguments: &[&str], time: Duration) -> Result<Self, ReportError> {
        let command = arguments.join(" ");
        let failed = |error: std::io::Error| ReportError::Program {
            command: command.clone(),
            reason: error.to_string(),
        };
        let started = Instant::now();
        let mut child = Command::new(program)
            .args(arguments)
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .map_err(failed)?;
        let (stdout, stderr) = (child.stdout.take(), child.stderr.take());
        let child = Mutex::new(child);
        let (ended, end) = mpsc::channel::<()>();
        thread::scope(|threads| {
            let reader = threads.spawn(|| {
                let mut text = String::new();
                let read = stdout.map(|mut it| it.read_to_string(&mut text));
                read.transpose().map(|_| text)
            });
            let child = &child;
            let watch = threads.spawn(move || {
                let late = end.recv_timeout(time) == Err(RecvTimeoutError::Timeout);
                if late {
                    // It may have ended by itself since.
                    let _ = held(child).kill();
                }
                late
            });
            let mut last = String::new();
            for line in stderr.into_iter().flat_map(|it| BufReader::new(it).lines()) {
                // What a driver says need not be text.
                let Ok(line) = line else { continue };
                note(&line);
                last = line;
            }
            let gone = ReportError::Program {
                command: command.clone(),
                reason: "its output could not be read".into(),
            };
            let Ok(printed) = reader.join() else {
                return Err(gone);
            };
            drop(ended);
            let late = watch.join().unwrap_or(false);
            let status = held(child).wait().map_err(failed)?;
            let output = serde_json::from_str(&printed.map_err(failed)?).ok();
            let (end, failure) = if status.success() && output.is_some() {
                (End::Well, None)
            } else if late {
                (End::Late, Some(format!("its time, at: {last}")))
            } else {
                (End::Badly, Some(format!("{status}: {last}")))
            };
            Ok(Self {
                command: command.clone(),
                seconds: started.elapsed().as_secs_f64(),
                output,
                failure,
                end,
            })
        })
    }

    /// A part of what was printed.
    pub fn read<T: serde::de::DeserializeOwned>(&self, key: &str) -> Option<T> {
        let value = self.output.as_ref()?.get(key)?;
        serde_json::from_value(value.clone()).ok()
    }
}

fn held(child: &Mutex<Child>) -> std::sync::MutexGuard<'_, Child> {
    child.lock().unwrap_or_else(PoisonError::into_inner)
}
