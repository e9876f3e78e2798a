//! The MTU of a link, asked by netdevice(7): unlike RTM_GETLINK, that does not wait for the lock of all links, under
//! which others make theirs.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

/// The MTU in bytes of the link with `index`, in the namespace of `socket`.
///
/// # Errors
/// When there is no such link.
pub(super) fn mtu_of(socket: &impl AsFd, index: u32) -> nix::Result<u32> {
    // SAFETY: all of its fields are numbers or arrays of them, for which zeros are valid.
    #[allow(unsafe_code)]
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    request.ifr_ifru.ifru_ifindex = i32::try_from(index).map_err(|_| Errno::ENODEV)?;
    ask(socket, libc::SIOCGIFNAME, &mut request)?;
    ask(socket, libc::SIOCGIFMTU, &mut request)?;
    // SAFETY: the kernel has written it (`dev_ifsioc_locked`, net/core/dev_ioctl.c).
    #[allow(unsafe_code)]
    let mtu = unsafe { request.ifr_ifru.ifru_mtu };
    u32::try_from(mtu).map_err(|_| Errno::ERANGE)
}

fn ask(socket: &impl AsFd, question: libc::Ioctl, request: &mut libc::ifreq) -> nix::Result<()> {
    // SAFETY: both questions read and write one `ifreq`, which is alive.
    #[allow(unsafe_code)]
    let result = unsafe { libc::ioctl(socket.as_fd().as_raw_fd(), question, std::ptr::from_mut(request)) };
    Errno::result(result).map(drop)
}
