//! The name server's network namespace.

use std::path::Path;

use nix::mount::{MntFlags, umount2};
use rustix::fs::fstatfs;

use crate::driver::{EndpointStep, names_namespace as steps};
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::fs::{create_private, remove_file};
use crate::kernel::namespace::Netns;
use crate::kernel::netlink::HostLinks;

/// The file system of namespaces (`NSFS_MAGIC`, linux/magic.h).
const NSFS: i64 = 0x6e73_6673;

/// The namespace that is bound to `path`. Where there is none it is made, and complete before it is bound. Call it
/// under [`Place::Bridges`], so that no other process makes it meanwhile.
///
/// # Errors
/// As [`existing_names_namespace`], or when the kernel refuses.
///
/// [`Place::Bridges`]: crate::kernel::Place::Bridges
pub fn names_namespace(path: &Path) -> Result<Netns> {
    if let Some(there) = existing_names_namespace(path)? {
        return Ok(there);
    }
    drop(create_private(path)?);
    Ok(Netns::make_as(path, || super::inside(&Netns::own()?, &steps(), None))?.0)
}

/// The network namespace that is bound to `path`; none where nothing is.
///
/// # Errors
/// [`Error::Busy`] where a namespace of another kind is bound there, or when the file is there and cannot be looked at.
pub fn existing_names_namespace(path: &Path) -> Result<Option<Netns>> {
    let Some(there) = bound_to(path)? else { return Ok(None) };
    match there.within(|| Ok(())) {
        // setns(2), for a namespace of another kind.
        Err(error) if error.errno() == Some(libc::EINVAL) => Err(Error::Busy(format!(
            "what is bound to {} is no network namespace, so there is none for the name server; ocinet doctor --fix makes it",
            path.display()
        ))),
        entered => entered.map(|()| Some(there)),
    }
}

/// Whether a namespace is bound to `path`. It is all that an attach looks at.
///
/// # Errors
/// When the file is there and cannot be looked at: that is no proof that another has to be made.
pub fn is_names_namespace(path: &Path) -> Result<bool> {
    bound_to(path).map(|there| there.is_some())
}

/// A file to which nothing is bound is no namespace.
fn bound_to(path: &Path) -> Result<Option<Netns>> {
    let there = match Netns::at(path) {
        Err(error) if error.errno() == Some(libc::ENOENT) => return Ok(None),
        there => there?,
    };
    let system = fstatfs(&there).doing(|| format!("look at {}", path.display()))?;
    Ok((system.f_type == NSFS).then_some(there))
}

/// Whether a port is there, up, and on its bridge. It is all that an attach looks at.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn is_port_there(links: &mut HostLinks, port: &EndpointStep) -> Result<bool> {
    match port {
        EndpointStep::Veth(pair) => Ok(links.named(&pair.name, &pair.alias)?.is_some() && links.is_joined(pair)?),
    }
}

/// Whether there is a bridge for a port.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn has_bridge(links: &mut HostLinks, port: &EndpointStep) -> Result<bool> {
    match port {
        EndpointStep::Veth(pair) => links.exists(&pair.bridge),
    }
}

/// Takes a port away; its absence is no error.
///
/// # Errors
/// When the kernel refuses.
pub fn remove_port(links: &mut HostLinks, port: &EndpointStep) -> Result<()> {
    match port {
        EndpointStep::Veth(pair) => match links.ours(&pair.name, &pair.alias, Some(&pair.bridge))? {
            Some(index) => links.delete(index),
            None => Ok(()),
        },
    }
}

/// Takes the namespace from `path`, and its ports with it unless a process is still in it. It is no error if there is
/// none.
///
/// # Errors
/// When the file system refuses.
pub fn remove_names_namespace(path: &Path) -> Result<()> {
    // Another may be bound over it. It may be mounted in other mount namespaces only: then removing the file removes it
    // (`detach_mounts`, fs/namei.c).
    while umount2(path, MntFlags::MNT_DETACH | MntFlags::UMOUNT_NOFOLLOW).is_ok() {}
    remove_file(path)
}
