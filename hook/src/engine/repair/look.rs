//! What the kernel holds of ours, asked for a rebuild.

use super::inventory::{Inventory, Seen, SeenLink, SeenRules};
use crate::engine::Result;
use crate::input::config::Config;
use crate::kernel::{self, HostLinks, Origin};
use crate::model::Alias;

/// Everything of ours that the kernel holds. `config` tells the range of a network whose bridge is gone.
pub(super) fn inventory(config: &Config) -> Result<Inventory> {
    let mut links = HostLinks::open()?;
    let ours = links.all_ours()?;
    if ours.is_empty() {
        return Ok(Inventory::default());
    }
    let rules = rules()?;
    let namespaces = kernel::namespaces(&mut links, &Origin::here()?)?;
    let mut seen = Vec::new();
    for link in ours {
        let mut look = SeenLink { link, addresses: Vec::new(), mac: None, namespace: None, inside: None };
        match look.link.alias {
            Alias::Network(_) => look.addresses = links.addresses_of(look.link.index)?,
            Alias::InputLoop => {}
            Alias::Endpoint { .. } | Alias::Draining { .. } => {
                look.mac = links.guarded_mac(look.link.index)?;
                let peer = look.link.peer.and_then(|(nsid, index)| Some((namespaces.get(&nsid)?, index)));
                if let Some((found, index)) = peer {
                    look.namespace = Some(found.namespace.clone());
                    look.inside = kernel::interface_in(&found.netns, index)?;
                }
            }
        }
        seen.push(look);
    }
    Ok(Inventory::of(&Seen { links: seen, rules }, config))
}

fn rules() -> Result<SeenRules> {
    let mut rules = SeenRules { forwards: kernel::forwarding()?, ..SeenRules::default() };
    for (kind, inventory) in kernel::loaded()? {
        rules.firewalls.push(kind);
        rules.published.extend(inventory.published);
        rules.close_forwarding |= inventory.closes_forwarding;
    }
    Ok(rules)
}
