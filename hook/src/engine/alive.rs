//! Whether a sandbox lives.

use super::{Engine, Result};
use crate::decide::liveness::{Evidence, Life, Sight, judge};
use crate::decide::plan;
use crate::kernel::{self, Netns};
use crate::model::{NetnsLocator, Sandbox, State};

impl Engine {
    pub(super) fn is_alive(&self, sandbox: &Sandbox) -> bool {
        matches!(Netns::look(&sandbox.namespace, &self.origin), Sight::Alive(_))
    }

    /// Whether nothing is left of the container but what is to be taken away. What cannot be seen is not dead.
    pub(super) fn is_dead(&mut self, sandbox: &Sandbox) -> bool {
        sandbox.state == State::Draining || self.life(sandbox) == Life::Dead
    }

    /// Whether the sandbox lives. What cannot be looked at is unknown.
    pub fn life(&mut self, sandbox: &Sandbox) -> Life {
        let sight = Netns::look(&sandbox.namespace, &self.origin);
        judge(&sight, || self.evidence(sandbox))
    }

    /// What the host's own network namespace says of the sandbox.
    fn evidence(&mut self, sandbox: &Sandbox) -> Result<Evidence> {
        let cookie = sandbox.namespace.cookie;
        let nsid = sandbox.namespace.nsid.map(|nsid| self.has_nsid(nsid, cookie)).transpose()?;
        let link = nsid.is_none() && self.has_a_link(sandbox)?;
        Ok(Evidence { nsid, link, link_alone: sandbox.namespace.locator == NetnsLocator::Unseen })
    }

    /// Whether the host still has the id `nsid` for the namespace of that cookie. An id that the kernel chose is given again: it is
    /// gone, too, where it is seen to lead to a namespace of another cookie.
    fn has_nsid(&mut self, nsid: i32, cookie: u64) -> Result<bool> {
        if !self.links.has_nsid(nsid)? {
            return Ok(false);
        }
        if kernel::is_lasting(nsid) || cookie == 0 {
            return Ok(true);
        }
        let found = kernel::namespaces(&mut self.links, &self.origin)?;
        Ok(found.get(&nsid).is_none_or(|found| found.namespace.cookie == cookie))
    }

    /// Whether any link of `sandbox` is there.
    pub(super) fn has_a_link(&mut self, sandbox: &Sandbox) -> Result<bool> {
        for step in plan::undo(sandbox) {
            if kernel::is_there(&mut self.links, &step)? {
                return Ok(true);
            }
        }
        Ok(false)
    }
}
