//! Other programs with a firewall of their own, as Debian packages them, on a private host.

use std::path::{Path, PathBuf};

use anyhow::{Result, ensure};

use crate::{Host, Settings, eventually};

/// The variant of iptables that a program finds on its host.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Iptables {
    /// The variant that writes to nf_tables.
    Nft,
    /// The variant that writes to the kernel's older tables.
    Legacy,
}

/// The origin of a program's packages: this machine, or a newer Debian whose packages are laid over this machine's.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Suite {
    /// This machine's own.
    Here,
    /// Debian 13.
    Trixie,
    /// The Debian that comes after 13.
    Sid,
}

/// A program with a firewall of its own.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum ForeignFirewall {
    /// Docker's daemon.
    Docker(Suite, Iptables),
    /// Ubuntu's firewall.
    Ufw(Iptables),
    /// Red Hat's firewall, which writes to nf_tables itself.
    Firewalld(Suite),
}

impl ForeignFirewall {
    /// Docker's daemons: this machine's, which is 20.10 on Debian 12, and 28.
    pub const DOCKERS: [Self; 3] = [
        Self::Docker(Suite::Here, Iptables::Nft),
        Self::Docker(Suite::Here, Iptables::Legacy),
        Self::Docker(Suite::Sid, Iptables::Nft),
    ];

    /// ufw with every iptables.
    pub const UFWS: [Self; 2] = [Self::Ufw(Iptables::Nft), Self::Ufw(Iptables::Legacy)];

    /// This machine's firewalld, which is 1.3 on Debian 12, and 2.3 and later. Each has other chains.
    pub const FIREWALLDS: [Self; 3] =
        [Self::Firewalld(Suite::Here), Self::Firewalld(Suite::Trixie), Self::Firewalld(Suite::Sid)];

    /// The settings of a host on which it runs.
    pub fn host(self) -> Result<Settings> {
        let (package, newer) = (self.folder(""), self.newer());
        for folder in [Some(&package), newer.as_ref()].into_iter().flatten() {
            ensure!(folder.join(".complete").exists(), "{} is not there: run integration/test", folder.display());
        }
        let script = format!(
            "package={} newer={} variant={} zone={}\n{}\n{}",
            package.display(),
            newer.unwrap_or_default().display(),
            self.iptables().name(),
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/firewalld/ocinet.xml").display(),
            include_str!("neighbours/unpack.sh"),
            self.start(),
        );
        Ok(Settings::default().prepare(&script))
    }

    /// The variant of iptables that it changes. firewalld changes none.
    pub fn iptables(self) -> Iptables {
        match self {
            Self::Docker(_, iptables) | Self::Ufw(iptables) => iptables,
            Self::Firewalld(_) => Iptables::Nft,
        }
    }

    fn package(self) -> &'static str {
        match self {
            Self::Docker(..) => "docker.io",
            Self::Ufw(_) => "ufw",
            Self::Firewalld(_) => "firewalld",
        }
    }

    /// The folder into which `integration/test` unpacks it.
    fn folder(self, suite: &str) -> PathBuf {
        let name = format!("{}{suite}", self.package());
        Path::new(env!("CARGO_MANIFEST_DIR")).join("../target/debs").join(name)
    }

    /// The folder of the newer packages that are laid over it.
    fn newer(self) -> Option<PathBuf> {
        match self {
            Self::Docker(Suite::Here, _) | Self::Ufw(_) | Self::Firewalld(Suite::Here) => None,
            Self::Docker(Suite::Trixie, _) | Self::Firewalld(Suite::Trixie) => Some(self.folder("-trixie")),
            Self::Docker(Suite::Sid, _) | Self::Firewalld(Suite::Sid) => Some(self.folder("-sid")),
        }
    }

    fn start(self) -> &'static str {
        match self {
            Self::Docker(..) => include_str!("neighbours/docker.sh"),
            Self::Ufw(_) => include_str!("neighbours/ufw.sh"),
            Self::Firewalld(_) => include_str!("neighbours/firewalld.sh"),
        }
    }

    /// Makes it load its rules again, as an operator would.
    pub fn reload(self, host: &Host) -> Result<()> {
        match self {
            Self::Docker(..) => {
                host.sh("kill $(cat /run/docker.pid)")?;
                eventually("dockerd has ended", || Ok(!host.path("/run/docker.pid").exists()))?;
                host.sh(self.start()).map(drop)
            }
            Self::Ufw(_) => host.sh("ufw reload").map(drop),
            Self::Firewalld(_) => host.sh("firewall-cmd --reload").map(drop),
        }
    }

    /// Its rules, without handles and counters.
    pub fn rules(self, host: &Host) -> Result<String> {
        match self {
            Self::Firewalld(_) => host.sh("nft --stateless list table inet firewalld"),
            _ => host.sh(&format!(r"{}-save | sed -e '/^#/d' -e 's/\[[0-9:]*\]//'", self.program())),
        }
    }

    /// The name of the iptables program that it changes.
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
