//! What follows a kill.

use anyhow::{Context, Result, ensure};

use super::leftovers;
use super::scene::{Scene, sandbox};
use crate::{Container, Host, check};

/// The event that follows a kill.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) enum Aftermath {
    /// The runtime deletes the container, and calls poststop.
    Poststop,
    /// No call for the container. Later a new container asks for the same address and port.
    Heir,
    /// The runtime attaches the same container again.
    Again,
    /// The operator or a timer calls `gc`.
    Gc,
}

impl Aftermath {
    pub const ALL: [Self; 4] = [Self::Poststop, Self::Heir, Self::Again, Self::Gc];

    /// Makes the event happen to the container whose call was killed, and verifies that nothing is left in the end.
    pub fn happen(self, host: &Host, scene: Scene, mut container: Container<'_>) -> Result<()> {
        match self {
            Self::Poststop => {
                end(host, &mut container)?;
                container.hook("poststop")?.success()?;
            }
            Self::Heir => {
                end(host, &mut container)?;
                heir(host)?;
            }
            Self::Again => again(host, scene, &mut container)?,
            Self::Gc => {
                end(host, &mut container)?;
                host.ocinet("gc")?.success()?;
            }
        }
        leftovers::none(host)
    }
}

fn end(host: &Host, container: &mut Container<'_>) -> Result<()> {
    container.kill()?;
    host.is_dead(&container.key());
    Ok(())
}

/// A new container asks for the port, and for every address that the first one has, be it that it drains.
fn heir(host: &Host) -> Result<()> {
    let held: Vec<_> = host.sandboxes()?.into_iter().flat_map(|sandbox| sandbox.endpoints).collect();
    let claim = |endpoint: &crate::Endpoint| {
        let address = endpoint.addresses.first().map_or("", |address| address.split('/').next().unwrap_or_default());
        format!("{}:ip={address}", endpoint.network)
    };
    let claims: Vec<_> = held.iter().map(claim).collect();
    let network = if claims.is_empty() { "bridge".to_owned() } else { claims.join(";") };
    let mut heir = sandbox(host, "heir").network(&network).publish("8080:80").prepare()?;
    heir.hook("createRuntime")?.success().context("the heir's attach")?;
    let sandboxes = host.settled_sandboxes()?;
    ensure!(sandboxes.len() == 1 && sandboxes[0].container == "heir", "the heir is not alone: {sandboxes:#?}");
    wired(host, &heir)?;
    end(host, &mut heir)?;
    heir.hook("poststop")?.success().map(drop)
}

/// The same key again: in the same namespace if it is alive, else in a new one.
fn again(host: &Host, scene: Scene, container: &mut Container<'_>) -> Result<()> {
    let lives = !matches!(scene, Scene::Detach | Scene::DetachNetworks | Scene::Collect);
    let mut successor = if lives { None } else { Some(scene.draft(host).prepare()?) };
    let mut state = container.state("createRuntime");
    if let Some(successor) = &successor {
        state["pid"] = successor.pid().into();
        host.lives(container.key(), (**successor).clone());
    }
    let output = host.hook("createRuntime", state.to_string())?;
    if scene == Scene::Rollback {
        output.exits(1)?.says(&["/etc/hostname"])?;
    } else {
        output.success().context("the same once more")?;
        ensure!(host.settled_sandboxes()?.len() == 1, "not alone: {:#?}", host.sandboxes()?);
        wired(host, successor.as_ref().unwrap_or(container))?;
    }
    if let Some(successor) = &mut successor {
        end(host, successor)?;
    }
    end(host, container)?;
    container.hook("poststop")?.success().map(drop)
}

/// The kernel has everything that the store lists, and each of the container's files is mounted once.
fn wired(host: &Host, container: &Container<'_>) -> Result<()> {
    check::agreement(host, &host.living())?;
    leftovers::files_once(host, container.pid())
}
