//! Programs of others as clients: dig, and what is linked with musl and with glibc.

use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use ocinet_integration::{Container, Host, Runtime, Settings, every};

use super::{DEFINE, story};

/// Makes a program that looks names up with musl, and one that does with glibc.
const FINDERS: &str = concat!(
    "cat >/mnt/finder.c <<'END'\n",
    include_str!("finder.c"),
    "END
    musl-gcc -static -O1 -o /mnt/rootfs/mnt/bin/finder-musl /mnt/finder.c
    gcc -static -O1 -w -o /mnt/rootfs/mnt/bin/finder-glibc /mnt/finder.c\n"
);

/// What dig says with `words`, asked from where `container` is.
fn dig(host: &Host, container: &Container<'_>, words: &str) -> Result<String> {
    host.sh(&format!("nsenter --net=/proc/{}/ns/net dig +tries=1 +time=2 @169.254.53.53 {words}", container.pid()))
}

#[test]
fn dig_has_nothing_to_complain_of() -> Result<()> {
    story(|host| {
        let web = host.container("web").network("front:ip=10.64.1.5,alias=shop").run()?;
        let db = host.container("db").network("front:ip=10.64.1.6").run()?;
        every(
            [
                ("+short web.ocinet.internal", "10.64.1.5\n"),
                ("+short +tcp web.ocinet.internal", "10.64.1.5\n"),
                ("+short +noedns web.ocinet.internal", "10.64.1.5\n"),
                ("+short +bufsize=512 web.ocinet.internal", "10.64.1.5\n"),
                ("+short +ednsopt=10:0123456789abcdef shop", "10.64.1.5\n"),
                ("+short +keepopen +tcp web shop", "10.64.1.5\n10.64.1.5\n"),
                ("+short -x 10.64.1.5", "web.front.ocinet.internal.\n"),
                ("+short AAAA web", ""),
                ("+short MX web", ""),
            ],
            |(words, expected)| {
                let told = dig(host, &db, words)?;
                ensure!(told == *expected, "dig {words}: {told}");
                Ok(())
            },
        )?;
        every(
            [
                // Resolvers that mix capital letters into a question want them back (0x20).
                ("WeB.oCiNeT.InTeRnAl", &["status: NOERROR", "WeB.oCiNeT.InTeRnAl.\t0\tIN\tA\t10.64.1.5"][..]),
                ("web", &["flags: qr aa rd ra;", "EDNS: version: 0", "udp: 1232"]),
                ("+noedns web", &["ADDITIONAL: 0"]),
                ("MX web", &["status: NOERROR", "ANSWER: 0"]),
                ("+dnssec web", &["status: NOERROR", "ANSWER: 1"]),
                ("nobody", &["status: NXDOMAIN"]),
                ("+edns=1 +noednsneg web", &["status: BADVERS"]),
                ("+opcode=status web", &["status: NOTIMP"]),
                ("+header-only web", &["status: FORMERR"]),
                ("-c CH TXT version.bind", &["status: REFUSED", "version.bind."]),
            ],
            |(words, expected)| {
                let told = dig(host, &db, words)?;
                let is_whole = !told.contains("Warning") && !told.contains("malformed") && !told.contains("bad packet");
                ensure!(is_whole && expected.iter().all(|part| told.contains(part)), "dig {words}:\n{told}");
                Ok(())
            },
        )?;
        web.delete()?;
        db.delete()
    })
}

/// What both C libraries find, and how soon: an answer that is none of theirs costs musl five seconds.
#[test]
fn both_c_libraries_find_names() -> Result<()> {
    let settings = Settings::default().runtime(Runtime::Runc).prepare(DEFINE).prepare(FINDERS);
    settings.test(|host| {
        let peer = host.peer();
        peer.sh("ip address add 192.0.2.53/32 dev lo")?;
        let _server = peer.name_server("192.0.2.53", "203.0.113.53")?;
        let web = host.container("web").network("front:ip=10.64.1.5,alias=crowd").run()?;
        let crowd: Vec<_> = (0..40)
            .map(|nth| {
                let one = host.container(&format!("c{nth}")).network("front:alias=crowd");
                one.command(&["/bin/sleep", "1000"]).run()
            })
            .collect::<Result<_>>()?;
        for option in ["", "ndots:0", "ndots:1", "ndots:5"] {
            let asking = host.container("asking").network("front");
            let asking =
                if option.is_empty() { asking } else { asking.annotation("io.ocinet.dns-option", option) }.run()?;
            for library in ["musl", "glibc"] {
                let find = |family: &str, name: &str| -> Result<(String, Duration)> {
                    let began = Instant::now();
                    let found = asking.exec(&[&format!("/mnt/bin/finder-{library}"), family, name])?;
                    Ok((found.trim_end().to_owned(), began.elapsed()))
                };
                for (family, name, expected) in [
                    ("0", "web", "10.64.1.5"),
                    ("2", "web", "10.64.1.5"),
                    ("0", "web.front", "10.64.1.5"),
                    ("0", "web.ocinet.internal.", "10.64.1.5"),
                    ("0", "web.front.ocinet.internal.", "10.64.1.5"),
                ] {
                    let (found, took) = find(family, name)?;
                    ensure!(found == expected, "{library} with {option:?}, {name} of family {family}: {found}");
                    ensure!(took < Duration::from_secs(2), "{library} with {option:?}, {name}: {took:?}");
                }
                let (found, took) = find("0", "nobody")?;
                ensure!(!found.contains("10.64."), "{library} with {option:?}: {found}");
                ensure!(took < Duration::from_secs(2), "{library} with {option:?} found nobody in {took:?}");
                // More than fit into what every client takes: musl is content with some.
                let (found, _) = find("2", "crowd")?;
                ensure!(found.matches("10.64.1.").count() >= 25, "{library} with {option:?}: {found}");
            }
            asking.delete()?;
        }
        crowd.into_iter().try_for_each(|one| one.delete())?;
        web.delete()
    })
}
