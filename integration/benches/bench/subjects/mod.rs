//! The subjects: what attaches and detaches containers, each on a host of its own.

mod cni;
mod floor;
mod netavark;
mod ocinet;

use std::path::PathBuf;
use std::process::Command;

use anyhow::Result;
use serde_json::Value;

use crate::host::Container;
use crate::options::Options;

/// A way to run a program with this input: returns what it prints.
pub type Run<'r> = &'r (dyn Fn(&mut Command, &str) -> Result<Vec<u8>> + Sync);

/// What attaches and detaches containers.
pub trait Subject: Send + Sync {
    /// Its name in the tables.
    fn name(&self) -> &'static str;

    /// Makes ready the host that this thread is in.
    fn prepare(&self) -> Result<()> {
        Ok(())
    }

    /// Whether it attaches anything at all.
    fn attaches(&self) -> bool {
        true
    }

    /// Whether a container's namespace is gone when it is detached, as under runc and crun. The others need one that
    /// lives.
    fn namespace_ends_first(&self) -> bool {
        false
    }

    /// Attaches a container. Returns what the detach needs.
    fn attach(&self, container: &Container, run: Run<'_>) -> Result<Value>;

    /// Detaches it.
    fn detach(&self, container: &Container, attached: &Value, run: Run<'_>) -> Result<()>;

    /// Takes away what containers left that ended and were not detached.
    fn collect(&self) -> Result<()> {
        Ok(())
    }
}

/// The kinds of subjects, in the order of the tables.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A static program that ends at once.
    Nothing,
    /// The least that the kernel needs.
    Floor,
    /// The same, where the detach also waits for the link's deletion.
    FloorDeleted,
    /// As under runc, crun and containerd.
    Ocinet,
    /// With `firewall = "iptables"`.
    OcinetIptables,
    /// As under an engine that deletes the namespace only after the detach.
    OcinetKept,
    Netavark,
    /// As podman and nerdctl configured them: with iptables.
    Cni,
    /// With nftables, as far as they can.
    CniNftables,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::Nothing,
        Self::Floor,
        Self::FloorDeleted,
        Self::Ocinet,
        Self::OcinetIptables,
        Self::OcinetKept,
        Self::Netavark,
        Self::Cni,
        Self::CniNftables,
    ];

    /// Those that differ in more than how a detach ends.
    pub const UNLIKE: [Self; 6] =
        [Self::Floor, Self::Ocinet, Self::OcinetIptables, Self::Netavark, Self::Cni, Self::CniNftables];

    /// Those of the scenes with many containers, which are long.
    pub const MANY: [Self; 5] = [Self::Floor, Self::Ocinet, Self::OcinetIptables, Self::Netavark, Self::Cni];

    /// The subject, for one host.
    pub fn subject(self, options: &Options) -> Result<Box<dyn Subject>> {
        use floor::{Floor, Nothing};
        use ocinet::Ocinet;
        Ok(match self {
            Self::Nothing => Box::new(Nothing::new()?),
            Self::Floor => Box::new(Floor::new(self.name(), "shut")?),
            Self::FloorDeleted => Box::new(Floor::new(self.name(), "delete")?),
            Self::Ocinet => Box::new(Ocinet::new(self.name(), "nftables", true)?),
            Self::OcinetIptables => Box::new(Ocinet::new(self.name(), "iptables", true)?),
            Self::OcinetKept => Box::new(Ocinet::new(self.name(), "nftables", false)?),
            Self::Netavark => Box::new(netavark::Netavark::new(options)),
            Self::Cni => Box::new(cni::Cni::new(self.name(), "iptables", options)),
            Self::CniNftables => Box::new(cni::Cni::new(self.name(), "nftables", options)),
        })
    }

    /// Its name in the tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nothing => "empty process",
            Self::Floor => "kernel floor",
            Self::FloorDeleted => "kernel floor, link deleted",
            Self::Ocinet => OCINET,
            Self::OcinetIptables => "ocinet, iptables",
            Self::OcinetKept => "ocinet, namespace kept",
            Self::Netavark => NETAVARK,
            Self::Cni => CNI,
            Self::CniNftables => "CNI plugins, nftables",
        }
    }
}

/// The subject with which the others are compared.
pub const OCINET: &str = "ocinet";
/// The peers.
pub const NETAVARK: &str = "netavark";
pub const CNI: &str = "CNI plugins, iptables";

/// Whether the programs that are measured can do this.
pub fn knows(kind: Kind, options: &Options) -> bool {
    kind != Kind::CniNftables || cni::knows_nftables(options)
}

pub use ocinet::define;

/// Every program that a subject runs.
pub fn programs(options: &Options) -> Result<Vec<PathBuf>> {
    let own = [ocinet_integration::ocinet()?, ocinet_integration::helper("floor")?, options.netavark.clone()];
    let plugins = cni::PROGRAMS.iter().map(|name| options.cni.join(name));
    let tools = ["nft", "iptables", "iptables-restore", "iptables-save"].into_iter().filter_map(installed);
    Ok(own.into_iter().chain(plugins).chain(tools).collect())
}

/// Where the PATH leads to.
fn installed(name: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH")?;
    std::env::split_paths(&path).map(|folder| folder.join(name)).find(|file| file.exists())
}

/// The versions of the subjects and of what they call.
pub fn versions(options: &Options) -> Vec<String> {
    let first_line = |program: &str, argument: &str| crate::machine::first_line(Command::new(program).arg(argument));
    let tools = [first_line("nft", "--version"), first_line("iptables", "--version")];
    let subjects = [ocinet::version(), netavark::version(options), cni::version(options)];
    subjects.into_iter().chain(tools).flatten().collect()
}
