//! Standard output and standard error, whose readers may go away: `sonew … | head -1` ends nothing with a panic.

use std::io::{self, ErrorKind, Write};

/// The exit status of a command that stopped because nobody reads what it prints (128 + SIGPIPE).
pub const UNREAD: i32 = 141;

/// Prints text and the end of its line to standard output. A reader that stopped reading is no error.
///
/// # Errors
/// What else the operating system says, such as that a disk is full.
pub fn print(text: &str) -> io::Result<()> {
    let mut output = io::stdout().lock();
    match writeln!(output, "{text}").and_then(|()| output.flush()) {
        Err(error) if error.kind() == ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}

/// Says a line on standard error. That nobody hears it must not end what is being done, so failures are dropped.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Says how far a command is whose only product is what it prints. Once nobody reads its standard output there is nothing
/// left to do, and the program ends here with [`UNREAD`].
pub fn progress(text: &str) {
    note(text);
    if output_is_unread() {
        std::process::exit(UNREAD);
    }
}

#[cfg(unix)]
fn output_is_unread() -> bool {
    let mut output = libc::pollfd {
        fd: libc::STDOUT_FILENO,
        events: 0,
        revents: 0,
    };
    // SAFETY: `poll` reads and writes the one element it is given, and does not wait.
    let found = unsafe { libc::poll(&mut output, 1, 0) };
    found == 1 && output.revents & (libc::POLLERR | libc::POLLHUP) != 0
}

/// Elsewhere this is found out when something is printed.
#[cfg(not(unix))]
fn output_is_unread() -> bool {
    false
}
