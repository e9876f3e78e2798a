//! A store in memory, and leases from it.

use std::ops::{Deref, DerefMut};
use std::path::PathBuf;

use crate::decide::published::PublishedBy;
use crate::decide::request::{EndpointRequest, Request};
use crate::engine::network::Declared;
use crate::engine::sandbox::lease::{AskedNetworks, LeaseRequest, grant};
use crate::engine::sandbox::outcome::LeaseConflict;
use crate::input::config::Config;
use crate::input::{Bundle, State};
use crate::kernel::LockFile;
use crate::model::{Namespace, NetnsLocator, Network, PortMapping, Sandbox};
use crate::store::{Store, Write};

/// A store in memory, whose lock file ends with it.
pub struct MemoryStore {
    store: Store,
    lock_file: PathBuf,
}

impl Deref for MemoryStore {
    type Target = Store;

    fn deref(&self) -> &Store {
        &self.store
    }
}

impl DerefMut for MemoryStore {
    fn deref_mut(&mut self) -> &mut Store {
        &mut self.store
    }
}

impl Drop for MemoryStore {
    fn drop(&mut self) {
        // Tests of one process have one file; the others make it again, and share nothing that it would protect.
        let _ = std::fs::remove_file(&self.lock_file);
    }
}

/// A store that knows `networks`.
pub fn store(networks: &[Network]) -> MemoryStore {
    let lock_file = std::env::temp_dir().join(format!("ocinet-lease-{}", std::process::id()));
    let fill = |write: &Write<'_>| networks.iter().try_for_each(|network| write.add_network(network));
    let store = Store::in_memory(&LockFile::new(lock_file.clone()), fill).unwrap();
    MemoryStore { store, lock_file }
}

/// A connection to `network` that asks for nothing more.
pub fn on(network: &str) -> EndpointRequest {
    EndpointRequest {
        network: network.parse().unwrap(),
        addresses: vec![],
        mac: None,
        interface: None,
        mtu: None,
        gw_priority: None,
        aliases: Vec::new(),
        unguarded: None,
    }
}

/// Leases `connection` for the container `id`.
pub fn lease(store: &mut Store, id: &str, connection: &EndpointRequest) -> Result<Sandbox, LeaseConflict> {
    lease_with(store, id, connection, vec![])
}

/// The same with published ports.
pub fn lease_with(
    store: &mut Store,
    id: &str,
    connection: &EndpointRequest,
    mappings: Vec<PortMapping>,
) -> Result<Sandbox, LeaseConflict> {
    let state = format!(r#"{{"ociVersion":"1.0.2","id":"{id}","status":"creating","pid":1,"bundle":"/b/{id}"}}"#);
    let spec = r#"{"ociVersion":"1.0.2","root":{"path":"rootfs"},"annotations":{"io.ocinet.network":"bridge"},
        "linux":{"namespaces":[{"type":"network"}]}}"#;
    let (state, bundle) =
        (State::parse(state.as_bytes()).unwrap(), Bundle::parse(spec.as_bytes(), "config.json").unwrap());
    let request = Request::new(&state, &bundle, &Config::default()).unwrap().unwrap();
    let locator = NetnsLocator::Process { pid: 1, started: 1 };
    let namespace = Namespace { cookie: 5, locator, seen_from_pid_ns: 1, seen_from_mnt_ns: 1, nsid: None };
    let asked_networks =
        AskedNetworks { connections: std::slice::from_ref(connection), publish: &[], publish_via: None };
    let (request, namespace, declared) = (&request, &namespace, vec![Declared::Open]);
    let wanted = LeaseRequest {
        request,
        namespace,
        asked_networks,
        declared,
        published_by: PublishedBy::default(),
        mappings,
        mtu: Some(1400),
        leads_elsewhere: false,
        nth: 0,
    };
    store.write(|write| grant(write, wanted)).map(|(sandbox, _)| sandbox)
}
