//! The settings of a story's host, and functions that run a story.

use anyhow::{Context, Result};

use crate::{Firewall, Host, Runtime, every};

/// Every folder that an installation may write to.
const MACHINE: &str = "
    for folder in usr var opt; do
        mkdir -p /mnt/upper/$folder /mnt/work$folder
        mount -t overlay -o lowerdir=/$folder,upperdir=/mnt/upper/$folder,workdir=/mnt/work$folder overlay /$folder
    done";

/// How a private host is made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The runtime of its containers.
    pub runtime: Runtime,
    /// `net.bridge.bridge-nf-call-iptables`: whether frames on a bridge pass the IP hooks too.
    pub bridge_nf: bool,
    /// The firewall that holds the rules.
    pub firewall: Firewall,
    /// The MTU of the uplink.
    pub mtu: u32,
    /// Whether each new network namespace begins with the settings of a router: forwarding, a loose rp_filter, and
    /// redirects accepted and sent. New namespaces inherit from the initial one, which may be a router, and not from
    /// the story's host (`devinet_init_net`, net/ipv4/devinet.c).
    pub born_of_router: bool,
    /// A shell script run on the host before the first snapshot.
    pub prepare: String,
    /// A shell script that sets what the new namespaces of host and LAN peer begin with.
    pub inherit: String,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            runtime: Runtime::Bare,
            bridge_nf: true,
            firewall: Firewall::Nftables,
            mtu: 1500,
            born_of_router: false,
            prepare: String::new(),
            inherit: "true".to_owned(),
        }
    }
}

impl Settings {
    /// Sets the runtime of the containers.
    pub fn runtime(self, runtime: Runtime) -> Self {
        Self { runtime, ..self }
    }

    /// Sets whether frames on a bridge pass the IP hooks too.
    pub fn bridge_nf(self, bridge_nf: bool) -> Self {
        Self { bridge_nf, ..self }
    }

    /// Sets the firewall that holds the rules.
    pub fn firewall(self, firewall: Firewall) -> Self {
        Self { firewall, ..self }
    }

    /// Sets the uplink's MTU.
    pub fn mtu(self, mtu: u32) -> Self {
        Self { mtu, ..self }
    }

    /// Sets whether new namespaces begin with the settings of a router.
    pub fn born_of_router(self, born_of_router: bool) -> Self {
        Self { born_of_router, ..self }
    }

    /// Adds a script that runs on the host before the first snapshot: the state that must survive.
    pub fn prepare(self, script: &str) -> Self {
        Self { prepare: format!("{}\n{script}", self.prepare), ..self }
    }

    /// Sets the script that makes the settings with which the namespaces of host and LAN peer begin, in place of this
    /// machine's.
    pub fn inherit(self, script: &str) -> Self {
        Self { inherit: script.to_owned(), ..self }
    }

    /// Gives the host writable folders of its own, laid over those of this machine, to install things in. It has to be
    /// the last of these calls.
    pub fn installable(self) -> Self {
        Self { prepare: format!("{MACHINE}\n{}", self.prepare), ..self }
    }

    /// Makes a host, runs the story, and checks what it left. The host is removed in any case.
    pub fn test(self, story: impl FnOnce(&Host) -> Result<()>) -> Result<()> {
        let Self { runtime, bridge_nf, firewall, born_of_router, .. } = self;
        let begins = if born_of_router { ", where namespaces begin as a router's" } else { "" };
        let bridge_nf = u8::from(bridge_nf);
        let world = format!("under {runtime:?} with {firewall:?} and bridge-nf-call-iptables={bridge_nf}{begins}");
        let host = Host::new(self).context("making a private host")?;
        story(&host).with_context(|| world.clone())?;
        host.farewell().with_context(|| format!("{world}, at the end of the story"))
    }
}

/// Runs a story about packets in every world: both runtimes, frames on bridges passing the IP hooks or not, and each
/// firewall with each of these.
pub fn in_every_world(story: impl Fn(&Host) -> Result<()>) -> Result<()> {
    use Firewall::{IptablesLegacy, IptablesNft, Nftables};
    use Runtime::{Crun, Runc};
    let worlds = [
        (Nftables, Runc, false),
        (Nftables, Runc, true),
        (Nftables, Crun, false),
        (Nftables, Crun, true),
        (IptablesNft, Runc, false),
        (IptablesNft, Crun, true),
        (IptablesLegacy, Runc, true),
        (IptablesLegacy, Crun, false),
    ];
    worlds.into_iter().try_for_each(|(firewall, runtime, bridge_nf)| {
        Settings::default().firewall(firewall).runtime(runtime).bridge_nf(bridge_nf).test(&story)
    })
}

/// Runs a story about packets that must not pass in every world, and once more where new namespaces begin with the
/// settings of a router.
pub fn in_every_world_and_of_a_router(story: impl Fn(&Host) -> Result<()>) -> Result<()> {
    in_every_world(&story)?;
    let worlds = [
        (Firewall::Nftables, Runtime::Runc),
        (Firewall::IptablesNft, Runtime::Crun),
        (Firewall::IptablesLegacy, Runtime::Runc),
    ];
    every(worlds, |(firewall, runtime)| {
        Settings::default().firewall(*firewall).runtime(*runtime).born_of_router(true).test(&story)
    })
}

/// Runs a story about rules with each firewall.
pub fn with_every_firewall(story: impl Fn(&Host) -> Result<()>) -> Result<()> {
    Firewall::ALL.into_iter().try_for_each(|firewall| Settings::default().firewall(firewall).test(&story))
}

/// Runs a story about the lives of containers under both runtimes.
pub fn on_every_runtime(story: impl Fn(&Host) -> Result<()>) -> Result<()> {
    [Runtime::Runc, Runtime::Crun].into_iter().try_for_each(|runtime| Settings::default().runtime(runtime).test(&story))
}
