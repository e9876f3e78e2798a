//! The `config.json` of a test's container: the smallest that runc and crun both take.

use std::collections::BTreeMap;

use serde_json::{Value, json};

use crate::draft::{Draft, Namespace};
use crate::host::{NEWBORN, OCINET};

/// The whole specification of what `draft` describes, for `bundle` and a control group of its own.
pub(crate) fn spec(draft: &Draft<'_>, bundle: &str, cgroup: &str) -> Value {
    let mut annotations = draft.annotations.clone();
    // crun discards the stderr of a hook unless it is told a file for it.
    annotations.insert("run.oci.hooks.stderr".to_owned(), format!("{bundle}/hook-stderr").into());
    json!({
        "ociVersion": "1.0.2",
        "hostname": if draft.isolated { "" } else { &draft.id },
        "root": { "path": "/mnt/rootfs", "readonly": true },
        "process": {
            "cwd": "/",
            "user": { "uid": 0, "gid": 0 },
            "args": draft.argv(),
            "env": ["PATH=/bin"],
            "capabilities": capabilities(),
        },
        "mounts": [
            { "destination": "/proc", "type": "proc", "source": "proc" },
            { "destination": "/dev", "type": "tmpfs", "source": "tmpfs", "options": ["nosuid", "mode=755"] },
        ],
        "annotations": annotations,
        "hooks": hooks(draft),
        "linux": { "namespaces": namespaces(&draft.namespace), "cgroupsPath": cgroup },
    })
}

/// The capabilities of a web server on a port below 1024.
fn capabilities() -> Value {
    let names = ["CAP_NET_BIND_SERVICE", "CAP_KILL"];
    json!({ "bounding": names, "effective": names, "permitted": names })
}

fn namespaces(network: &Namespace) -> Value {
    let mut list: Vec<_> = ["pid", "ipc", "uts", "mount"].map(|kind| json!({ "type": kind })).into();
    match network {
        Namespace::Private => list.push(json!({ "type": "network" })),
        Namespace::At(path) => list.push(json!({ "type": "network", "path": path })),
        Namespace::Host => {}
    }
    json!(list)
}

/// The hooks of the spec: ocinet at each stage that the draft names and at `poststop`, followed by a hook that fails
/// where the draft asks for one. A hook at `prestart`, which runtimes call before `createRuntime`, writes the settings
/// that a namespace inherits.
fn hooks(draft: &Draft<'_>) -> Value {
    let mut hooks = BTreeMap::from([("poststop", vec![ours("poststop")])]);
    if draft.is_born_of_router() {
        hooks.insert("prestart", vec![inherit()]);
    }
    for stage in &draft.stages {
        hooks.entry(stage).or_default().push(ours(stage));
    }
    if draft.later_hook_fails {
        let last = draft.stages.last().map_or("createRuntime", String::as_str);
        hooks.entry(last).or_default().push(json!({ "path": "/bin/false" }));
    }
    json!(hooks)
}

/// A hook that gives the network namespace of the state's process the settings of a router.
fn inherit() -> Value {
    let script = format!("exec nsenter --net=/proc/$(jq .pid)/ns/net {NEWBORN}");
    json!({ "path": "/bin/sh", "args": ["sh", "-euc", script] })
}

fn ours(stage: &str) -> Value {
    json!({ "path": OCINET, "args": ["ocinet", "hook", stage] })
}
