//! The elements of our maps: what the kernel has, and what the store demands.

use std::collections::BTreeMap;

use anyhow::{Context, Result};
use serde_json::Value;

use crate::{Place, Sandbox};

/// From `tcp . 8080 : 10.90.0.2 . 80` to the comment.
pub(super) type Elements = BTreeMap<String, String>;

/// The programs of iptables, and what the files that name their tables begin with.
const PROGRAMS: [(&str, &str); 4] =
    [("iptables-legacy", "ip"), ("iptables-nft", "ip"), ("ip6tables-legacy", "ip6"), ("ip6tables-nft", "ip6")];

/// The published ports in the kernel, with any of the firewalls.
pub(super) fn in_kernel(host: &Place) -> Result<Elements> {
    let mut elements = in_maps(host)?;
    for (program, tables) in PROGRAMS {
        // Listing a table of the legacy variant creates it, and then the hook reads it too. So only an existing table
        // is listed.
        let is_there = format!("grep -qsx nat /proc/net/{tables}_tables_names && echo yes || true");
        if program.ends_with("legacy") && host.sh(&is_there)?.is_empty() {
            continue;
        }
        let rules = host.chains(program).rules("nat")?;
        let ours = rules.iter().filter(|line| line.starts_with("-A OCINET-") && line.contains("-j DNAT"));
        elements.extend(ours.map(|line| from_rule(line).with_context(|| line.clone())).collect::<Result<Vec<_>>>()?);
        let rules = host.chains(program).rules("filter")?;
        let ours = rules.iter().filter(|line| line.ends_with("-j RETURN") && line.contains("--comment"));
        elements.extend(ours.filter_map(|line| at_container(line)));
    }
    Ok(elements)
}

/// Reads a rule as iptables prints it.
fn from_rule(line: &str) -> Option<(String, String)> {
    let words: Vec<&str> = line.split(' ').collect();
    let after = |flag| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1)).copied();
    let host = after("-d").map(|address| format!("{} . ", alone(address))).unwrap_or_default();
    let (target, port) = after("--to-destination")?.rsplit_once(':')?;
    let target = target.trim_matches(['[', ']']);
    let key = format!("{host}{} . {} : {target} . {port}", after("-p")?, after("--dport")?);
    Some((key, after("--comment")?.trim_matches('"').to_owned()))
}

/// An address without the length of its prefix.
fn alone(range: &str) -> &str {
    range.split('/').next().unwrap_or_default()
}

/// Reads a rule for a port that is reached at its container's address.
fn at_container(line: &str) -> Option<(String, String)> {
    let words: Vec<&str> = line.split(' ').collect();
    let after = |flag| words.iter().position(|word| *word == flag).and_then(|at| words.get(at + 1)).copied();
    let kind = after("-A")?.strip_prefix("OCINET-")?.to_lowercase();
    let key = format!("{kind} {} . {} . {}", alone(after("-d")?), after("-p")?, after("--dport")?);
    Some((key, after("--comment")?.trim_matches('"').to_owned()))
}

/// The elements of the `publish` maps, and of the sets of ports that are reached at their containers' addresses.
fn in_maps(host: &Place) -> Result<Elements> {
    let ruleset: Value = host.json("nft --json list ruleset")?;
    let objects = ruleset["nftables"].as_array().context("nft prints an array")?;
    let ours =
        |map: &&Value| map["table"] == "ocinet" && map["name"].as_str().is_some_and(|name| name.starts_with("publish"));
    let maps = objects.iter().map(|object| &object["map"]).filter(ours);
    let mut all = Elements::new();
    for map in maps {
        // The keys of that map have no address, which is always ::1.
        let host = if map["name"] == "publish6_loopback" { "::1 . " } else { "" };
        let elements = map["elem"].as_array().into_iter().flatten();
        let read = elements.map(|element| read(&element[0], &element[1]));
        all.extend(read.map(|(element, comment)| (format!("{host}{element}"), comment)));
    }
    for set in objects.iter().map(|object| &object["set"]) {
        let name = set["name"].as_str().unwrap_or_default();
        let Some((kind, _)) = name.split_once("4_ports").or_else(|| name.split_once("6_ports")) else { continue };
        for element in set["elem"].as_array().into_iter().flatten() {
            let comment = element["elem"]["comment"].as_str().unwrap_or_default();
            all.insert(format!("{kind} {}", concatenation(&element["elem"]["val"])), comment.to_owned());
        }
    }
    Ok(all)
}

/// The elements that `sandboxes` demand.
pub(super) fn in_store(sandboxes: &[Sandbox]) -> Elements {
    let mut elements = Elements::new();
    for sandbox in sandboxes {
        let targets = sandbox.publishing_addresses();
        for ((address, publishing), port) in
            targets.iter().flat_map(|target| sandbox.publish.iter().map(move |port| (target, port)))
        {
            // A port of one family leads to no address of the other.
            if port.host_address.is_some_and(|host| host.is_ipv4() != address.is_ipv4()) {
                continue;
            }
            if ["routed", "trusted"].contains(publishing) {
                let key = |(_, inner)| format!("{publishing} {address} . {} . {inner}", port.protocol);
                elements.extend(port.pairs().map(|pair| (key(pair), sandbox.name.clone())));
            }
            if *publishing == "routed" {
                continue;
            }
            let one = port.host_address.filter(|host| !host.is_unspecified());
            let host = one.map(|address| format!("{address} . ")).unwrap_or_default();
            for (outer, inner) in port.pairs() {
                let key = format!("{host}{} . {outer} : {address} . {inner}", port.protocol);
                elements.insert(key, sandbox.name.clone());
            }
        }
    }
    elements
}

/// An element of `nft --json`: where it has a comment, the key is wrapped.
fn read(key: &Value, data: &Value) -> (String, String) {
    let wrapped = &key["elem"];
    let key = if wrapped.is_null() { key } else { &wrapped["val"] };
    let comment = wrapped["comment"].as_str().unwrap_or_default();
    (format!("{} : {}", concatenation(key), concatenation(data)), comment.to_owned())
}

fn concatenation(value: &Value) -> String {
    let fields = value["concat"].as_array().map(Vec::as_slice).unwrap_or_default();
    let text = |field: &Value| field.as_str().map_or_else(|| field.to_string(), str::to_owned);
    fields.iter().map(text).collect::<Vec<_>>().join(" . ")
}
