use super::document::{Document, Part};

/// ocinet-publish(7).
pub(super) fn document() -> Document {
    let mut parts: Vec<Part> = GRAMMAR.iter().map(|text| Part::paragraph(text)).collect();
    let forms = FORMS.iter().map(|(form, meaning)| (format!("`{form}`"), (*meaning).to_owned())).collect();
    parts.extend([Part::Table(["entry", "meaning"], forms), Part::Section("Who reaches it")]);
    parts.extend(REACH.iter().map(|text| Part::paragraph(text)));
    parts.extend([
        Part::Section("Conflicts"),
        Part::paragraph(
            "A port that another container has published, or that a process of the host listens on, is refused with \
             exit code 3. The error names the holder and the next free port:",
        ),
        Part::Literal("text", "ocinet: 0.0.0.0:8080/tcp is published by container web; 8081 is free".into()),
        Part::paragraph(
            "Nothing holds a published port on the host afterwards: a process that starts to listen on it later gets no \
             error, but the connections still go to the container.",
        ),
        Part::Section("Examples"),
        Part::Literal("text", "io.ocinet.publish=8080:80 127.0.0.1:8443:443 5353:53/udp".into()),
    ]);
    Document {
        name: "ocinet-publish",
        section: "7",
        summary: "how ports to publish are written",
        parts,
        see_also: &["ocinet-annotations(7)", "ocinet-config(5)", "ocinet-port(1)"],
    }
}

const GRAMMAR: [&str; 2] = [
    "The value of `io.ocinet.publish` is a list joined by commas or blanks, and each `--publish` of `ocinet prepare` is \
     one entry of it. The grammar is that of `docker run -p`:",
    "`[[HOST-ADDRESS:][HOST-PORT]:]CONTAINER-PORT[/PROTOCOL]`",
];

/// Entries and their effect. The tests parse the entries.
const FORMS: [(&str, &str); 14] = [
    ("8080:80", "Port 8080 of every address of the host leads to port 80 of the container."),
    ("127.0.0.1:8443:443/tcp", "Of this address only. On 127.0.0.1 it is reached from the host alone."),
    ("53:53/udp", "Protocols are `tcp`, which is the default, `udp` and `sctp`."),
    ("9000-9010:9000-9010", "A range, one to one; at most 4096 ports."),
    ("9000-9010:80", "The first free port of a range."),
    ("80", "A free port of the host; `ocinet port` tells which."),
    (":80", "The same."),
    ("127.0.0.1::80", "A free port of that address."),
    ("80-90", "A free port of the host for each of these."),
    (
        "all",
        "Every port that the image exposes and no other entry names, each at a free port of the host. They come from the \
         annotation `org.opencontainers.image.exposedPorts`, or, at the ports that it was given, from `nerdctl/ports`.",
    ),
    ("0.0.0.0:8080:80", "All addresses of IPv4."),
    ("[::]:8080:80", "All addresses of IPv6."),
    ("[2001:db8::1]:8080:80", "That address of the host."),
    (
        "[::1]:8080:80",
        "The host's loopback of IPv6: it is reached from the host alone. Not where iptables keeps the rules.",
    ),
];

const REACH: [&str; 3] = [
    "A published port is reached from the network, from the host by any of its addresses, by 127.0.0.1 and by ::1, from \
     other containers, and from the container itself through the host's address. By ::1 it is where the container has \
     IPv6 and nftables keeps the rules.",
    "Without HOST-ADDRESS it is published on every address of the host, of each family that the container has on the \
     network to which its ports lead; `publish_default_address` changes that, \
     and so does `host_binding` of the network to which the ports lead. In a routed network they are reached at the \
     container's own address, and no port of the host leads there. \
     Whether the host's own firewall rules apply is the setting `published_ports`. See ocinet-config(5) for both.",
    "With the networks `host` and `none`, published ports have no effect, and a warning says so. With \
     `container:CONTAINER` they are refused: publish them with that container.",
];

#[cfg(test)]
mod tests {
    use ocinet::input::parse_publish;
    use ocinet::model::HostAddress;

    use super::*;

    #[test]
    fn every_form_is_parsed_or_said_to_be_refused() {
        for (form, meaning) in FORMS {
            assert_eq!(
                parse_publish(form, HostAddress::Any, || Ok(Vec::new())).is_err(),
                meaning.contains("refused"),
                "{form}"
            );
        }
    }
}
