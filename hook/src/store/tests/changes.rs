//! What those who follow a store are told.

use super::*;

/// Every write of a sandbox is a change, the oldest are forgotten, and a reader knows when it is too late.
#[test]
fn changes_are_numbered_and_the_oldest_forgotten() {
    let scratch = Scratch::new("changes");
    let mut store = scratch.open("a");
    let reader = Reader::open(&scratch.0, &host("a")).unwrap().unwrap();
    let of = |sandboxes: Vec<i64>| Changes::Of { sandboxes, networks: false };
    assert_eq!((reader.last_change().unwrap(), reader.changes_after(0).unwrap()), (0, (of(vec![]), 0)));
    let [mut web, mut db] = [sandbox("web", 2, &[]), sandbox("db", 3, &[])];
    insert(&mut store, &mut web).unwrap();
    insert(&mut store, &mut db).unwrap();
    store.write::<_, Error>(|write| write.set_state(&mut web, State::Attached)).unwrap();
    assert_eq!(reader.changes_after(0).unwrap(), (of(vec![1, 3, 1]), 3));
    assert_eq!(reader.changes_after(2).unwrap(), (of(vec![1]), 3));
    assert_eq!(reader.changes_after(3).unwrap(), (of(vec![]), 3));
    assert_eq!(reader.changes_after(4).unwrap().0, Changes::BehindTail, "another store");
    let again = |store: &mut Store, web: &mut Sandbox, times: u64| {
        let set = |write: &Write<'_>| (0..times).try_for_each(|_| write.set_state(web, State::Attached));
        store.write::<_, Error>(set).unwrap();
    };
    again(&mut store, &mut web, write::CHANGES - 1);
    let (changes, last) = reader.changes_after(3).unwrap();
    assert_eq!((changes, last), (of(vec![1; 1023]), 1026));
    assert_eq!(reader.last_change().unwrap(), 1026);
    again(&mut store, &mut web, 1);
    assert_eq!(reader.changes_after(3).unwrap().0, Changes::BehindTail);
    assert_eq!(reader.changes_after(0).unwrap().0, Changes::BehindTail);
    assert_eq!(reader.changes_after(4).unwrap(), (of(vec![1; 1023]), 1027));
    let kept: i64 =
        store.connection.query_row("SELECT count(*) FROM entry_8 WHERE key > x'50'", [], |row| row.get(0)).unwrap();
    assert_eq!(kept, 1024);
}

/// A network that comes, changes or goes is a change, too, and no sandbox's.
#[test]
fn changes_tell_of_networks() {
    let scratch = Scratch::new("networks");
    let mut store = scratch.open("a");
    let reader = Reader::open(&scratch.0, &host("a")).unwrap().unwrap();
    let subnet = Subnet::with_first_gateway("10.90.0.0/24".parse().unwrap()).unwrap();
    let network = Network::of_bridge("shop".parse().unwrap(), "ocn-1".parse().unwrap(), vec![subnet]);
    let mut web = sandbox("web", 2, &[]);
    type Writing<'w> = &'w mut dyn FnMut(&Write<'_>) -> Result<()>;
    let writes: [(&str, Writing<'_>, Changes); 4] = [
        ("come", &mut |write| write.add_network(&network), Changes::Of { sandboxes: vec![], networks: true }),
        ("used", &mut |write| write.insert(&mut web), Changes::Of { sandboxes: vec![1], networks: false }),
        ("changed", &mut |write| write.set_network(&network), Changes::Of { sandboxes: vec![], networks: true }),
        ("gone", &mut |write| write.remove_network(&network.name), Changes::Of { sandboxes: vec![], networks: true }),
    ];
    for (seen, (what, write, expected)) in (0..).zip(writes) {
        store.write::<_, Error>(write).unwrap();
        assert_eq!(reader.changes_after(seen).unwrap(), (expected, seen + 1), "{what}");
    }
}

/// On a full file system a change takes the place of earlier ones, and a reader reads all.
#[test]
fn changes_can_be_forgotten() {
    let scratch = Scratch::new("forgotten");
    let mut store = scratch.open("a");
    let reader = Reader::open(&scratch.0, &host("a")).unwrap().unwrap();
    let mut web = sandbox("web", 2, &[]);
    insert(&mut store, &mut web).unwrap();
    let write = |write: &Write<'_>| write.forget_changes().and_then(|()| write.set_state(&mut web, State::Attached));
    store.write::<_, Error>(write).unwrap();
    assert_eq!(reader.changes_after(1).unwrap().0, Changes::BehindTail);
    assert_eq!(reader.changes_after(2).unwrap(), (Changes::Of { sandboxes: vec![], networks: false }, 2));
    store.read().integrity().unwrap();
}
