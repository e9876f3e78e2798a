use super::*;

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
pub(crate) const FIXTURES: [&str; 7] = [
    include_str!("../fixtures/version-1.sql"),
    include_str!("../fixtures/version-2.sql"),
    include_str!("../fixtures/version-3.sql"),
    include_str!("../fixtures/version-4.sql"),
    include_str!("../fixtures/version-5.sql"),
    include_str!("../fixtures/version-6.sql"),
    include_str!("../fixtures/version-7.sql"),
];

/// Puts one of the [`FIXTURES`] into `directory` as the store of `host`.
pub(crate) fn place(directory: &Path, host: &Host, fixture: &str) {
    Connection::open(file(directory, host)).unwrap().execute_batch(fixture).unwrap();
}

/// Says that the store of `host` in `directory` is of the version after this one.
pub(crate) fn make_newer(directory: &Path, host: &Host) {
    let (version, mark) = (VERSION + 1, version::application_id(VERSION + 1));
    let marks = format!("PRAGMA user_version = {version}; PRAGMA application_id = {mark}");
    let connection = Connection::open(file(directory, host)).unwrap();
    connection.execute_batch(&marks).unwrap();
    Entries { connection: &connection }.put(&EntryKey::Version, &version.to_be_bytes()).unwrap();
}

/// What each version wrote is read by this one, as it is and upgraded.
#[test]
fn stores_of_every_version_are_read() {
    assert_eq!(FIXTURES.len(), usize::try_from(VERSION - 1).unwrap());
    for (fixture, version) in FIXTURES.iter().zip(1..) {
        let scratch = Scratch::new(&format!("version-{version}"));
        place(&scratch.0, &host("a"), fixture);
        let bytes = fs::read(file(&scratch.0, &host("a"))).unwrap();
        let reader = Reader::open(&scratch.0, &host("a")).unwrap().unwrap();
        let seen = reader.sandboxes().unwrap();
        assert_eq!(reader.changes_after(0).unwrap(), (Changes::BehindTail, 0));
        assert_eq!(fs::read(file(&scratch.0, &host("a"))).unwrap(), bytes, "a reader upgrades nothing");
        let mut store = Store::open(&scratch.0, &host("a"), &scratch.locks()).unwrap().unwrap();
        assert_eq!(version::of(&store.connection, &store.path).unwrap(), VERSION);
        assert!(!reader.is_current().unwrap(), "it is of another version");
        store.read().integrity().unwrap();
        let sandboxes = store.read().sandboxes().unwrap();
        assert_eq!(seen, sandboxes);
        let [shop, job] = &sandboxes[..] else { panic!("{sandboxes:?}") };
        assert_eq!((shop.name.as_str(), shop.port_targets()), ("shop", vec!["10.90.0.2".parse().unwrap()]));
        assert_eq!((shop.publish[1].count, job.mode), (10, Mode::None));
        assert_eq!(store.read().find(&shop.key()).unwrap().as_ref(), Some(shop));
        assert_eq!(store.read().networks().unwrap()[0].name.as_str(), "bridge");
        let last = store.read().last_address(&"bridge".parse().unwrap(), Family::V4).unwrap();
        assert_eq!(last, Some("10.90.0.2".parse().unwrap()));
        let holder = store.read().port_holder(Protocol::Udp, HostAddress::Any, 9009, 9009).unwrap().unwrap();
        assert_eq!(
            (holder.number, store.read().find_by_cookie(job.namespace.cookie).unwrap().as_ref()),
            (1, Some(job))
        );
        let row = store.read().host_row().unwrap();
        assert_eq!(row.forwarding, Forwarding::Ours);
        assert_eq!(row.firewall, Some(if version < 3 { Kind::Nftables } else { Kind::IptablesNft }));
        assert_eq!(row.former_firewalls.len(), usize::from(version >= 3));
        assert_eq!(row.respect_host_firewall, version >= 4);
        assert_eq!(matches!(job.namespace.locator, NetnsLocator::Made { .. }), version >= 5);
        let endpoint = &shop.endpoints[0];
        assert_eq!((endpoint.state, endpoint.number), (State::Attached, if version < 6 { 3 } else { 4 }));
        assert!(insert(&mut store, &mut sandbox("new", 2, &[])).unwrap_err().is_taken(), "the address is leased");
    }
}

