//! Whether a sandbox lives.

use super::Result;
use crate::decide::liveness::{Evidence, Life, Sight, judge};
use crate::decide::plan;
use crate::kernel::{self, HostLinks, Netns, Origin, perform};
use crate::model::{NetnsLocator, Sandbox};

/// Whether the sandbox's namespace is seen, in use.
pub(super) fn is_alive(origin: &Origin, sandbox: &Sandbox) -> bool {
    matches!(Netns::look(&sandbox.namespace, origin), Sight::Alive(_))
}

/// Whether the sandbox is dead. What cannot be seen is not.
pub(super) fn is_dead(links: &mut HostLinks, origin: &Origin, sandbox: &Sandbox) -> bool {
    life(links, origin, sandbox) == Life::Dead
}

/// Whether the sandbox lives. What cannot be looked at is unknown.
pub(super) fn life(links: &mut HostLinks, origin: &Origin, sandbox: &Sandbox) -> Life {
    judge(&Netns::look(&sandbox.namespace, origin), || evidence(links, origin, sandbox))
}

/// What the host's own network namespace says of the sandbox.
fn evidence(links: &mut HostLinks, origin: &Origin, sandbox: &Sandbox) -> Result<Evidence> {
    let cookie = sandbox.namespace.cookie;
    let nsid = sandbox.namespace.nsid.map(|nsid| has_nsid(links, origin, nsid, cookie)).transpose()?;
    let link = nsid.is_none() && has_a_link(links, sandbox)?;
    Ok(Evidence { nsid, link, link_alone: sandbox.namespace.locator == NetnsLocator::Unseen })
}

/// Whether the host still has the id `nsid` for the namespace of that cookie. An id that the kernel chose is given
/// again: it is gone, too, where it is seen to lead to a namespace of another cookie.
fn has_nsid(links: &mut HostLinks, origin: &Origin, nsid: i32, cookie: u64) -> Result<bool> {
    if !links.has_nsid(nsid)? {
        return Ok(false);
    }
    if kernel::is_lasting(nsid) || cookie == 0 {
        return Ok(true);
    }
    let found = kernel::namespaces(links, origin)?;
    Ok(found.get(&nsid).is_none_or(|found| found.namespace.cookie == cookie))
}

/// Whether any link of `sandbox` is there.
pub(super) fn has_a_link(links: &mut HostLinks, sandbox: &Sandbox) -> Result<bool> {
    for step in plan::links(sandbox) {
        if perform::is_there(links, &step)? {
            return Ok(true);
        }
    }
    Ok(false)
}
