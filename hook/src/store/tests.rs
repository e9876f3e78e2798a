use super::*;
use crate::firewall::Kind;
use crate::model::{
    Endpoint, HostAddress, Key, Mode, Namespace, NetnsLocator, PortMapping, Protocol, Route, Sandbox, State, Subnet,
    Wire,
};

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
        LockFile::new(self.0.join("lock"))
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
        network: "bridge".parse().unwrap(),
        wire: Wire::Veth { master: "ocinet0".parse().unwrap(), host: format!("ocv{last_octet}").parse().unwrap() },
        interface: "eth0".parse().unwrap(),
        mac: format!("02:00:00:00:00:{last_octet:02x}").parse().unwrap(),
        mtu: 1500,
        addresses: vec![address.parse().unwrap()],
        routes: vec![Route::Default("10.90.0.1".parse().unwrap())],
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
        mode: Mode::Bridge,
        state: State::Attaching,
        namespace: Namespace {
            cookie: last_octet.into(),
            locator: NetnsLocator::Process { pid: 2, started: 3 },
            seen_from_pid_ns: 4,
            seen_from_mnt_ns: 5,
            nsid: Some(6),
        },
        endpoints: vec![endpoint],
        publish: publish.collect(),
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

/// A port is looked for where single ports stand close together, too: by a key, and among the few runs.
#[test]
fn a_port_is_found_without_a_walk() {
    let scratch = Scratch::new("walk");
    let store = scratch.open("a");
    let sql = "EXPLAIN QUERY PLAN SELECT record FROM port
        WHERE protocol = 'tcp' AND last > first AND first BETWEEN 1 AND 4096 AND last >= 4097";
    let plan: String = store.connection.query_row(sql, [], |row| row.get("detail")).unwrap();
    assert!(plan.contains("port_run"), "{plan}");
}

#[test]
fn a_draining_sandbox_keeps_its_address_and_frees_key_and_ports() {
    let scratch = Scratch::new("drain");
    let mut store = scratch.open("a");
    let mut web = sandbox("web", 2, &[(HostAddress::Any, 8080, 1)]);
    insert(&mut store, &mut web).unwrap();
    store.write(|write| write.set_state(&mut web, State::Draining)).unwrap();
    assert_eq!(store.read().find(&web.key()).unwrap(), None);
    assert!(insert(&mut store, &mut sandbox("db", 2, &[])).unwrap_err().is_taken());
    insert(&mut store, &mut sandbox("web", 3, &[(HostAddress::Any, 8080, 1)])).unwrap();
    store.write(|write| write.remove(web.number)).unwrap();
    insert(&mut store, &mut sandbox("db", 2, &[])).unwrap();
}

#[test]
fn a_flipped_bit_is_found() {
    let scratch = Scratch::new("flip");
    let mut store = scratch.open("a");
    let mut web = sandbox("web", 2, &[]);
    insert(&mut store, &mut web).unwrap();
    store.connection.execute("UPDATE record SET body = replace(body, '10.90.0.2', '10.90.0.3')", []).unwrap();
    assert!(matches!(store.read().find(&web.key()), Err(Error::Damaged { .. })));
}

#[test]
fn another_boot_starts_empty_and_a_newer_store_is_refused() {
    let scratch = Scratch::new("boot");
    insert(&mut scratch.open("a"), &mut sandbox("web", 2, &[])).unwrap();
    let store = scratch.open("b");
    assert_eq!(store.read().sandboxes().unwrap(), []);
    assert_eq!(fs::read_dir(&scratch.0).unwrap().filter(|file| is_store_of(file, "a")).count(), 0);
    drop(store);
    make_newer(&scratch.0, &host("b"));
    let error = Store::open(&scratch.0, &host("b"), &scratch.locks()).err().unwrap();
    assert!(matches!(error, Error::Newer { found, known, .. } if found == known + 1), "{error}");
    assert!(!error.is_damage(), "what a newer version wrote is whole");
}

