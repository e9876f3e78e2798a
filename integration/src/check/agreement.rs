//! Whether the store and the kernel agree, one to one and in both directions.

use std::collections::BTreeSet;

use anyhow::{Result, ensure};
use serde::Deserialize;
use serde_json::Value;

use super::elements;
use super::snapshot::BRIDGE;
use crate::host::{Host, Live};
use crate::{Endpoint, Mode, Place, Sandbox, State};

/// A link in the words of `ip -json -details address`.
#[derive(Debug, Deserialize)]
struct Link {
    ifname: String,
    #[serde(default)]
    ifalias: String,
    #[serde(default)]
    master: String,
    flags: Vec<String>,
    mtu: u32,
    address: String,
    #[serde(default)]
    linkinfo: Value,
    #[serde(default)]
    addr_info: Vec<Address>,
}

#[derive(Debug, Deserialize)]
struct Address {
    local: String,
    prefixlen: u8,
    scope: String,
}

/// Compares every sandbox with the kernel and the kernel with every sandbox. `live` has the network namespaces of the
/// containers.
pub(crate) fn agreement(host: &Host, live: &Live) -> Result<()> {
    let sandboxes = host.settled_sandboxes()?;
    let links: Vec<Link> = host.json("ip -json -details address show")?;
    let guards = host.sh("tc qdisc show")?;
    let mut complaints = unguarded(&sandboxes, &guards);
    for sandbox in &sandboxes {
        complaints
            .extend(about_sandbox(sandbox, &links, live)?.into_iter().map(|what| format!("{}: {what}", sandbox.name)));
    }
    complaints.extend(strays(&sandboxes, &links));
    complaints.extend(about_neighbours(host, &sandboxes)?);
    complaints.extend(about_elements(host, &sandboxes)?);
    ensure!(complaints.is_empty(), "the store and the kernel disagree:\n{}\n{sandboxes:#?}", complaints.join("\n"));
    Ok(())
}

/// The links that have no classifier for the packets from their container.
fn unguarded(sandboxes: &[Sandbox], guards: &str) -> Vec<String> {
    let links = sandboxes.iter().flat_map(|sandbox| &sandbox.endpoints).map(|endpoint| &endpoint.host_interface);
    let is_guarded = |link: &str| guards.contains(&format!("qdisc clsact ffff: dev {link} "));
    links.filter(|link| !is_guarded(link)).map(|link| format!("{link} is not guarded")).collect()
}

fn about_sandbox(sandbox: &Sandbox, links: &[Link], live: &Live) -> Result<Vec<String>> {
    let mut complaints = Vec::new();
    if sandbox.state != State::Attached {
        complaints.push(format!("its state is {:?}", sandbox.state));
    }
    if (sandbox.mode == Mode::Bridge) == sandbox.endpoints.is_empty() {
        complaints.push(format!("mode {:?} with {} endpoints", sandbox.mode, sandbox.endpoints.len()));
    }
    // A store that was lost and rebuilt has no bundle paths.
    let is_it = |(id, bundle): &(String, String)| {
        *id == sandbox.container && (*bundle == sandbox.bundle || sandbox.bundle.is_empty())
    };
    let Some((_, container)) = live.iter().find(|(key, _)| is_it(key)) else {
        complaints.push("there is no such container".to_owned());
        return Ok(complaints);
    };
    for endpoint in &sandbox.endpoints {
        complaints.extend(about_host_end(endpoint, links));
        complaints.extend(about_bridge(endpoint, links));
        complaints.extend(about_container_end(endpoint, container)?);
    }
    Ok(complaints)
}

/// The end on the host: named in the sandbox, marked as ours, up, and a hairpin port of the bridge.
fn about_host_end(endpoint: &Endpoint, links: &[Link]) -> Vec<String> {
    let name = &endpoint.host_interface;
    let Some(link) = links.iter().find(|link| link.ifname == *name) else {
        return vec![format!("link {name} is missing")];
    };
    let facts = [
        (link.ifalias.starts_with("ocinet:"), format!("{name} has the alias {:?}", link.ifalias)),
        (link.master == endpoint.bridge, format!("{name} is a port of {:?}, not of {}", link.master, endpoint.bridge)),
        (link.linkinfo["info_slave_data"]["hairpin"] == true, format!("{name} is no hairpin port")),
        (link.linkinfo["info_slave_data"]["flood"] == false, format!("{name} gets what is for others")),
        (link.flags.iter().any(|flag| flag == "UP"), format!("{name} is down")),
        (link.mtu == endpoint.mtu, format!("{name} has MTU {}, not {}", link.mtu, endpoint.mtu)),
    ];
    facts.into_iter().filter(|(holds, _)| !holds).map(|(_, complaint)| complaint).collect()
}

/// The bridge: up, and with the gateways' addresses.
fn about_bridge(endpoint: &Endpoint, links: &[Link]) -> Vec<String> {
    let name = &endpoint.bridge;
    let Some(link) = links.iter().find(|link| link.ifname == *name) else {
        return vec![format!("bridge {name} is missing")];
    };
    let has = |gateway: &&String| link.addr_info.iter().any(|address| address.local == **gateway);
    let missing = endpoint.gateways.iter().filter(|gateway| !has(gateway));
    let down = (!link.flags.iter().any(|flag| flag == "UP")).then(|| format!("bridge {name} is down"));
    missing.map(|gateway| format!("bridge {name} has no address {gateway}")).chain(down).collect()
}

