use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::ptr;

use nix::errno::Errno;

/// A file that is mapped for reading. Its content is never read through it, so a file that is cut off meanwhile does no
/// harm.
pub(super) struct Mapping {
    start: *mut libc::c_void,
    /// In bytes, above 0.
    length: usize,
}

impl Mapping {
    /// `None` for a file without content.
    #[allow(unsafe_code)]
    pub(super) fn of(file: &File) -> io::Result<Option<Self>> {
        let length = usize::try_from(file.metadata()?.len()).map_err(|_| Errno::EFBIG)?;
        if length == 0 {
            return Ok(None);
        }
        let descriptor = file.as_raw_fd();
        // SAFETY: the kernel chooses a place where nothing is mapped, and checks length and descriptor.
        let start = unsafe { libc::mmap(ptr::null_mut(), length, libc::PROT_READ, libc::MAP_SHARED, descriptor, 0) };
        if start == libc::MAP_FAILED {
            return Err(io::Error::last_os_error());
        }
        Ok(Some(Self { start, length }))
    }

    /// The number of the first page in the address space of this process.
    pub(super) fn first_page(&self) -> u64 {
        (self.start.addr() / page_size()) as u64
    }

    fn pages(&self) -> usize {
        self.length.div_ceil(page_size())
    }

    /// For each page, whether it is in the page cache.
    #[allow(unsafe_code)]
    pub(super) fn cached(&self) -> io::Result<Vec<bool>> {
        let mut states = vec![0_u8; self.pages()];
        // SAFETY: the range is this mapping, and `states` has a byte for each of its pages (mincore(2)).
        Errno::result(unsafe { libc::mincore(self.start, self.length, states.as_mut_ptr()) })?;
        Ok(states.into_iter().map(|state| state & 1 == 1).collect())
    }

    /// Has what is read through it read in single pages, and nothing beside them.
    pub(super) fn read_singly(&self) -> io::Result<()> {
        self.advise(0..self.length, libc::MADV_RANDOM)
    }

    /// Has what is read through it read into huge pages.
    pub(super) fn read_hugely(&self) -> io::Result<()> {
        self.advise(0..self.length, libc::MADV_HUGEPAGE)
    }

    /// Maps these pages, after reading those that are not in the page cache.
    pub(super) fn populate(&self, pages: Range<usize>) -> io::Result<()> {
        let size = page_size();
        self.advise(pages.start * size..(pages.end * size).min(self.length), libc::MADV_POPULATE_READ)
    }

    pub(super) fn populate_all(&self) -> io::Result<()> {
        self.populate(0..self.pages())
    }

    #[allow(unsafe_code)]
    fn advise(&self, bytes: Range<usize>, advice: libc::c_int) -> io::Result<()> {
        let start = self.start.wrapping_byte_add(bytes.start);
        // SAFETY: the callers give ranges within this mapping and advice that changes no content. Pages that the file
        // has no more are an error, and no signal (MADV_POPULATE_READ in madvise(2)).
        Errno::result(unsafe { libc::madvise(start, bytes.len(), advice) }).map(drop).map_err(io::Error::from)
    }
}

impl Drop for Mapping {
    #[allow(unsafe_code)]
    fn drop(&mut self) {
        // SAFETY: the range is this mapping, and no reference into it was ever given out.
        unsafe { libc::munmap(self.start, self.length) };
    }
}

/// The size of a page, in bytes.
#[allow(unsafe_code)]
pub(super) fn page_size() -> usize {
    // SAFETY: sysconf(3) takes a number, and returns one.
    let size = unsafe { libc::sysconf(libc::_SC_PAGESIZE) };
    usize::try_from(size).unwrap_or(4096)
}
