//! What this kernel can, tried in a network namespace that ends with the trial.

use netlink_packet_core::{NLM_F_CREATE, NLM_F_EXCL};
use rtnetlink::{LinkBridge, LinkMessageBuilder, LinkVeth};

use super::HostLinks;
use crate::driver::FilterProgram;
use crate::kernel::error::{Doing, Error, Result};
use crate::kernel::namespace::Netns;
use crate::model::{InterfaceName, Mac};

/// What a network of containers needs of the kernel.
#[derive(Debug)]
pub struct Trial {
    /// A bridge.
    pub bridge: Result<()>,
    /// A pair of links.
    pub veth: Result<()>,
    /// A guard at a link.
    pub guard: Result<()>,
}

/// Tries what a network of containers needs. The host's own namespace is not touched; the kernel may load modules.
///
/// # Errors
/// When no namespace can be made, which is another thing that it needs.
pub fn try_links() -> Result<Trial> {
    Netns::in_new(|| {
        let mut links = HostLinks::open()?;
        let bridge = LinkMessageBuilder::<LinkBridge>::new("try0").build();
        let bridge = links.new_link(bridge, NLM_F_CREATE | NLM_F_EXCL).map(drop).doing(|| "create a bridge".into());
        let veth = LinkVeth::new("try1", "try2").build();
        let veth = links.new_link(veth, NLM_F_CREATE | NLM_F_EXCL).map(drop).doing(|| "create a veth pair".into());
        let guard = links.try_guard();
        Ok(Trial { bridge, veth, guard })
    })
}

impl HostLinks {
    fn try_guard(&mut self) -> Result<()> {
        let name: InterfaceName = "try1".parse().expect("a constant that follows the grammar");
        let index = self.index(&name)?;
        let program = FilterProgram::of_port(Mac([2, 0, 0, 0, 0, 1]), ["192.0.2.1".parse().expect("an address")]);
        match self.guard(index, &name, &program, Some(&FilterProgram::into_ipv4_only()))? {
            true => Ok(()),
            false => Err(Error::Program(super::NO_GUARD.into())),
        }
    }
}
