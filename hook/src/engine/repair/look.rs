//! What the kernel holds of ours, asked for a rebuild.

use std::path::Path;

use super::inventory::{Inventory, Seen, SeenLink, SeenRules};
use crate::engine::Result;
use crate::engine::network::Definitions;
use crate::input::config::{self, Config};
use crate::input::network_file::Definition;
use crate::kernel::{self, HostLinks, Origin};
use crate::model::{Alias, Families, Family, Network};

/// Everything of ours that the kernel holds. `config` and the files beside it and in `state_dir` tell of networks what
/// their bridges do not.
pub(super) fn inventory(config: &Config, state_dir: &Path) -> Result<Inventory> {
    let mut links = HostLinks::open()?;
    let ours = links.all_ours()?;
    if ours.is_empty() {
        return Ok(Inventory::default());
    }
    let rules = rules()?;
    let namespaces = kernel::namespaces(&mut links, &Origin::default())?;
    let mut seen = Vec::new();
    for link in ours {
        let mut look =
            SeenLink { link, addresses: Vec::new(), mac: None, unguarded: false, namespace: None, inside: None };
        match look.link.alias {
            Alias::Network(_) => look.addresses = links.addresses_of(look.link.index)?,
            Alias::InputLoop | Alias::Names(_) => {}
            Alias::Endpoint { .. } | Alias::Draining { .. } => {
                if let Some(guard) = links.guard_of(look.link.index)? {
                    (look.mac, look.unguarded) = (Some(guard.mac), guard.is_open);
                }
                let peer = look.link.peer.and_then(|(nsid, index)| Some((namespaces.get(&nsid)?, index)));
                if let Some((found, index)) = peer {
                    look.namespace = Some(found.namespace.clone());
                    look.inside = kernel::interface_in(&found.netns, index)?;
                }
            }
        }
        seen.push(look);
    }
    let definitions = definitions(&seen, config, state_dir)?;
    Ok(Inventory::of(&Seen { links: seen, rules, definitions }, config))
}

/// What files say of the networks whose bridges were seen; of all networks where a link has lost its bridge. A file
/// that cannot be read is as none: links and rules tell what has to be known of their containers.
fn definitions(seen: &[SeenLink], config: &Config, state_dir: &Path) -> Result<Vec<Network>> {
    let definitions = Definitions::of(config, state_dir);
    let is_alone = |look: &SeenLink| {
        look.link.controller.is_none() && matches!(look.link.alias, Alias::Endpoint { .. } | Alias::Draining { .. })
    };
    if seen.iter().any(is_alone) {
        return Ok(definitions.sound()?.iter().filter_map(Definition::network).collect());
    }
    let definition = |look: &SeenLink| match &look.link.alias {
        Alias::Network(name) if *name != config::default_bridge() => definitions.read(name).ok()??.network(),
        _ => None,
    };
    Ok(seen.iter().filter_map(definition).collect())
}

fn rules() -> Result<SeenRules> {
    let mut rules = SeenRules::default();
    for family in Family::ALL {
        if kernel::forwarding(family)? {
            rules.forwards = rules.forwards.with(family);
        }
    }
    for (kind, inventory) in kernel::loaded()? {
        rules.firewalls.push(kind);
        rules.published.extend(inventory.published);
        rules.internal.extend(inventory.internal);
        rules.close_forwarding = inventory.closes_forwarding.iter().fold(rules.close_forwarding, Families::with);
    }
    Ok(rules)
}
