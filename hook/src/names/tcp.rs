//! Questions over TCP. A client may ask several over one connection: glibc sends those for both families at once, and
//! fails where the connection ends after the first answer.

use std::io::{self, Read, Write};
use std::net::{IpAddr, TcpStream};
use std::time::{Duration, Instant};

use crate::answer::Verdict;
use crate::shared::Shared;
use crate::upstream;
use crate::wire::{self, LONGEST};

/// How long a client may be silent, and how long its connection may last.
const SILENCE: Duration = Duration::from_secs(10);
const LIFE: Duration = Duration::from_secs(120);

/// Answers on one connection until its client is done with it.
pub fn serve(mut stream: TcpStream, source: IpAddr, shared: &Shared) {
    let Some(_turn) = shared.turn(source) else { return };
    // The client has gone, or is too slow: there is nobody to tell.
    let _ = answer_all(&mut stream, source, shared);
}

fn answer_all(stream: &mut TcpStream, source: IpAddr, shared: &Shared) -> io::Result<()> {
    let end = Instant::now() + LIFE;
    stream.set_nonblocking(false)?;
    stream.set_write_timeout(Some(SILENCE))?;
    while let Some(message) = read(stream, end)? {
        let Some(answer) = answer(&message, source, shared) else { return Ok(()) };
        let length = u16::try_from(answer.len()).map_err(io::Error::other)?;
        stream.write_all(&[&length.to_be_bytes()[..], &answer].concat())?;
    }
    Ok(())
}

/// The next message; none where the client has closed the connection. A client that sends byte by byte does not get more
/// time.
fn read(stream: &mut TcpStream, end: Instant) -> io::Result<Option<Vec<u8>>> {
    let end = end.min(Instant::now() + SILENCE);
    let mut fill = |buffer: &mut [u8]| -> io::Result<bool> {
        let mut filled = 0;
        while filled < buffer.len() {
            let left = end.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(io::ErrorKind::TimedOut.into());
            }
            stream.set_read_timeout(Some(left))?;
            match stream.read(&mut buffer[filled..])? {
                0 => return Ok(false),
                count => filled += count,
            }
        }
        Ok(true)
    };
    let mut length = [0; 2];
    if !fill(&mut length)? {
        return Ok(None);
    }
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    Ok(fill(&mut message)?.then_some(message))
}

fn answer(message: &[u8], source: IpAddr, shared: &Shared) -> Option<Vec<u8>> {
    let question = match wire::read(message) {
        wire::Read::Question(question) => question,
        wire::Read::Refuse(answer) => return Some(answer),
        wire::Read::Ignore => return None,
    };
    match shared.verdict(source, &question) {
        (Verdict::Ask(chosen), _) => {
            upstream::ask_over_tcp(message, &shared.servers(&chosen)).or_else(|| question.failure())
        }
        (verdict, first) => question.answer(&verdict, first, LONGEST),
    }
}
