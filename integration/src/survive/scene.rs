//! The state of a host and the call on it that is killed, or whose system calls fail.

use std::fs::{self, DirEntry};

use anyhow::{Context, Result, ensure};

use super::network;
use super::point::Call;
use crate::host::OCINET;
use crate::{Container, Draft, Host, Settings, eventually};

/// A call, and the state of the host before it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Scene {
    /// The first attach of a host: store, bridge and ruleset have to be made.
    FirstAttach,
    /// Any other attach.
    Attach,
    /// An attach directly after a detach of others, whose deletion in the firewall is not complete yet.
    AttachBeside,
    /// An attach that fails when nearly everything is done, and undoes all of it.
    Rollback,
    /// A detach after the end of the container, as runtimes call it.
    Detach,
    /// A detach of a container whose namespace still exists.
    DetachKept,
    /// `gc` with a dead container.
    Collect,
    /// An attach after the store was lost: it first rebuilds the store from what runs.
    Rebuild,
    /// `doctor --fix` with one container without its link, and a dead one.
    Restore,
    /// `reset` without `--force` beside a running container: it is refused.
    ResetRefused,
    /// `reset` with only a dead container.
    Reset,
    /// An attach to three networks.
    AttachNetworks,
    /// A detach from three networks.
    DetachNetworks,
    /// `network connect` of a running container, to which its default route and its port move.
    Connect,
    /// `network disconnect` from the network that has them.
    Disconnect,
    /// `gc` after a connect of a running container was cut off, when its route had moved and its port had not.
    CollectCut,
    /// poststop after the same.
    DetachCut,
    /// `network create`.
    Create,
    /// `network rm` of a network that had a container.
    Remove,
}

impl Scene {
    /// Every scene in which a call is killed.
    pub const KILLS: [Self; 15] = [
        Self::FirstAttach,
        Self::Attach,
        Self::AttachBeside,
        Self::Rollback,
        Self::Detach,
        Self::DetachKept,
        Self::Collect,
        Self::AttachNetworks,
        Self::DetachNetworks,
        Self::Connect,
        Self::Disconnect,
        Self::CollectCut,
        Self::DetachCut,
        Self::Create,
        Self::Remove,
    ];

    /// Every scene in which system calls fail.
    pub const FAULTS: [Self; 18] = [
        Self::FirstAttach,
        Self::Attach,
        Self::Rollback,
        Self::Rebuild,
        Self::Detach,
        Self::DetachKept,
        Self::Collect,
        Self::Restore,
        Self::ResetRefused,
        Self::Reset,
        Self::AttachNetworks,
        Self::DetachNetworks,
        Self::Connect,
        Self::Disconnect,
        Self::CollectCut,
        Self::DetachCut,
        Self::Create,
        Self::Remove,
    ];

