use std::time::Duration;

use super::bodies::entries_of;
use super::entries::Entries;
use super::key::EntryKey;
use super::*;
use crate::firewall::Kind;
use crate::model::{
    ChangedSetting, Endpoint, Family, HostAddress, Key, Mode, Namespace, NetnsLocator, Network, PortMapping, Protocol,
    Publishing, Route, Sandbox, State, Subnet, Wire,
};

mod changes;
mod damage;
mod versions;

pub(crate) use versions::{FIXTURES, make_newer, place};

struct Scratch(PathBuf);

impl Scratch {
    fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("ocinet-store-{name}-{}", std::process::id()));
        let _ = fs::remove_dir_all(&path);
        fs::create_dir(&path).unwrap();
        Self(path)
    }

    fn open(&self, boot: &str) -> Store {
        let (host, locks) = (host(boot), self.locks());
        Store::open(&self.0, &host, &locks).unwrap().unwrap_or_else(|| {
            let writing = Writing::begin(&locks).unwrap();
            Store::create(&self.0, &host, &locks, &writing, |_| Ok(())).unwrap()
        })
    }

    fn locks(&self) -> LockFile {
        LockFile::of(&self.0)
    }
}

fn host(boot: &str) -> Host {
    Host { boot: boot.into(), cookie: 7 }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn sandbox(id: &str, last_octet: u8, ports: &[(HostAddress, u16, u16)]) -> Sandbox {
    let address = format!("10.90.0.{last_octet}/16");
    let endpoint = Endpoint {
        number: 0,
        state: State::Attaching,
        network: "bridge".parse().unwrap(),
        wire: Wire::Veth { master: "ocinet0".parse().unwrap(), host: format!("ocv{last_octet}").parse().unwrap() },
        interface: "eth0".parse().unwrap(),
        mac: format!("02:00:00:00:00:{last_octet:02x}").parse().unwrap(),
        mtu: 1500,
        addresses: vec![address.parse().unwrap()],
        routes: vec![Route::Default("10.90.0.1".parse().unwrap())],
        names: vec!["www".parse().unwrap()],
        name_server: None,
        publishing: Publishing::Direct,
        publishing6: None,
        gw_priority: 0,
        unguarded: false,
        ndp_proxy: false,
    };
    let publish = ports.iter().map(|&(host_address, host_port, count)| PortMapping {
        protocol: Protocol::Tcp,
        host_address,
        host_port,
        container_port: 80,
        count,
    });
    let container: crate::model::ContainerId = id.parse().unwrap();
    Sandbox {
        number: 0,
        name: (&container).into(),
        container,
        bundle: "/b".into(),
        adopted: None,
        resolver: None,
        mode: Mode::Networks,
        state: State::Attaching,
        since: Some(1000),
        namespace: Namespace {
            cookie: last_octet.into(),
            locator: NetnsLocator::Process { pid: 2, started: 3 },
            seen_from_pid_ns: 4,
            seen_from_mnt_ns: 5,
            nsid: Some(6),
        },
        endpoints: vec![endpoint],
        publish: publish.collect(),
        publish_via: None,
        routed: false,
        leads_elsewhere: false,
        kept_by: None,
    }
}

fn insert(store: &mut Store, sandbox: &mut Sandbox) -> Result<()> {
    store.write(|write| write.insert(sandbox))
}

#[test]
fn a_sandbox_comes_back_as_it_was() {
    let scratch = Scratch::new("back");
    let mut web = sandbox("web", 2, &[(HostAddress::Any, 8080, 10)]);
    insert(&mut scratch.open("a"), &mut web).unwrap();
    let store = scratch.open("a");
    assert_eq!(store.read().find(&web.key()).unwrap().as_ref(), Some(&web));
    assert_eq!(store.read().find_by_cookie(2).unwrap().as_ref(), Some(&web));
    assert_eq!(store.read().sandboxes().unwrap(), [web]);
    assert_eq!(store.read().find(&Key::new(&"web".parse().unwrap(), "/other")).unwrap(), None);
}

#[test]
fn nothing_is_leased_twice() {
    let scratch = Scratch::new("twice");
    let mut store = scratch.open("a");
    insert(&mut store, &mut sandbox("web", 2, &[])).unwrap();
    assert!(insert(&mut store, &mut sandbox("web", 3, &[])).unwrap_err().is_taken(), "one key");
    assert!(insert(&mut store, &mut sandbox("db", 2, &[])).unwrap_err().is_taken(), "one address");
    assert_eq!(store.read().sandboxes().unwrap().len(), 1, "a refused insert leaves nothing");
    insert(&mut store, &mut sandbox("db", 3, &[])).unwrap();
}

#[test]
fn ports_overlap_as_addresses_do() {
    let scratch = Scratch::new("ports");
    let mut store = scratch.open("a");
    let one = HostAddress::V4([127, 0, 0, 1].into());
    let two = HostAddress::V4([127, 0, 0, 2].into());
    insert(&mut store, &mut sandbox("web", 2, &[(one, 8000, 100), (HostAddress::Any, 9000, 1)])).unwrap();
    let mut holder = |address, first, last| {
        let found = store.write(|write| write.port_holder(Protocol::Tcp, address, first, last)).unwrap();
        found.map(|owner| owner.port)
    };
    assert_eq!(holder(one, 8099, 8200), Some(8099));
    assert_eq!(holder(HostAddress::Any, 7000, 8000), Some(8000));
    assert_eq!(holder(two, 8000, 8099), None);
    assert_eq!(holder(two, 9000, 9000), Some(9000));
    assert_eq!(holder(one, 8100, 8999), None);
    let runs = |address, first, last| {
        let held = store.read().held_ports(Protocol::Tcp, address, first, last).unwrap();
        held.into_iter().map(|run| (run.first, run.last)).collect::<Vec<_>>()
    };
    assert_eq!(runs(HostAddress::Any, 1, u16::MAX), [(8000, 8099), (9000, 9000)]);
    assert_eq!(runs(two, 1, u16::MAX), [(9000, 9000)]);
    assert_eq!(runs(one, 8050, 8999), [(8000, 8099)]);
}

/// Its published ports are reached at the container's address, and no port of the host leads there.
#[test]
fn a_container_of_a_routed_network_holds_no_port_of_the_host() {
    let scratch = Scratch::new("routed");
    let mut store = scratch.open("a");
    let ports = [(HostAddress::Any, 8080, 1)];
    let [mut routed, mut other] = [sandbox("a", 2, &ports), sandbox("b", 3, &ports)];
    routed.routed = true;
    insert(&mut store, &mut routed).unwrap();
    insert(&mut store, &mut other).unwrap();
    let holder = store.read().port_holder(Protocol::Tcp, HostAddress::Any, 8080, 8080).unwrap();
    assert_eq!(holder.map(|owner| owner.number), Some(other.number));
    store.read().integrity().unwrap();
}

/// What every attach reads says which rules the networks call for.
#[test]
fn the_hosts_row_says_which_rules_the_networks_call_for() {
    let scratch = Scratch::new("rules");
    let mut store = scratch.open("a");
    let network = |name: &str, change: fn(&mut crate::model::Options)| {
        let subnet = Subnet::with_first_gateway("10.64.0.0/24".parse().unwrap()).unwrap();
        let link = format!("ocn-{name}").parse().unwrap();
        let mut network = Network::of_bridge(name.parse().unwrap(), link, vec![subnet]);
        change(&mut network.options);
        network
    };
    let rows = [
        (network("plain", |_| ()), (false, false)),
        (network("inside", |options| options.internal = true), (true, false)),
        (network("off", |options| options.masquerade = crate::model::Masquerade::Off), (false, true)),
        (network("routed", |options| options.mode = crate::model::GatewayMode::Routed), (false, true)),
        (network("office", |options| options.trusted_interfaces = vec!["vpn0".parse().unwrap()]), (false, true)),
    ];
    let said = |store: &Store| {
        let row = store.read().host_row().unwrap();
        (row.has_internal, row.has_addressed)
    };
    for (network, expected) in rows {
        store.write(|write| write.add_network(&network)).unwrap();
        assert_eq!(said(&store), expected, "{}", network.name);
        store.write(|write| write.remove_network(&network.name)).unwrap();
        assert_eq!(said(&store), (false, false), "{}", network.name);
    }
}

/// Runs are found by where they begin, and single ports by their number, also where many stand close together.
#[test]
fn one_question_reads_no_more_than_what_is_near() {
    let scratch = Scratch::new("walk");
    let mut store = scratch.open("a");
    let dense: Vec<_> = (1..=500).map(|port| (HostAddress::Any, port, 1)).collect();
    insert(&mut store, &mut sandbox("web", 2, &dense)).unwrap();
    insert(&mut store, &mut sandbox("db", 3, &[(HostAddress::Any, 501, 4096)])).unwrap();
    let held = |first, last| store.read().held_ports(Protocol::Tcp, HostAddress::Any, first, last).unwrap();
    assert_eq!(held(500, 500).len(), 1);
    let run = PortRun { number: 3, first: 501, last: 4596 };
    assert_eq!((held(4596, 4596), held(4597, 4600)), (vec![run], vec![]));
    let sql = "EXPLAIN QUERY PLAN SELECT key, body FROM entry_8 WHERE key >= ?1 AND key < ?2 ORDER BY key";
    let plan: String = store.connection.query_row(sql, [&[0u8][..], &[1u8][..]], |row| row.get("detail")).unwrap();
    assert_eq!(plan, "SEARCH entry_8 USING PRIMARY KEY (key>? AND key<?)");
}

#[test]
fn a_draining_endpoint_keeps_its_address_while_key_and_ports_are_free() {
    let scratch = Scratch::new("drain");
    let mut store = scratch.open("a");
    let mut web = sandbox("web", 2, &[(HostAddress::Any, 8080, 1)]);
    insert(&mut store, &mut web).unwrap();
    let [draining] = &store.write(|write| write.end(&web)).unwrap()[..] else { panic!("{web:?}") };
    store.read().integrity().unwrap();
    assert_eq!((store.read().find(&web.key()).unwrap(), store.read().sandboxes().unwrap()), (None, vec![]));
    assert_eq!(store.read().draining_of(&web.key()).unwrap(), std::slice::from_ref(draining));
    assert_eq!(store.read().draining_in(2).unwrap(), Some(draining.endpoint.number));
    assert!(insert(&mut store, &mut sandbox("db", 2, &[])).unwrap_err().is_taken());
    insert(&mut store, &mut sandbox("web", 3, &[(HostAddress::Any, 8080, 1)])).unwrap();
    store.write(|write| write.remove_draining(draining)).unwrap();
    assert_eq!(store.read().all_draining().unwrap(), []);
    insert(&mut store, &mut sandbox("db", 2, &[])).unwrap();
    store.read().integrity().unwrap();
}

/// A sandbox that goes while it is looked for was never half there.
#[test]
fn what_is_removed_meanwhile_is_no_damage() {
    let scratch = Scratch::new("meanwhile");
    let mut store = scratch.open("a");
    let reader = scratch.open("a");
    let key = sandbox("web", 2, &[]).key();
    let writer = std::thread::spawn(move || {
        for _ in 0..300 {
            let mut web = sandbox("web", 2, &[]);
            insert(&mut store, &mut web).unwrap();
            let draining = store.write(|write| write.end(&web)).unwrap();
            store.write(|write| write.remove_draining(&draining[0])).unwrap();
        }
    });
    while !writer.is_finished() {
        reader.read().find(&key).unwrap();
        reader.read().find_by_cookie(2).unwrap();
        reader.read().draining_of(&key).unwrap();
    }
    writer.join().unwrap();
}

/// What SQLite is built with saves questions at each start, and syncs and temporary files.
#[test]
fn sqlite_is_built_for_a_store_of_its_own_boot() {
    let connection = Connection::open_in_memory().unwrap();
    let mut statement = connection.prepare("PRAGMA compile_options").unwrap();
    let options: Vec<String> = statement.query_map([], |row| row.get(0)).unwrap().map(|row| row.unwrap()).collect();
    for option in ["DEFAULT_SYNCHRONOUS=0", "TEMP_STORE=3", "THREADSAFE=2", "OMIT_LOAD_EXTENSION"] {
        assert!(options.iter().any(|known| known == option), "{option} is not among {options:?}");
    }
}

#[test]
fn a_reader_can_change_nothing_and_sees_what_others_change() {
    let scratch = Scratch::new("reader");
    assert!(Reader::open(&scratch.0, &host("a")).unwrap().is_none());
    let mut store = scratch.open("a");
    let reader = Reader::open(&scratch.0, &host("a")).unwrap().unwrap();
    let refused = reader.connection.execute("DELETE FROM entry_8", []).unwrap_err();
    assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::ReadOnly));
    let mut web = sandbox("web", 2, &[]);
    insert(&mut store, &mut web).unwrap();
    store.write::<_, Error>(|write| write.set_state(&mut web, State::Attached)).unwrap();
    assert_eq!(reader.sandboxes().unwrap(), [web.clone()]);
    assert_eq!(reader.sandbox(web.number).unwrap(), Some(web));
    make_newer(&scratch.0, &host("a"));
    assert!(matches!(reader.is_current(), Err(Error::Newer { .. })), "a newer version has upgraded it");
    assert!(matches!(Reader::open(&scratch.0, &host("a")), Err(Error::Newer { .. })));
    fs::remove_file(file(&scratch.0, &host("a"))).unwrap();
    assert!(!reader.is_current().unwrap());
}

