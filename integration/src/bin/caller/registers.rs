//! Making a system call of a stopped thread fail.

use anyhow::Result;
use nix::errno::Errno;
use nix::unistd::Pid;

/// Makes the kernel skip the call that the thread is about to make: the kernel ignores the number -1 (`do_syscall_x64`,
/// arch/x86/entry/syscall_64.c).
#[cfg(target_arch = "x86_64")]
pub(crate) fn skip(thread: Pid) -> Result<()> {
    change(thread, |registers| registers.orig_rax = u64::MAX)
}

/// Sets the result of the call that the thread returns from to `error`.
#[cfg(target_arch = "x86_64")]
pub(crate) fn fail(thread: Pid, error: Errno) -> Result<()> {
    change(thread, |registers| registers.rax = i64::from(-(error as i32)).cast_unsigned())
}

#[cfg(target_arch = "x86_64")]
fn change(thread: Pid, change: impl FnOnce(&mut nix::libc::user_regs_struct)) -> Result<()> {
    use nix::sys::ptrace::{getregs, setregs};
    let mut registers = getregs(thread)?;
    change(&mut registers);
    Ok(setregs(thread, registers)?)
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn skip(_: Pid) -> Result<()> {
    anyhow::bail!("system calls can be made to fail on x86-64 only")
}

#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn fail(_: Pid, _: Errno) -> Result<()> {
    skip(Pid::this())
}
