use std::io;

/// How many columns the terminal has that stdout is; `None` where it is none. One that does not say has 80.
pub fn terminal_columns() -> Option<u16> {
    let size = rustix::termios::tcgetwinsize(io::stdout()).ok()?;
    Some(if size.ws_col == 0 { 80 } else { size.ws_col })
}
