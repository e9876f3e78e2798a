//! Whether the sandbox of a record lives.

use super::{Engine, Result};
use crate::decide::liveness::{Evidence, Life, Sight, judge};
use crate::decide::plan;
use crate::kernel::{self, Netns};
use crate::model::{Attachment, Record, State, Witness};

impl Engine {
    pub(super) fn is_alive(&self, record: &Record) -> bool {
        matches!(Netns::look(&record.namespace, &self.origin), Sight::Alive(_))
    }

    /// Whether nothing is left of the container but what is to be taken away. What cannot be seen is not dead.
    pub(super) fn is_dead(&mut self, record: &Record) -> bool {
        record.state == State::Draining || self.life(record) == Life::Dead
    }

    /// Whether the sandbox lives. What cannot be looked at is unknown.
    pub fn life(&mut self, record: &Record) -> Life {
        let sight = Netns::look(&record.namespace, &self.origin);
        judge(&sight, || self.evidence(record))
    }

    /// What the host's own network namespace says of the sandbox.
    fn evidence(&mut self, record: &Record) -> Result<Evidence> {
        let cookie = record.namespace.cookie;
        let nsid = record.namespace.nsid.map(|nsid| self.has_nsid(nsid, cookie)).transpose()?;
        let link = nsid.is_none() && !self.links_of(record)?.is_empty();
        Ok(Evidence { nsid, link, link_alone: record.namespace.witness == Witness::Unseen })
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

    /// The indexes of those links of `record` that are there.
    pub(super) fn links_of(&mut self, record: &Record) -> Result<Vec<u32>> {
        let alias = plan::alias(record);
        let mut indexes = Vec::new();
        for endpoint in &record.endpoints {
            let Attachment::Bridge { bridge, host_interface } = &endpoint.attachment;
            indexes.extend(self.links.ours(host_interface, &alias, bridge)?);
        }
        Ok(indexes)
    }
}
