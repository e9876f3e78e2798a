use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::json;

use ocinet::kernel::LockFile;
use ocinet::model::{Network, Sandbox};
use ocinet::store::{self, Host, Store, Writing};

/// Any file where the store should be.
pub fn store(bytes: &[u8]) {
    let scratch = Scratch::new();
    scratch.put(bytes);
    let _ = used(&scratch);
}

/// A store that was whole once. The bytes are its damages, four each: where (two), which kind, which value.
pub fn damaged_store(bytes: &[u8]) {
    let whole = Whole::get();
    let mut file = whole.file.clone();
    for damage in bytes.chunks_exact(4).take(64) {
        let at = usize::from(u16::from_be_bytes([damage[0], damage[1]]));
        let value = damage[3];
        match damage[2] % 4 {
            _ if at >= file.len() => {}
            0 => file[at] ^= value,
            1 => file[at] = value,
            2 => file.truncate(at),
            _ => {
                let end = file.len().min(at + 512);
                file[at..end].fill(value);
            }
        }
    }
    let scratch = Scratch::new();
    scratch.put(&file);
    let (sandboxes, networks) = used(&scratch).unwrap_or_default();
    for sandbox in sandboxes {
        // Which row it stands in is no part of what the checksum covers.
        let same = |written: &Sandbox| Sandbox { number: sandbox.number, ..written.clone() } == sandbox;
        assert!(whole.sandboxes.iter().any(same), "{sandbox:?}");
    }
    for network in networks {
        assert!(whole.networks.contains(&network), "{network:?}");
    }
}

/// Opens a store, reads all of it and writes to it. A failure must say that the store is damaged, or no command would
/// make another.
fn used(scratch: &Scratch) -> Option<(Vec<Sandbox>, Vec<Network>)> {
    let read = || {
        let Some(mut store) = scratch.open()? else { return Ok(None) };
        let found = (store.read().sandboxes()?, store.read().networks()?);
        store.read().host_row()?;
        store.write(|write| write.insert(&mut sandbox(99)))?;
        Ok(Some(found))
    };
    read().unwrap_or_else(|error: store::Error| {
        assert!(error.is_damage() || matches!(error, store::Error::Newer { .. }), "{error}: {error:?}");
        None
    })
}

/// A store without damage, and what was written to it.
struct Whole {
    file: Vec<u8>,
    sandboxes: Vec<Sandbox>,
    networks: Vec<Network>,
}

impl Whole {
    fn get() -> &'static Self {
        static WHOLE: OnceLock<Whole> = OnceLock::new();
        WHOLE.get_or_init(|| {
            let scratch = Scratch::new();
            let networks: Vec<Network> = vec![read(json!({
                "name": "bridge", "driver": "bridge", "bridge": "ocinet0",
                "subnets": [{ "range": "10.90.0.0/16", "gateway": "10.90.0.1" }], "mtu": 1500,
            }))];
            let mut sandboxes: Vec<Sandbox> = (2..9).map(sandbox).collect();
            let (host, locks) = (host(), scratch.locks());
            let writing = Writing::begin(&locks).expect("a lock of our own");
            let made = Store::create(&scratch.0, &host, &locks, &writing, |write| {
                networks.iter().try_for_each(|network| write.add_network(network))?;
                sandboxes.iter_mut().try_for_each(|sandbox| write.insert(sandbox))
            });
            drop(made.unwrap_or_else(|error| panic!("{error}")));
            let file = fs::read(scratch.file()).expect("the store");
            assert!(file.len() <= 1 << 16, "a damage's place has two bytes, and the file {}", file.len());
            Self { file, sandboxes, networks }
        })
    }
}

fn sandbox(n: u8) -> Sandbox {
    let publish = json!({
        "protocol": "tcp", "host_address": null, "host_port": 8000 + u16::from(n), "container_port": 80,
    });
    read(json!({
        "record": 0, "container": format!("web-{n}"), "bundle": "/b", "name": format!("web-{n}"),
        "mode": "bridge", "state": "attached",
        "namespace": {
            "cookie": n, "witness": { "process": { "pid": 42, "started": 1 } },
            "seen_from_pid_ns": 1, "seen_from_mnt_ns": 1,
        },
        "endpoints": [{
            "endpoint": 2, "state": "attached", "network": "bridge", "driver": "bridge", "bridge": "ocinet0",
            "host_interface": format!("ocv{n}"), "interface": "eth0", "mac": format!("02:0c:0a:5a:00:{n:02x}"), "mtu": 1500,
            "addresses": [format!("10.90.0.{n}/16")], "gateways": ["10.90.0.1"],
        }],
        "publish": [publish],
    }))
}

fn read<T: serde::de::DeserializeOwned>(value: serde_json::Value) -> T {
    serde_json::from_value(value).expect("as the store writes it")
}

fn host() -> Host {
    Host { boot: "boot".into(), cookie: 7 }
}

/// A state directory of our own.
struct Scratch(PathBuf);

impl Scratch {
    fn new() -> Self {
        static COUNT: AtomicU32 = AtomicU32::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let path = std::env::temp_dir().join(format!("ocinet-entry-{}-{number}", std::process::id()));
        fs::create_dir(&path).expect("a directory that nobody has");
        Self(path)
    }

    fn open(&self) -> store::Result<Option<Store>> {
        Store::open(&self.0, &host(), &self.locks())
    }

    fn locks(&self) -> LockFile {
        LockFile::new(self.0.join("lock"))
    }

    /// The store's file, whatever it is called.
    fn file(&self) -> PathBuf {
        static NAME: OnceLock<PathBuf> = OnceLock::new();
        let find = |directory: &Path| {
            let mut names = fs::read_dir(directory).expect("a directory").flatten().map(|entry| entry.file_name());
            let name = names.find(|name| name.to_string_lossy().starts_with("store"));
            PathBuf::from(name.expect("a store"))
        };
        self.0.join(NAME.get_or_init(|| find(&self.0)))
    }

    fn put(&self, bytes: &[u8]) {
        Whole::get();
        fs::write(self.file(), bytes).expect("a file in a directory of our own");
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}
