//! Other programs with a firewall of their own, as Debian packages them, on a private host.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::{Host, Settings, eventually};

/// Which iptables a program finds on its host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Iptables {
    /// The one that makes rules of nf_tables.
    Nft,
    /// The old one.
    Legacy,
}

/// Such a program.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Neighbour {
    /// Docker's daemon.
    Docker(Iptables),
    /// Ubuntu's firewall.
    Ufw(Iptables),
    /// Red Hat's firewall, which makes rules of nf_tables itself.
    Firewalld,
}

impl Neighbour {
    /// Every one with every iptables.
    pub const ALL: [Self; 5] = [
        Self::Docker(Iptables::Nft),
        Self::Docker(Iptables::Legacy),
        Self::Ufw(Iptables::Nft),
        Self::Ufw(Iptables::Legacy),
        Self::Firewalld,
    ];

    /// A host on which it runs.
    pub fn host(self) -> Result<Settings> {
        let folder = self.folder();
        ensure!(
            folder.join(".complete").exists(),
            "run `integration/debs {} here {}`",
            folder.display(),
            self.package()
        );
        let script = format!(
            "package={} variant={} zone={}\n{}\n{}",
            folder.display(),
            self.iptables().name(),
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/firewalld/ocinet.xml").display(),
            include_str!("neighbours/unpack.sh"),
            self.start(),
        );
        Ok(Settings::default().prepare(&script))
    }

    /// Which iptables it changes; firewalld none.
    pub fn iptables(self) -> Iptables {
        match self {
            Self::Docker(iptables) | Self::Ufw(iptables) => iptables,
            Self::Firewalld => Iptables::Nft,
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Docker(_) => "docker.io",
            Self::Ufw(_) => "ufw",
            Self::Firewalld => "firewalld",
        }
    }

    /// Where `integration/test` unpacks it.
    fn folder(self) -> PathBuf {
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debs").join(self.package())
    }

    fn start(self) -> &'static str {
        match self {
            Self::Docker(_) => include_str!("neighbours/docker.sh"),
            Self::Ufw(_) => include_str!("neighbours/ufw.sh"),
            Self::Firewalld => include_str!("neighbours/firewalld.sh"),
        }
    }

    /// Has it load its rules again, as an operator would.
    pub fn reload(self, host: &Host) -> Result<()> {
        match self {
            Self::Docker(_) => {
                host.sh("kill $(cat /run/docker.pid)")?;
                eventually("dockerd has ended", || Ok(!host.path("/run/docker.pid").exists()))?;
                host.sh(self.start()).map(drop)
            }
            Self::Ufw(_) => host.sh("ufw reload").map(drop),
            Self::Firewalld => host.sh("firewall-cmd --reload").map(drop),
        }
    }

    /// Its rules, without handles and counters.
    pub fn rules(self, host: &Host) -> Result<String> {
        match self {
            Self::Firewalld => host.sh("nft --stateless list table inet firewalld"),
            _ => host.sh(&format!(r"{}-save | sed -e '/^#/d' -e 's/\[[0-9:]*\]//'", self.program())),
        }
    }

    /// The iptables it changes.
    pub fn program(self) -> &'static str {
        match self.iptables() {
            Iptables::Nft => "iptables-nft",
            Iptables::Legacy => "iptables-legacy",
        }
    }
}

impl Iptables {
    fn name(self) -> &'static str {
        match self {
            Self::Nft => "nft",
            Self::Legacy => "legacy",
        }
    }
}
