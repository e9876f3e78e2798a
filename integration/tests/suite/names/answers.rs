//! What is answered, as clients of several kinds read it.

use anyhow::{Result, ensure};
use ocinet_integration::{Host, Runtime, Settings, eventually, every};

use super::{DEFINE, asks, story};

/// A network of both families, and one of IPv6 alone.
pub const WITH_IPV6: &str = "printf 'bridge = \"ocn-4\"\\n[[subnet]]\\nrange = \"10.64.4.0/24\"\\n[[subnet]]\\nrange = \"fd00:4::/64\"\\n' >/etc/ocinet/networks/dual.toml
    printf 'bridge = \"ocn-5\"\\nipv4 = false\\n[[subnet]]\\nrange = \"fd00:5::/64\"\\n' >/etc/ocinet/networks/six.toml
    sysctl -qw net.ipv6.conf.all.forwarding=1\n";

#[test]
fn every_kind_of_question_has_its_answer() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("front:ip=10.64.1.5,alias=shop;back:ip=10.64.2.5").run()?;
        let db = host.container("db").network("front:ip=10.64.1.6,alias=shop").run()?;
        let rows = [
            ("A", "web", "NOERROR: 10.64.1.5"),
            ("A", "WEB.oCinet.Internal", "NOERROR: 10.64.1.5"),
            ("A", "web.back", "NOERROR: 198.51.100.99/60"),
            ("AAAA", "web", "NOERROR:"),
            ("MX", "web", "NOERROR:"),
            ("A", "nobody", "NXDOMAIN:"),
            ("AAAA", "nobody", "NXDOMAIN:"),
            ("MX", "nobody.ocinet.internal", "NXDOMAIN:"),
            ("PTR", "5.1.64.10.in-addr.arpa", "NOERROR: web.front.ocinet.internal"),
            ("PTR", "5.2.64.10.in-addr.arpa", "NXDOMAIN:"),
            ("PTR", "99.1.64.10.in-addr.arpa", "NXDOMAIN:"),
            // Its name servers; the whole of a zone.
            ("2", ".", "NOERROR:"),
            ("251", "example.com", "code 5:"),
            ("252", "example.com", "code 5:"),
        ];
        let peer = host.peer();
        peer.sh("ip address add 192.0.2.53/32 dev lo")?;
        let _server = peer.name_server("192.0.2.53", "198.51.100.99")?;
        for protocol in ["udp", "tcp"] {
            every(rows, |(kind, name, expected)| {
                let told = asks(&db, protocol, kind, &[name])?;
                ensure!(told == *expected, "{kind} {name} over {protocol}: {told}");
                Ok(())
            })?;
        }
        // Several on one connection, of which one waits for another server.
        let told = asks(&db, "tcp", "A", &["web", "www.example.com", "db"])?;
        ensure!(told == "NOERROR: 10.64.1.5\nNOERROR: 198.51.100.99/60\nNOERROR: 10.64.1.6", "{told}");
        // Each of several addresses comes first now and then.
        let first: Vec<String> = (0..6).map(|_| asks(&db, "udp", "A", &["shop"])).collect::<Result<_>>()?;
        for expected in ["NOERROR: 10.64.1.5 10.64.1.6", "NOERROR: 10.64.1.6 10.64.1.5"] {
            ensure!(first.iter().any(|told| told == expected), "{first:?}");
        }
        let id = web.sandbox()?.container;
        ensure!(asks(&db, "udp", "A", &[&id])? == "NOERROR: 10.64.1.5");
        // The same name on another network leads elsewhere, and a member of both finds both.
        let other = host.container("other").network("back:ip=10.64.2.9,alias=db").run()?;
        let told = asks(&web, "udp", "A", &["db.front", "db.back"])?;
        ensure!(told == "NOERROR: 10.64.1.6\nNOERROR: 10.64.2.9", "{told}");
        ensure!(asks(&db, "udp", "A", &["db"])? == "NOERROR: 10.64.1.6");
        ensure!(asks(&other, "udp", "A", &["db"])? == "NOERROR: 10.64.2.9");
        other.delete()?;
        web.delete()?;
        db.delete()
    })
}

