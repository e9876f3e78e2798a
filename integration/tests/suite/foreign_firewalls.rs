//! Hosts with another firewall: Docker, ufw and firewalld drop forwarded packets with their real rules. The pass that
//! ocinet adds, in the place that each of them offers for it, lets containers through, and every rule of theirs stays
//! as it was.

mod ipv6;

use anyhow::{Context, Result, ensure};
use ocinet_integration::ForeignFirewall::{self, Docker, Firewalld, Ufw};
use ocinet_integration::Iptables::Nft;
use ocinet_integration::Suite::{Here, Sid};
use ocinet_integration::{
    Answer, Container, Firewall, Host, OCINET, Output, PEER, Place, Proto, Proto::Tcp, Settings, UPLINK, every,
};

/// The container reaches the outside, and its published port can be reached.
fn passes(host: &Host, web: &Container<'_>) -> Result<()> {
    every(Proto::ALL, |&proto| {
        host.peer().reaches(proto, format!("{UPLINK}:8080"))?.is("web")?;
        web.reaches(proto, format!("{PEER}:7000"))?.is("world")?;
        Ok(())
    })
}

/// The container cannot reach the outside. firewalld accepts packets to published ports with or without the pass.
fn is_stopped(neighbour: ForeignFirewall, host: &Host, web: &Container<'_>) -> Result<()> {
    every(Proto::ALL, |&proto| {
        if !matches!(neighbour, Firewalld(_)) {
            host.peer().cannot_reach(proto, format!("{UPLINK}:8080"))?;
        }
        web.cannot_reach(proto, format!("{PEER}:7000"))
    })
}

/// Removes the pass as another program would; with words of the doctor's report about it.
fn shut(neighbour: ForeignFirewall) -> (String, &'static str) {
    let program = neighbour.program();
    let jump = "-m comment --comment 'containers of ocinet' -j OCINET-PASSAGE";
    match neighbour {
        Docker(..) => (format!("{program} -D DOCKER-USER {jump}"), "DOCKER-USER"),
        Ufw(_) => (format!("{program} -D FORWARD {jump}"), "FORWARD"),
        Firewalld(_) => {
            ("firewall-cmd --zone=ocinet --remove-interface=ocinet+ --remove-interface=ocn-+".into(), "zone ocinet")
        }
    }
}

#[test]
fn docker_lets_containers_through() -> Result<()> {
    every(ForeignFirewall::DOCKERS, |&docker| docker.host()?.test(|host| lets_through(docker, host)))
}

#[test]
fn ufw_lets_containers_through() -> Result<()> {
    every(ForeignFirewall::UFWS, |&ufw| ufw.host()?.test(|host| lets_through(ufw, host)))
}

/// A zone without our bridges, as an operator might make it: the hook adds them. firewalld loses them at a reload.
fn with_a_bare_zone(firewalld: ForeignFirewall) -> Result<Settings> {
    let bare = "sed -i /interface/d /etc/firewalld/zones/ocinet.xml; firewall-cmd --reload >/dev/null";
    Ok(firewalld.host()?.prepare(bare))
}

/// ufw with the policy to reject. Its last chain is reloaded together with all others.
fn rejecting(ufw: ForeignFirewall) -> Result<Settings> {
    Ok(ufw.host()?.prepare("ufw default reject routed >/dev/null"))
}

#[test]
fn firewalld_lets_containers_through() -> Result<()> {
    every(ForeignFirewall::FIREWALLDS, |&firewalld| lets_through(firewalld, &Host::new(with_a_bare_zone(firewalld)?)?))
}

#[test]
fn ufw_lets_containers_through_before_it_rejects() -> Result<()> {
    every(ForeignFirewall::UFWS, |&ufw| heals(ufw, rejecting(ufw)?, "ufw-after-forward"))
}

#[test]
fn what_firewalld_forgets_comes_back() -> Result<()> {
    every(ForeignFirewall::FIREWALLDS, |&firewalld| heals(firewalld, with_a_bare_zone(firewalld)?, "zone ocinet"))
}

#[test]
fn a_restart_of_docker_changes_nothing() -> Result<()> {
    every(ForeignFirewall::DOCKERS, |&docker| stands(docker))
}

#[test]
fn a_reload_of_ufw_changes_nothing() -> Result<()> {
    every(ForeignFirewall::UFWS, |&ufw| stands(ufw))
}

/// The zone that comes with ocinet already contains the bridges.
#[test]
fn a_reload_of_firewalld_changes_nothing() -> Result<()> {
    every(ForeignFirewall::FIREWALLDS, |&firewalld| stands(firewalld))
}