    /// Its name in tables.
    pub fn name(self) -> &'static str {
        match self {
            Self::FirstAttach => "first attach of a host",
            Self::Attach => "attach",
            Self::AttachBeside => "attach beside a detach",
            Self::Rollback => "attach that fails",
            Self::Detach => "detach",
            Self::DetachKept => "detach, namespace kept",
            Self::Collect => "gc",
            Self::Rebuild => "attach, store lost",
            Self::Restore => "doctor --fix",
            Self::ResetRefused => "reset, refused",
            Self::Reset => "reset",
            Self::AttachNetworks => "attach to three networks",
            Self::DetachNetworks => "detach from three networks",
            Self::Connect => "network connect",
            Self::Disconnect => "network disconnect",
            Self::CollectCut => "gc, connect cut off",
            Self::DetachCut => "detach, connect cut off",
            Self::Create => "network create",
            Self::Remove => "network rm",
        }
    }

    /// Brings the host to the state before the call, and returns the container of the call.
    pub(super) fn set(self, host: &Host) -> Result<Container<'_>> {
        if self == Self::FirstAttach {
            host.ocinet("reset --force")?.success()?;
            host.sh("rm -rf /run/ocinet; echo 0 >/proc/sys/net/ipv4/ip_forward")?;
        }
        if self == Self::Remove {
            network::use_made(host)?;
        }
        let mut container = self.draft(host).prepare()?;
        quiet(host)?;
        if self == Self::AttachBeside {
            let other = sandbox(host, "other").publish("8081:80").prepare()?;
            other.hook("createRuntime")?.success()?;
            other.hook("poststop")?.success()?;
        }
        if self == Self::Restore {
            let gone = sandbox(host, "gone").prepare()?;
            gone.hook("createRuntime")?.success()?;
            gone.abandon()?;
        }
        if !self.begins_unattached() {
            container.hook("createRuntime")?.success()?;
        }
        if self == Self::Restore {
            host.sh(&format!("ip link delete {}", container.host_interface()?))?;
        }
        if matches!(self, Self::Detach | Self::DetachNetworks | Self::Collect | Self::ResetRefused | Self::Reset) {
            let link = host.path(format!("/sys/class/net/{}", container.host_interface()?));
            container.kill()?;
            eventually("the link has gone with its namespace", || Ok(!link.exists()))?;
        }
        if self == Self::Rebuild {
            host.sh("rm /run/ocinet/store-*")?;
        }
        if matches!(self, Self::CollectCut | Self::DetachCut) {
            network::cut_a_connect(host, &container)?;
        }
        Ok(container)
    }

    /// Whether its call is the first one for its container.
    fn begins_unattached(self) -> bool {
        matches!(
            self,
            Self::FirstAttach
                | Self::Attach
                | Self::AttachBeside
                | Self::Rollback
                | Self::Rebuild
                | Self::AttachNetworks
        )
    }

    /// What the container joins.
    pub(super) fn network(self) -> &'static str {
        match self {
            Self::AttachNetworks | Self::DetachNetworks | Self::Disconnect => network::THREE,
            _ => "bridge",
        }
    }

    /// The settings of its host.
    pub(super) fn settings(self, settings: &Settings) -> Settings {
        let settings = settings.clone();
        if matches!(self, Self::Connect | Self::CollectCut | Self::DetachCut) || self.network() == network::THREE {
            settings.prepare(network::DEFINE)
        } else {
            settings
        }
    }

    /// The container of this scene, with one published port.
    pub(super) fn draft(self, host: &Host) -> Draft<'_> {
        let draft = sandbox(host, "web").network(self.network()).publish("8080:80");
        // The attach fails because a file cannot be mounted over a directory.
        if self == Self::Rollback { draft.image("/mnt/broken") } else { draft }
    }

    /// The call that is killed, or whose system calls fail.
    pub(super) fn call(self, container: &Container<'_>) -> Call {
        let (argv, stage) = match self {
            Self::Detach | Self::DetachKept | Self::DetachNetworks | Self::DetachCut => {
                ([OCINET, "hook", "poststop"], "poststop")
            }
            Self::Connect => return command(&network::CONNECT),
            Self::Disconnect => return command(&[OCINET, "network", "disconnect", "bridge", "web"]),
            Self::Create => return command(&[OCINET, "network", "create", network::MADE]),
            Self::Remove => return command(&[OCINET, "network", "rm", network::MADE]),
            Self::Collect | Self::CollectCut => return command(&[OCINET, "gc"]),
            Self::Restore => return command(&[OCINET, "doctor", "--fix"]),
            Self::ResetRefused | Self::Reset => return command(&[OCINET, "reset"]),
            _ => ([OCINET, "hook", "createRuntime"], "createRuntime"),
        };
        Call { argv: argv.map(str::to_owned).into(), stdin: container.state(stage).to_string() }
    }

    /// The system calls of the call, recorded on a host in the same state as each try. It is the most frequent of
    /// several recordings: calls that a thread makes only sometimes, because another was quicker, are left to kills at
    /// random moments.
    pub(super) fn trace(self, host: &Host) -> Result<Vec<Vec<u64>>> {
        usual(7, || self.one_trace(host))
    }

    fn one_trace(self, host: &Host) -> Result<Vec<Vec<u64>>> {
        let container = self.set(host)?;
        let trace = self.call(&container).trace(host)?;
        ensure!(trace.first().is_some_and(|calls| calls.len() > 50), "too short to be true: {trace:?}");
        drop(container);
        self.put_away(host)?;
        Ok(trace)
    }

    /// The time in microseconds until the call returns to its caller, plus a margin.
    pub(super) fn length(self, host: &Host) -> Result<u64> {
        let mut longest = 0;
        for _ in 0..3 {
            let container = self.set(host)?;
            longest = longest.max(self.call(&container).time(host)?);
            drop(container);
            self.put_away(host)?;
        }
        Ok(longest)
    }

    /// Takes away what the call left, once its container has gone.
    fn put_away(self, host: &Host) -> Result<()> {
        host.ocinet("gc")?.success()?;
        // The previous release has no such command, and no such scene.
        if matches!(self, Self::Create | Self::Remove) {
            network::remove_made(host)?;
        }
        host.settles()
    }

    /// Whether a process continues in the background after the call.
    pub(super) fn goes_on(self) -> bool {
        matches!(
            self,
            Self::AttachBeside
                | Self::Rollback
                | Self::Detach
                | Self::DetachKept
                | Self::DetachNetworks
                | Self::Connect
                | Self::Disconnect
                | Self::CollectCut
                | Self::DetachCut
                | Self::Collect
        )
    }

    /// Whether no other container can run on the host at this call.
    pub(super) fn is_alone(self) -> bool {
        matches!(self, Self::FirstAttach | Self::Reset)
    }

    /// Prepares a host for this scene: it has been used before, and has an image in which the files cannot be mounted.
    pub(super) fn prepare(host: &Host) -> Result<()> {
        host.sh("cp -r /mnt/rootfs /mnt/broken; rm -f /mnt/broken/etc/hostname; mkdir -p /mnt/broken/etc/hostname")?;
        Self::use_once(host)
    }

    /// Attaches and detaches one container. Afterwards store, bridge and ruleset exist.
    pub(super) fn use_once(host: &Host) -> Result<()> {
        let first = sandbox(host, "first").publish("8080:80").prepare()?;
        first.hook("createRuntime")?.success()?;
        first.hook("poststop")?.success()?;
        drop(first);
        host.settles()
    }
}

