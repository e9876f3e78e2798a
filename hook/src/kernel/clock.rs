use std::time::Duration;

/// The processor time that this process has used since it was made, its exec included. The kernel gives the process no
/// finer time of its start than hundredths of a second (proc_pid_stat(5), starttime).
#[allow(unsafe_code)]
pub fn processor_time() -> Duration {
    let mut time = libc::timespec { tv_sec: 0, tv_nsec: 0 };
    // SAFETY: clock_gettime(2) writes to `time` alone. It cannot fail for this clock.
    unsafe { libc::clock_gettime(libc::CLOCK_PROCESS_CPUTIME_ID, &raw mut time) };
    Duration::new(time.tv_sec.unsigned_abs(), u32::try_from(time.tv_nsec).unwrap_or_default())
}
