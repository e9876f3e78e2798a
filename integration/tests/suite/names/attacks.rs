//! What a hostile container tries. Each attack stands beside one like it that succeeds, or a check that it could.

use anyhow::{Result, ensure};
use ocinet_integration::{Container, Host, Proto::Tcp, Runtime, Settings, eventually, every};

use super::{DEFINE, asks, on_every_firewall, story};

/// Two networks of IPv6, of which the second is internal.
const OF_IPV6: &str = "printf 'bridge = \"ocn-4\"\nipv4 = false\n[[subnet]]\nrange = \"fd00:4::/64\"\n' >/etc/ocinet/networks/front6.toml
    printf 'bridge = \"ocn-5\"\nipv4 = false\ninternal = true\n[[subnet]]\nrange = \"fd00:5::/64\"\n' >/etc/ocinet/networks/shut6.toml
    sysctl -qw net.ipv6.conf.all.forwarding=1\n";

/// Two networks whose containers are kept apart, of which the second is internal.
const APART: &str = "printf 'bridge = \"ocn-6\"\nicc = false\n[[subnet]]\nrange = \"10.64.6.0/24\"\n' >/etc/ocinet/networks/apart.toml
    printf 'bridge = \"ocn-7\"\nicc = false\ninternal = true\n[[subnet]]\nrange = \"10.64.7.0/24\"\n' >/etc/ocinet/networks/cell.toml\n";

/// The namespace of the name server.
fn in_namespace(host: &Host, script: &str) -> Result<String> {
    host.sh(&format!("nsenter --net=/run/ocinet/names sh -euc '{script}'"))
}

/// The words of an attack over one family.
struct Over {
    /// The networks, of which the second is internal, and the range of the first.
    networks: [&'static str; 2],
    range: &'static str,
    server: &'static str,
    /// The command for routes and rules.
    ip: &'static str,
    /// Switches on, in the name server's namespace, whatever lets it lead packets.
    on: &'static str,
}

const OVER_IPV4: Over = Over {
    networks: ["front", "shut"],
    range: "10.64.1.0/24",
    server: "169.254.53.53",
    ip: "ip",
    on: "for link in /proc/sys/net/ipv4/conf/*; do echo 1 >$link/forwarding; echo 0 >$link/rp_filter; done",
};

const OVER_IPV6: Over = Over {
    networks: ["front6", "shut6"],
    range: "fd00:4::/64",
    server: "fd6f:6369:6e65:7400::53",
    ip: "ip -6",
    on: "for link in /proc/sys/net/ipv6/conf/*; do echo 1 >$link/forwarding; done",
};

/// Attacks one network from another by way of the name server's namespace, which has a port on both. A container sends
/// to that port what is for a container elsewhere.
fn lead_through(host: &Host, over: &Over, has_control: bool) -> Result<()> {
    let Over { networks: [from, to], range, server, ip, on } = over;
    let front = host.container("front").network(from).run()?;
    let shut = host.container("shut").network(to).run()?;
    let target = shut.sandbox()?.endpoints[0].addresses[0].split('/').next().unwrap_or_default().to_owned();
    let at = if target.contains(':') { format!("[{target}]:80") } else { format!("{target}:80") };
    in_namespace(host, on)?;
    let lead = |container: &Container<'_>, to: &str| {
        container.sh(&format!("{ip} route add {to} via {server} dev eth0 onlink"))
    };
    lead(&front, &target)?;
    lead(&shut, range)?;
    front.cannot_reach(Tcp, at.as_str())?;
    if has_control {
        // It would be led there without the one rule and the guards of the ports.
        in_namespace(host, &format!("{ip} rule add priority 2 lookup main"))?;
        front.cannot_reach(Tcp, at.as_str())?;
        host.sh("for link in $(ls /sys/class/net | grep ^ocvn-); do tc qdisc del dev $link clsact; done")?;
        front.reaches(Tcp, at.as_str())?.is("shut")?;
        in_namespace(host, &format!("{ip} rule del priority 2"))?;
        front.cannot_reach(Tcp, at.as_str())?;
    }
    shut.delete()?;
    front.delete()
}

#[test]
fn it_leads_from_no_network_to_another() -> Result<()> {
    every([false, true], |bridge_nf| {
        let settings = Settings::default().runtime(Runtime::Runc).bridge_nf(*bridge_nf).born_of_router(true);
        // Where frames within a bridge pass the host's rules, those drop what comes back.
        settings.prepare(DEFINE).test(|host| lead_through(host, &OVER_IPV4, !bridge_nf))
    })
}

