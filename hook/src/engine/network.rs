use super::{Engine, Error, Result};
use crate::model::{InterfaceName, Invalid, Network, NetworkName, Subnet};

impl Engine {
    /// Defines the default network, when it is first used.
    pub(super) fn define_network(&mut self, name: &NetworkName) -> Result<()> {
        let network = self.new_network(name)?;
        self.store.write(|store| match store.network(name)? {
            // Somebody else was faster.
            Some(_) => Ok(()),
            None => Ok(store.add_network(&network)?),
        })
    }

    /// The default network as it would be defined now.
    pub(super) fn new_network(&mut self, name: &NetworkName) -> Result<Network> {
        let bridge: InterfaceName = "ocinet0".parse().expect("a constant that follows the kernel's rule");
        Ok(Network { name: name.clone(), subnets: vec![self.free_subnet(&bridge)?], bridge })
    }

    /// The first range that no route of the host overlaps, those of our own bridge aside.
    fn free_subnet(&mut self, bridge: &InterfaceName) -> Result<Subnet> {
        let routed = self.links.routed_ranges(bridge)?;
        let overlapped = |subnet: &Subnet| {
            routed
                .iter()
                .find(|route| route.contains(&subnet.range.network()) || subnet.range.contains(&route.network()))
        };
        let free = self.config.subnets().find(|subnet| overlapped(subnet).is_none());
        if let (None, Some(range)) = (free, self.config.subnet) {
            let why = "overlaps a route of the host; choose another range";
            return Err(Invalid::new("config: subnet", range, why).into());
        }
        free.ok_or_else(|| {
            Error::Exhausted(
                "every range from 10.90.0.0/16 on overlaps a route of the host; set subnet in config.toml".into(),
            )
        })
    }
}
