//! Leasing: what a container gets, decided and written in one transaction.
//!
//! A transaction that meets a conflict ends without a change and returns it as a [`LeaseConflict`]. The caller resolves
//! it outside of the transaction, where it may look at the kernel, and tries the lease again.

use super::attach::AttachTarget;
use super::endpoint::{endpoint, name_link};
use super::outcome::{Lease, LeaseConflict, Leased, Wanted};
use crate::decide::files::File;
use crate::decide::joined;
use crate::decide::published::PublishedBy;
use crate::decide::request::{EndpointRequest, Request, Wiring};
use crate::engine::network::{Declared, remember_mac};
use crate::engine::{Engine, Error, Result};
use crate::input::{NetworkNamespace, PublishRequest};
use crate::kernel::{self, perform};
use crate::model::{DrainingEndpoint, Endpoint, Key, Namespace, Network, NetworkName, PortMapping, Sandbox, State};
use crate::store::{Holder, Write};

use crate::engine::locks::{FirewallLock, change_at_firewall};

impl Engine {
    /// Leases what `request` asks for, with the `nth` of the names that its link can have and the ports chosen by
    /// `decided` where that is known, and writes the intent.
    pub(in crate::engine) fn lease(
        &mut self,
        request: &Request,
        target: &AttachTarget,
        nth: u8,
        decided: Option<PublishedBy>,
    ) -> Leased<Lease> {
        let namespace = &target.namespace;
        match &request.wiring {
            Wiring::Host | Wiring::None => self.lease_nothing(request, namespace),
            Wiring::Networks { connections, publish, publish_via } => {
                let asked_networks = AskedNetworks { connections, publish, publish_via: publish_via.as_ref() };
                self.lease_endpoints(request, target, asked_networks, nth, decided)
            }
            Wiring::Member(owner) => self.lease_membership(request, namespace, owner),
        }
    }

    fn lease_nothing(&mut self, request: &Request, namespace: &Namespace) -> Leased<Lease> {
        let (sandbox, draining) = self.store.write(|store| {
            check_unleased(store, request, namespace)?;
            let mut sandbox = intent(request, namespace, Vec::new(), Vec::new());
            store.insert(&mut sandbox)?;
            Ok::<_, LeaseConflict>((sandbox, store.draining_of(&request.key())?))
        })?;
        self.take_up(draining)?;
        Ok(Lease::Nothing(sandbox))
    }

    fn lease_endpoints(
        &mut self,
        request: &Request,
        target: &AttachTarget,
        asked_networks: AskedNetworks<'_>,
        nth: u8,
        decided: Option<PublishedBy>,
    ) -> Leased<Lease> {
        let namespace = &target.namespace;
        let declared = self.all_declared(asked_networks.connections)?;
        let mtu = self.links.uplink()?.map(|uplink| uplink.mtu);
        // Only a namespace that was there before can have been wired by another program.
        let may_lead_elsewhere =
            matches!(request.namespace, NetworkNamespace::At(_)) && !asked_networks.publish.is_empty();
        let families = declared.iter().flat_map(|one| one.families().iter().collect::<Vec<_>>()).collect();
        let leads_elsewhere = may_lead_elsewhere && perform::has_way_out(&target.netns, families)?;
        let published_by = match decided {
            Some(by) => by,
            None => self.published_by(asked_networks, &declared, &[], leads_elsewhere)?,
        };
        let mappings = self.choose_ports(asked_networks.publish, &published_by)?;
        let lock = change_at_firewall(&self.locks)?;
        let wanted = LeaseRequest {
            request,
            namespace,
            asked_networks,
            declared,
            published_by,
            mappings,
            mtu,
            leads_elsewhere,
            nth,
        };
        let ((sandbox, networks), row, draining) = self.store.write(|store| {
            check_unleased(store, request, namespace)?;
            let draining = store.draining_of(&request.key())?;
            refuse_while_draining(&draining, wanted.asked_networks.connections)?;
            refuse_without_kept(store, &request.keeping_key(), wanted.asked_networks.connections)?;
            Ok::<_, LeaseConflict>((grant(store, wanted)?, store.host_row()?, draining))
        })?;
        self.take_up(draining)?;
        Ok(Lease::Endpoints { sandbox, networks, firewall_lock: FirewallLock { lock, row } })
    }