/// The end in the container: exactly the interface, addresses and default routes of the sandbox.
fn about_container_end(endpoint: &Endpoint, container: &Place) -> Result<Vec<String>> {
    let name = &endpoint.interface;
    let links: Vec<Link> = container.json("ip -json address show")?;
    let Some(link) = links.iter().find(|link| link.ifname == *name) else {
        return Ok(vec![format!("there is no {name} in the container")]);
    };
    let addresses: BTreeSet<_> = link
        .addr_info
        .iter()
        .filter(|at| at.scope == "global")
        .map(|at| format!("{}/{}", at.local, at.prefixlen))
        .collect();
    let mut routes = container.json::<Vec<Value>>("ip -json route show default")?;
    routes.extend(container.json::<Vec<Value>>("ip -json -6 route show default")?);
    let gateways: BTreeSet<_> = routes
        .iter()
        .filter(|route| route["dev"] == **name)
        .filter_map(|route| route["gateway"].as_str().map(str::to_owned))
        .collect();
    let mut complaints = Vec::new();
    let mut expect = |what: &str, seen: String, recorded: String| {
        if seen != recorded {
            complaints.push(format!("{name} has {what} {seen}, but the record says {recorded}"));
        }
    };
    expect(
        "the address",
        format!("{addresses:?}"),
        format!("{:?}", endpoint.addresses.iter().collect::<BTreeSet<_>>()),
    );
    expect("the gateway", format!("{gateways:?}"), format!("{:?}", endpoint.gateways.iter().collect::<BTreeSet<_>>()));
    expect("the MAC", link.address.clone(), endpoint.mac.clone());
    expect("the MTU", link.mtu.to_string(), endpoint.mtu.to_string());
    expect("the flags", format!("up={}", link.flags.iter().any(|flag| flag == "UP")), "up=true".to_owned());
    Ok(complaints)
}

/// Links of ours on the host that no sandbox names.
fn strays(sandboxes: &[Sandbox], links: &[Link]) -> Vec<String> {
    let known: BTreeSet<_> = sandboxes
        .iter()
        .flat_map(|sandbox| &sandbox.endpoints)
        .map(|endpoint| endpoint.host_interface.as_str())
        .collect();
    // A link that is not complete yet is already on the bridge but has no alias.
    let ours = |link: &&Link| link.ifalias.starts_with("ocinet:") || (link.ifalias.is_empty() && link.master == BRIDGE);
    links
        .iter()
        .filter(ours)
        .filter(|link| {
            link.ifname != BRIDGE
                && link.ifalias != "ocinet:detour:"
                && !link.ifalias.starts_with("ocinet:network:")
                && !link.ifalias.starts_with("ocinet:names:")
                && !known.contains(link.ifname.as_str())
        })
        .map(|link| format!("link {} ({}) belongs to no record", link.ifname, link.ifalias))
        .collect()
}

/// The host's permanent neighbour entries: exactly the addresses of the sandboxes, each with its MAC.
fn about_neighbours(host: &Place, sandboxes: &[Sandbox]) -> Result<Vec<String>> {
    let told: Vec<Value> = host.json("ip -json neighbour show nud permanent")?;
    let is_ours =
        |entry: &&Value| entry["dev"] == BRIDGE || entry["dev"].as_str().is_some_and(|dev| dev.starts_with("ocn-"));
    let word = |entry: &Value, key: &str| entry[key].as_str().unwrap_or_default().to_owned();
    let kernel: BTreeSet<_> =
        told.iter().filter(is_ours).map(|entry| (word(entry, "dst"), word(entry, "lladdr"))).collect();
    let of = |endpoint: &Endpoint| {
        let mac = endpoint.mac.clone();
        let address = |net: &String| net.split('/').next().unwrap_or_default().to_owned();
        endpoint.addresses.iter().map(move |net| (address(net), mac.clone())).collect::<Vec<_>>()
    };
    let store: BTreeSet<_> = sandboxes.iter().flat_map(|sandbox| &sandbox.endpoints).flat_map(of).collect();
    let missing = store.difference(&kernel).map(|entry| format!("the host has no permanent entry for {entry:?}"));
    let stray = kernel.difference(&store).map(|entry| format!("the host's entry for {entry:?} belongs to no record"));
    Ok(missing.chain(stray).collect())
}

/// The published ports: exactly the union of the sandboxes', each element naming its container.
fn about_elements(host: &Place, sandboxes: &[Sandbox]) -> Result<Vec<String>> {
    let (kernel, store) = (elements::in_kernel(host)?, elements::in_store(sandboxes));
    let missing = store.keys().filter(|element| !kernel.contains_key(*element));
    let stray = kernel.keys().filter(|element| !store.contains_key(*element));
    let unnamed = store.iter().filter(|(element, id)| kernel.get(*element).is_some_and(|name| !name.contains(*id)));
    Ok(missing
        .map(|element| format!("element {element} is missing"))
        .chain(stray.map(|element| format!("element {element} belongs to no record")))
        .chain(unnamed.map(|(element, id)| format!("the comment of element {element} does not name {id}")))
        .collect())
}
