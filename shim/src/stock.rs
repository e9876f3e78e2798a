//! The way from containerd's call to the stock shim.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, Output, Stdio};
use std::time::Duration;

use containerd_shim_protos::api::ShutdownRequest;
use containerd_shim_protos::protobuf::Message;
use containerd_shim_protos::shim_async::Client;
use ocinet::engine::{Error, Result};
use ocinet::kernel;
use ocinet_proto::ttrpc;
use serde_json::Value;

use crate::call::Call;

/// The shim that does all the work.
const STOCK: &str = "containerd-shim-runc-v2";

/// How long it may take to end.
const PATIENCE: Duration = Duration::from_secs(5);

/// The stock shim, as containerd would have called it: with the arguments, the standard streams and the environment that we got.
pub struct Stock(Command);

impl Stock {
    /// # Errors
    /// Where there is none.
    pub fn of(call: &Call, arguments: &[OsString]) -> Result<Self> {
        let Some(program) = find(call, &env::var_os("PATH").unwrap_or_default()) else {
            return Err(Error::NotFound(format!(
                "there is no {STOCK} beside {} nor on the PATH; it comes with containerd",
                call.publish_binary.as_deref().unwrap_or("containerd".as_ref()).display()
            )));
        };
        let mut command = Command::new(program);
        command.args(arguments);
        Ok(Self(command))
    }

    /// Becomes it. Returns only where that fails, with the reason.
    pub fn take_over(mut self) -> Error {
        let error = self.0.exec();
        self.refused(error)
    }

    /// Lets it start beside us, and keeps to us what it says.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn start(mut self) -> Result<Starting> {
        match self.0.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn() {
            Ok(child) => Ok(Starting(child)),
            Err(error) => Err(self.refused(error)),
        }
    }

    fn refused(&self, error: io::Error) -> Error {
        let program = Path::new(self.0.get_program());
        kernel::Error::refused(format!("execute {}", program.display()), error).into()
    }
}

/// The stock shim's `start`, which leaves a process behind that will be the container's shim.
pub struct Starting(Child);

impl Starting {
    /// Waits for its end, and says to containerd what it said.
    ///
    /// # Errors
    /// When containerd cannot be told.
    pub fn finish(self) -> Result<ExitCode> {
        let Output { status, stdout, stderr } = self.end()?;
        let told = io::stdout().write_all(&stdout).and_then(|()| io::stdout().flush());
        told.and_then(|()| io::stderr().write_all(&stderr))
            .map_err(|error| kernel::Error::refused("answer containerd", error))?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    }

    /// There will be no container: waits for its end, and shuts down what it left behind, unless that has other containers.
    ///
    /// # Errors
    /// When that does not hear us.
    pub fn revoke(self) -> Result<()> {
        let Output { stdout, .. } = self.end()?;
        let said = String::from_utf8_lossy(&stdout);
        // Newer ones say more than an address.
        let address = match serde_json::from_str::<Value>(&said) {
            Ok(said) => said["address"].as_str().map(str::to_owned),
            Err(_) => said.trim().starts_with("unix:").then(|| said.trim().to_owned()),
        };
        address.map_or(Ok(()), |address| shut_down(&address))
    }

    fn end(self) -> Result<Output> {
        self.0.wait_with_output().map_err(|error| kernel::Error::refused("wait for the stock shim", error).into())
    }
}

/// Asks the shim at `address` to end, in the words of containerd 2 and in those of earlier ones.
fn shut_down(address: &str) -> Result<()> {
    let refused = |error| kernel::Error::refused(format!("shut down the shim at {address}"), error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let payload = ShutdownRequest { now: true, ..Default::default() }.write_to_bytes();
    let payload = payload.map_err(|error| refused(error.into()))?;
    let asked = runtime.block_on(async {
        let client = Client::connect(address).await?;
        let mut answer = Ok(());
        for service in ["containerd.task.v3.Task", "containerd.task.v2.Task"] {
            let mut request = ttrpc::Request::new();
            request.service = service.to_owned();
            request.method = "Shutdown".to_owned();
            request.timeout_nano = PATIENCE.as_nanos().try_into().unwrap_or(i64::MAX);
            request.payload.clone_from(&payload);
            answer = client.request(request).await.map(drop);
            if answer.is_ok() {
                break;
            }
        }
        answer
    });
    Ok(asked.map_err(|error: ttrpc::Error| refused(io::Error::other(error)))?)
}

/// The stock shim: that of the containerd which calls, else the first on the caller's PATH. Never ourselves, whatever links
/// there are.
fn find(call: &Call, path: &OsStr) -> Option<PathBuf> {
    let own = env::current_exe().and_then(identity).ok();
    let containerds = call.publish_binary.as_deref().and_then(|binary| Path::new(binary).parent());
    let containerds = containerds.filter(|folder| folder.is_absolute()).map(Path::to_owned);
    let folders = containerds.into_iter().chain(env::split_paths(path).filter(|folder| folder.is_absolute()));
    folders.map(|folder| folder.join(STOCK)).find(|file| is_program(file) && identity(file).ok() != own)
}

fn is_program(file: &Path) -> bool {
    fs::metadata(file).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

fn identity(file: impl AsRef<Path>) -> io::Result<(u64, u64)> {
    fs::metadata(file).map(|meta| (meta.dev(), meta.ino()))
}
