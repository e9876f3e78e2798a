//! Kubernetes' pods on a private host: containerd with its CRI plugin, and a network that real CNI plugins make.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result};

use crate::containerd::{Containerd, Release, SOCKET, unpacked};
use crate::cri::{self, Message};
use crate::{Host, Place, Runtime, Settings, eventually};

/// The only image: of the pause container and of every other one.
const IMAGE: &str = "ocinet.test/probe:1";

/// Where containerd keeps the bundles of pods.
const BUNDLES: &str = "/run/containerd/io.containerd.runtime.v2.task/k8s.io";

/// What all configurations have in common.
const COMMON: &str = r#"
root = "/mnt/containerd/root"
state = "/run/containerd"
disabled_plugins = [
    "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs", "io.containerd.snapshotter.v1.blockfile",
    "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs",
]
oom_score = 0
[plugins."io.containerd.nri.v1.nri"]
disable = true
[grpc]
address = "/mnt/containerd/socket"
[ttrpc]
address = "/mnt/containerd/ttrpc"
"#;

/// The CRI plugin's settings of containerd 1.
const CRI_1: &str = r#"
[plugins."io.containerd.grpc.v1.cri"]
sandbox_image = "ocinet.test/probe:1"
restrict_oom_score_adj = true
stream_server_port = "0"
[plugins."io.containerd.grpc.v1.cri".cni]
bin_dir = "CNI"
conf_dir = "/mnt/containerd/cni"
[plugins."io.containerd.grpc.v1.cri".containerd.runtimes.runc]
runtime_type = "io.containerd.runc.v2"
"#;

/// The CRI plugin's settings of containerd 2.
const CRI_2: &str = r#"
[plugins."io.containerd.cri.v1.images".pinned_images]
sandbox = "ocinet.test/probe:1"
[plugins."io.containerd.cri.v1.runtime"]
restrict_oom_score_adj = true
[plugins."io.containerd.cri.v1.runtime".cni]
bin_dir = "CNI"
conf_dir = "/mnt/containerd/cni"
"#;

/// The network that every pod has: an interface eth0 with a default route.
const NETWORK: &str = r#"{
    "cniVersion": "0.4.0", "name": "pods", "plugins": [{
        "type": "ptp", "ipam": {
            "type": "host-local", "subnet": "10.88.0.0/24", "dataDir": "/mnt/containerd/leases",
            "routes": [{"dst": "0.0.0.0/0"}]}}]
}"#;

/// Makes an image of the root file system, and imports it into containerd.
const IMPORT: &str = r#"
    mkdir -p /mnt/image
    cd /mnt/image
    tar -C /mnt/rootfs -cf layer.tar .
    layer=$(sha256sum layer.tar | cut -d' ' -f1)
    printf '{"architecture":"amd64","os":"linux","config":{"Env":["PATH=/bin"],"Entrypoint":["/bin/busybox","sleep","100000"]},"rootfs":{"type":"layers","diff_ids":["sha256:%s"]}}' \
        "$layer" >config.json
    printf '[{"Config":"config.json","RepoTags":["ocinet.test/probe:1"],"Layers":["layer.tar"]}]' >manifest.json
    tar -cf image.tar config.json manifest.json layer.tar
"#;

/// A containerd that runs pods.
#[derive(Debug)]
pub struct Pods<'h> {
    /// The daemon.
    pub containerd: Containerd<'h>,
}

/// A pod; as a [`Place`] its network namespace. Removed when dropped.
#[derive(Debug)]
pub struct Pod<'p> {
    pods: &'p Pods<'p>,
    /// The id of its sandbox, the pause container.
    pub id: String,
    config: Message,
    /// The sandbox's process.
    pub pid: u32,
    /// Its network namespace.
    pub place: Place,
}

impl<'h> Pods<'h> {
    /// Starts containerd on `host`, with the runtime handler of this tree's `packaging/containerd`.
    pub fn start(host: &'h Host, release: Release) -> Result<Self> {
        let (version, cri, handler) = match release {
            Release::V1_6 => ("version = 2", CRI_1, "containerd-1.6.toml"),
            Release::V1_7 => ("version = 2", CRI_1, "containerd-1.7.toml"),
            Release::V2 => ("version = 3", CRI_2, "containerd-2.toml"),
        };
        let handler = Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/containerd").join(handler);
        let handler = fs::read_to_string(&handler).with_context(|| handler.display().to_string())?;
        // A private host has no systemd, and the shim is in another folder.
        let handler =
            handler.replace("SystemdCgroup = true", "SystemdCgroup = false").replace("/usr/bin/", "/mnt/bin/");
        let cri = cri.replace("CNI", &unpacked("cni/usr/lib/cni")?);
        fs::create_dir_all(host.path("/mnt/containerd/cni"))?;
        fs::write(host.path("/mnt/containerd/cni/10-pods.conflist"), NETWORK)?;
        let config = format!("{version}\n{COMMON}{cri}{handler}");
        let mut containerd = Containerd::start_with(host, release, &config)?;
        containerd.namespace = "k8s.io".to_owned();
        host.sh(IMPORT)?;
        containerd.ctr("image import /mnt/image/image.tar")?.success()?;
        Ok(Self { containerd })
    }

