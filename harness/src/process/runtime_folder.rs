//! The folder for a user's sockets, which Mesa asks for and complains about on standard error where there is none.

use std::env;
use std::path::Path;

const NAME: &str = "XDG_RUNTIME_DIR";

/// Names the folder for temporary files where the environment names none that exists. Before anything else of the program.
pub fn name() {
    let named = env::var_os(NAME).is_some_and(|folder| Path::new(&folder).is_dir());
    if !named {
        // SAFETY: the program has not started another thread yet, which could read the environment meanwhile.
        unsafe { env::set_var(NAME, env::temp_dir()) };
    }
}
