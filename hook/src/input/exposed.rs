//! The ports that a container's engine left in its annotations.

use std::collections::HashMap;

use serde::Deserialize;

use super::publish::{ALL, PublishRequest, parse};
use crate::model::{HostAddress, Invalid};

/// The ports of the image, joined by commas: `80/tcp,53/udp` (image-spec, conversion.md). umoci writes it, and others
/// that make a bundle of an image.
const IMAGE: &str = "org.opencontainers.image.exposedPorts";

/// The ports that nerdctl was asked to publish, as a JSON array. Releases before 2.1.3 write it.
const NERDCTL: &str = "nerdctl/ports";

/// An element of [`NERDCTL`].
#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct NerdctlPort {
    host_port: u16,
    container_port: u16,
    protocol: String,
    #[serde(rename = "HostIP", default)]
    host_ip: String,
}

/// The ports that `annotations` name: those of the image at free ports of the host, those of nerdctl at the ports that
/// it was given. `address` is the host's where they name none.
///
/// # Errors
/// That there are none, or that one cannot be read.
pub fn exposed_ports(
    annotations: &HashMap<String, String>,
    address: HostAddress,
) -> Result<Vec<PublishRequest>, Invalid> {
    let of_image = annotations.get(IMAGE).map_or(Ok(Vec::new()), |text| of_image(text, address))?;
    let of_nerdctl = annotations.get(NERDCTL).map_or(Ok(Vec::new()), |text| of_nerdctl(text, address))?;
    if of_image.is_empty() && of_nerdctl.is_empty() {
        let why = format!(
            "needs the ports that the image exposes, and no annotation of this container names any; they come from \
             {IMAGE}, which a tool like umoci writes into config.json, or from {NERDCTL} of nerdctl, and podman leaves none; \
             name the ports instead"
        );
        return Err(Invalid::new("", ALL, why));
    }
    // What nerdctl was asked for is more exact than what the image exposes.
    let is_asked_for = |port: &PublishRequest| {
        of_nerdctl.iter().any(|asked| asked.protocol == port.protocol && asked.container_ports == port.container_ports)
    };
    let rest = of_image.into_iter().filter(|port| !is_asked_for(port)).collect::<Vec<_>>();
    Ok(of_nerdctl.into_iter().chain(rest).collect())
}

fn of_image(text: &str, address: HostAddress) -> Result<Vec<PublishRequest>, Invalid> {
    let wrong = |port: &str, why| Invalid::new(format!("annotation {IMAGE}"), port, why);
    let ports = text.split(',').map(str::trim).filter(|port| !port.is_empty());
    let one = |port: &str| match port.contains(':') {
        true => Err(wrong(port, "is no port of a container".to_owned())),
        false => parse(port, address).map_err(|why| wrong(port, why)),
    };
    ports.map(one).collect()
}

fn of_nerdctl(text: &str, address: HostAddress) -> Result<Vec<PublishRequest>, Invalid> {
    let wrong = |why| Invalid::new(format!("annotation {NERDCTL}"), text, why);
    let ports: Vec<NerdctlPort> = serde_json::from_str(text).map_err(|error| wrong(error.to_string()))?;
    let one = |port: &NerdctlPort| {
        let NerdctlPort { host_port, container_port, protocol, host_ip } = port;
        let host = if host_ip.is_empty() { String::new() } else { format!("{host_ip}:") };
        parse(&format!("{host}{host_port}:{container_port}/{protocol}"), address).map_err(wrong)
    };
    ports.iter().map(one).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::input::HostPort;
    use crate::model::Protocol;

    fn exposed(annotations: &[(&str, &str)]) -> Result<Vec<PublishRequest>, Invalid> {
        let all = annotations.iter().map(|(key, value)| (key.to_string(), value.to_string())).collect();
        exposed_ports(&all, HostAddress::Any)
    }

    #[test]
    fn ports_of_the_image_are_free_ones_of_the_host() {
        let ports = exposed(&[(IMAGE, "8080/tcp, 53/udp,9000")]).unwrap();
        let seen: Vec<_> = ports.iter().map(|port| (*port.container_ports.start(), port.protocol)).collect();
        assert_eq!(seen, [(8080, Protocol::Tcp), (53, Protocol::Udp), (9000, Protocol::Tcp)]);
        assert!(ports.iter().all(|port| port.host_port == HostPort::Free));
    }

    #[test]
    fn ports_of_nerdctl_are_those_that_were_asked_for() {
        let asked = r#"[{"HostPort":8080,"ContainerPort":80,"Protocol":"tcp","HostIP":"127.0.0.1"}]"#;
        let ports = exposed(&[(NERDCTL, asked), (IMAGE, "80/tcp,443/tcp")]).unwrap();
        let [web, tls] = &ports[..] else { panic!("{ports:?}") };
        assert_eq!(
            (&web.host_port, web.host_address.ip().to_string().as_str()),
            (&HostPort::Exactly(8080..=8080), "127.0.0.1")
        );
        assert_eq!((&tls.host_port, tls.container_ports.clone()), (&HostPort::Free, 443..=443));
    }

    #[test]
    fn none_at_all_is_an_error_that_says_where_they_come_from() {
        for annotations in [&[][..], &[(IMAGE, "")], &[("org.other", "80")], &[(NERDCTL, "[]")]] {
            let error = exposed(annotations).unwrap_err().to_string();
            assert!(error.contains(IMAGE) && error.contains(NERDCTL) && error.contains("podman"), "{error}");
        }
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        for (key, value) in [(IMAGE, "80:80"), (IMAGE, "http"), (IMAGE, "0"), (NERDCTL, "{}"), (NERDCTL, "80")] {
            let error = exposed(&[(key, value)]).unwrap_err().to_string();
            assert!(error.contains(key), "{error}");
        }
    }
}
