//! A stock shim made with containerd's crate for shims, called as containerd calls it before 2.3 and since.

use std::fs;
use std::os::unix::net::UnixListener;

use anyhow::{Context, Result, ensure};
use containerd_shim::bootstrap::{BootstrapParams, BootstrapResult};
use containerd_shim::protos::protobuf::Message;
use containerd_shim::{DeleteResponse, socket_address};
use ocinet_integration::service::{SHIM, install_shim, install_stock};
use ocinet_integration::{Host, Output, Settings, eventually, every};
use serde_json::{Value, json};

/// The socket on which a containerd takes events.
const EVENTS: &str = "/mnt/events.sock";

/// The flags of every call.
const FLAGS: &str = "-namespace n -address /c.sock -publish-binary /mnt/stock/containerd";

/// How containerd calls a shim's `start`.
#[derive(Clone, Copy, Debug)]
enum Protocol {
    /// Before 2.3: the parameters are flags and environment variables, and the answer is JSON.
    Flags,
    /// Since 2.3: the parameters are also in a message, and the answer is one.
    Messages,
}

impl Protocol {
    /// The bytes that containerd writes to stdin for the container `id`.
    fn parameters(self, id: &str) -> Result<Vec<u8>> {
        let parameters = BootstrapParams {
            instance_id: id.into(),
            namespace: "n".into(),
            containerd_grpc_address: "/c.sock".into(),
            containerd_ttrpc_address: EVENTS.into(),
            containerd_binary: "/mnt/stock/containerd".into(),
            ..Default::default()
        };
        Ok(match self {
            Self::Flags => Vec::new(),
            Self::Messages => parameters.write_to_bytes()?,
        })
    }

    /// The shim's address in an answer.
    fn address(self, answer: &str) -> Result<String> {
        match self {
            Self::Flags => {
                let answer: Value = serde_json::from_str(answer)?;
                Ok(answer["address"].as_str().context("an address")?.to_owned())
            }
            Self::Messages => {
                let answer = BootstrapResult::parse_from_bytes(answer.as_bytes())?;
                ensure!(answer.protocol == "ttrpc", "{answer}");
                Ok(answer.address)
            }
        }
    }
}

/// Calls our shim for the container `id`, whose bundle is /mnt/ID.
fn call(host: &Host, id: &str, action: &str, input: &[u8]) -> Result<Output> {
    let call = format!("cd /mnt/{id}; TTRPC_ADDRESS={EVENTS} exec {SHIM} {FLAGS} -id {id} {action}");
    Output::of(&mut host.command(&["sh", "-c", &call]), input)
}

fn bundle(host: &Host, id: &str, publish: &str) -> Result<()> {
    let spec = json!({
        "ociVersion": "1.0.2", "root": {"path": "rootfs"}, "annotations": {"io.ocinet.publish": publish},
        "linux": {"namespaces": [{"type": "mount"}, {"type": "network"}, {"type": "uts"}]}
    });
    fs::create_dir_all(host.path(format!("/mnt/{id}")))?;
    Ok(fs::write(host.path(format!("/mnt/{id}/config.json")), spec.to_string())?)
}

/// The pids of the shims that wait for a containerd.
fn shims(host: &Host) -> Result<Vec<String>> {
    let pids = host.sh("ps -e -o pid,args | awk '/[s]tock -namespace n .* -socket / { print $1 }'")?;
    Ok(pids.lines().map(str::to_owned).collect())
}

/// The stock shim gets the call unchanged, and its answer is passed on. Our shim reads the answer too: where the wiring
/// is refused, it shuts the stock shim down.
#[test]
fn a_shim_of_either_protocol() -> Result<()> {
    Settings::default().test(|host| {
        install_shim(host)?;
        install_stock(host)?;
        let _events = UnixListener::bind(host.path(EVENTS))?;
        every([Protocol::Flags, Protocol::Messages], |protocol| {
            bundle(host, "web", "8080:80")?;
            bundle(host, "wrong", "nonsense")?;
            let answer = call(host, "web", "start", &protocol.parameters("web")?)?.success()?;
            let address = protocol.address(&answer)?;
            ensure!(address == socket_address("/c.sock", "n", "web"), "{address}");
            ensure!(host.settled_sandboxes()?.len() == 1, "{:#?}", host.sandboxes()?);
            let shim = shims(host)?;
            ensure!(shim.len() == 1, "{shim:?}");

            let refused = call(host, "wrong", "start", &protocol.parameters("wrong")?)?.exits(2)?.is_one_line()?;
            ensure!(refused.stderr.contains("nonsense"), "{refused}");
            eventually("its shim has ended", || Ok(shims(host)? == shim))?;

            let deleted = call(host, "web", "-bundle /mnt/web delete", &[])?.success()?;
            let deleted = DeleteResponse::parse_from_bytes(deleted.as_bytes())?;
            ensure!(deleted.exit_status == 7, "{deleted}");
            ensure!(host.settled_sandboxes()?.is_empty(), "{:#?}", host.sandboxes()?);
            host.sh(&format!("kill -KILL {}; rm -r /mnt/web /mnt/wrong /run/containerd", shim[0]))?;
            eventually("the other has ended", || Ok(shims(host)?.is_empty()))?;
            host.settles()
        })
    })
}
