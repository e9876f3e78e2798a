//! What the supervisor and a worker tell each other: a line each, over two pipes. The supervisor believes a worker
//! nothing that would do harm where it is a lie.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::net::IpAddr;
use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use nix::fcntl::{FcntlArg, OFlag, fcntl};

/// The longest line.
const LINE: usize = 1024;

/// What a worker tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// It answers.
    Ready,
    /// No container has a name.
    Idle,
    /// One has.
    Busy,
    /// The state directory is gone.
    Gone,
    /// It takes nothing more from the sockets, as it was told to.
    Stopped,
    /// A person or a script wants the installed program to take over.
    Replace,
    /// It works, as it was asked.
    Works,
    /// It cannot work, for that reason, and ends.
    Failed(String),
    /// Something for the log.
    Log(String),
}

/// The worker's end.
#[derive(Debug, Clone)]
pub struct Teller(Arc<PipeWriter>);

impl Teller {
    /// By this pipe.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn by(pipe: PipeWriter) -> io::Result<Self> {
        // A supervisor that does not read keeps no worker from its work.
        set_nonblocking(&pipe)?;
        Ok(Self(Arc::new(pipe)))
    }

    /// Tells the supervisor.
    pub fn tell(&self, told: &Told) {
        let line = match told {
            Told::Ready => "ready\n",
            Told::Idle => "idle\n",
            Told::Busy => "busy\n",
            Told::Gone => "gone\n",
            Told::Stopped => "stopped\n",
            Told::Replace => "replace\n",
            Told::Works => "works\n",
            Told::Failed(why) => &format!("failed {}\n", one_line(why)),
            Told::Log(text) => &format!("log {}\n", one_line(text)),
        };
        // Without a supervisor, the kernel ends this process.
        let _ = (&*self.0).write_all(line.as_bytes());
    }

    /// Has the supervisor write to the log.
    pub fn log(&self, text: &str) {
        self.tell(&Told::Log(text.into()));
    }
}

fn one_line(text: &str) -> String {
    text.chars().map(|letter| if letter.is_control() { ' ' } else { letter }).take(LINE / 4).collect()
}

/// Lines that come in by a pipe.
#[derive(Debug)]
pub struct Lines {
    pipe: PipeReader,
    taken: Vec<u8>,
}

impl Lines {
    /// By this pipe.
    ///
    /// # Errors
    /// When the kernel refuses.
    pub fn by(pipe: PipeReader) -> io::Result<Self> {
        set_nonblocking(&pipe)?;
        Ok(Self { pipe, taken: Vec::new() })
    }

    /// What has come, and whether the other end is closed. A line that is too long is dropped.
    pub fn take(&mut self) -> (Vec<String>, bool) {
        let mut buffer = [0; LINE];
        let is_closed = match self.pipe.read(&mut buffer) {
            Ok(0) => true,
            Ok(count) => {
                self.taken.extend_from_slice(&buffer[..count]);
                false
            }
            Err(error) => !matches!(error.kind(), io::ErrorKind::WouldBlock | io::ErrorKind::Interrupted),
        };
        let mut lines = Vec::new();
        while let Some(end) = self.taken.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.taken.drain(..=end).collect();
            lines.push(one_line(&String::from_utf8_lossy(&line[..end])));
        }
        if self.taken.len() > LINE {
            self.taken.clear();
        }
        (lines, is_closed)
    }
}

impl AsFd for Lines {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }
}

/// What a line of a worker says; none where it is none of a worker's.
pub fn told(line: &str) -> Option<Told> {
    Some(match line {
        "ready" => Told::Ready,
        "idle" => Told::Idle,
        "busy" => Told::Busy,
        "gone" => Told::Gone,
        "stopped" => Told::Stopped,
        "replace" => Told::Replace,
        "works" => Told::Works,
        _ => match line.split_once(' ')? {
            ("failed", why) => Told::Failed(why.to_owned()),
            ("log", text) => Told::Log(text.to_owned()),
            _ => return None,
        },
    })
}

/// The line by which the supervisor asks a worker whether it works.
pub const WORKS: &str = "works\n";

/// The line by which the supervisor tells a worker the host's name servers.
pub fn servers_line(servers: &[IpAddr]) -> String {
    let words: Vec<String> = servers.iter().map(ToString::to_string).collect();
    format!("servers {}\n", words.join(" "))
}

/// The name servers that such a line tells of.
pub fn servers(line: &str) -> Option<Vec<IpAddr>> {
    line.strip_prefix("servers")?.split_whitespace().map(|word| word.parse().ok()).collect()
}

fn set_nonblocking(pipe: &impl AsFd) -> io::Result<()> {
    let flags = OFlag::from_bits_truncate(fcntl(pipe.as_fd(), FcntlArg::F_GETFL)?);
    fcntl(pipe.as_fd(), FcntlArg::F_SETFL(flags | OFlag::O_NONBLOCK))?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_comes_as_it_was_told() {
        let (reader, writer) = io::pipe().unwrap();
        let (tell, mut lines) = (Teller::by(writer).unwrap(), Lines::by(reader).unwrap());
        let all = [
            Told::Ready,
            Told::Idle,
            Told::Busy,
            Told::Gone,
            Told::Stopped,
            Told::Replace,
            Told::Works,
            Told::Failed("no x".into()),
            Told::Log("a b".into()),
        ];
        all.iter().for_each(|one| tell.tell(one));
        let (came, is_closed) = lines.take();
        assert_eq!(
            (came.iter().map(|line| told(line)).collect::<Option<Vec<_>>>(), is_closed),
            (Some(all.to_vec()), false)
        );
        tell.log("two\nready");
        assert_eq!(lines.take().0, ["log two ready"]);
        (&*tell.0).write_all(&[b'x'; 1500]).unwrap();
        assert_eq!((lines.take().0.len(), lines.take().0.len(), told("xready")), (0, 0, None));
        tell.tell(&Told::Busy);
        drop(tell);
        lines.take();
        assert!(lines.take().1);
        let hosts: Vec<IpAddr> = vec!["192.0.2.53".parse().unwrap(), "2001:db8::53".parse().unwrap()];
        assert_eq!(servers(servers_line(&hosts).trim_end()), Some(hosts));
        assert_eq!((servers("servers"), servers("servers x"), servers(WORKS.trim_end())), (Some(vec![]), None, None));
    }
}