/// The lock of the process that drains it is found by the number that its sandbox had.
#[test]
fn a_sandbox_that_drains_becomes_its_endpoint() {
    let scratch = Scratch::new("version-6-drains");
    place(&scratch.0, &host("a"), FIXTURES[5]);
    let mut store = scratch.open("a");
    let [old] = &store.read().all_draining().unwrap()[..] else { panic!("it has one") };
    assert_eq!((old.container.as_str(), old.sandbox, old.endpoint.number), ("old", 3, 3));
    assert!(insert(&mut store, &mut sandbox("new", 3, &[])).unwrap_err().is_taken(), "its address is leased");
    let old = old.clone();
    store.write::<_, Error>(|write| write.remove_draining(&old)).unwrap();
    insert(&mut store, &mut sandbox("new", 3, &[])).unwrap();
    store.read().integrity().unwrap();
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

/// An upgrade that fails changes nothing: the release before goes on with the store.
#[test]
fn an_upgrade_is_done_whole_or_not_at_all() {
    let scratch = Scratch::new("upgrade-fails");
    place(&scratch.0, &host("a"), &format!("{}UPDATE record SET sum = 7 WHERE number = 2;", FIXTURES[4]));
    let before = fs::read(file(&scratch.0, &host("a"))).unwrap();
    assert!(Store::open(&scratch.0, &host("a"), &scratch.locks()).err().unwrap().is_damage());
    assert_eq!(fs::read(file(&scratch.0, &host("a"))).unwrap(), before);
    assert_eq!(fs::read_dir(&scratch.0).unwrap().count(), 2, "the store and the lock");
}

/// A hook of an earlier release has the store open: its statements fail, and nothing in it tells of damage.
#[test]
fn an_upgrade_under_an_open_store_takes_its_tables_away() {
    for (fixture, table, count) in
        [(FIXTURES[4], "record", 2), (FIXTURES[5], "entry", 23), (FIXTURES[6], "entry_7", 23)]
    {
        let scratch = Scratch::new(&format!("upgrade-under-{table}"));
        place(&scratch.0, &host("a"), fixture);
        let earlier = Connection::open(file(&scratch.0, &host("a"))).unwrap();
        let mut question = earlier.prepare(&format!("SELECT count(*) FROM {table}")).unwrap();
        assert_eq!(question.query_row([], |row| row.get::<_, i64>(0)).unwrap(), count);
        scratch.open("a").read().integrity().unwrap();
        let error = question.query_row([], |row| row.get::<_, i64>(0)).unwrap_err();
        assert_eq!(error.sqlite_error_code(), Some(rusqlite::ErrorCode::Unknown), "{error}");
        let header = |name: &str| earlier.query_row(&format!("PRAGMA {name}"), [], |row| row.get::<_, u32>(0)).unwrap();
        assert_eq!((header("user_version"), header("application_id")), (VERSION, version::application_id(VERSION)));
        assert!(earlier.execute(&format!("DELETE FROM {table}"), []).is_err());
    }
}

/// It waits for a process that works on a container.
#[test]
fn an_upgrade_waits_for_those_who_work() {
    let scratch = Scratch::new("upgrade-waits");
    let (locks, host) = (scratch.locks(), host("a"));
    place(&scratch.0, &host, FIXTURES[4]);
    let at_work = locks.exclusive(kernel::Place::Sandbox(7)).unwrap();
    let upgrade = std::thread::spawn({
        let (directory, locks, host) = (scratch.0.clone(), locks.clone(), host.clone());
        move || Store::open(&directory, &host, &locks).unwrap().unwrap().read().sandboxes().unwrap().len()
    });
    std::thread::sleep(Duration::from_millis(200));
    assert_eq!(Reader::open(&scratch.0, &host).unwrap().unwrap().changes_after(0).unwrap().0, Changes::BehindTail);
    drop(at_work);
    assert_eq!(upgrade.join().unwrap(), 2);
}

/// Also after the last sandbox was removed, and in a store of an earlier version.
#[test]
fn no_number_is_given_twice() {
    let scratch = Scratch::new("numbers");
    let mut store = scratch.open("a");
    let mut web = sandbox("web", 2, &[]);
    for number in [1, 3, 5] {
        insert(&mut store, &mut web).unwrap();
        assert_eq!((web.number, web.endpoints[0].number), (number, number + 1));
        store.write(|write| write.remove(number)).unwrap();
    }
    drop(store);
    fs::remove_file(file(&scratch.0, &host("a"))).unwrap();
    place(&scratch.0, &host("a"), &format!("{}DELETE FROM record; DELETE FROM lease; DELETE FROM port;", FIXTURES[4]));
    insert(&mut scratch.open("a"), &mut web).unwrap();
    assert_eq!(web.number, 3);
}
