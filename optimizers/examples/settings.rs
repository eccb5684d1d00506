//! Optimizers by their names, with settings from strings as on a command line: without arguments, the settings that each
//! has; else those of one, as `settings tridiag-sonew beta2=0.99 graft=adam`.

use std::error::Error;

use sonew_optimizers::OptimizerConfig;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let Some(name) = arguments.next() else {
        for name in OptimizerConfig::NAMES {
            print(&OptimizerConfig::named(name)?);
        }
        return Ok(());
    };
    let mut config = OptimizerConfig::named(&name)?;
    for argument in arguments {
        let (key, value) = argument
            .split_once('=')
            .ok_or_else(|| format!("`{argument}` is not KEY=VALUE"))?;
        config.set(key, value)?;
    }
    print(&config);
    Ok(())
}

fn print(config: &OptimizerConfig) {
    println!("{}", config.name());
    for setting in config.settings() {
        println!("  {} = {}", setting.key, setting.value);
    }
}
