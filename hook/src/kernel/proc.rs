use std::fs::File;
use std::io::{self, Read};

/// As large as the text of nearly every file of /proc that is read here.
const CAPACITY: usize = 4096;

/// Reads a file of /proc or /sys. They say nothing of their length beforehand, so that [`std::fs::read`] would ask for
/// it, and then read in small steps.
///
/// # Errors
/// Those of the kernel.
pub(super) fn read(path: &str) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(CAPACITY);
    // Of a reader that is no file, the standard library cannot ask the length.
    File::open(path)?.take(u64::MAX).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// The same as text.
///
/// # Errors
/// Those of the kernel, or that it is no UTF-8.
pub(super) fn read_text(path: &str) -> io::Result<String> {
    text(read(path)?)
}

/// Reads a file of /proc that has one line. The kernel gives it in one piece, so that no end of the file is asked for.
///
/// # Errors
/// Those of the kernel.
pub(super) fn read_line(mut file: File) -> io::Result<Vec<u8>> {
    let mut bytes = vec![0; CAPACITY];
    let length = loop {
        match file.read(&mut bytes) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            length => break length?,
        }
    };
    bytes.truncate(length);
    if !bytes.ends_with(b"\n") {
        // Longer than any such line, or a file of another kind in its place.
        file.read_to_end(&mut bytes)?;
    }
    Ok(bytes)
}

/// The value that a file of /proc/sys has.
///
/// # Errors
/// Those of the kernel, or that it is no UTF-8.
pub(super) fn value(path: &str) -> io::Result<String> {
    Ok(text(read_line(File::open(path)?)?)?.trim().to_owned())
}

fn text(bytes: Vec<u8>) -> io::Result<String> {
    String::from_utf8(bytes).map_err(|error| io::Error::new(io::ErrorKind::InvalidData, error))
}
