//! The service on a private host, and clients of it.

use std::fs;
use std::future::Future;
use std::io::{ErrorKind, Read};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::sys::socket::{Backlog, listen};
use ocinet_proto::ttrpc::r#async::{Client, ClientStreamReceiver};
use ocinet_proto::ttrpc::{self, Code, context};
use ocinet_proto::v1::event::Kind;
use ocinet_proto::v1::{Event, EventsRequest, NetworkClient};
use tokio::runtime::Runtime;

use crate::{Background, Host, binary, eventually};

/// Our shim on a private host. It is also the service.
pub const SHIM: &str = "/mnt/bin/containerd-shim-ocinet-v2";

/// Longer than any call takes.
const DEADLINE: Duration = Duration::from_secs(60);

/// A running service; killed when dropped.
#[derive(Debug)]
pub struct Service<'h> {
    host: &'h Host,
    process: Background,
    /// Runs the clients of the tests.
    runtime: Runtime,
}

/// A client that follows the events.
pub struct Follower<'s> {
    service: &'s Service<'s>,
    events: ClientStreamReceiver<Event>,
}

impl<'h> Service<'h> {
    /// Starts it with `arguments`, and waits until it can be connected to.
    pub fn start(host: &'h Host, arguments: &[&str]) -> Result<Self> {
        install_shim(host)?;
        Self::given(host, host.background(&[&[SHIM, "serve"], arguments].concat())?)
    }

    /// The service in `process`, or in a process that this one starts or becomes.
    pub fn given(host: &'h Host, process: Background) -> Result<Self> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let service = Self { host, process, runtime };
        eventually("the service is there", || Ok(service.connect().is_ok()))?;
        Ok(service)
    }

    /// The pid of its process, on the host.
    pub fn pid(&self) -> u32 {
        self.process.pid()
    }

    /// The next line that its process prints.
    pub fn line(&mut self) -> Result<String> {
        self.process.line()
    }

    /// Kills it; its socket stays.
    pub fn kill(mut self) -> Result<()> {
        self.process.kill()
    }

    /// A plain connection, for clients that break the protocol.
    pub fn connect(&self) -> Result<UnixStream> {
        Ok(UnixStream::connect(socket(self.host))?)
    }

    /// Waits for `future`, at most [`DEADLINE`].
    pub fn wait<T>(&self, future: impl Future<Output = T>) -> Result<T> {
        self.runtime.block_on(async { tokio::time::timeout(DEADLINE, future).await }).context("the service hangs")
    }

    /// A client.
    pub fn client(&self) -> Result<NetworkClient> {
        Ok(NetworkClient::new(self.wait(Client::connect(&address(self.host)))??))
    }

    /// Waits for the answer to one call.
    pub fn call<T>(&self, call: impl AsyncFnOnce(NetworkClient) -> ttrpc::Result<T>) -> Result<T> {
        Ok(self.once(call)??)
    }

    /// Waits for the answer to a call that must fail. Returns its code and its message.
    pub fn refused<T>(&self, call: impl AsyncFnOnce(NetworkClient) -> ttrpc::Result<T>) -> Result<(Code, String)> {
        match self.once(call)? {
            Ok(_) => anyhow::bail!("it should have been refused"),
            Err(ttrpc::Error::RpcStatus(status)) => {
                let code = status.code.enum_value().map_err(|code| anyhow::anyhow!("code {code}"))?;
                Ok((code, status.message))
            }
            Err(error) => Err(error.into()),
        }
    }

