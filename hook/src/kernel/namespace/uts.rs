use std::os::fd::BorrowedFd;

use nix::unistd::{gethostname, sethostname};

use super::visit;
use crate::kernel::error::{Doing, Result};
use crate::model::HostName;

/// Sets the host name of the UTS namespace `namespace`. It lasts only if the spec has none: a runtime sets the spec's
/// later.
///
/// # Errors
/// When the namespace cannot be entered.
pub fn set_hostname(namespace: BorrowedFd<'_>, name: &HostName) -> Result<()> {
    visit::uts(namespace, || sethostname(name.as_str()).doing(|| format!("set the host name {name}")))
}

/// The host's own name.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn hostname() -> Result<HostName> {
    let name = gethostname().doing(|| "ask for the host name".into())?;
    Ok(HostName::resembling(&name.to_string_lossy()))
}
