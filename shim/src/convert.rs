//! Converts the model to messages of the interface, and errors of the engine to its codes.

use std::net::IpAddr;
use std::time::{SystemTime, UNIX_EPOCH};

use ocinet::decide::request::EndpointRequest;
use ocinet::engine::{Error, NetworkKind, NetworkView, Remedy};
use ocinet::input::network_file::Draft;
use ocinet::kernel;
use ocinet::model::{self, Invalid};
use ocinet::resident::Known;
use ocinet_proto::ttrpc::{self, Code, get_status};
use ocinet_proto::v1::*;

/// The only place where errors become codes. The text is the one that `ocinet` prints.
pub fn status(error: &Error) -> ttrpc::Error {
    ttrpc::Error::RpcStatus(get_status(code(error), error.to_string()))
}

fn code(error: &Error) -> Code {
    match error {
        Error::Invalid(_) => Code::INVALID_ARGUMENT,
        Error::Conflict(_) | Error::Kernel(kernel::Error::Busy(_)) => Code::ALREADY_EXISTS,
        Error::Exhausted(_) | Error::Kernel(kernel::Error::Exhausted(_)) => Code::RESOURCE_EXHAUSTED,
        Error::NotFound(_) => Code::NOT_FOUND,
        Error::Kernel(kernel::Error::Deadline(_)) => Code::UNAVAILABLE,
        Error::Rollback { attach, .. } => code(attach),
        Error::Kernel(_) | Error::Store(_) | Error::Several(_) => Code::INTERNAL,
    }
}

/// A sandbox.
pub fn container(sandbox: &model::Sandbox) -> Container {
    Container {
        record: sandbox.number,
        id: sandbox.container.to_string(),
        bundle: sandbox.bundle.clone(),
        name: sandbox.name.to_string(),
        mode: mode(sandbox.mode).into(),
        state: state(sandbox.state).into(),
        netns_cookie: sandbox.namespace.cookie,
        endpoints: sandbox.endpoints.iter().map(endpoint).collect(),
        published: sandbox.publish.iter().map(published).collect(),
        ..Default::default()
    }
}

fn mode(mode: model::Mode) -> Mode {
    match mode {
        model::Mode::Networks => Mode::MODE_BRIDGE,
        model::Mode::Host => Mode::MODE_HOST,
        model::Mode::None => Mode::MODE_NONE,
    }
}

fn state(state: model::State) -> State {
    match state {
        model::State::Attaching => State::STATE_ATTACHING,
        model::State::Attached => State::STATE_ATTACHED,
        model::State::Detaching => State::STATE_DETACHING,
        model::State::Draining => State::STATE_DRAINING,
    }
}

fn endpoint(endpoint: &model::Endpoint) -> Endpoint {
    let name = |link: Option<&model::InterfaceName>| link.map(ToString::to_string).unwrap_or_default();
    Endpoint {
        network: endpoint.network.to_string(),
        interface: endpoint.interface.to_string(),
        mac: endpoint.mac.to_string(),
        mtu: endpoint.mtu,
        addresses: endpoint.addresses.iter().map(ToString::to_string).collect(),
        gateways: endpoint.gateways().map(|gateway| gateway.to_string()).collect(),
        host_interface: name(endpoint.wire.host_link()),
        bridge: name(endpoint.wire.master()),
        ..Default::default()
    }
}

fn published(mapping: &model::PortMapping) -> PublishedPorts {
    let protocol = match mapping.protocol {
        model::Protocol::Tcp => Protocol::PROTOCOL_TCP,
        model::Protocol::Udp => Protocol::PROTOCOL_UDP,
        model::Protocol::Sctp => Protocol::PROTOCOL_SCTP,
    };
    PublishedPorts {
        protocol: protocol.into(),
        host_address: Option::<IpAddr>::from(mapping.host_address).map(|ip| ip.to_string()).unwrap_or_default(),
        host_port: mapping.host_port.into(),
        container_port: mapping.container_port.into(),
        count: mapping.count.into(),
        ..Default::default()
    }
}

/// A network.
pub fn network(view: &NetworkView) -> NetworkInfo {
    let mut info = NetworkInfo::new();
    info.name.clone_from(&view.name);
    info.driver = view.kind.driver().into();
    info.containers = u32::try_from(view.sandboxes.len()).unwrap_or(u32::MAX);
    if let NetworkKind::Defined(network) = &view.kind {
        info.bridge = network.link().map(ToString::to_string).unwrap_or_default();
        info.subnets = network.subnets.iter().map(subnet).collect();
    }
    info
}

