use std::path::PathBuf;

use ocinet::spec::{Document, Edit, FileMount, HookCommand, Placement, podmans_names};

/// A spec that is to be edited: with it an edit of any kind, done twice and undone.
pub fn spec(bytes: &[u8]) {
    let document = match Document::parse(bytes, "/bundle/config.json") {
        Ok(document) => document,
        Err(error) => return super::one_line(&error),
    };
    let _ = (
        document.asks_for_us(),
        document.has_unwired_namespace(),
        document.wanted_hostname(),
        document.podmans_file("hosts"),
    );
    let others = podmans_names(&String::from_utf8_lossy(bytes));
    assert!(others.iter().all(|(name, address)| !name.contains(char::is_whitespace) && !address.is_loopback()));
    for network in [Placement::Own, Placement::Host, Placement::At("/proc/7/ns/net".into())] {
        edited(document.clone(), network);
    }
}

fn edited(mut document: Document, network: Placement) {
    let edit = Edit {
        hooks: Some(HookCommand { program: "/usr/bin/ocinet".into(), options: Vec::new() }),
        network: Some(network),
        annotations: vec![("io.ocinet.network", "bridge".into())],
        hostname: "web".parse().ok(),
        mounts: vec![FileMount { source: PathBuf::from("/run/x"), destination: PathBuf::from("/etc/hosts") }],
    };
    // A note of ours that was there, right or forged, goes first.
    match document.undo() {
        Ok(_) => {}
        Err(error) => return super::one_line(&error),
    }
    let before = document.to_json();
    if let Err(error) = document.edit(&edit) {
        assert_eq!(document.to_json(), before, "refused, and changed");
        return super::one_line(&error);
    }
    let once = document.to_json();
    // What cannot be edited again, as after a forged note, must say so.
    if document.edit(&edit).is_ok() {
        assert_eq!(document.to_json(), once, "another edit than the first");
        document.undo().expect("a note that was just read");
        assert_eq!(document.to_json(), before, "not as before");
    }
}
