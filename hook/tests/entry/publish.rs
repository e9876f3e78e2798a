use ocinet::input::{HostPort, PublishRequest, parse_publish};
use ocinet::model::HostAddress;

use super::ports::{disjoint, every_port, odd_ports};

/// A value of `io.ocinet.publish`.
pub fn publish(bytes: &[u8]) {
    let list = match parse_publish(&String::from_utf8_lossy(bytes), HostAddress::Any, || Ok(Vec::new())) {
        Ok(list) => list,
        Err(error) => return super::one_line(&error),
    };
    list.iter().for_each(in_range);
    let printed = list.iter().map(print).collect::<Vec<_>>().join(",");
    assert_eq!(parse_publish(&printed, HostAddress::Any, || Ok(Vec::new())).as_ref(), Ok(&list), "{printed}");
    disjoint(&list, every_port);
    disjoint(&list, odd_ports);
}

/// Makes sure that every port is one, and that there are as many on the host as in the container.
pub fn in_range(request: &PublishRequest) {
    let ports = &request.container_ports;
    assert!(*ports.start() > 0 && ports.start() <= ports.end(), "{request:?}");
    match &request.host_port {
        HostPort::Exactly(range) => assert!(*range.start() > 0 && range.len() == ports.len(), "{request:?}"),
        HostPort::OneOf(range) => assert!(*range.start() > 0 && range.len() > 1 && ports.len() == 1, "{request:?}"),
        HostPort::Free => {}
    }
    assert!(!matches!(request.host_address, HostAddress::V6(_)), "{request:?}");
}

/// The entry as a person would write it.
fn print(request: &PublishRequest) -> String {
    let PublishRequest { protocol, host_address, names_address, host_port, container_ports } = request;
    let address = if *names_address { format!("{}:", host_address.ip()) } else { String::new() };
    let host = match host_port {
        HostPort::Exactly(range) | HostPort::OneOf(range) => format!("{}-{}:", range.start(), range.end()),
        HostPort::Free if address.is_empty() => String::new(),
        HostPort::Free => ":".into(),
    };
    format!("{address}{host}{}-{}/{protocol}", container_ports.start(), container_ports.end())
}
