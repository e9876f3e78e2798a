//! The call of the stock shim.

use std::env;
use std::ffi::{OsStr, OsString};
use std::fs::{self, File};
use std::io::{self, Read, Seek, Write};
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitCode, ExitStatus, Stdio};
use std::time::Duration;

use containerd_shim_protos::api::{DeleteResponse, ShutdownRequest};
use containerd_shim_protos::bootstrap_api::BootstrapResult;
use containerd_shim_protos::protobuf::Message;
use nix::sys::memfd::{MFdFlags, memfd_create};
use ocinet::engine::{Error, Result};
use ocinet::kernel;
use ocinet_proto::ttrpc;
use serde_json::Value;

use crate::call::Call;
use crate::dial;

/// The shim that runs the containers.
const STOCK: &str = "containerd-shim-runc-v2";

/// `PIPE_BUF`: a write to a pipe of at most this length is atomic (pipe(7)).
const PIECE: usize = 4096;

/// The longest wait for the end of the shim.
const PATIENCE: Duration = Duration::from_secs(5);

/// The stock shim as containerd would have called it: with the arguments, standard streams and environment of this
/// process.
pub struct Stock(Command);

impl Stock {
    /// # Errors
    /// When there is none.
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

    /// Executes it in place of this process. Returns only if that fails, with the error.
    pub fn take_over(mut self) -> Error {
        let error = self.0.exec();
        self.refused(error)
    }

    /// Starts its `start` at the same time as the wiring, and keeps its output.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn start(self) -> Result<Working> {
        self.work(is_shim)
    }

    /// Starts its `delete` at the same time as the detach, and keeps its output.
    ///
    /// # Errors
    /// When it cannot be executed.
    pub fn delete(self) -> Result<Working> {
        self.work(is_exit)
    }

    fn work(mut self, is_whole: fn(&[u8]) -> bool) -> Result<Working> {
        // A file, so that it need not be read before the end.
        let warnings = memfd_create("warnings", MFdFlags::MFD_CLOEXEC).map_err(|error| self.refused(error.into()))?;
        let warnings = File::from(warnings);
        let theirs = warnings.try_clone().map_err(|error| self.refused(error))?;
        match self.0.stdout(Stdio::piped()).stderr(theirs).spawn() {
            Ok(process) => Ok(Working { process, warnings, is_whole }),
            Err(error) => Err(self.refused(error)),
        }
    }

    fn refused(&self, error: io::Error) -> Error {
        let program = Path::new(self.0.get_program());
        kernel::Error::refused(format!("execute {}", program.display()), error).into()
    }
}

/// The running stock shim. Its `start` leaves a process behind that becomes the container's shim.
pub struct Working {
    process: Child,
    /// Its stderr.
    warnings: File,
    /// Whether an answer is complete.
    is_whole: fn(&[u8]) -> bool,
}

impl Working {
    /// Waits for its answer, and passes it on to containerd.
    ///
    /// # Errors
    /// When the answer cannot be written.
    pub fn finish(mut self) -> Result<ExitCode> {
        let (answer, status) = self.answer()?;
        let refused = |error| kernel::Error::refused("answer containerd", error);
        io::stdout().write_all(&answer).and_then(|()| io::stdout().flush()).map_err(refused)?;
        self.warnings.rewind().and_then(|()| io::copy(&mut self.warnings, &mut io::stderr())).map_err(refused)?;
        let code = status.code().and_then(|code| u8::try_from(code).ok());
        Ok(code.map_or(ExitCode::FAILURE, ExitCode::from))
    }

    /// There will be no container: waits for the answer of its `start`, and shuts down the shim that it started, unless
    /// that has other containers.
    ///
    /// # Errors
    /// When that shim cannot be reached.
    pub fn revoke(mut self) -> Result<()> {
        let (answer, _) = self.answer()?;
        shim(&answer).map_or(Ok(()), |shim| shut_down(&shim.address))
    }

    /// Reads until its answer is complete or, if it fails, until its end. The answer is the last thing that it writes
    /// (containerd, `pkg/shim/shim.go`), and the process takes longer to end than ours.
    fn answer(&mut self) -> Result<(Vec<u8>, ExitStatus)> {
        let refused = |error| kernel::Error::refused("hear the stock shim", error);
        let mut answer = Vec::new();
        let mut part = [0; PIECE];
        while let Some(stdout) = &mut self.process.stdout {
            let length = stdout.read(&mut part).map_err(refused)?;
            answer.extend_from_slice(&part[..length]);
            if length == 0 {
                break;
            }
            // More may follow a full piece, and a message that is cut off between two fields looks complete.
            if length < PIECE && (self.is_whole)(&answer) {
                return Ok((answer, ExitStatus::default()));
            }
        }
        Ok((answer, self.process.wait().map_err(refused)?))
    }
}

/// Whether the answer to `start` is complete: it leads to a shim.
fn is_shim(answer: &[u8]) -> bool {
    shim(answer).is_some_and(|shim| {
        let path = shim.address.trim_start_matches("unix://");
        !shim.protocol.is_empty() && fs::metadata(path).is_ok_and(|meta| meta.file_type().is_socket())
    })
}

/// The shim in the answer to `start`: an address alone, JSON or, from containerd 2.3 on, a message (containerd,
/// `docs/runtime-v2.md`).
fn shim(answer: &[u8]) -> Option<BootstrapResult> {
    let text = str::from_utf8(answer).unwrap_or_default().trim();
    let at = |address: &str| BootstrapResult {
        address: address.to_owned(),
        protocol: "ttrpc".to_owned(),
        ..Default::default()
    };
    if text.starts_with("unix:") {
        return Some(at(text));
    }
    let shim = match serde_json::from_slice::<Value>(answer) {
        Ok(answer) => at(answer["address"].as_str()?),
        Err(_) => BootstrapResult::parse_from_bytes(answer).ok()?,
    };
    (!shim.address.is_empty()).then_some(shim)
}

/// Whether the answer to `delete` is complete: it has its last field.
fn is_exit(answer: &[u8]) -> bool {
    DeleteResponse::parse_from_bytes(answer).is_ok_and(|answer| answer.exited_at.is_some())
}

/// Asks the shim at `address` to end, by the methods of containerd 2 and of earlier releases.
fn shut_down(address: &str) -> Result<()> {
    let refused = |error| kernel::Error::refused(format!("shut down the shim at {address}"), error);
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(refused)?;
    let payload = ShutdownRequest { now: true, ..Default::default() }.write_to_bytes();
    let payload = payload.map_err(|error| refused(error.into()))?;
    let asked = runtime.block_on(async {
        let path = Path::new(address.trim_start_matches("unix://"));
        let client = dial::client(path, PATIENCE).await.map_err(|error| ttrpc::Error::Others(error.to_string()))?;
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

/// The stock shim: that of the calling containerd, else the first on the caller's PATH. Never this program itself, even
/// by a link.
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_answer_to_start_leads_to_a_shim() {
        let message = BootstrapResult { address: "unix:///s".into(), protocol: "ttrpc".into(), ..Default::default() };
        let message = message.write_to_bytes().unwrap();
        let json = br#"{"version":3,"address":"unix:///s","protocol":"ttrpc"}"#;
        for answer in [&b"unix:///s\n"[..], json, &message] {
            assert_eq!(shim(answer).map(|shim| shim.address).as_deref(), Some("unix:///s"), "{answer:?}");
        }
        for answer in [&b""[..], b"no shim: failed", b"{}", &json[..30], &message[..5], b"\x08\x03"] {
            assert_eq!(shim(answer), None, "{answer:?}");
        }
    }
}
