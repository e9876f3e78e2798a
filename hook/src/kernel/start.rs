//! The start of this process, which a runtime waits for.
//!
//! What the standard library does before `main` takes 17 system calls, most of them for a line about a stack that
//! overflows. [`program!`](crate::program) makes a `main` for the C library instead, which does the rest of it: without
//! that, a file that is opened could become standard output, and a reader that goes away would kill the process.

use std::fs::OpenOptions;
use std::os::fd::IntoRawFd;
use std::process;

use nix::sys::signal::{SigHandler, Signal, signal};

/// Makes a function that returns an exit code the program of this process. The crate needs the attribute `no_main`
/// where it is not compiled for its tests.
#[macro_export]
macro_rules! program {
    ($run:path) => {
        // SAFETY: no other item of this program has that name, and the C library calls it once, with arguments that it
        // need not take.
        #[cfg(not(test))]
        #[allow(unsafe_code)]
        #[unsafe(no_mangle)]
        extern "C" fn main() -> std::ffi::c_int {
            $crate::kernel::start();
            // It writes what is left in the buffer of standard output, which a return from here would lose.
            std::process::exit($run().into())
        }

        #[cfg(test)]
        fn main() {
            $run();
        }
    };
}

/// Opens standard streams that are closed, and has writes to a closed pipe fail instead of killing this process.
pub fn start() {
    open_streams();
    // SAFETY: it installs no handler.
    #[allow(unsafe_code)]
    let _ = unsafe { signal(Signal::SIGPIPE, SigHandler::SigIgn) };
}

/// What is opened takes the lowest free descriptor (open(2)), so /dev/null takes the place of each closed stream.
fn open_streams() {
    let mut streams = [0, 1, 2].map(|fd| libc::pollfd { fd, events: 0, revents: 0 });
    // SAFETY: the array is alive and of that length. A closed descriptor is an answer and no error (poll(2)).
    #[allow(unsafe_code)]
    let polled = unsafe { libc::poll(streams.as_mut_ptr(), 3, 0) };
    let is_closed = |stream: &&libc::pollfd| {
        if polled >= 0 {
            return stream.revents & libc::POLLNVAL != 0;
        }
        // Memory is short. SAFETY: it asks for a flag, and a closed descriptor is an answer.
        #[allow(unsafe_code)]
        let flags = unsafe { libc::fcntl(stream.fd, libc::F_GETFD) };
        flags < 0
    };
    for _ in streams.iter().filter(is_closed) {
        match OpenOptions::new().read(true).write(true).open("/dev/null") {
            Ok(null) => {
                let _stays_open = null.into_raw_fd();
            }
            Err(_) => process::abort(),
        }
    }
}
