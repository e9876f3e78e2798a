//! What stands in the way of a lease, and how it goes: by waiting, by collecting what is dead, or not at all.

use std::net::SocketAddr;

use super::lease::no_address;
use super::outcome::{LeaseConflict, Outcome, Wanted};
use crate::decide::liveness::Life;
use crate::decide::request::Request;
use crate::engine::{Engine, Error, Result};
use crate::input::{HostPort, PublishRequest};
use crate::model::{Namespace, Sandbox, State};
use crate::store::Holder;

impl Engine {
    /// Resolves a conflict, so that the lease can be tried again; or says that nothing is to be leased.
    ///
    /// # Errors
    /// That it stays.
    pub(in crate::engine) fn resolve(
        &mut self,
        conflict: LeaseConflict,
        request: &Request,
        namespace: &Namespace,
    ) -> Result<Option<Outcome>> {
        match conflict {
            LeaseConflict::Earlier(sandbox) => Ok(self.handle_earlier(*sandbox, namespace)?.map(Outcome::Stands)),
            LeaseConflict::Owned(owner) => self.handle_owned(*owner),
            other => self.make_room(other, request.wiring.asked_ports()).map(|()| None),
        }
    }

    /// Makes room for a lease that asks to publish what `asked` says.
    pub(in crate::engine) fn make_room(&mut self, conflict: LeaseConflict, asked: &[PublishRequest]) -> Result<()> {
        match conflict {
            LeaseConflict::NoNetwork(name) => self.define_network(&name),
            // Where an endpoint is on it now, it stays as it is.
            LeaseConflict::Redefined(name) => self.forget_network(&name).map(drop),
            LeaseConflict::Draining(number) => self.await_drained(number),
            LeaseConflict::Held { by, what } if !self.make_free(by)? => self.refuse_held(by, &what, asked),
            LeaseConflict::NoAddress { network, holders } if !self.free_addresses(&holders)? => {
                Err(no_address(&network))
            }
            LeaseConflict::Failed(error) => Err(error),
            LeaseConflict::Held { .. }
            | LeaseConflict::Moved(_)
            | LeaseConflict::Kept(_)
            | LeaseConflict::NoAddress { .. }
            | LeaseConflict::Earlier(_)
            | LeaseConflict::Owned(_) => Ok(()),
        }
    }

    /// The error about something that `by` holds; none where that is gone, or another took a port that the request did
    /// not name.
    pub(in crate::engine) fn refuse_held(&self, by: Holder, what: &Wanted, asked: &[PublishRequest]) -> Result<()> {
        let read = self.store.read();
        let draining = by.endpoint.map(|number| read.draining(number)).transpose()?.flatten();
        let owner = match (draining, read.sandbox(by.sandbox)?) {
            (Some(draining), _) => draining.container,
            (None, Some(sandbox)) => sandbox.container,
            (None, None) => return Ok(()),
        };
        Err(Error::Conflict(match what {
            Wanted::Address(address) => format!("address {address} is leased to container {owner}"),
            Wanted::Mac(mac) => format!("MAC address {mac} is leased to container {owner}"),
            Wanted::Port { port, .. } if !names_port(asked, *port) => return Ok(()),
            Wanted::Port { protocol, address, port } => {
                let free = self.next_free_port(*protocol, *address, *port);
                format!("{}/{protocol} is published by container {owner}{free}", SocketAddr::new(address.ip(), *port))
            }
        }))
    }

    /// An earlier sandbox of the same container: `Some` if it stands as it should, or does so again, `None` once it is
    /// out of the way.
    fn handle_earlier(&mut self, sandbox: Sandbox, namespace: &Namespace) -> Result<Option<Sandbox>> {
        if sandbox.namespace.cookie == namespace.cookie {
            if sandbox.state == State::Attached && self.complete_disconnects(&sandbox)? {
                return Ok(None);
            }
            if sandbox.state == State::Attached && self.stands_again(&sandbox)? {
                let draining = self.store.read().draining_of(&sandbox.key())?;
                self.take_up(draining)?;
                return Ok(Some(sandbox));
            }
        } else {
            let life = self.life(&sandbox);
            if life != Life::Dead {
                return Err(in_use(&sandbox, &life));
            }
        }
        self.detach_sandbox(sandbox)?;
        Ok(None)
    }

    /// The sandbox belongs to `owner`. Whether it will be wired is decided only when the owner's attach has ended, so
    /// that is waited for, and the lease begins again.
    fn handle_owned(&mut self, owner: Sandbox) -> Result<Option<Outcome>> {
        if owner.state == State::Attached {
            return Ok(Some(Outcome::Member(owner)));
        }
        self.wait_for(&owner)?;
        // Where that attach was killed, it is taken back here.
        self.collect_if_dead(owner.number)?;
        Ok(None)
    }
}

fn names_port(asked: &[PublishRequest], port: u16) -> bool {
    asked.iter().any(|entry| matches!(&entry.host_port, HostPort::Exactly(range) if range.contains(&port)))
}

/// That the container of `sandbox` is not proved to be dead, and another one of its key cannot be.
pub(in crate::engine) fn in_use(sandbox: &Sandbox, life: &Life) -> Error {
    let Sandbox { container, bundle, .. } = sandbox;
    let why = match life {
        Life::Unknown(why) => format!(
            "cannot be looked at ({why}); stop that one first, or, where it is gone for certain: ocinet gc --forget {container}"
        ),
        Life::Alive | Life::Dead => "is in use; stop that one first".to_owned(),
    };
    Error::Conflict(format!(
        "container {container} of bundle {bundle} is attached with another network namespace that {why}"
    ))
}