#[test]
fn it_leads_from_no_network_to_another_over_ipv6() -> Result<()> {
    every([false, true], |bridge_nf| {
        let settings = Settings::default().runtime(Runtime::Runc).bridge_nf(*bridge_nf).born_of_router(true);
        let of_ipv6 = format!("sysctl -qw net.bridge.bridge-nf-call-ip6tables={}\n", u8::from(*bridge_nf));
        let settings = settings.prepare(DEFINE).prepare(OF_IPV6).prepare(&of_ipv6);
        settings.test(|host| lead_through(host, &OVER_IPV6, !bridge_nf))
    })
}

/// Containers that are kept apart find each other's names, and do not reach each other for that.
#[test]
fn who_is_kept_apart_asks_and_stays_apart() -> Result<()> {
    let told = |host: &Host| -> Result<()> {
        for (network, address) in [("apart", "10.64.6"), ("cell", "10.64.7")] {
            let web = host.container("web").network(&format!("{network}:ip={address}.5")).run()?;
            let db = host.container("db").network(network).run()?;
            for protocol in ["udp", "tcp"] {
                let told = asks(&db, protocol, "A", &["web", "nobody"])?;
                ensure!(told == format!("NOERROR: {address}.5\nNXDOMAIN:"), "{network} over {protocol}: {told}");
            }
            db.cannot_reach(Tcp, format!("{address}.5:80"))?;
            // As a way to the sibling, the name server is none either.
            db.sh(&format!("ip route add {address}.5/32 via 169.254.53.53 dev eth0 onlink"))?;
            db.cannot_reach(Tcp, format!("{address}.5:80"))?;
            db.delete()?;
            web.delete()?;
        }
        Ok(())
    };
    Settings::default().runtime(Runtime::Runc).bridge_nf(false).prepare(DEFINE).prepare(APART).test(told)?;
    every(ocinet_integration::Firewall::ALL, |firewall| {
        let settings = Settings::default().runtime(Runtime::Runc).firewall(*firewall);
        settings.prepare(DEFINE).prepare(APART).test(told)
    })
}

/// A container that publishes port 53 gets no question that is for the name server.
#[test]
fn a_published_port_53_takes_no_question() -> Result<()> {
    on_every_firewall(|host| {
        let peer = host.peer();
        peer.sh("ip address add 192.0.2.53/32 dev lo")?;
        let _server = peer.name_server("192.0.2.53", "203.0.113.53")?;
        let bad = host.container("bad").network("front:ip=10.64.1.9").publish("53:53/udp,53:53/tcp").run()?;
        let _bad = bad.name_server("10.64.1.9", "203.0.113.9")?;
        let web = host.container("web").network("front:ip=10.64.1.5").run()?;
        let shut = host.container("shut").network("shut:ip=10.64.3.5").run()?;
        for protocol in ["udp", "tcp"] {
            let told = asks(&web, protocol, "A", &["web", "www.example.com"])?;
            ensure!(told == "NOERROR: 10.64.1.5\nNOERROR: 203.0.113.53/60", "{protocol}: {told}");
            let told = asks(&shut, protocol, "A", &["shut", "www.example.com"])?;
            ensure!(told == "NOERROR: 10.64.3.5\nNXDOMAIN:", "{protocol}: {told}");
        }
        // It does answer who asks the host.
        let told = web.exec(&["/mnt/bin/asker", "ask", "198.51.100.1", "udp", "A", "www.example.com"])?;
        ensure!(told.trim_end() == "NOERROR: 203.0.113.9/60", "{told}");
        shut.delete()?;
        web.delete()?;
        bad.delete()
    })
}

/// The name server asks other servers from the host, to which more is open than to a container. It asks none that the
/// container could not ask itself.
#[test]
fn it_is_no_deputy() -> Result<()> {
    story(|host| {
        let peer = host.peer();
        peer.sh("ip address add 192.0.2.53/32 dev lo; ip address add 192.0.2.99/32 dev lo")?;
        let _servers = [
            peer.name_server("192.0.2.53", "203.0.113.53")?,
            peer.name_server("192.0.2.99", "203.0.113.99")?,
            host.name_server("127.0.0.1", "203.0.113.1")?,
            host.name_server("198.51.100.1", "203.0.113.2")?,
        ];
        let inner = host.container("inner").network("back:ip=10.64.2.9").run()?;
        let _inner = inner.name_server("10.64.2.9", "203.0.113.9")?;
        for (dns, network, expected) in [
            ("192.0.2.99", "front", "203.0.113.99"),
            ("10.64.2.9", "back", "203.0.113.9"),
            // The host's servers, in place of what is not for it.
            ("127.0.0.1", "front", "203.0.113.53"),
            ("::ffff:127.0.0.1", "front", "203.0.113.53"),
            ("198.51.100.1", "front", ""),
            ("10.64.2.9", "front", "203.0.113.53"),
            ("169.254.53.53", "front", "203.0.113.53"),
            ("192.0.2.99", "shut", "NXDOMAIN"),
            ("10.64.2.9", "shut", "NXDOMAIN"),
        ] {
            let one = host.container("one").network(network).annotation("io.ocinet.dns", dns).run()?;
            for protocol in ["udp", "tcp"] {
                let told = asks(&one, protocol, "A", &["www.example.com"])?;
                let is_right = if expected.is_empty() { told == "SERVFAIL:" } else { told.contains(expected) };
                ensure!(is_right, "{dns} for a container on {network} over {protocol}: {told}");
            }
            one.delete()?;
        }
        inner.delete()
    })
}