/// A look that failed is no proof: a store that counts as replaced is set aside, with all that it alone knows.
#[test]
fn a_store_that_cannot_be_looked_at_was_not_replaced() {
    let scratch = Scratch::new("unseen");
    let store = scratch.open("a");
    let away = scratch.0.with_extension("away");
    std::fs::rename(&scratch.0, &away).unwrap();
    std::fs::write(&scratch.0, "").unwrap();
    let looked = store.is_current();
    std::fs::remove_file(&scratch.0).unwrap();
    std::fs::rename(&away, &scratch.0).unwrap();
    assert!(matches!(looked, Err(Error::File { .. })), "{looked:?}");
    assert!(store.is_current().unwrap());
}

#[test]
fn a_store_that_was_replaced_is_not_written_to() {
    let scratch = Scratch::new("replaced");
    let mut store = scratch.open("a");
    assert!(store.is_current().unwrap());
    let (locks, host) = (scratch.locks(), host("a"));
    let writing = Writing::begin(&locks).unwrap();
    let aside = Store::set_aside(&scratch.0, &host, &writing).unwrap();
    assert!(Store::open(&scratch.0, &host, &locks).unwrap().is_none());
    let next = Store::create(&scratch.0, &host, &locks, &writing, |_| Ok(())).unwrap();
    drop(writing);
    assert!(matches!(insert(&mut store, &mut sandbox("web", 2, &[])), Err(Error::Replaced(_))));
    assert!(aside.exists() && next.is_current().unwrap() && next.read().sandboxes().unwrap().is_empty());
}