/// The most frequent result of several runs.
pub(super) fn usual<T: PartialEq>(runs: usize, one: impl Fn() -> Result<T>) -> Result<T> {
    let mut all = (0..runs).map(|_| one()).collect::<Result<Vec<_>>>()?;
    let alike = |run: usize| all.iter().filter(|other| **other == all[run]).count();
    let (_, most) = (0..runs).map(|run| (alike(run), run)).max().context("there are several runs")?;
    Ok(all.swap_remove(most))
}

/// A call of a command with these arguments and no stdin.
fn command(argv: &[&str]) -> Call {
    Call { argv: argv.iter().map(|word| (*word).to_owned()).collect(), stdin: String::new() }
}

/// Waits until no earlier call continues in the background, since it would change the system calls of the next one.
pub(super) fn quiet(host: &Host) -> Result<()> {
    let is_ours = |entry: &DirEntry| fs::read(entry.path().join("comm")).is_ok_and(|name| name == b"ocinet\n");
    eventually("nothing goes on in the background", || {
        Ok(!fs::read_dir(host.path("/proc"))?.flatten().any(|entry| is_ours(&entry)))
    })
}

/// A container that only sleeps, with all namespaces of its own that the hook uses.
pub(super) fn sandbox<'h>(host: &'h Host, id: &str) -> Draft<'h> {
    host.container(id).isolated().command(&["sleep", "100000"])
}
