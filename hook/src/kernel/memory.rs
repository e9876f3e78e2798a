use std::fs;
use std::ops::Range;

/// For a resident process: one arena of the allocator for all threads, and large blocks go back to the kernel when they
/// are freed. Call it before there are threads.
pub fn spare_memory() {
    const LARGE: libc::c_int = 32 << 10;
    tune(&[(libc::M_ARENA_MAX, 1), (libc::M_MMAP_THRESHOLD, LARGE), (libc::M_TRIM_THRESHOLD, LARGE)]);
}

/// For a short process: one arena of the allocator, since its threads wait for each other, and one request to the
/// kernel for the whole heap. Call it before there are threads.
pub fn hurry_memory() {
    const ENOUGH: libc::c_int = 1 << 20;
    tune(&[(libc::M_ARENA_MAX, 1), (libc::M_TOP_PAD, ENOUGH)]);
}

#[allow(unsafe_code)]
fn tune(parameters: &[(libc::c_int, libc::c_int)]) {
    for (parameter, value) in parameters {
        // SAFETY: mallopt(3) takes two numbers and refuses invalid ones; no other thread allocates meanwhile.
        unsafe { libc::mallopt(*parameter, *value) };
    }
}

/// For a resident process: gives free memory back to the kernel, and unmaps this program's code until it runs again.
/// The code stays in the page cache, and is mapped again by a page fault.
///
/// Measured with a release build of the service between calls: 3.1 MiB resident, and 7.9 MiB without `madvise`, most of
/// which is code of SQLite and of the doctor.
#[allow(unsafe_code)]
pub fn return_memory() {
    // SAFETY: malloc_trim(3) takes a number, and holds the allocator's own locks.
    unsafe { libc::malloc_trim(0) };
    let maps = fs::read_to_string("/proc/self/maps").unwrap_or_default();
    let own = fs::read_link("/proc/self/exe").unwrap_or_default();
    for range in maps.lines().filter_map(|line| code_of(line, &own.to_string_lossy())) {
        // SAFETY: the range is a private mapping of a file that this process cannot write to and has not changed, so it
        // reads the same content afterwards.
        unsafe { libc::madvise(range.start as *mut libc::c_void, range.len(), libc::MADV_DONTNEED) };
    }
}

/// The range of a line of proc_pid_maps(5), if it holds the first part of the program's file: code, or constants before
/// it. Later read-only ranges are left alone, since the dynamic relocation has changed them.
fn code_of(line: &str, program: &str) -> Option<Range<usize>> {
    let mut fields = line.split_ascii_whitespace();
    let (range, rights, offset) = (fields.next()?, fields.next()?, fields.next()?);
    let is_unchanged = rights == "r-xp" || (rights == "r--p" && offset == "00000000");
    let is_code = is_unchanged && fields.nth(2)? == program;
    let (start, end) = range.split_once('-').filter(|_| is_code)?;
    let address = |hex: &str| usize::from_str_radix(hex, 16).ok();
    Some(address(start)?..address(end)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_is_told_from_data() {
        let line = "7f0000001000-7f0000003000 r-xp 00001000 00:1b 4242                     /mnt/bin/shim";
        assert_eq!(code_of(line, "/mnt/bin/shim"), Some(0x7f00_0000_1000..0x7f00_0000_3000));
        for other in [
            line.replace("r-xp", "r--p"),
            line.replace("shim", "other"),
            "7f00-7f01 r-xp 0 00:00 0 [vdso]".into(),
            String::new(),
        ] {
            assert_eq!(code_of(&other, "/mnt/bin/shim"), None, "{other}");
        }
        let constants = line.replace("r-xp 00001000", "r--p 00000000");
        assert_eq!(code_of(&constants, "/mnt/bin/shim"), Some(0x7f00_0000_1000..0x7f00_0000_3000));
        // The process still runs afterwards.
        return_memory();
        assert_eq!(code_of(line, "/mnt/bin/shim").map(|range| range.len()), Some(0x2000));
    }
}