/// Another boot's may be of any version or none at all, and its journal lies beside it. Another host of this boot is no
/// other boot.
#[test]
fn what_other_boots_left_is_never_read() {
    let scratch = Scratch::new("stale");
    let left = || {
        let files = fs::read_dir(&scratch.0).unwrap().map(|file| file.unwrap().file_name().into_string().unwrap());
        let mut files: Vec<String> = files.filter(|name| name != "lock").collect();
        files.sort();
        files
    };
    insert(&mut scratch.open("a"), &mut sandbox("web", 2, &[])).unwrap();
    for name in ["store-0-1.db", "store-0-1.db-journal", "store-0-1.new", "store-0-1.damaged"] {
        fs::write(scratch.0.join(name), b"nonsense").unwrap();
    }
    fs::copy(file(&scratch.0, &host("a")), file(&scratch.0, &host("future"))).unwrap();
    let later = Connection::open(file(&scratch.0, &host("future"))).unwrap();
    later.execute_batch("PRAGMA user_version = 99").unwrap();
    assert_eq!(scratch.open("b").read().sandboxes().unwrap(), []);
    assert_eq!(left(), ["store-b-7.db"]);

    let (neighbour, locks) = (Host { cookie: 8, ..host("b") }, scratch.locks());
    Store::create(&scratch.0, &neighbour, &locks, &Writing::begin(&locks).unwrap(), |_| Ok(())).unwrap();
    assert_eq!(left(), ["store-b-7.db", "store-b-8.db"]);
}

