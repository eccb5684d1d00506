//! Prints the devices of this machine and what is missing.

fn main() {
    print!("{}", sonew_runtime::survey().table());
}
