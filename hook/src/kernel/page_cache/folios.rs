use std::fs::{self, File};
use std::io;
use std::os::unix::fs::FileExt;

use super::mapping::{Mapping, page_size};

/// The size from which a folio is large: what one page fault maps (`fault_around_bytes` in mm/memory.c).
const LARGE: usize = 64 << 10;

/// `PRESENT` and the mask of the frame's number, in an entry of /proc/PID/pagemap.
const PRESENT: u64 = 1 << 63;
const FRAME: u64 = (1 << 55) - 1;

/// Flags of /proc/kpageflags: the first page of a folio of several, and the others.
const COMPOUND_HEAD: u64 = 1 << 15;
const COMPOUND_TAIL: u64 = 1 << 16;

/// How much of a file lies in which pages of the page cache, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Folios {
    /// In folios of at least a huge page. They are large ones, too.
    huge: usize,
    /// In folios of at least 64 KiB.
    large: usize,
    /// In smaller ones.
    small: usize,
    /// Not in the page cache.
    absent: usize,
    /// The whole huge pages that the file has.
    whole: usize,
}

/// A page of a file.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Page {
    Absent,
    /// The first of a folio, or its only one.
    First,
    /// Belongs to the same folio as the page before it.
    Next,
}

impl Folios {
    /// Whether page faults are as few and as cheap as large folios make them, but for what is left at the end of a
    /// file.
    pub fn are_large(&self) -> bool {
        self.absent == 0 && self.small <= LARGE.max(self.large / 8)
    }

    /// Whether besides a page fault can map a huge page, if it lies right in the address space.
    pub fn are_huge(&self) -> bool {
        self.are_large() && self.huge >= self.whole
    }

    /// Whether most of what is there lies in small folios.
    pub fn are_small(&self) -> bool {
        self.small > LARGE.max(self.large)
    }

    fn of(pages: &[Page], page_size: usize, huge_page: usize) -> Self {
        let whole = pages.len() * page_size / huge_page * huge_page;
        let mut folios = Self { huge: 0, large: 0, small: 0, absent: 0, whole };
        for folio in pages.chunk_by(|_, next| *next == Page::Next) {
            let bytes = folio.len() * page_size;
            match folio.first() {
                Some(Page::Absent) => folios.absent += bytes,
                _ if bytes < LARGE => folios.small += bytes,
                _ => folios.large += bytes,
            }
            if bytes >= huge_page {
                folios.huge += bytes;
            }
        }
        folios
    }
}

/// How the file lies in the page cache; `None` where that cannot be looked at: without rights of root on the host, or
/// where the kernel has no /proc/kpageflags. It reads nothing of the file.
pub fn folios_of(file: &File) -> Option<Folios> {
    look(file).ok().flatten()
}

fn look(file: &File) -> io::Result<Option<Folios>> {
    let Some(mapping) = Mapping::of(file)? else { return Ok(None) };
    mapping.read_singly()?;
    let cached = mapping.cached()?;
    let mut start = 0;
    for run in cached.chunk_by(|page, next| page == next) {
        if run.first() == Some(&true) {
            mapping.populate(start..start + run.len())?;
        }
        start += run.len();
    }
    let mut entries = vec![0; cached.len() * 8];
    File::open("/proc/self/pagemap")?.read_exact_at(&mut entries, mapping.first_page() * 8)?;
    let flags = File::open("/proc/kpageflags")?;
    let mut pages = Vec::with_capacity(cached.len());
    for entry in entries.as_chunks().0 {
        let entry = u64::from_ne_bytes(*entry);
        let (is_present, frame) = (entry & PRESENT != 0, entry & FRAME);
        pages.push(match (is_present, frame) {
            (false, _) => Page::Absent,
            // The kernel hides the numbers of frames from this process.
            (true, 0) => return Ok(None),
            (true, frame) => {
                let mut bytes = [0; 8];
                flags.read_exact_at(&mut bytes, frame * 8)?;
                page(u64::from_ne_bytes(bytes), pages.last().copied())
            }
        });
    }
    Ok(Some(Folios::of(&pages, page_size(), huge_page())))
}

/// What the flags of a page say, after the page before it in the file.
fn page(flags: u64, before: Option<Page>) -> Page {
    let is_tail = flags & COMPOUND_TAIL != 0 && flags & COMPOUND_HEAD == 0;
    if is_tail && before.is_some_and(|page| page != Page::Absent) { Page::Next } else { Page::First }
}

