use std::io;
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// The number of columns of the terminal on stdout; `None` if stdout is none. 80 if the terminal does not report it.
pub fn terminal_columns() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(if size.ws_col == 0 { 80 } else { size.ws_col })
}

/// Whether stdout is a pipe or terminal whose other end is closed.
pub fn has_no_reader() -> bool {
    let stdout = io::stdout();
    let mut ends = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    let gone = PollFlags::POLLERR | PollFlags::POLLHUP;
    poll(&mut ends, PollTimeout::ZERO).is_ok() && ends[0].revents().is_some_and(|seen| seen.intersects(gone))
}
