//! What kernels cost on a GPU, told without one.

use std::process::ExitCode;

use sonew_harness::cli::InspectArgs;

use crate::Outcome;

/// Prints the costs of the kernels that were asked for.
#[cfg(feature = "cuda")]
pub fn inspect(args: &InspectArgs) -> Outcome {
    use sonew_harness::lab::inspect::{PRODUCT, Request, Tools, inspect, products, tables};
    use sonew_harness::process::streams::{note, print, progress};

    let request = Request {
        kernel: args.kernel.clone(),
        precisions: args.precision.clone(),
        bands: args.band.iter().map(|&band| band.into()).collect(),
        values: args.size as usize,
        arch: args.arch.parse()?,
        blueprint: args.blueprint.map(|it| it.0),
    };
    let folder = tempfile::tempdir()?;
    let tools = Tools::find(folder.path().into())?;
    if let Err(reason) = &tools.nvrtc {
        note(&format!(
            "no registers, as NVIDIA's compiler is not here ({reason}); scripts/nvrtc.sh fetches it"
        ));
    }
    if request.kernel.as_deref() == Some(PRODUCT) {
        let [precision] = args.precision[..] else {
            return Err("products are inspected in one --precision at a time".into());
        };
        let found = products(request.arch, precision, tools, &mut |what| progress(what))?;
        if args.json {
            print(&serde_json::to_string_pretty(&found)?)?;
        } else {
            print(
                tables::products(&found, 1e9 * args.flop)
                    .to_text()
                    .trim_end(),
            )?;
        }
        return Ok(ExitCode::SUCCESS);
    }
    let found = inspect(&request, tools, &mut |what| {
        progress(what);
    })?;
    if args.json {
        print(&serde_json::to_string_pretty(&found)?)?;
    } else if args.sites {
        print(tables::sites(&found).to_text().trim_end())?;
    } else {
        let (copy, rate) = (1e9 * args.copy, 1e9 * args.flop);
        print(tables::costs(&found, copy, rate).to_text().trim_end())?;
    }
    Ok(ExitCode::SUCCESS)
}

/// Says what is missing.
#[cfg(not(feature = "cuda"))]
pub fn inspect(_: &InspectArgs) -> Outcome {
    Err("this program was built without CUDA, whose text is what is inspected; build it with --features cuda".into())
}