    /// What the network of each connection is to be now.
    pub(in crate::engine) fn all_declared(&mut self, connections: &[EndpointRequest]) -> Result<Vec<Declared>> {
        connections.iter().map(|one| self.declared(&one.network)).collect()
    }
}

/// What a container asks for of networks.
#[derive(Clone, Copy)]
pub(in crate::engine) struct AskedNetworks<'r> {
    pub connections: &'r [EndpointRequest],
    pub publish: &'r [PublishRequest],
    pub publish_via: Option<&'r NetworkName>,
}

/// What leases on networks are asked with.
pub(in crate::engine) struct LeaseRequest<'r> {
    pub request: &'r Request,
    pub namespace: &'r Namespace,
    pub asked_networks: AskedNetworks<'r>,
    /// What each network is to be.
    pub declared: Vec<Declared>,
    /// By what the ports were chosen.
    pub published_by: PublishedBy,
    pub mappings: Vec<PortMapping>,
    /// The MTU of the host's default route, where there is one.
    pub mtu: Option<u32>,
    /// Whether the container has a default route of another program already.
    pub leads_elsewhere: bool,
    /// The number of the link's name: 0 unless a link of another program has that.
    pub nth: u8,
}

/// Writes a sandbox with everything it leases.
pub(in crate::engine) fn grant(store: &Write<'_>, wanted: LeaseRequest<'_>) -> Leased<(Sandbox, Vec<Network>)> {
    let LeaseRequest {
        request,
        namespace,
        asked_networks,
        declared,
        published_by,
        mappings,
        mtu,
        leads_elsewhere,
        nth,
    } = wanted;
    let AskedNetworks { connections, publish_via, .. } = asked_networks;
    let known = connections.iter().zip(&declared);
    let networks = known.map(|(one, declared)| network_of(store, &one.network, declared, mtu));
    let mut networks = networks.collect::<Leased<Vec<Network>>>()?;
    if !published_by.is_routed() {
        free_of_others(store, &mappings)?;
    }
    let mut endpoints = Vec::new();
    let interfaces = joined::interfaces(connections, &networks);
    for ((connection, network), interface) in connections.iter().zip(&networks).zip(interfaces) {
        let added = endpoint(store, &request.key(), connection, network, interface);
        let mut added = added.map_err(|conflict| conflict.within("annotation io.ocinet.network"))?;
        name_link(store, network, &mut added, nth, &endpoints)?;
        endpoints.push(added);
    }
    let priorities = joined::priorities(connections);
    let is_by = joined::arrange(&mut endpoints, &|nth, _| priorities[nth], &networks, publish_via, leads_elsewhere)
        .map_err(|e| e.within("annotation io.ocinet.publish-via"))?;
    if !mappings.is_empty() && is_by != published_by {
        return Err(LeaseConflict::Moved(is_by));
    }
    for (network, endpoint) in networks.iter_mut().zip(&endpoints) {
        remember_mac(store, network, endpoint)?;
    }
    let mut sandbox = intent(request, namespace, endpoints, mappings);
    sandbox.publish_via = publish_via.cloned();
    (sandbox.routed, sandbox.leads_elsewhere) = (published_by.is_routed(), leads_elsewhere);
    if let Some(resolver) = sandbox.resolver.as_mut().filter(|resolver| resolver.dns.is_empty()) {
        resolver.dns = networks.iter().flat_map(|network| network.options.dns.clone()).collect();
    }
    store.insert(&mut sandbox)?;
    Ok((sandbox, networks))
}

/// The network `name` as it is now, with the MTU of the host's way out unless its own is fixed.
pub(in crate::engine) fn network_of(
    store: &Write<'_>,
    name: &NetworkName,
    declared: &Declared,
    mtu: Option<u32>,
) -> Leased<Network> {
    let mut network = store.network(name)?.ok_or_else(|| LeaseConflict::NoNetwork(name.clone()))?;
    if !declared.is_met_by(&network) && !store.is_network_used(name)? {
        return Err(LeaseConflict::Redefined(name.clone()));
    }
    if let Some(mtu) = mtu.filter(|mtu| !network.options.mtu_fixed && *mtu != network.options.mtu) {
        network.options.mtu = mtu;
        store.set_network(&network)?;
    }
    Ok(network)
}

