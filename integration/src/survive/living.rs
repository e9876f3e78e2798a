//! A container that lives while other calls are disturbed, and must not be affected.

use anyhow::{Result, ensure};

use crate::{Host, Mode, Proto::Tcp, Sandbox, State, UPLINK, eventually};

/// Its id, and the name of its server.
const LIVING: &str = "living";

/// The file on the host that holds its pid.
const PID: &str = "/mnt/living";

/// The state of the living container.
#[derive(Debug, PartialEq)]
pub(super) struct Living {
    /// What the store says of it.
    sandbox: Sandbox,
    /// The host's ends of its links, with number, bridge, alias and guard, and its own ends with addresses and routes.
    links: String,
}

impl Living {
    /// Starts it on a host, where it joins `network`. It runs until the end of the host unless [`Living::end`] comes before.
    pub fn start(host: &Host, network: &str) -> Result<()> {
        let pid = host.container(LIVING).isolated().network(network).publish("80:80").run()?.leave();
        host.sh(&format!("echo {pid} >{PID}")).map(drop)
    }

    /// Its present state.
    pub fn of(host: &Host) -> Result<Self> {
        let sandboxes = host.sandboxes()?;
        let mut sandbox = match sandboxes.iter().find(|sandbox| sandbox.container == LIVING) {
            Some(sandbox) => sandbox.clone(),
            None => anyhow::bail!("the living container is forgotten: {sandboxes:#?}"),
        };
        // A store that was rebuilt has no bundle paths.
        sandbox.bundle = String::new();
        let is_connected = sandbox.mode == Mode::Bridge && !sandbox.endpoints.is_empty();
        ensure!(is_connected && sandbox.state == State::Attached, "the living container is {sandbox:#?}");
        let links: Vec<&str> = sandbox.endpoints.iter().map(|endpoint| &*endpoint.host_interface).collect();
        // A guard that was installed again has another number.
        let links = host.sh(&format!(
            "for link in {}; do
                 ip -oneline -details link show dev $link | sed 's/[a-z_]*_timer *[0-9.]*//g'
                 tc filter show dev $link ingress | sed 's/ id [0-9]*//'
             done
             nsenter --net=/proc/$(cat {PID})/ns/net sh -euc 'ip -oneline address; ip route'",
            links.join(" ")
        ))?;
        Ok(Self { sandbox, links })
    }

    /// Makes sure that its state is unchanged.
    pub fn is_there(&self, host: &Host) -> Result<()> {
        let now = Self::of(host)?;
        ensure!(now.sandbox == self.sandbox, "the living container was {:#?}, and is {:#?}", self.sandbox, now.sandbox);
        ensure!(now.links == self.links, "the living container's links were\n{}and are\n{}", self.links, now.links);
        Ok(())
    }

    /// Makes sure that its state is unchanged, and that its port leads to it.
    pub fn is_untouched(&self, host: &Host) -> Result<()> {
        self.is_there(host)?;
        host.peer().reaches(Tcp, format!("{UPLINK}:80"))?.is(LIVING).map(drop)
    }

    /// Ends it without poststop.
    pub fn end(host: &Host) -> Result<()> {
        let pid = host.sh(&format!("cat {PID}; kill -KILL $(cat {PID})"))?;
        let process = host.path(format!("/proc/{}", pid.trim()));
        eventually("the living container has ended", || Ok(!process.exists()))
    }
}
