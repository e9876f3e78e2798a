//! Annotations that are wrong. Each is refused in one line that names the key and the value, and the host stays as it
//! is.

use anyhow::Result;
use ocinet_integration::{Host, Settings, every};

const NETWORK: &str = "io.ocinet.network";
const PUBLISH: &str = "io.ocinet.publish";

/// Starts a container with each annotation alone, and expects a refusal that names the key and the given word.
fn refused(host: &Host, key: &str, rows: &[(&str, &str)]) -> Result<()> {
    every(rows, |(value, word)| {
        let draft = host.container("web").annotation(key, value);
        host.unchanged_by(|| draft.refused())?.is_refusal()?.says(&[key, word]).map(drop)
    })
}

/// A misspelt key: the error names the key that was probably meant.
#[test]
fn an_unknown_key_is_told_the_nearest() -> Result<()> {
    Settings::default().test(|host| {
        refused(host, "io.ocinet.pubish", &[("8080:80", PUBLISH)])?;
        refused(host, "io.ocinet.networks", &[("bridge", NETWORK)])?;
        refused(host, "io.ocinet.Publish", &[("8080:80", PUBLISH)])
    })
}

/// Docker's grammar, and values outside it.
#[test]
fn a_port_that_is_wrong() -> Result<()> {
    Settings::default().test(|host| {
        let rows = [
            ("0:80", "0"),
            ("8080:0", "0"),
            ("0", "0"),
            ("65536:80", "65536"),
            ("8080:65536", "65536"),
            ("-1:80", "-1"),
            ("80-70", "80-70"),
            ("80-70:80-70", "80-70"),
            ("8000-8002:80-81", "8000-8002"),
            ("8080:80/icmp", "icmp"),
            ("8080:http", "http"),
            ("8080:80,8080:81", "8080"),
            ("8080:80,8080:80", "8080"),
            ("8080:80,127.0.0.1:8080:80", "8080"),
            ("8000-8010:80-90,8005:99", "8005"),
            (",", PUBLISH),
            ("8080:80,", PUBLISH),
            ("a:b:c:d", "a:b:c:d"),
        ];
        refused(host, PUBLISH, &rows)
    })
}

/// A range that long is a mistake. The message says that the length is the reason.
#[test]
fn a_range_that_is_too_long() -> Result<()> {
    Settings::default().test(|host| {
        refused(host, PUBLISH, &[("10000-14096:10000-14096", "4096"), ("1-65535:1-65535", "4096")])?;
        host.container("web").publish("10000-14095:10000-14095").run()?;
        Ok(())
    })
}

/// Host addresses must be four decimal numbers, and belong to this host.
#[test]
fn a_host_address_that_is_wrong() -> Result<()> {
    Settings::default().test(|host| {
        let rows = [
            ("127.1:8080:80", "127.1"),
            ("010.0.0.1:8080:80", "010.0.0.1"),
            ("1.2.3:8080:80", "1.2.3"),
            ("256.0.0.1:8080:80", "256.0.0.1"),
            ("203.0.113.1:8080:80", "203.0.113.1"),
            ("localhost:8080:80", "localhost"),
        ];
        refused(host, PUBLISH, &rows)
    })
}

/// Unknown networks and unknown options of networks.
#[test]
fn a_network_that_is_wrong() -> Result<()> {
    Settings::default().test(|host| {
        let rows = [
            ("", NETWORK),
            ("bridge:colour=red", "colour"),
            ("bridge:ip", "ip"),
            ("bridge:mtu=67", "67"),
            ("bridge:mtu=65536", "65536"),
            ("bridge:mtu=big", "big"),
            ("none:ip=10.90.0.5", "ip"),
            ("../bridge", "../bridge"),
        ];
        refused(host, NETWORK, &rows)
    })
}

/// A MAC address must be that of one interface, in the usual form.
#[test]
fn a_mac_that_is_wrong() -> Result<()> {
    Settings::default().test(|host| {
        let rows = [
            ("bridge:mac=01:00:5e:00:00:01", "01:00:5e:00:00:01"),
            ("bridge:mac=ff:ff:ff:ff:ff:ff", "ff:ff:ff:ff:ff:ff"),
            ("bridge:mac=00:00:00:00:00:00", "00:00:00:00:00:00"),
            ("bridge:mac=02:00:00:00:00", "02:00:00:00:00"),
            ("bridge:mac=02:00:00:00:00:zz", "02:00:00:00:00:zz"),
        ];
        refused(host, NETWORK, &rows)
    })
}

/// Addresses that the network cannot lease.
#[test]
fn an_address_that_is_wrong() -> Result<()> {
    Settings::default().test(|host| {
        let rows = [
            ("bridge:ip=192.0.2.1", "192.0.2.1"),
            ("bridge:ip=10.91.0.1", "10.91.0.1"),
            ("bridge:ip=10.90.0.0", "10.90.0.0"),
            ("bridge:ip=10.90.0.1", "10.90.0.1"),
            ("bridge:ip=10.90.255.255", "10.90.255.255"),
            ("bridge:ip=10.90.0.300", "10.90.0.300"),
            ("bridge:ip=fd00::5", "fd00::5"),
        ];
        refused(host, NETWORK, &rows)
    })
}

/// An address that a container holds is refused to another one: the error names the owner.
#[test]
fn an_address_that_is_taken() -> Result<()> {
    Settings::default().test(|host| {
        let _owner = host.container("owner").network("bridge:ip=10.90.0.9,mac=02:00:00:00:00:09").run()?;
        let rows = [("bridge:ip=10.90.0.9", "10.90.0.9"), ("bridge:mac=02:00:00:00:00:09", "02:00:00:00:00:09")];
        every(rows, |(network, value)| {
            let draft = host.container("web").network(network);
            host.unchanged_by(|| draft.refused())?.exits(3)?.is_refusal()?.says(&["owner", value]).map(drop)
        })?;
        host.check()
    })
}

/// Names that the kernel would refuse, or that the container already has.
#[test]
fn an_interface_name_that_is_wrong() -> Result<()> {
    Settings::default().test(|host| {
        let rows = [
            ("bridge:interface=sixteen-bytes-xx", "sixteen-bytes-xx"),
            ("bridge:interface=a/b", "a/b"),
            ("bridge:interface=..", ".."),
            ("bridge:interface=a b", "\"b\""),
            ("bridge:interface=a%d", "a%d"),
            ("bridge:interface=", "interface"),
            ("bridge:interface=lo", "lo"),
        ];
        refused(host, NETWORK, &rows)
    })
}
