use std::io;

/// The number of columns of the terminal on stdout; `None` if stdout is none. 80 if the terminal does not report it.
pub fn terminal_columns() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(if size.ws_col == 0 { 80 } else { size.ws_col })
}