/// Refuses a container, or a network namespace, that has a sandbox in the store. The host's namespace has many users
/// and no owner.
fn check_unleased(store: &Write<'_>, request: &Request, namespace: &Namespace) -> Leased<()> {
    if let Some(sandbox) = store.find(&request.key())? {
        return Err(LeaseConflict::Earlier(sandbox.into()));
    }
    if request.wiring == Wiring::Host {
        return Ok(());
    }
    if let Some(owner) = store.find_by_cookie(namespace.cookie)? {
        return Err(LeaseConflict::Owned(owner.into()));
    }
    match store.draining_in(namespace.cookie)? {
        Some(number) => Err(LeaseConflict::Draining(number)),
        None => Ok(()),
    }
}

/// A container that was connected to further networks while it ran joins them again.
fn refuse_without_kept(store: &Write<'_>, key: &Key, connections: &[EndpointRequest]) -> Leased<()> {
    let mut kept = store.kept_connections(key)?;
    kept.retain(|kept| !connections.iter().any(|one| one.network == kept.network));
    if kept.is_empty() { Ok(()) } else { Err(LeaseConflict::Kept(kept)) }
}

/// A container that comes back while it still drains waits, since it gets the address that it had.
fn refuse_while_draining(draining: &[DrainingEndpoint], connections: &[EndpointRequest]) -> Leased<()> {
    let comes_back = |one: &&DrainingEndpoint| {
        connections.iter().any(|to| to.network == one.endpoint.network && to.addresses.is_empty())
    };
    draining.iter().find(comes_back).map_or(Ok(()), |one| Err(LeaseConflict::Draining(one.endpoint.number)))
}

fn free_of_others(store: &Write<'_>, mappings: &[PortMapping]) -> Leased<()> {
    for mapping in mappings {
        let PortMapping { protocol, host_address: address, host_port, .. } = *mapping;
        if let Some(owner) = store.port_holder(protocol, address, host_port, mapping.last_host_port())? {
            return Err(LeaseConflict::Held {
                by: Holder { sandbox: owner.number, endpoint: None },
                what: Wanted::Port { protocol, address, port: owner.port },
            });
        }
    }
    Ok(())
}

pub(in crate::engine) fn intent(
    request: &Request,
    namespace: &Namespace,
    endpoints: Vec<Endpoint>,
    publish: Vec<PortMapping>,
) -> Sandbox {
    Sandbox {
        number: 0,
        container: request.container.clone(),
        bundle: request.bundle.clone(),
        adopted: None,
        resolver: request.root.files.contains(&File::ResolvConf).then(|| request.identity.resolver.clone().into()),
        name: request.identity.name.clone(),
        mode: request.wiring.mode(),
        state: State::Attaching,
        since: Some(kernel::now()),
        namespace: namespace.clone(),
        endpoints,
        publish,
        publish_via: None,
        routed: false,
        leads_elsewhere: false,
        kept_by: request.kept_by,
    }
}

