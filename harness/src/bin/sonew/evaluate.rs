//! The loss of weights from a file.

use std::process::ExitCode;
use std::rc::Rc;

use sonew_harness::cli::EvaluateArgs;
use sonew_harness::process::streams::print;
use sonew_harness::train::Evaluation;
use sonew_optimizers::Context;
use sonew_runtime::DeviceInfo;

use crate::Outcome;
use crate::on_device::{Job, on_device};

/// Evaluates them.
pub fn evaluate(args: &EvaluateArgs) -> Outcome {
    let evaluation = Evaluation::of(
        &args.weights,
        args.workload.open()?,
        args.precision,
        args.batch,
        args.products,
    )?;
    let json = args.json;
    on_device(&args.device, EvaluateJob { evaluation, json })
}

struct EvaluateJob {
    evaluation: Evaluation,
    json: bool,
}

impl Job for EvaluateJob {
    fn run(self, info: &DeviceInfo, context: Rc<Context>) -> Outcome {
        let found = self.evaluation.on(info, &context)?;
        if self.json {
            print(&serde_json::to_string_pretty(&found)?)?;
        } else {
            print(&format!(
                "loss {:.3} {} over {} {} in {}",
                found.loss, found.unit, found.examples, found.called, found.precision
            ))?;
        }
        Ok(ExitCode::SUCCESS)
    }
}
