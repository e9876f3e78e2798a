//! Room for the kernel's answers, of which one call receives several.

use std::array;
use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;
use std::slice;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

/// Room for one datagram of any kind: more than an answer has that is not of a dump, and than the part of a dump that
/// the kernel sends at once (`NETLINK_DUMP` buffers, 32 KiB).
pub(super) const LARGE: usize = 60 << 10;

/// All of the room. Of a little more, the allocator would make a mapping of its own (`M_MMAP_THRESHOLD`, mallopt(3)).
const ROOM: usize = 2 * LARGE;

/// How many datagrams one call receives at the most.
const MOST: usize = 16;

/// How long an answer may take. Only a bug in ocinet could leave a request without one, and a hook must not hang then.
const PATIENCE: Duration = Duration::from_secs(10);

/// The datagrams that were received last.
pub(super) struct Inbox {
    room: Box<[MaybeUninit<u8>]>,
    /// How far apart they begin.
    place: usize,
    /// The length of each.
    lengths: Vec<usize>,
}

impl Inbox {
    pub fn new() -> Self {
        Self { room: Box::new_uninit_slice(ROOM), place: LARGE, lengths: Vec::with_capacity(MOST) }
    }

    /// Receives the datagrams that are there, as many as there is room for, of at most `place` bytes each.
    pub fn receive(&mut self, socket: BorrowedFd<'_>, place: usize) -> io::Result<()> {
        self.place = place.clamp(ROOM / MOST, LARGE);
        self.lengths.clear();
        match self.fill(socket) {
            Err(Errno::EAGAIN) => Ok(()),
            filled => Ok(filled?),
        }
    }

    /// The same, and waits for the first.
    ///
    /// # Errors
    /// `EAGAIN` where none comes in ten seconds.
    pub fn wait(&mut self, socket: BorrowedFd<'_>, place: usize) -> io::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        loop {
            self.receive(socket, place)?;
            if !self.lengths.is_empty() {
                return Ok(());
            }
            let left = deadline.saturating_duration_since(Instant::now());
            let timeout = PollTimeout::try_from(left).unwrap_or(PollTimeout::ZERO);
            match poll(&mut [PollFd::new(socket, PollFlags::POLLIN)], timeout) {
                Ok(0) => return Err(Errno::EAGAIN.into()),
                Ok(_) | Err(Errno::EINTR) => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Whether more may be there. Where a place is left, the kernel had no further datagram (`do_recvmmsg`,
    /// net/socket.c).
    pub fn is_full(&self) -> bool {
        self.lengths.len() == self.places()
    }

    fn places(&self) -> usize {
        (ROOM / self.place).min(MOST)
    }

    /// The datagrams, in the order in which they came.
    #[allow(unsafe_code)]
    pub fn datagrams(&self) -> impl Iterator<Item = &[u8]> {
        self.room.chunks(self.place).zip(&self.lengths).map(|(place, length)| {
            // SAFETY: `fill` notes a length only for a place of which the kernel has written so many bytes.
            unsafe { slice::from_raw_parts(place[..*length].as_ptr().cast(), *length) }
        })
    }

    #[allow(unsafe_code)]
    fn fill(&mut self, socket: BorrowedFd<'_>) -> nix::Result<()> {
        let count = self.places() as libc::c_uint;
        let mut places = self.room.chunks_exact_mut(self.place);
        let mut parts: [libc::iovec; MOST] = array::from_fn(|_| {
            let place = places.next().unwrap_or_default();
            libc::iovec { iov_base: place.as_mut_ptr().cast(), iov_len: place.len() }
        });
        // SAFETY: a header of zeros is a valid one, which has neither an address nor room for anything.
        let empty: libc::mmsghdr = unsafe { MaybeUninit::zeroed().assume_init() };
        let mut headers: [libc::mmsghdr; MOST] = array::from_fn(|nth| {
            let mut header = empty;
            (header.msg_hdr.msg_iov, header.msg_hdr.msg_iovlen) = (&raw mut parts[nth], 1);
            header
        });
        // SAFETY: each of the first `count` headers has one part, which is a place of the room; all of them are alive.
        let received = unsafe {
            let (fd, flags) = (socket.as_raw_fd(), libc::MSG_DONTWAIT);
            libc::recvmmsg(fd, headers.as_mut_ptr(), count, flags, ptr::null_mut())
        };
        let received = Errno::result(received)?;
        let filled = headers.iter().take(usize::try_from(received).unwrap_or_default());
        self.lengths.extend(filled.map(|header| header.msg_len as usize));
        Ok(())
    }
}