/// What a call asks for of a network that is to be defined.
pub fn draft(request: CreateNetworkRequest) -> Result<Draft, Invalid> {
    let mut draft = Draft::default();
    for SubnetRequest { range, gateway, pool, reserved, .. } in request.subnets {
        draft.ranges.push(parsed("range", &range)?);
        add(&mut draft.gateways, "gateway", &gateway)?;
        add(&mut draft.pools, "pool", &pool)?;
        for (name, address) in reserved {
            let address = parsed("reserved", &address)?;
            draft.aux.push((name, address));
        }
    }
    draft.options.internal = request.internal;
    draft.options.labels.extend(request.labels);
    for server in &request.dns {
        draft.options.dns.push(parsed("dns", server)?);
    }
    for (key, value) in &request.options {
        draft.set(key, value)?;
    }
    request.routes.iter().try_for_each(|route| draft.set("route", route))?;
    Ok(draft)
}

/// What a call asks for of a further endpoint, in the grammar of an annotation.
pub fn connection(request: &ConnectRequest) -> Result<EndpointRequest, Invalid> {
    let is_wrong = |text: &&String| text.contains([',', ' ', '=']);
    if let Some(text) = request.options.iter().flat_map(|(key, value)| [key, value]).find(is_wrong) {
        return Err(Invalid::new("options", text, "has a character that no option has"));
    }
    let options: Vec<String> = request.options.iter().map(|(key, value)| format!("{key}={value}")).collect();
    format!("{}:{}", request.network, options.join(",")).parse()
}

fn parsed<T: std::str::FromStr<Err: std::fmt::Display>>(field: &str, text: &str) -> Result<T, Invalid> {
    text.parse().map_err(|error: T::Err| Invalid::new(field, text, error.to_string()))
}

/// Adds what `text` says to `list`; nothing where it is empty.
fn add<T: std::str::FromStr<Err: std::fmt::Display>>(
    list: &mut Vec<T>,
    field: &str,
    text: &str,
) -> Result<(), Invalid> {
    if !text.is_empty() {
        list.push(parsed(field, text)?);
    }
    Ok(())
}

fn subnet(subnet: &model::Subnet) -> Subnet {
    Subnet {
        range: subnet.range.to_string(),
        gateway: subnet.gateway.address().map(|gateway| gateway.to_string()).unwrap_or_default(),
        ..Default::default()
    }
}

/// A finding of an examination.
pub fn finding(finding: &ocinet::engine::Finding) -> ocinet_proto::v1::Finding {
    use ocinet_proto::v1::finding::Kind;
    let (kind, remedy) = match &finding.remedy {
        Remedy::Ours => (Kind::KIND_OURS, ""),
        Remedy::Yours(remedy) => (Kind::KIND_YOURS, remedy.as_str()),
        Remedy::Note | Remedy::Fine => (Kind::KIND_NOTE, ""),
    };
    ocinet_proto::v1::Finding {
        kind: kind.into(),
        subject: finding.subject.clone(),
        trouble: finding.trouble.clone(),
        remedy: remedy.into(),
        ..Default::default()
    }
}

/// The event that all earlier changes were sent.
pub fn watching() -> Event {
    event(event::Kind::KIND_WATCHING, None)
}

/// The event that a container is attached.
pub fn attached(sandbox: &model::Sandbox) -> Event {
    event(event::Kind::KIND_ATTACHED, Some(container(sandbox)))
}

/// The event that a container is detached.
pub fn detached(known: Known) -> Event {
    let Known { number, container, bundle, name, .. } = known;
    let (id, name) = (container.to_string(), name.to_string());
    event(event::Kind::KIND_DETACHED, Some(Container { record: number, id, bundle, name, ..Default::default() }))
}

/// The event that a container which runs was connected or disconnected.
pub fn connection_event(kind: event::Kind, sandbox: &model::Sandbox, network: &model::NetworkName) -> Event {
    Event { network: network.to_string(), ..event(kind, Some(container(sandbox))) }
}

/// The event that the network `name` was created or removed.
pub fn network_event(kind: event::Kind, name: &model::NetworkName) -> Event {
    Event { network: name.to_string(), ..event(kind, None) }
}

fn event(kind: event::Kind, container: Option<Container>) -> Event {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    Event {
        kind: kind.into(),
        time_unix_nano: i64::try_from(now.as_nanos()).unwrap_or(i64::MAX),
        container: container.into(),
        ..Default::default()
    }
}

/// Published ports as `ocinet ps` shows them.
pub fn ports(ports: &PublishedPorts) -> String {
    let PublishedPorts { host_address, host_port, container_port, count, .. } = ports;
    let range = |first: u32| if *count > 1 { format!("{first}-{}", first + (count - 1)) } else { first.to_string() };
    let host = match host_address.as_str() {
        "" => "0.0.0.0".to_owned(),
        address if address.contains(':') => format!("[{address}]"),
        address => address.to_owned(),
    };
    let protocol = match ports.protocol.enum_value() {
        Ok(Protocol::PROTOCOL_UDP) => "udp",
        Ok(Protocol::PROTOCOL_SCTP) => "sctp",
        _ => "tcp",
    };
    format!("{host}:{}->{}/{protocol}", range(*host_port), range(*container_port))
}
