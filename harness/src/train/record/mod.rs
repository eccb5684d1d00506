//! A run's folder: `run.json` (settings, status, summary), `log.jsonl` (a line for each step or epoch) and its plots.

mod claim;
mod error;
mod folder;
mod log;
mod run_file;
mod status;
mod timestamp;

pub use claim::{Contents, check_folder};
pub use error::RecordError;
pub(crate) use error::io_error;
pub use folder::RunFolder;
pub use log::{EpochRecord, LogLine, StepRecord, read_log};
pub use run_file::{RunFile, read_run};
pub use status::RunStatus;
pub use timestamp::timestamp;

const LOG_FILE: &str = "log.jsonl";