/// A server outside is asked for no name of a container, and for nothing by a container of an internal network.
#[test]
fn names_of_containers_never_leave() -> Result<()> {
    story(|host| {
        let peer = host.peer();
        peer.sh("ip address add 192.0.2.53/32 dev lo")?;
        // It has an answer for everything.
        let _server = peer.name_server("192.0.2.53", "203.0.113.53")?;
        let web = host.container("web").network("front").run()?;
        let shut = host.container("shut").network("shut").run()?;
        ensure!(asks(&web, "udp", "A", &["www.example.com"])? == "NOERROR: 203.0.113.53/60");
        let told = asks(
            &web,
            "udp",
            "A",
            &["nobody", "nobody.ocinet.internal", "ocinet.internal", "shut.shut.ocinet.internal"],
        )?;
        ensure!(told == "NXDOMAIN:\nNXDOMAIN:\nNOERROR:\nNXDOMAIN:", "{told}");
        ensure!(asks(&shut, "udp", "A", &["www.example.com"])? == "NXDOMAIN:");
        shut.delete()?;
        web.delete()
    })
}

/// Who asks is known by the address: one that no container has gets no answer.
#[test]
fn strangers_get_no_answer() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("front:guard=off").run()?;
        ensure!(asks(&web, "udp", "A", &["web"])?.starts_with("NOERROR: 10.64.1."));
        web.sh("ip address add 10.64.1.77/24 dev eth0; ip route replace 169.254.53.53 dev eth0 src 10.64.1.77")?;
        ensure!(asks(&web, "udp", "A", &["web"])? == "none");
        ensure!(asks(&web, "tcp", "A", &["web"])? == "none");
        // Its connections end at once, and hold no turn: EOF is 1, a time-out more than 128.
        let idle = "bash -c 'exec 3<>/dev/tcp/169.254.53.53/53; read -t 2 <&3; test $? = 1'";
        web.sh(idle)?;
        // With an address of another network, as which it could ask for names there.
        let db = host.container("db").network("back:ip=10.64.2.7").run()?;
        web.sh("ip address add 10.64.2.7/32 dev eth0; ip route replace 169.254.53.53 dev eth0 src 10.64.2.7")?;
        ensure!(asks(&web, "udp", "A", &["db"])? == "none");
        ensure!(asks(&db, "udp", "A", &["db"])? == "NOERROR: 10.64.2.7");
        db.delete()?;
        web.delete()
    })
}

/// Floods of questions, connections that never end, and what is no question, from one container: others are answered,
/// and no worker ends by it.
#[test]
fn a_hostile_container_disturbs_no_other() -> Result<()> {
    story(|host| {
        let bad = host.container("bad").network("front").run()?;
        let web = host.container("web").network("front").run()?;
        let before = host.ocinet("agent status --json")?.success()?;
        // A name that points at itself, ahead, and at the header, where it reads the root; labels that do not end; a count that is a lie; an answer.
        let junk = [
            "000101000001000000000000c00c00010001",
            "000101000001000000000000c01400010001",
            "000101000001000000000000c00000010001",
            "0001010000010000000000003f6161",
            "000101000007000000000000017700000100010000",
            "000181000001000000000000017700000100 01",
            "00012800000100000000000001770000010001",
            "0001",
            "000101000001ffffffffffff01770000010001",
        ];
        let junk: Vec<String> = junk.iter().map(|one| one.replace(' ', "")).collect();
        let command: Vec<&str> =
            ["/mnt/bin/asker", "raw", "169.254.53.53"].into_iter().chain(junk.iter().map(String::as_str)).collect();
        let told = bad.exec(&command)?;
        let codes: Vec<&str> = told.lines().map(|line| line.split(' ').next_back().unwrap_or_default()).collect();
        ensure!(codes[..2] == ["1", "1"] && codes[5] == "none" && codes[7] == "none", "{told}");
        let mut flood = bad.background(&["/mnt/bin/asker", "flood", "169.254.53.53", "6"])?;
        let mut slow = bad.background(&["/mnt/bin/asker", "hold", "169.254.53.53", "100", "6"])?;
        ensure!(flood.line()? == "ready" && slow.line()? == "ready");
        let mut asking = web.background(&["/mnt/bin/asker", "many", "169.254.53.53", "web", "400", "100"])?;
        ensure!(asking.line()? == "ready");
        for _ in 0..5 {
            let told = asks(&web, "tcp", "A", &["web", "bad"])?;
            ensure!(told.matches("NOERROR: 10.64.1.").count() == 2, "{told}");
        }
        let line = asking.line()?;
        ensure!(line.starts_with("400 0 0 "), "{line}");
        let sent: u64 = flood.line()?.parse()?;
        ensure!(sent > 20_000, "the flood was one: {sent}");
        eventually("the slow connections are closed", || Ok(host.ocinet("agent status --json")?.success()? == before))?;
        bad.delete()?;
        web.delete()
    })
}