fn is_store_of(file: &std::io::Result<fs::DirEntry>, boot: &str) -> bool {
    file.as_ref().unwrap().file_name().to_string_lossy().starts_with(&format!("store-{boot}-"))
}

#[test]
fn a_network_remembers_the_last_address_of_each_family() {
    let scratch = Scratch::new("network");
    let mut store = scratch.open("a");
    let subnet = Subnet::with_first_gateway("10.90.0.0/16".parse().unwrap()).unwrap();
    let (name, link) = ("bridge".parse().unwrap(), "ocinet0".parse().unwrap());
    let network = crate::model::Network::of_bridge(name, link, vec![subnet]);
    store
        .write::<_, Error>(|write| {
            write.add_network(&network)?;
            for address in ["10.90.0.9", "fd00::9"] {
                write.set_last_address(&network.name, address.parse().unwrap())?;
            }
            for (family, last) in Family::ALL.into_iter().zip(["10.90.0.9", "fd00::9"]) {
                assert_eq!(write.last_address(&network.name, family)?, Some(last.parse().unwrap()));
            }
            write.set_forwarding(Family::V4, Forwarding::Intended)
        })
        .unwrap();
    assert_eq!(store.read().networks().unwrap(), [network]);
    assert_eq!(store.read().host_row().unwrap().forwarding, Forwarding::Intended);
}

/// A setting that was changed again is put back to what it was at first.
#[test]
fn changed_settings_keep_their_first_value() {
    let scratch = Scratch::new("changed");
    let mut store = scratch.open("a");
    let change = |key: &str, from: &str| ChangedSetting { key: key.into(), from: from.into(), to: "1".into() };
    let mut after = |changes: &[ChangedSetting]| {
        store.write::<_, Error>(|write| write.add_changed(changes)).unwrap();
        store.read().host_row().unwrap().changed
    };
    assert_eq!(after(&[change("a", "0"), change("b", "0")]).len(), 2);
    assert_eq!(after(&[change("b", "2"), change("c", "0")]), [change("a", "0"), change("b", "0"), change("c", "0")]);
}