/// The first container adds the pass, `reset` removes it, and the rules of other programs stay the same.
fn lets_through(neighbour: ForeignFirewall, host: &Host) -> Result<()> {
    let _server = host.peer().serve("world", &["7000"])?;
    let before = neighbour.rules(host)?;
    let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
    passes(host, &web)?;
    let (shut, words) = shut(neighbour);
    let open = neighbour.rules(host)?;
    ensure!(without_ours(&open) == without_ours(&before), "{before}\nbecame\n{open}");
    host.sh(&shut)?;
    is_stopped(neighbour, host, &web)?;
    let told = host.ocinet("doctor")?.exits(1)?.stdout;
    ensure!(told.contains(words) && told.contains("containers forward"), "{told}");
    host.ocinet("doctor --fix")?.success()?;
    passes(host, &web)?;
    ensure!(neighbour.rules(host)? == open, "{open}\nbecame\n{}", neighbour.rules(host)?);
    host.sh(&shut)?;
    let next = host.container("next").run()?;
    passes(host, &web)?;
    drop((web, next));
    host.ocinet("reset")?.success()?;
    ensure_closed(neighbour, host, &before)
}

/// The rules without ours, in iptables or nft text: without our chain and the jump to it, and without our zone's chains
/// and the jumps to them.
fn without_ours(rules: &str) -> String {
    let mut inside = false;
    let foreign = rules.lines().filter(|line| {
        let ours = ["OCINET-PASSAGE", "_ocinet", "\"ocinet*\"", "\"ocn-*\""].iter().any(|word| line.contains(word));
        inside |= ours && line.ends_with('{');
        let skip = inside || ours || line.is_empty();
        inside &= line.trim() != "}";
        !skip
    });
    foreign.map(|line| format!("{line}\n")).collect()
}

/// After a reset our rules are gone. In firewalld the chains of our zone stay until its next reload, but no rule leads
/// to them.
fn ensure_closed(neighbour: ForeignFirewall, host: &Host, before: &str) -> Result<()> {
    let after = neighbour.rules(host)?;
    ensure!(without_ours(&after) == without_ours(before), "{before}\nbecame\n{after}");
    if matches!(neighbour, Firewalld(_)) {
        ensure!(!after.contains("ocinet*") && !after.contains("ocn-*"), "{after}");
    } else {
        ensure!(after == before, "{before}\nbecame\n{after}");
    }
    Ok(())
}

/// The pass stays while the other program loads its own rules again.
fn stands(neighbour: ForeignFirewall) -> Result<()> {
    let host = Host::new(neighbour.host()?)?;
    let _server = host.peer().serve("world", &["7000"])?;
    let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
    passes(&host, &web)?;
    neighbour.reload(&host)?;
    passes(&host, &web)?;
    host.ocinet("doctor")?.success()?;
    Ok(())
}

/// The pass is removed with the other program's rules: the doctor reports it, and the next container adds it again for
/// all.
fn heals(neighbour: ForeignFirewall, settings: Settings, words: &str) -> Result<()> {
    let host = Host::new(settings)?;
    let _server = host.peer().serve("world", &["7000"])?;
    let before = neighbour.rules(&host)?;
    let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
    passes(&host, &web)?;
    neighbour.reload(&host)?;
    is_stopped(neighbour, &host, &web)?;
    let told = host.ocinet("doctor")?.exits(1)?.stdout;
    ensure!(told.contains(words) && told.contains("containers forward"), "{told}");
    let next = host.container("next").run()?;
    passes(&host, &web)?;
    drop((next, web));
    host.ocinet("reset")?.success()?;
    ensure_closed(neighbour, &host, &before)
}