/// Connections that are closed while their question waits for a server that says nothing: each has its turn until then,
/// so that they take no more of the name server than those that stay open.
#[test]
fn connections_that_do_not_wait_hold_nothing_up() -> Result<()> {
    // It asks for its own name and for www.example.com. With the first answer unread, closing is a reset.
    const CLOSE: &str = r#"bash -c 'ask() {
        for ((n = 0; n < 100; n++)); do
            exec 3<>/dev/tcp/169.254.53.53/53 || continue
            printf "\0\25\22\63\1\0\0\1\0\0\0\0\0\0\3bad\0\0\1\0\1" >&3
            printf "\0\41\22\64\1\0\0\1\0\0\0\0\0\0\3www\7example\3com\0\0\1\0\1" >&3
            sleep 0.005
            exec 3>&-
        done
    }
    for ((m = 0; m < 5; m++)); do ask & done; wait'"#;
    story(|host| {
        let before = host.sh("cat /etc/resolv.conf")?;
        // No host has the address.
        host.sh("echo nameserver 192.0.2.99 >/etc/resolv.conf")?;
        let bad = host.container("bad").network("front").run()?;
        let web = host.container("web").network("back").run()?;
        let worker = host.ocinet("agent status --json")?.success()?;
        let worker = serde_json::from_str::<serde_json::Value>(&worker)?["worker"].to_string();
        let open =
            || Ok::<_, anyhow::Error>(host.sh(&format!("ls /proc/{worker}/fd | wc -l"))?.trim().parse::<usize>()?);
        let few = open()?;
        bad.sh(CLOSE)?;
        let many = open()?;
        ensure!((few + 20..few + 132).contains(&many), "{few} files were open, and now {many}");
        ensure!(asks(&web, "tcp", "A", &["web"])?.starts_with("NOERROR: 10.64.2."), "another is answered");
        eventually("all turns come back", || Ok(open()? <= few + 1))?;
        ensure!(asks(&bad, "tcp", "A", &["bad"])?.starts_with("NOERROR: 10.64.1."), "it is answered again");
        host.sh(&format!("printf %s '{before}' >/etc/resolv.conf"))?;
        bad.delete()?;
        web.delete()
    })
}

/// A container that is asked for its MAC and does not say it: answers to it wait for that, in the room of a socket that
/// has those to others of the same last bits as well.
#[test]
fn answers_that_cannot_be_delivered_hold_nothing_up() -> Result<()> {
    story(|host| {
        let bad = host.container("bad").network("front:ip=10.64.1.3").run()?;
        let web = host.container("web").network("back:ip=10.64.2.35").run()?;
        let link = bad.sandbox()?.endpoints[0].interface.clone();
        bad.sh(&format!(
            "ip link set {link} arp off
             ip neighbour replace 169.254.53.53 lladdr 02:0c:a9:fe:35:35 dev {link} nud permanent"
        ))?;
        in_namespace(host, "ip neighbour flush all")?;
        let mut flood = bad.background(&["/mnt/bin/asker", "many", "169.254.53.53", "bad", "6000", "1500"])?;
        ensure!(flood.line()? == "ready");
        eventually("its MAC is asked for", || {
            Ok(in_namespace(host, "ip neighbour show 10.64.1.3")?.contains("INCOMPLETE"))
        })?;
        for _ in 0..20 {
            let told = asks(&web, "udp", "A", &["web"])?;
            ensure!(told == "NOERROR: 10.64.2.35", "{told}");
        }
        bad.delete()?;
        web.delete()
    })
}