/// Stores as each version wrote them, oldest first. A new version adds its own file.
pub(crate) const FIXTURES: [&str; 5] = [
    include_str!("fixtures/version-1.sql"),
    include_str!("fixtures/version-2.sql"),
    include_str!("fixtures/version-3.sql"),
    include_str!("fixtures/version-4.sql"),
    include_str!("fixtures/version-5.sql"),
];

/// Puts one of the [`FIXTURES`] into `directory` as the store of `host`.
pub(crate) fn place(directory: &Path, host: &Host, fixture: &str) {
    Connection::open(file(directory, host)).unwrap().execute_batch(fixture).unwrap();
}

/// Says that the store of `host` in `directory` is of the version after this one.
pub(crate) fn make_newer(directory: &Path, host: &Host) {
    let (version, mark) = (VERSION + 1, version::application_id(VERSION + 1));
    let marks = format!("PRAGMA user_version = {version}; PRAGMA application_id = {mark}");
    Connection::open(file(directory, host)).unwrap().execute_batch(&marks).unwrap();
}

/// What each version wrote is read by this one, as it is and upgraded.
#[test]
fn stores_of_every_version_are_read() {
    assert_eq!(FIXTURES.len(), usize::try_from(VERSION).unwrap());
    for (fixture, version) in FIXTURES.iter().zip(1..) {
        let scratch = Scratch::new(&format!("version-{version}"));
        place(&scratch.0, &host("a"), fixture);
        let bytes = fs::read(file(&scratch.0, &host("a"))).unwrap();
        let reader = Reader::open(&scratch.0, &host("a")).unwrap().unwrap();
        let numbers = reader.standing().unwrap();
        let seen: Vec<Sandbox> = numbers.iter().filter_map(|number| reader.sandbox(*number).unwrap()).collect();
        assert_eq!(fs::read(file(&scratch.0, &host("a"))).unwrap(), bytes, "a reader upgrades nothing");
        let mut store = Store::open(&scratch.0, &host("a"), &scratch.locks()).unwrap().unwrap();
        assert_eq!(version::of(&store.connection, &store.path).unwrap(), VERSION);
        assert!(reader.is_current().unwrap(), "it is the same file");
        let sandboxes = store.read().sandboxes().unwrap();
        assert_eq!(seen, sandboxes);
        let [shop, job] = &sandboxes[..] else { panic!("{sandboxes:?}") };
        assert_eq!((shop.name.as_str(), shop.endpoints[0].ipv4()), ("shop", Some("10.90.0.2".parse().unwrap())));
        assert_eq!((shop.publish[1].count, job.mode), (10, Mode::None));
        assert_eq!(store.read().find(&shop.key()).unwrap().as_ref(), Some(shop));
        assert_eq!(store.read().networks().unwrap()[0].name.as_str(), "bridge");
        let row = store.read().host_row().unwrap();
        assert_eq!(row.forwarding, Forwarding::Ours);
        assert_eq!(row.firewall, Some(if version < 3 { Kind::Nftables } else { Kind::IptablesNft }));
        assert_eq!(row.former_firewalls.len(), usize::from(version >= 3));
        assert_eq!(row.respect_host_firewall, version >= 4);
        assert_eq!(matches!(job.namespace.locator, NetnsLocator::Made { .. }), version >= 5);
        assert!(insert(&mut store, &mut sandbox("new", 2, &[])).unwrap_err().is_taken(), "the address is leased");
    }
}

/// A process that has the right to write upgrades at once; one without it waits for the holder.
#[test]
fn an_upgrade_takes_no_lock_that_its_caller_has() {
    let scratch = Scratch::new("upgrade");
    let (locks, host) = (scratch.locks(), host("a"));
    place(&scratch.0, &host, FIXTURES[0]);
    let writing = Writing::begin(&locks).unwrap();
    let other = std::thread::spawn({
        let (directory, locks, host) = (scratch.0.clone(), locks.clone(), host.clone());
        move || Store::open(&directory, &host, &locks).unwrap().unwrap().read().sandboxes().unwrap().len()
    });
    let began = std::time::Instant::now();
    let store = Store::open_to_write(&scratch.0, &host, &locks, &writing).unwrap().unwrap();
    assert_eq!(store.read().sandboxes().unwrap().len(), 2);
    assert!(began.elapsed() < Duration::from_secs(5), "it waited for itself: {:?}", began.elapsed());
    drop(writing);
    assert_eq!(other.join().unwrap(), 2);
}

