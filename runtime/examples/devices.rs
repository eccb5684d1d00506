//! Prints the devices of this machine and what is missing.

fn main() {
    let survey = sonew_runtime::survey();
    for device in &survey.devices {
        println!("{}  {} through {}", device.id, device.name, device.backend);
    }
    for missing in &survey.missing {
        println!("no {}: {}", missing.kind, missing.reason);
    }
}