/// More addresses than an answer over UDP holds: it has what fits, and over TCP there are all.
#[test]
fn what_does_not_fit_comes_over_tcp() -> Result<()> {
    story(|host| {
        let all: Vec<_> = (0..40)
            .map(|nth| {
                host.container(&format!("c{nth}")).network("front:alias=crowd").command(&["/bin/sleep", "1000"]).run()
            })
            .collect::<Result<_>>()?;
        let udp = asks(&all[0], "udp", "A", &["crowd"])?;
        ensure!(udp.starts_with("NOERROR TC: 10.64.1.") && udp.matches("10.64.1.").count() > 20, "{udp}");
        let tcp = asks(&all[0], "tcp", "A", &["crowd"])?;
        ensure!(tcp.matches("10.64.1.").count() == 40, "{tcp}");
        let found = all[0].exec(&["/mnt/bin/asker", "find", "crowd"])?;
        ensure!(found.matches("10.64.1.").count() == 40, "the C library: {found}");
        all.into_iter().try_for_each(|one| one.delete())
    })
}

/// Of both families, and of IPv6 alone, where the server is asked over IPv6.
#[test]
fn names_have_addresses_of_both_families() -> Result<()> {
    let settings = Settings::default().runtime(Runtime::Runc).prepare(DEFINE).prepare(WITH_IPV6);
    settings.test(|host| {
        let web = host.container("web").network("dual;six").run()?;
        let db = host.container("db").network("six").run()?;
        let cache = host.container("cache").network("dual").run()?;
        let addresses = |container: &ocinet_integration::Container<'_>, network: &str| -> Result<Vec<String>> {
            let sandbox = container.sandbox()?;
            let on =
                sandbox.endpoints.iter().filter(|one| one.network == network).flat_map(|one| one.addresses.clone());
            Ok(on.map(|net| net.split('/').next().unwrap_or_default().to_owned()).collect())
        };
        let (dual, six) = (addresses(&web, "dual")?, addresses(&web, "six")?);
        ensure!(dual.len() == 2 && six.len() == 1, "{dual:?} {six:?}");
        let resolv = |container: &ocinet_integration::Container<'_>| container.exec(&["/bin/cat", "/etc/resolv.conf"]);
        ensure!(resolv(&web)?.starts_with("nameserver 169.254.53.53\n"), "{}", resolv(&web)?);
        ensure!(resolv(&db)?.starts_with("nameserver fd6f:6369:6e65:7400::53\n"), "{}", resolv(&db)?);
        for protocol in ["udp", "tcp"] {
            let told = asks(&cache, protocol, "AAAA", &["web"])?;
            ensure!(told == format!("NOERROR: {}", dual[1]), "{told}");
            let told = asks(&db, protocol, "AAAA", &["web"])?;
            ensure!(told == format!("NOERROR: {}", six[0]), "{told}");
        }
        ensure!(asks(&db, "udp", "A", &["web"])? == "NOERROR:");
        let found = db.exec(&["/mnt/bin/asker", "find", "web"])?;
        ensure!(found.trim() == six[0], "the C library: {found}");
        // The other way to the server is what is left.
        host.ocinet("network disconnect dual web")?.success()?;
        ensure!(resolv(&web)?.starts_with("nameserver fd6f:6369:6e65:7400::53\n"), "{}", resolv(&web)?);
        ensure!(asks(&web, "udp", "AAAA", &["db"])?.starts_with("NOERROR: fd00:5::"));
        web.delete()?;
        db.delete()?;
        cache.delete()
    })
}

/// A container that shares another's network is found there by its own name, from its start to its end.
#[test]
fn who_shares_a_network_is_found() -> Result<()> {
    story(|host| {
        host.sh("ip netns add pod")?;
        let owner = host.container("web").network("front:ip=10.64.1.5").in_namespace("/run/netns/pod").run()?;
        let db = host.container("db").network("front").run()?;
        for round in 0..3 {
            ensure!(asks(&db, "udp", "A", &["side"])? == "NXDOMAIN:", "round {round}, before");
            let side = host.container("side").in_namespace("/run/netns/pod").serving(&["81"]).run()?;
            let told = asks(&db, "udp", "A", &["side", "side.front"])?;
            ensure!(told == "NOERROR: 10.64.1.5\nNOERROR: 10.64.1.5", "round {round}: {told}");
            let told = side.exec(&["/mnt/bin/asker", "ask", "169.254.53.53", "udp", "A", "web"])?;
            ensure!(told.trim_end() == "NOERROR: 10.64.1.5", "it asks as the other: {told}");
            side.delete()?;
        }
        // One of which no hook tells any more goes with a collection.
        host.container("side").in_namespace("/run/netns/pod").serving(&["81"]).run()?.abandon()?;
        host.ocinet("gc")?.success()?;
        ensure!(asks(&db, "udp", "A", &["side", "web"])? == "NXDOMAIN:\nNOERROR: 10.64.1.5");
        db.delete()?;
        owner.delete()?;
        host.settles()?;
        host.sh("ip netns del pod").map(drop)
    })
}

