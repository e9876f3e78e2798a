//! How a program's file lies in the page cache, and bringing it into large pages there.
//!
//! The kernel maps a program's pages when they are touched, up to 64 KiB at a page fault. Where the file lies in
//! folios of that size or more, a fault looks up one and counts one; where it lies in single pages it does so for each.
//! A huge page that lies right in the address space is mapped at once. Measured on Linux 6.18 with ext4
//! (packaging/doc/figures.md): 0.6 ms of an attach from single pages to folios of 64 KiB, which a file has that was
//! written in large pieces, and 0.1 ms more to huge pages.
//!
//! - A file that is read by page faults, as the programs are after a boot, comes into single pages. So does one that
//!   was written in small pieces.
//! - A mapping with `MADV_HUGEPAGE` is read in folios of the size of a huge page, where the file system has large
//!   folios (`do_sync_mmap_readahead` in mm/filemap.c). The file has to be out of the page cache first.
//! - `POSIX_FADV_DONTNEED` drops only what no process has mapped, and a single page that stays has the whole huge page
//!   read in single pages again. So nothing may run from the file meanwhile, this process included: it goes on as a
//!   copy in memory.
//!
//! Nothing of this changes the file, and what is dropped is read again by the next who needs it.

mod folios;
mod mapping;
mod warm;

pub use folios::{Folios, folios_of, has_large_folios};
pub use warm::{Warmed, go_on_from_memory, hinders, installed_programs, warm};