#[test]
fn a_reader_can_change_nothing_and_sees_what_others_change() {
    let scratch = Scratch::new("reader");
    assert!(Reader::open(&scratch.0, &host("a")).unwrap().is_none());
    let mut store = scratch.open("a");
    let reader = Reader::open(&scratch.0, &host("a")).unwrap().unwrap();
    let refused = reader.connection.execute("DELETE FROM record", []).unwrap_err();
    assert_eq!(refused.sqlite_error_code(), Some(rusqlite::ErrorCode::ReadOnly));
    let mut web = sandbox("web", 2, &[]);
    insert(&mut store, &mut web).unwrap();
    store.write::<_, Error>(|write| write.set_state(&mut web, State::Attached)).unwrap();
    assert_eq!(reader.standing().unwrap(), [web.number]);
    assert_eq!(reader.sandbox(web.number).unwrap(), Some(web));
    make_newer(&scratch.0, &host("a"));
    assert!(matches!(reader.is_current(), Err(Error::Newer { .. })), "a newer version has upgraded it");
    assert!(matches!(Reader::open(&scratch.0, &host("a")), Err(Error::Newer { .. })));
    fs::remove_file(file(&scratch.0, &host("a"))).unwrap();
    assert!(!reader.is_current().unwrap());
}

/// Whatever byte is another, there is an error or all is as it was written; never a panic, and never a store of a newer
/// version, which no command would repair.
#[test]
fn a_store_with_any_byte_flipped_is_an_error_or_whole() {
    let scratch = Scratch::new("any");
    let (locks, path) = (scratch.locks(), file(&scratch.0, &host("a")));
    let mut store = scratch.open("a");
    let mut sandboxes: Vec<Sandbox> =
        (2..5).map(|n| sandbox(&format!("c{n}"), n, &[(HostAddress::Any, 80, 2)])).collect();
    sandboxes.iter_mut().zip(1u16..).for_each(|(sandbox, n)| sandbox.publish[0].host_port += 10 * n);
    sandboxes.iter_mut().for_each(|sandbox| insert(&mut store, sandbox).unwrap());
    drop(store);
    let whole = fs::read(&path).unwrap();
    for offset in (0..whole.len()).step_by(13) {
        let mut bytes = whole.clone();
        bytes[offset] ^= 0x40 | u8::try_from(offset % 64).unwrap();
        fs::write(&path, &bytes).unwrap();
        let read = Store::open(&scratch.0, &host("a"), &locks).and_then(|store| {
            let store = store.expect("the file is there");
            let found = store.read().sandboxes()?;
            Ok(found)
        });
        match read {
            Ok(found) => assert!(found.iter().all(|sandbox| sandboxes.contains(sandbox)), "offset {offset}: {found:?}"),
            Err(error) => assert!(error.is_damage(), "offset {offset}: {error}"),
        }
    }
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
fn a_network_remembers_its_last_address() {
    let scratch = Scratch::new("network");
    let mut store = scratch.open("a");
    let subnet = Subnet::with_first_gateway("10.90.0.0/16".parse().unwrap()).unwrap();
    let (name, link) = ("bridge".parse().unwrap(), "ocinet0".parse().unwrap());
    let network = crate::model::Network::of_bridge(name, link, vec![subnet]);
    store
        .write::<_, Error>(|write| {
            write.add_network(&network)?;
            write.set_last_address(&network.name, "10.90.0.9".parse().unwrap())?;
            assert_eq!(write.last_address(&network.name)?, Some("10.90.0.9".parse().unwrap()));
            write.set_forwarding(Forwarding::Intended)
        })
        .unwrap();
    assert_eq!(store.read().networks().unwrap(), [network]);
    assert_eq!(store.read().host_row().unwrap().forwarding, Forwarding::Intended);
}