/// A container that was attached a moment ago is found, and one that has left is not.
#[test]
fn answers_are_never_old() -> Result<()> {
    story(|host| {
        let asking = host.container("asking").network("front").run()?;
        for round in 0..10 {
            let new = host.container("new").network(&format!("front:ip=10.64.1.{}", 100 + round)).run()?;
            let told = asks(&asking, "udp", "A", &["new"])?;
            ensure!(told == format!("NOERROR: 10.64.1.{}", 100 + round), "{told}");
            new.delete()?;
            ensure!(asks(&asking, "udp", "A", &["new"])? == "NXDOMAIN:");
        }
        asking.delete()
    })
}

/// The servers of the host are those that its file names by now, those at addresses of its own included.
#[test]
fn the_hosts_servers_are_followed() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("front").run()?;
        let peer = host.peer();
        peer.sh("ip address add 192.0.2.53/32 dev lo")?;
        let _one = peer.name_server("192.0.2.53", "203.0.113.53")?;
        let _two = host.name_server("127.0.0.1", "203.0.113.1")?;
        ensure!(asks(&web, "udp", "A", &["www.example.com"])? == "NOERROR: 203.0.113.53/60");
        host.sh("echo nameserver 127.0.0.1 >/etc/resolv.conf.new; mv /etc/resolv.conf.new /etc/resolv.conf")?;
        eventually("the other server is asked", || {
            Ok(asks(&web, "udp", "A", &["www.example.com"])? == "NOERROR: 203.0.113.1/60")
        })?;
        // The first that does not answer is passed over.
        host.sh("printf 'nameserver 192.0.2.99\\nnameserver 192.0.2.53\\n' >/etc/resolv.conf")?;
        eventually("the second server is asked", || {
            Ok(asks(&web, "udp", "A", &["www.example.com"])? == "NOERROR: 203.0.113.53/60")
        })?;
        // The only one may be slow: the client waits as well.
        host.sh("echo nameserver 192.0.2.53 >/etc/resolv.conf; sleep 1.1")?;
        ensure!(asks(&web, "udp", "A", &["late.example.com"])? == "NOERROR: 203.0.113.53/60", "by a slow server");
        // A file that is too long is none that says less.
        host.sh(
            "{ cat /etc/resolv.conf; head -c 70000 /dev/zero | tr '\\0' '#'; } >/etc/new; mv /etc/new /etc/resolv.conf",
        )?;
        host.sh("sleep 1.1")?;
        ensure!(asks(&web, "udp", "A", &["www.example.com"])? == "NOERROR: 203.0.113.53/60", "as before");
        host.sh("printf 'nameserver 192.0.2.53\\nsearch lan.example\\noptions ndots:2\\n' >/etc/resolv.conf")?;
        web.delete()
    })
}

/// A host with other servers of names at port 53, and one whose rules let nothing in.
#[test]
fn other_servers_and_closed_hosts_do_not_matter() -> Result<()> {
    story(|host: &Host| {
        let _other = host.name_server("127.0.0.1", "203.0.113.1")?;
        host.sh("nft add table inet closed; nft add chain inet closed input '{ type filter hook input priority 10; policy drop; }'")?;
        let web = host.container("web").network("front:ip=10.64.1.5").publish("198.51.100.1:53:53/udp").run()?;
        let shut = host.container("shut").network("shut").run()?;
        let two = host.container("two").network("shut:ip=10.64.3.9").run()?;
        ensure!(asks(&web, "udp", "A", &["web"])? == "NOERROR: 10.64.1.5");
        ensure!(asks(&shut, "udp", "A", &["two", "www.example.com"])? == "NOERROR: 10.64.3.9\nNXDOMAIN:");
        host.sh("nft delete table inet closed")?;
        two.delete()?;
        web.delete()?;
        shut.delete()
    })
}

/// Several containers of one alias are spread for resolvers that ask for both families of each, too.
#[test]
fn an_alias_is_spread() -> Result<()> {
    story(|host| {
        let one = host.container("one").network("front:alias=shop").run()?;
        let two = host.container("two").network("front:alias=shop").run()?;
        let mut first = Vec::new();
        for _ in 0..4 {
            let told = asks(&one, "udp", "A", &["shop"])?;
            first.push(told.split(' ').nth(1).unwrap_or_default().to_owned());
            ensure!(asks(&one, "udp", "AAAA", &["shop"])? == "NOERROR:");
        }
        ensure!(first[0] != first[1] && first[1] != first[2] && first[2] != first[3], "{first:?}");
        one.delete()?;
        two.delete()
    })
}