pub(in crate::engine) fn no_address(network: &Network) -> Error {
    let ranges: Vec<String> = network.subnets.iter().map(|subnet| subnet.range.to_string()).collect();
    Error::Exhausted(format!("network {} has no free address left in {}", network.name, ranges.join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sandbox::fixture::{lease, lease_with, on, store};
    use crate::model::{HostAddress, Mac, Protocol, Subnet};
    use crate::store::Store;

    fn bridge(range: &str) -> Network {
        let subnet = Subnet::with_first_gateway(range.parse().unwrap()).unwrap();
        Network::of_bridge("bridge".parse().unwrap(), "ocinet0".parse().unwrap(), vec![subnet])
    }

    fn leased(result: Leased<Sandbox>) -> Sandbox {
        result.unwrap_or_else(|_| panic!("no lease"))
    }

    fn port(host_port: u16, count: u16) -> PortMapping {
        PortMapping { protocol: Protocol::Tcp, host_address: HostAddress::Any, host_port, container_port: 80, count }
    }

    #[test]
    fn addresses_go_round_and_end() {
        let mut store = store(&[bridge("10.90.0.0/29")]);
        let addresses: Vec<String> = ["a", "b", "c", "d", "e"]
            .map(|id| leased(lease(&mut store, id, &on("bridge"))).endpoints[0].addresses[0].addr().to_string())
            .to_vec();
        assert_eq!(addresses, ["10.90.0.2", "10.90.0.3", "10.90.0.4", "10.90.0.5", "10.90.0.6"]);
        assert!(matches!(lease(&mut store, "f", &on("bridge")), Err(LeaseConflict::NoAddress { .. })));
    }

    /// Ends the sandbox of a container, and what is left of it.
    fn leave(store: &mut Store, sandbox: &Sandbox) {
        let result: Result<()> = store.write(|write| {
            write.end(sandbox)?.iter().try_for_each(|draining| write.remove_draining(draining))?;
            Ok(())
        });
        result.unwrap();
    }

    #[test]
    fn a_container_that_comes_back_gets_the_address_that_it_had() {
        let mut store = store(&[bridge("10.90.0.0/16")]);
        let address = |sandbox: &Sandbox| sandbox.endpoints[0].addresses[0].addr().to_string();
        let [a, b] = ["a", "b"].map(|id| leased(lease(&mut store, id, &on("bridge"))));
        assert_eq!((address(&a), address(&b)), ("10.90.0.2".into(), "10.90.0.3".into()));
        leave(&mut store, &a);
        let c = leased(lease(&mut store, "c", &on("bridge")));
        assert_eq!(address(&c), "10.90.0.4");
        let again = leased(lease(&mut store, "a", &on("bridge")));
        assert_eq!(address(&again), "10.90.0.2");
        leave(&mut store, &b);
        leave(&mut store, &again);
        let claimed = EndpointRequest { addresses: vec!["10.90.0.2".parse().unwrap()], ..on("bridge") };
        leased(lease(&mut store, "d", &claimed));
        let elsewhere = leased(lease(&mut store, "a", &on("bridge")));
        assert_eq!(address(&elsewhere), "10.90.0.5", "another has it now, and the search goes on where it was");
        store.read().integrity().unwrap();
    }

    /// Links of IPv6 are named by a checksum, which these two addresses share.
    #[test]
    fn links_of_addresses_with_one_checksum_have_two_names() {
        let six = |name: &str, range: &str| {
            let subnet = Subnet::with_first_gateway(range.parse().unwrap()).unwrap();
            Network::of_bridge(name.parse().unwrap(), format!("br-{name}").parse().unwrap(), vec![subnet])
        };
        let at =
            |network: &str, address: &str| EndpointRequest { addresses: vec![address.parse().unwrap()], ..on(network) };
        let link = |sandbox: Sandbox, nth: usize| sandbox.endpoints[nth].wire.host_link().unwrap().to_string();
        let mut store = store(&[six("six", "fd00:7::/64"), six("other", "fd00:8::/64")]);
        let mut named = |id, request: &EndpointRequest| link(leased(lease(&mut store, id, request)), 0);
        assert_eq!(named("a", &at("six", "fd00:7::2")), "ocv6f5173095");
        assert_eq!(named("b", &at("six", "fd00:7::1:9630:775")), "ocv6f5173095-1");
        assert_eq!(named("c", &at("six", "fd00:7::d1cf:b9dd")), "ocv6d267e5a0");
        assert_eq!(named("d", &at("other", "fd00:8::2")), "ocv6d267e5a0-1", "of another network");
    }

    #[test]
    fn what_another_holds_is_named_with_its_holder() {
        let mut store = store(&[bridge("10.90.0.0/16")]);
        let first = leased(lease_with(&mut store, "a", &on("bridge"), vec![port(8080, 3)]));
        let held = |result: Leased<Sandbox>| match result {
            Err(LeaseConflict::Held { by, what }) if by.sandbox == first.number => what,
            _ => panic!("it is not held by the first"),
        };
        let endpoint = &first.endpoints[0];
        let same_address = EndpointRequest { addresses: vec![endpoint.addresses[0].addr()], ..on("bridge") };
        assert!(matches!(held(lease(&mut store, "b", &same_address)), Wanted::Address(_)));
        let same_mac = EndpointRequest { mac: Some(endpoint.mac), ..on("bridge") };
        assert!(matches!(held(lease(&mut store, "b", &same_mac)), Wanted::Mac(_)));
        let run = vec![port(8081, 10)];
        assert!(matches!(held(lease_with(&mut store, "b", &on("bridge"), run)), Wanted::Port { port: 8081, .. }));
        assert_eq!(store.read().sandboxes().unwrap().len(), 1, "nothing of them is kept");
    }

    #[test]
    fn the_mtu_is_the_hosts_way_out() {
        let mut store = store(&[bridge("10.90.0.0/16")]);
        assert_eq!(leased(lease(&mut store, "a", &on("bridge"))).endpoints[0].mtu, 1400);
        assert_eq!(store.read().networks().unwrap()[0].options.mtu, 1400);
        let other = EndpointRequest { mtu: Some(9000), ..on("bridge") };
        assert_eq!(leased(lease(&mut store, "b", &other)).endpoints[0].mtu, 9000);
    }

    /// From then on, other hosts may remember that MAC for an address that another container gets.
    #[test]
    fn a_network_remembers_that_a_container_chose_its_mac() {
        let mut network = bridge("10.90.0.0/16");
        network.options.derived_macs = true;
        let mut store = store(&[network]);
        let derived = |store: &Store| store.read().networks().unwrap()[0].options.derived_macs;
        leased(lease(&mut store, "a", &on("bridge")));
        let same = EndpointRequest { mac: Some(Mac::of("10.90.0.3".parse().unwrap())), ..on("bridge") };
        leased(lease(&mut store, "b", &same));
        assert!(derived(&store));
        let other = EndpointRequest { mac: Some(Mac([2, 0, 0, 0, 0, 1])), ..on("bridge") };
        leased(lease(&mut store, "c", &other));
        assert!(!derived(&store));
        leased(lease(&mut store, "d", &on("bridge")));
        assert!(!derived(&store));
    }

    /// The MAC follows from the address of IPv4, and so does that of IPv6 which embeds it.
    #[test]
    fn a_network_remembers_that_an_address_of_ipv6_follows_from_none_of_ipv4() {
        let derived = |range6: &str, wanted: Option<&str>| {
            let mut network = bridge("10.90.0.0/16");
            network.subnets.push(Subnet::with_first_gateway(range6.parse().unwrap()).unwrap());
            network.options.derived_macs = true;
            let mut store = store(&[network]);
            let addresses = wanted.into_iter().map(|address| address.parse().unwrap()).collect();
            leased(lease(&mut store, "a", &EndpointRequest { addresses, ..on("bridge") }));
            store.read().networks().unwrap()[0].options.derived_macs
        };
        for (range6, wanted, expected) in [
            ("fd00:7::/64", None, true),
            ("fd00:7::/64", Some("10.90.0.9"), true),
            ("fd00:7::/64", Some("fd00:7::a5a:2"), true),
            ("fd00:7::/64", Some("fd00:7::a5a:3"), false),
            ("fd00:7::/64", Some("fd00:7::beef"), false),
            ("fd00:7::/112", None, false),
        ] {
            assert_eq!(derived(range6, wanted), expected, "{range6} {wanted:?}");
        }
    }

    #[test]
    fn a_container_asks_the_name_servers_of_its_networks() {
        let server = "192.0.2.53".parse().unwrap();
        let mut network = bridge("10.90.0.0/16");
        network.options.dns.push(server);
        let sandbox = leased(lease(&mut store(&[network]), "a", &on("bridge")));
        assert_eq!(sandbox.resolver.unwrap().dns, [server]);
    }

    #[test]
    fn a_network_that_is_not_defined_is_named() {
        let result = lease(&mut store(&[]), "a", &on("bridge"));
        assert!(matches!(result, Err(LeaseConflict::NoNetwork(name)) if name.as_str() == "bridge"));
    }
}
