//! Making a system call of a stopped thread fail, and seeing that the kernel makes one again.

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

/// Whether the kernel makes the call again that the thread returns from. A write to `net.ipv4.ip_forward` is repeated as
/// long as another process holds the rtnl lock (`devinet_sysctl_forward`, net/ipv4/devinet.c). Programs never see these
/// results: `ERESTARTSYS`, `ERESTARTNOINTR` and `ERESTARTNOHAND` (include/linux/errno.h). A thread that was killed makes no
/// further call.
#[cfg(target_arch = "x86_64")]
pub(crate) fn is_made_again(thread: Pid) -> Result<bool> {
    match nix::sys::ptrace::getregs(thread) {
        Ok(registers) => Ok((-514..=-512).contains(&registers.rax.cast_signed())),
        Err(Errno::ESRCH) => Ok(false),
        Err(error) => Err(error.into()),
    }
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

/// Not known on other machines: there, a call that is made again counts as a further one.
#[cfg(not(target_arch = "x86_64"))]
pub(crate) fn is_made_again(_: Pid) -> Result<bool> {
    Ok(false)
}