/// Whether the file is known to be on a file system with large folios: XFS since Linux 5.18, ext4 since 6.16. `false`
/// where that is not known.
pub fn has_large_folios(file: &File) -> bool {
    let Ok(system) = rustix::fs::fstatfs(file) else { return false };
    let release = fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let since = match system.f_type {
        libc::XFS_SUPER_MAGIC => (5, 18),
        libc::EXT4_SUPER_MAGIC => (6, 16),
        _ => return false,
    };
    // Without transparent huge pages no file system has large folios.
    version(&release).is_some_and(|version| version >= since) && huge_page() < usize::MAX
}

/// The size of a huge page in bytes; beyond all sizes where the kernel has no transparent huge pages.
fn huge_page() -> usize {
    let size = fs::read_to_string("/sys/kernel/mm/transparent_hugepage/hpage_pmd_size").unwrap_or_default();
    size.trim().parse().ok().filter(|size| *size > 0).unwrap_or(usize::MAX)
}

/// The first two numbers of a kernel's release.
fn version(release: &str) -> Option<(u32, u32)> {
    let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(str::parse);
    Some((numbers.next()?.ok()?, numbers.next()?.ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn folios_are_told_by_their_flags() {
        let (single, head, tail) = (0, COMPOUND_HEAD, COMPOUND_TAIL);
        let pages_of = |flags: &[u64]| {
            let mut pages = Vec::new();
            flags.iter().for_each(|flags| pages.push(page(*flags, pages.last().copied())));
            pages
        };
        const HUGE: usize = 512 << 12;
        let sizes = |folios: Folios| [folios.huge, folios.large, folios.small, folios.absent].map(|bytes| bytes >> 12);
        let of = |flags: &[u64]| sizes(Folios::of(&pages_of(flags), 4096, HUGE));
        let folio = |pages: usize| [vec![head], vec![tail; pages - 1]].concat();
        assert_eq!(of(&[single; 40]), [0, 0, 40, 0]);
        assert_eq!(of(&folio(16)), [0, 16, 0, 0]);
        assert_eq!(of(&[folio(8), folio(8), vec![single]].concat()), [0, 0, 17, 0]);
        assert_eq!(of(&[folio(512), folio(4)].concat()), [512, 512, 4, 0]);
        let absent = [[Page::Absent; 2].as_slice(), &pages_of(&[tail; 16])].concat();
        assert_eq!(sizes(Folios::of(&absent, 4096, HUGE)), [0, 16, 0, 2]);
        // A page of 64 KiB is a large folio by itself; without huge pages there is no whole one.
        let folios = Folios::of(&pages_of(&[single; 2]), 64 << 10, usize::MAX);
        assert_eq!((folios.large, folios.whole), (128 << 10, 0));
        assert!(Folios::of(&pages_of(&[folio(512), folio(4)].concat()), 4096, HUGE).are_huge());
        assert!(!Folios::of(&pages_of(&folio(16).repeat(32)), 4096, HUGE).are_huge());
        assert!(Folios::of(&pages_of(&folio(16).repeat(31)), 4096, HUGE).are_huge());
    }

    #[test]
    fn the_end_of_a_file_may_lie_in_small_pages() {
        let folios = |large: usize, small: usize, absent: usize| Folios {
            huge: 0,
            large: large << 10,
            small: small << 10,
            absent: absent << 10,
            whole: 0,
        };
        for large in [folios(6144, 100, 0), folios(0, 40, 0), folios(64, 60, 0), folios(0, 0, 0)] {
            assert!(large.are_large() && !large.are_small(), "{large:?}");
        }
        for small in [folios(0, 6400, 0), folios(2000, 4400, 0), folios(0, 68, 6000)] {
            assert!(small.are_small() && !small.are_large(), "{small:?}");
        }
        for between in [folios(4000, 2400, 0), folios(6144, 100, 4)] {
            assert!(!between.are_small() && !between.are_large(), "{between:?}");
        }
    }

    #[test]
    fn releases_are_compared_by_number() {
        for (release, expected) in [
            ("6.18.44-fc-v669\n", Some((6, 18))),
            ("5.14.0-503.el9", Some((5, 14))),
            ("6.1", Some((6, 1))),
            ("6", None),
            ("", None),
        ] {
            assert_eq!(version(release), expected, "{release}");
        }
    }

    #[test]
    fn what_was_not_read_is_absent() {
        let path = std::env::temp_dir().join(format!("ocinet-folios-{}", std::process::id()));
        fs::write(&path, vec![1; 300_000]).unwrap();
        let file = File::open(&path).unwrap();
        // Without the right to look there is no answer.
        if let Some(Folios { large, small, absent, .. }) = folios_of(&file) {
            assert_eq!((large + small + absent, absent), (300_000_usize.next_multiple_of(page_size()), 0));
        }
        File::create(&path).unwrap();
        assert_eq!(folios_of(&file), None);
        fs::remove_file(&path).unwrap();
    }
}
