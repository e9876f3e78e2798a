use super::*;

#[test]
fn a_flipped_bit_is_found() {
    let scratch = Scratch::new("flip");
    let mut store = scratch.open("a");
    let mut web = sandbox("web", 2, &[]);
    insert(&mut store, &mut web).unwrap();
    let flip = |store: &Store, part: &str, key: EntryKey| {
        let key = key.encode();
        let sql = format!("SELECT {part} FROM entry_8 WHERE key = ?1");
        let mut bytes: Vec<u8> = store.connection.query_row(&sql, [&key[..]], |row| row.get(0)).unwrap();
        *bytes.last_mut().unwrap() ^= 0x40;
        let sql = format!("UPDATE entry_8 SET {part} = ?2 WHERE key = ?1");
        assert_eq!(store.connection.execute(&sql, [&key[..], &bytes[..]]).unwrap(), 1);
    };
    flip(&store, "body", EntryKey::Sandbox(1));
    assert!(matches!(store.read().find(&web.key()), Err(Error::Damaged { .. })));
    assert!(store.read().integrity().unwrap_err().is_damage());
    // Wherever it is, the proof that all is whole finds it.
    assert_eq!((web.number, web.endpoints[0].number), (1, 2));
    web.publish = sandbox("web", 2, &[(HostAddress::Any, 80, 1), (HostAddress::Any, 90, 9)]).publish;
    let keys: Vec<EntryKey> = entries_of(&web).unwrap().into_iter().map(|(key, _)| key).collect();
    assert_eq!(keys.len(), 7);
    for key in keys.into_iter().chain([EntryKey::Version, EntryKey::Host, EntryKey::Last, EntryKey::Change(1)]) {
        for part in ["body", "key"] {
            let scratch = Scratch::new("flip-each");
            let mut store = scratch.open("a");
            insert(&mut store, &mut web.clone()).unwrap();
            store.read().integrity().unwrap();
            flip(&store, part, key.clone());
            let error = store.read().integrity().unwrap_err();
            assert!(error.is_damage(), "{part} of {key:?}: {error}");
        }
    }
}

/// An entry that no sandbox has, or one that is missing, is damage, too.
#[test]
fn every_lease_belongs_to_a_sandbox() {
    let scratch = Scratch::new("stray");
    let mut store = scratch.open("a");
    insert(&mut store, &mut sandbox("web", 2, &[])).unwrap();
    let link = EntryKey::Link("ocv2".parse().unwrap());
    let body = [1u32.to_be_bytes(), 2u32.to_be_bytes()].concat();
    store.write::<_, Error>(|write| write.entries.remove(&link)).unwrap();
    assert!(store.read().integrity().unwrap_err().is_damage(), "it is missing");
    store.write::<_, Error>(|write| write.entries.add(&link, &body)).unwrap();
    store.read().integrity().unwrap();
    let stray = EntryKey::Link("ocv3".parse().unwrap());
    store.write::<_, Error>(|write| write.entries.add(&stray, &body)).unwrap();
    assert!(store.read().integrity().unwrap_err().is_damage(), "no sandbox has it");
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

#[test]
fn a_store_that_lost_its_table_is_damaged() {
    let scratch = Scratch::new("no-table");
    drop(scratch.open("now"));
    let path = file(&scratch.0, &host("now"));
    let mut bytes = fs::read(&path).unwrap();
    // The count of rows in the first page, which lists the tables (fileformat2.html, 1.6).
    bytes[103..105].fill(0);
    fs::write(&path, bytes).unwrap();
    let error = Store::open(&scratch.0, &host("now"), &scratch.locks()).err().unwrap();
    assert!(error.is_damage(), "{error}");
}