/// The pass accepts only packets that no other rule decided about: Docker isolates its networks from ours, and the
/// operator's rules come first.
#[test]
fn a_door_weakens_nothing() -> Result<()> {
    let rows = Firewall::ALL.into_iter().flat_map(|firewall| ForeignFirewall::DOCKERS.map(|docker| (docker, firewall)));
    every(rows, |&(docker, firewall)| {
        let host = &Host::new(docker.host()?.firewall(firewall))?;
        let iptables = docker.program();
        host.sh(&format!("{iptables} -I DOCKER-USER -s {PEER} -p tcp --dport 80 -j DROP"))?;
        let web = host.container("web").publish("8080:80").run()?;
        host.peer().cannot_reach(Tcp, format!("{UPLINK}:8080"))?;
        host.sh(&format!("{iptables} -D DOCKER-USER -s {PEER} -p tcp --dport 80 -j DROP"))?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("web")?;

        let shop = on_bridge(host, "shop", "docker0", "172.17.0")?;
        let _server = shop.serve("shop", &["80"])?;
        host.reaches(Tcp, "172.17.0.2:80")?.is("shop")?;
        let reach = || web.reaches(Tcp, "172.17.0.2:80");
        web.cannot_reach(Tcp, "172.17.0.2:80")?;
        with(host, iptables, "DOCKER-USER -i ocinet0 -j ACCEPT", || reach()?.is("shop"))?;

        let network = r#"{"Name": "inner", "Internal": true, "IPAM": {"Config": [{"Subnet": "172.30.0.0/24"}]}}"#;
        let created = "curl --silent --fail --unix-socket /run/docker.sock http://docker/networks/create --json";
        let inner = host.sh(&format!("{created} '{network}' | jq --raw-output '.Id[:12]'"))?;
        let vault = on_bridge(host, "vault", &format!("br-{}", inner.trim()), "172.30.0")?;
        shop.reaches(Tcp, "172.17.0.1:8080")?.is("web")?;
        vault.cannot_reach(Tcp, "172.30.0.1:8080")?;
        host.sh(&format!("{iptables} -I FORWARD -i ocinet0 -j ACCEPT"))?;
        vault.cannot_reach(Tcp, "172.30.0.1:8080")?;
        with(host, iptables, "FORWARD -o ocinet0 -j ACCEPT", || vault.reaches(Tcp, "172.30.0.1:8080")?.is("web"))?;
        host.sh(&format!("{iptables} -D FORWARD -i ocinet0 -j ACCEPT"))?;

        if firewall != Firewall::Nftables {
            return Ok(());
        }
        // Deleting our rules does not open the containers to the LAN.
        host.peer().sh(&format!("ip route add 10.90.0.0/16 via {UPLINK}"))?;
        host.sh("nft delete table inet ocinet")?;
        let address = web.at(80)?;
        host.peer().cannot_reach(Tcp, &address)?;
        with(host, iptables, "FORWARD -o ocinet0 -j ACCEPT", || host.peer().reaches(Tcp, &address)?.is("web"))
    })
}

/// A network namespace on a bridge of Docker's, as one of its containers has.
fn on_bridge(host: &Host, name: &str, bridge: &str, net: &str) -> Result<Place> {
    host.sh(&format!(
        "ip netns add {name}
        ip link add {name} type veth peer name eth0 netns {name}
        ip link set {name} master {bridge} up
        ip -netns {name} link set lo up
        ip -netns {name} address add {net}.2/24 dev eth0
        ip -netns {name} link set eth0 up
        ip -netns {name} route add default via {net}.1"
    ))?;
    Ok(host.beside(&format!("/run/netns/{name}")))
}

/// The positive control: packets that were dropped pass while `rule` exists.
fn with(host: &Host, iptables: &'static str, rule: &str, attack: impl FnOnce() -> Result<Answer>) -> Result<()> {
    let (chain, rule) = rule.split_once(' ').context("a chain and a rule")?;
    host.chains(iptables).insert("filter", chain, rule)?;
    attack().with_context(|| format!("with {rule} in {chain}"))?;
    host.chains(iptables).delete("filter", chain, rule)
}

/// firewalld without our zone: nothing is opened, the doctor prints a command, and that command works.
#[test]
fn firewalld_without_the_zone_is_explained() -> Result<()> {
    let bare = "rm /etc/firewalld/zones/ocinet.xml; firewall-cmd --reload >/dev/null";
    let host = &Host::new(Firewalld(Sid).host()?.prepare(bare))?;
    let _server = host.peer().serve("world", &["7000"])?;
    let before = Firewalld(Sid).rules(host)?;
    let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
    is_stopped(Firewalld(Sid), host, &web)?;
    let told = host.ocinet("doctor")?.exits(1)?.stdout;
    ensure!(told.contains("it has no zone ocinet"), "{told}");
    ensure!(Firewalld(Sid).rules(host)? == before);
    let remedy = told.lines().find_map(|line| line.trim().strip_prefix("to mend it: ")).context("a remedy")?;
    host.sh(remedy)?;
    passes(host, &web)?;
    host.ocinet("doctor")?.success().map(drop)
}

/// A drop policy of unknown origin stays, in both variants of iptables.
#[test]
fn a_strange_policy_is_explained() -> Result<()> {
    every(["iptables-legacy", "iptables-nft"], |program| {
        Settings::default().prepare(&format!("{program} -P FORWARD DROP")).test(|host| {
            let _server = host.peer().serve("world", &["7000"])?;
            let web = host.container("web").publish("8080:80,8080:80/udp").run()?;
            is_stopped(Docker(Here, Nft), host, &web)?;
            let told = host.ocinet("doctor --fix")?.exits(1)?.stdout;
            is_stopped(Docker(Here, Nft), host, &web)?;
            let remedy = told.lines().find_map(|line| line.trim().strip_prefix("to mend it: ")).context("a remedy")?;
            host.sh(remedy)?;
            passes(host, &web)?;
            host.ocinet("doctor")?.success()?;
            host.sh(&format!("{program} -F FORWARD")).map(drop)
        })
    })
}

