//! Stores of earlier versions: how they are read, and how one becomes a store of this version.
//!
//! Versions 1 to 5 had a table for each kind of row (`tables.rs`), version 6 one table of entries (`entries.rs`). In
//! all of them an endpoint had no number and no state of its own, and a sandbox that drained was a sandbox still.
//! Leases, ports and what leads to a sandbox repeat what the bodies say: they are made anew of them. Version 7 had the
//! entries of today (`renamed.rs`).
//!
//! It happens in the file itself, in one transaction. A process that is killed leaves a journal, with which the next
//! opener, of either release, goes back to the store as it was. A hook of an earlier release that has the file open
//! finds its tables gone, looks for the version, and ends with the sentence that the store is newer; nothing is set
//! aside. Before, the upgrade waits until no process works on a container (`Store::open`), so that such a hook is not
//! in the middle of its work.

mod entries;
mod renamed;
mod rows;
mod tables;

use std::net::IpAddr;
use std::path::Path;

use rusqlite::{Connection, TransactionBehavior};

use super::bodies::{Last, number_of};
use super::version::{self, FIRST_OF_NUMBERED, LAST_OF_TABLES, VERSION};
use super::{Error, HostRow, Result, SCHEMA, Write, Writing};
use crate::model::{DrainingEndpoint, Network, Sandbox, State};

/// What a store of an earlier version holds.
struct Contents {
    row: HostRow,
    /// With the address given out last.
    networks: Vec<(Network, Option<IpAddr>)>,
    /// Those that drain, too. Their endpoints have no numbers.
    sandboxes: Vec<Sandbox>,
    /// The last number that a sandbox got.
    last: u32,
}

/// Brings the store at `path`, which has an earlier version, up to date.
pub(super) fn upgrade(connection: &mut Connection, path: &Path, _writing: &Writing) -> Result<()> {
    let failed = |e| Error::sql("upgrade", path, e);
    let transaction = connection.transaction_with_behavior(TransactionBehavior::Immediate).map_err(failed)?;
    let version = version::of(&transaction, path)?;
    match version {
        VERSION.. => {}
        FIRST_OF_NUMBERED.. => renamed::upgrade(&transaction)?,
        _ => {
            let contents = contents(&transaction, version)?;
            transaction.execute_batch(if version <= LAST_OF_TABLES { tables::DROP } else { entries::DROP })?;
            transaction.execute_batch(SCHEMA)?;
            fill(&Write::new(&transaction), contents)?;
        }
    }
    transaction.commit().map_err(failed)
}

/// The sandboxes of a store of an earlier `version`, as its upgrade will have them.
pub(super) fn sandboxes(connection: &Connection, version: u32) -> Result<Vec<Sandbox>> {
    if version >= FIRST_OF_NUMBERED {
        return renamed::sandboxes(connection);
    }
    let contents = contents(connection, version)?;
    Ok(numbered(contents.sandboxes, &mut Last { number: contents.last, change: 0 })?.0)
}

fn contents(connection: &Connection, version: u32) -> Result<Contents> {
    if version <= LAST_OF_TABLES { tables::contents(connection, version) } else { entries::contents(connection) }
}

fn fill(write: &Write<'_>, contents: Contents) -> Result<()> {
    let mut last = Last { number: contents.last, change: 0 };
    let (sandboxes, draining) = numbered(contents.sandboxes, &mut last)?;
    write.begin(&contents.row, last)?;
    for (network, last_address) in &contents.networks {
        write.add_network(network)?;
        last_address.map_or(Ok(()), |address| write.set_last_address(&network.name, address))?;
    }
    sandboxes.iter().try_for_each(|sandbox| write.restore(sandbox))?;
    draining.iter().try_for_each(|draining| write.restore_draining(draining))
}

/// `sandboxes` with numbers for their endpoints, and the endpoints of those that drain.
///
/// The first endpoint of one that drains gets the number of its sandbox: by that, a process of an earlier release that
/// deletes its link has locked it.
fn numbered(sandboxes: Vec<Sandbox>, last: &mut Last) -> Result<(Vec<Sandbox>, Vec<DrainingEndpoint>)> {
    let (mut standing, mut draining) = (Vec::new(), Vec::new());
    for mut sandbox in sandboxes {
        number_of(sandbox.number)?;
        let drains = sandbox.state == State::Draining;
        for (endpoint, nth) in sandbox.endpoints.iter_mut().zip(0..) {
            endpoint.number = if drains && nth == 0 { sandbox.number } else { last.next()?.into() };
        }
        if drains {
            draining.extend(sandbox.endpoints.iter().map(|endpoint| DrainingEndpoint::of(&sandbox, endpoint)));
        } else {
            standing.push(sandbox);
        }
    }
    Ok((standing, draining))
}