    /// Calls a method of containerd's runtime service.
    fn call(&self, method: &str, request: &Message) -> Result<String> {
        cri::call(self.host(), SOCKET, method, request)
    }

    fn host(&self) -> &'h Host {
        self.containerd.host
    }

    /// Runs a pod's sandbox under the handler.
    pub fn run(&self, name: &str, handler: &str, annotations: &[(&str, &str)]) -> Result<Pod<'_>> {
        let metadata = Message::default().text(1, name).text(2, name).text(3, "default");
        let linux = Message::default().text(1, &self.host().control_group(name));
        let config = Message::default().message(1, &metadata).text(2, name).text(3, "/mnt/logs");
        let config = config.map(7, annotations).message(8, &linux);
        let id = self.call("RunPodSandbox", &Message::default().message(1, &config).text(2, handler))?;
        let pid = self.containerd.pid(&id)?.context("a sandbox without a process")?;
        let place = self.host().of_process(pid);
        self.host().lives(key(&id), place.clone());
        Ok(Pod { pods: self, id, config, pid, place })
    }
}

impl Pod<'_> {
    /// Starts a container in the pod, a server on `port`; with annotations of its own.
    pub fn start(&self, name: &str, port: u16, annotations: &[(&str, &str)]) -> Result<String> {
        let image = Message::default().text(1, IMAGE);
        let config = Message::default().message(1, &Message::default().text(1, name)).message(2, &image);
        let words = ["/mnt/bin/probe", "serve", name, &port.to_string()].map(String::from);
        let config = words.iter().fold(config, |config, word| config.text(3, word));
        let config = config.map(10, annotations).text(11, &format!("{name}.log"));
        let create = Message::default().text(1, &self.id).message(2, &config).message(3, &self.config);
        let id = self.pods.call("CreateContainer", &create)?;
        self.pods.call("StartContainer", &Message::default().text(1, &id))?;
        let log = self.pods.host().path(format!("/mnt/logs/{name}.log"));
        eventually("its server is ready", || Ok(fs::read_to_string(&log).is_ok_and(|log| log.contains("ready"))))?;
        Ok(id)
    }

    /// Runs a program in one of its containers.
    pub fn exec(&self, container: &str, words: &[&str]) -> Result<String> {
        let request = words.iter().fold(Message::default().text(1, container), |request, word| request.text(2, word));
        self.pods.call("ExecSync", &request)
    }

    /// Stops and removes one of its containers.
    pub fn stop(&self, container: &str) -> Result<()> {
        self.pods.call("StopContainer", &Message::default().text(1, container))?;
        self.pods.call("RemoveContainer", &Message::default().text(1, container)).map(drop)
    }

    /// Stops and removes all of it.
    pub fn delete(self) -> Result<()> {
        self.remove()
    }

    fn remove(&self) -> Result<()> {
        self.pods.host().is_dead(&key(&self.id));
        // Retries, as a kubelet does: after a shim was killed, containerd takes a while to notice that its containers
        // are dead.
        for method in ["StopPodSandbox", "RemovePodSandbox"] {
            let mut refusal = String::new();
            eventually(method, || {
                match self.pods.call(method, &Message::default().text(1, &self.id)) {
                    Err(error) if !error.to_string().contains("not found") => refusal = format!("{error:#}"),
                    _ => return Ok(true),
                }
                Ok(false)
            })
            .with_context(|| refusal.clone())?;
        }
        Ok(())
    }
}

impl Drop for Pod<'_> {
    fn drop(&mut self) {
        if let Err(error) = self.remove() {
            self.pods.host().accuse(format!("removing pod {}: {error:#}", self.id));
        }
    }
}

fn key(id: &str) -> (String, String) {
    (id.to_owned(), format!("{BUNDLES}/{id}"))
}

/// Runs a story about pods with each release.
pub fn with_pods(story: impl Fn(&Host, &Pods<'_>) -> Result<()>) -> Result<()> {
    Release::ALL.into_iter().try_for_each(|release| {
        // CNI keeps its state in /var.
        Settings::default().runtime(Runtime::Runc).installable().test(|host| {
            let pods = Pods::start(host, release).with_context(|| format!("{release:?}"))?;
            story(host, &pods).with_context(|| format!("with containerd {release:?}: {}", pods.containerd.log()))
        })
    })
}