/// Once the pass exists, an attach checks it without starting a program.
#[test]
fn an_open_door_costs_no_process() -> Result<()> {
    let neighbours = [&ForeignFirewall::DOCKERS[..], &ForeignFirewall::UFWS, &ForeignFirewall::FIREWALLDS].concat();
    every(neighbours, |&neighbour| {
        neighbour.host()?.test(|host| {
            let programs = |id: &str| -> Result<usize> {
                let web = host.container(id).publish("8080:80").prepare()?;
                let state = web.state("createRuntime").to_string();
                let strace =
                    ["strace", "-f", "-e", "trace=execve", "-o", "/mnt/strace", OCINET, "hook", "createRuntime"];
                Output::of(&mut host.command(&strace), state.as_bytes())?.exits(0)?;
                web.hook("poststop")?.exits(0)?;
                host.settles()?;
                Ok(host.sh("grep -c '^[0-9]* *execve(.*= 0$' /mnt/strace")?.trim().parse()?)
            };
            let (first, second) = (programs("first")?, programs("second")?);
            ensure!(second == 1 && first > 1, "programs started: {first}, then {second}");
            host.ocinet("reset")?.success().map(drop)
        })
    })
}

/// What no pass lets through is refused with a line that says so, unless a rule of the operator's names the bridge: ports
/// that are reached at their containers' addresses, and bridges with names of others. A network that is not masqueraded
/// needs no more than the pass.
#[test]
fn what_no_pass_lets_through_is_refused() -> Result<()> {
    let define = |name: &str, n: u8, bridge: &str, more: &str| {
        format!(
            "mkdir -p /etc/ocinet/networks
             printf '%s\\n' 'bridge = \"{bridge}\"' '{more}' '[[subnet]]' 'range = \"10.64.{n}.0/24\"' \
                 >/etc/ocinet/networks/{name}.toml\n"
        )
    };
    let networks = define("routed", 1, "ocn-1", "mode = \"routed\"")
        + &define("trusting", 2, "ocn-2", "trusted_interfaces = [\"uplink\"]")
        + &define("named", 3, "shop0", "")
        + &define("plain", 4, "ocn-4", "masquerade = \"off\"")
        + "ip -netns peer route add 10.64.0.0/16 via 198.51.100.1\n";
    every([Docker(Here, Nft), Ufw(Nft), Firewalld(Here)], |&neighbour| {
        let host = Host::new(neighbour.host()?.prepare(&networks))?;
        let _server = host.peer().serve("world", &["7000"])?;
        for (network, words) in [("routed", "own addresses"), ("trusting", "own addresses"), ("named", "shop0")] {
            let error = host.container("web").network(network).publish("8080:80").refused()?.stderr;
            ensure!(error.contains(words) && error.contains(network), "{network}: {error}");
            ensure!(host.settled_sandboxes()?.is_empty(), "{network}");
        }
        // Without ports it sends with its own address, and gets its answers.
        for network in ["routed", "plain"] {
            let out = host.container("out").network(network).run()?;
            let address = out.sandbox()?.address().context("an address")?;
            out.reaches(Tcp, format!("{PEER}:7000"))?.is("world")?.seen_from(address)?;
            out.delete()?;
        }
        let plain = host.container("plain").network("plain").publish("8080:80").run()?;
        host.peer().reaches(Tcp, format!("{UPLINK}:8080"))?.is("plain")?;
        plain.delete()?;
        if let Docker(..) = neighbour {
            let program = neighbour.program();
            for side in ["-i ocn-1", "-o ocn-1", "-i shop0", "-o shop0"] {
                host.sh(&format!("{program} -I DOCKER-USER {side} -j ACCEPT"))?;
            }
            let routed = host.container("routed").network("routed").publish("8080:80").run()?;
            let address = routed.sandbox()?.address().context("an address")?;
            host.peer().reaches(Tcp, format!("{address}:80"))?.is("routed")?;
            let named = host.container("named").network("named").publish("8081:80").run()?;
            host.peer().reaches(Tcp, format!("{UPLINK}:8081"))?.is("named")?;
            named.reaches(Tcp, format!("{PEER}:7000"))?.is("world")?;
            host.sh(&format!("{program} -F DOCKER-USER"))?;
            let told = host.ocinet("doctor")?.exits(1)?.stdout;
            ensure!(told.contains("own addresses") && told.contains("shop0"), "{told}");
            named.delete()?;
            routed.delete()?;
        }
        Ok(())
    })
}
