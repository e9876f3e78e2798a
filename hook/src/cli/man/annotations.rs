use ocinet::input::Annotations;

use super::document::{Document, Part};

/// ocinet-annotations(7).
pub(super) fn document() -> Document {
    let mut parts: Vec<Part> = DESCRIPTION.iter().map(|text| Part::paragraph(text)).collect();
    parts.push(Part::Section("Keys"));
    parts.extend(Annotations::KEYS.iter().map(|key| Part::Key {
        name: key.name,
        grammar: key.grammar,
        paragraphs: key.help,
        example: key.example.to_owned(),
    }));
    parts.extend([
        Part::Section("Options of a network"),
        Part::paragraph("They follow a colon and are joined by commas."),
        Part::table(["option", "meaning"], &OPTIONS),
        Part::Section("Examples"),
        Part::paragraph("In a bundle's config.json:"),
        Part::Literal("text", example()),
    ]);
    Document {
        name: "ocinet-annotations",
        section: "7",
        summary: "what a container says about its network",
        parts,
        see_also: &["ocinet(1)", "ocinet-hook(1)", "ocinet-publish(7)", "ocinet-config(5)"],
    }
}

const DESCRIPTION: [&str; 4] = [
    "ocinet reads what to do from the annotations of a container: those in the state that the runtime hands to a hook, \
     and those in the bundle's config.json, where the state has no such key. Values are text. Lists are joined by commas \
     or by blanks, since `podman run --annotation` takes some apart at their commas.",
    "A container with any key of ocinet is wired. A container with none is left alone, unless `default_network` says \
     otherwise, see ocinet-config(5).",
    "A key that begins with `io.ocinet.` and is not listed here is an error, and so is a value that does not follow its \
     grammar: the container does not start, and the exit code is 2.",
    "A bundle whose network namespace has a path joins that namespace. If another container is attached there already, \
     the new one shares its network and gets none of its own.",
];

const OPTIONS: [(&str, &str); 8] = [
    (
        "`ip=ADDRESS`",
        "An address of the network's range. Without it: the one that the container had before, where that is free, or else \
         the next free one.",
    ),
    (
        "`ip6=ADDRESS`",
        "An address of the network's range of IPv6. Without it: the one that the container had before, or one that holds \
         the IPv4 address in its low 32 bits, or the next free one.",
    ),
    ("`mac=ADDRESS`", "A unicast address that is not the gateway's. Without it: one that follows from the IP address."),
    (
        "`interface=NAME`",
        "The name inside the container, at most 15 bytes. Without it: the first of `eth0`, `eth1` and so on.",
    ),
    (
        "`mtu=BYTES`",
        "68 to 65535. The other containers and the bridge keep theirs, so larger datagrams from this network do not \
         arrive. Without it: that of the host's way out, which is the `mtu` of its default route, or its link's.",
    ),
    (
        "`gw-priority=NUMBER`",
        "Of several networks, the one with the highest has the default route, and of equal ones the first. An internal \
         network never has it. Without it: 0.",
    ),
    (
        "`alias=NAME`",
        "A further name by which containers on this network find it, for a network of one's own; it may be given several \
         times. In JSON, `alias` is an array.",
    ),
    (
        "`guard=off`",
        "The container may send with every address, MAC and IP, also with those of others on this network, and within \
         connections that stand with those of containers of other networks: for keepalived and for routers of networks \
         behind it. `ocinet doctor` names it. Without it: `guard=on`.",
    ),
];

fn example() -> String {
    let lines: Vec<String> =
        Annotations::KEYS.iter().map(|key| format!("    {:?}: {:?}", key.name, key.example)).collect();
    format!("  \"annotations\": {{\n{}\n  }}", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_json_with_every_key() {
        let json: serde_json::Value = serde_json::from_str(&format!("{{{}}}", example())).unwrap();
        assert_eq!(json["annotations"].as_object().unwrap().len(), Annotations::KEYS.len());
    }
}