    /// Makes one call by a client that disconnects afterwards.
    fn once<T>(&self, call: impl AsyncFnOnce(NetworkClient) -> T) -> Result<T> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let address = address(self.host);
        let call = async move { anyhow::Ok(call(NetworkClient::new(Client::connect(&address).await?)).await) };
        runtime.block_on(async { tokio::time::timeout(DEADLINE, call).await }).context("the service hangs")?
    }

    /// Follows the events from now on.
    pub fn follow(&self) -> Result<Follower<'_>> {
        let client = self.client()?;
        let events = self.wait(async move { client.events(forever(), &EventsRequest::new()).await })??;
        let mut follower = Follower { service: self, events };
        ensure!(follower.event()?.kind == Kind::KIND_WATCHING.into(), "a stream begins with WATCHING");
        Ok(follower)
    }

    /// A field of its /proc/PID/status, in KiB.
    pub fn memory(&self, line: &str) -> Result<u64> {
        let status = fs::read_to_string(self.host.path(format!("/proc/{}/status", self.pid())))?;
        let found = status.lines().find_map(|text| text.strip_prefix(line)?.trim().strip_suffix(" kB"));
        found.and_then(|number| number.trim().parse().ok()).with_context(|| format!("no {line} in {status}"))
    }
}

impl Follower<'_> {
    /// The next event, heartbeats included.
    pub fn event(&mut self) -> Result<Event> {
        self.service.wait(self.events.recv())??.context("the stream has ended")
    }

    /// The next attach, detach, creation or removal: `+ID`, `-ID`, `+network NAME` or `-network NAME`.
    pub fn change(&mut self) -> Result<(String, Event)> {
        loop {
            let event = self.event()?;
            let sign = match event.kind.enum_value_or_default() {
                Kind::KIND_ATTACHED => '+',
                Kind::KIND_DETACHED => '-',
                Kind::KIND_CONNECTED => return Ok((format!("{}+{}", event.container.id, event.network), event)),
                Kind::KIND_DISCONNECTED => return Ok((format!("{}-{}", event.container.id, event.network), event)),
                Kind::KIND_NETWORK_CREATED => return Ok((format!("+network {}", event.network), event)),
                Kind::KIND_NETWORK_REMOVED => return Ok((format!("-network {}", event.network), event)),
                _ => continue,
            };
            return Ok((format!("{sign}{}", event.container.id), event));
        }
    }
}

/// A program that listens and accepts no connection, and whose queue is full.
#[derive(Debug)]
pub struct Deaf {
    listener: UnixListener,
    /// The connection that fills the queue.
    _queued: UnixStream,
}

impl Deaf {
    /// Listens at `path`.
    pub fn listen(path: &Path) -> Result<Self> {
        let listener = UnixListener::bind(path)?;
        // A second listen(2) changes the length of the queue.
        listen(&listener, Backlog::new(0)?)?;
        Ok(Self { listener, _queued: UnixStream::connect(path)? })
    }

    /// Accepts connections from now on, and waits until one brings `word`.
    pub fn hears(self, word: &str) -> Result<()> {
        let Self { listener, _queued: queued } = self;
        drop(queued);
        listener.set_nonblocking(true)?;
        eventually(&format!("{word} is heard"), || {
            let (mut stream, _) = match listener.accept() {
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
                accepted => accepted?,
            };
            stream.set_nonblocking(false)?;
            stream.set_read_timeout(Some(Duration::from_secs(10)))?;
            let mut heard = vec![0; 64 << 10];
            let length = stream.read(&mut heard)?;
            Ok(heard[..length].windows(word.len()).any(|window| window == word.as_bytes()))
        })
    }
}

/// A context without a deadline.
pub fn forever() -> context::Context {
    context::with_timeout(0)
}

/// The service's socket, as this process can open it.
pub fn socket(host: &Host) -> PathBuf {
    host.path("/run/ocinet/ocinet.sock")
}

fn address(host: &Host) -> String {
    format!("unix://{}", socket(host).display())
}

/// Installs a stock shim without containers at /mnt/stock on `host`.
pub fn install_stock(host: &Host) -> Result<()> {
    let program = binary::helper("stock")?;
    host.sh(&format!("mkdir -p /mnt/stock; ln -s {} /mnt/stock/containerd-shim-runc-v2", program.display())).map(drop)
}

/// Copies the shim under test to `host` in a separate process. If this process wrote the file, a child that another
/// thread starts meanwhile would inherit the open descriptor, and execve(2) would fail with ETXTBSY.
pub fn install_shim(host: &Host) -> Result<()> {
    host.sh(&format!("test -e {SHIM} || cp {} {SHIM}", binary::shim()?.display())).map(drop)
}
