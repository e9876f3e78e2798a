//! Following attaches, detaches and networks, for users and scripts.

use std::ffi::OsString;
use std::io::{self, ErrorKind, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Parser;
use ocinet::engine::{Error, Result, SERVICE_SOCKET};
use ocinet::kernel;
use ocinet::log::logger;
use ocinet::model::{shown, shown_json};
use ocinet_proto::ttrpc::{self, context};
use ocinet_proto::v1::event::Kind;
use ocinet_proto::v1::{Container, Event, EventsRequest, NetworkClient};
use slog::crit;
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use crate::{convert, dial};

/// How long the service may take to accept the connection.
const PATIENCE: Duration = Duration::from_secs(20);

/// Follow what is attached and detached on this host, and its networks, until interrupted.
#[derive(Debug, Parser)]
#[command(name = "containerd-shim-ocinet-v2 events", version = ocinet::version!())]
struct Arguments {
    /// Where the socket of the service is
    #[arg(long, value_name = "DIR", default_value = "/run/ocinet")]
    state_dir: PathBuf,
    /// Print messages of the interface as JSON, one a line
    #[arg(long)]
    json: bool,
}

/// `containerd-shim-ocinet-v2 events`.
pub fn run(arguments: &[OsString]) -> ExitCode {
    let name = OsString::from("events");
    let arguments = match Arguments::try_parse_from(std::iter::once(&name).chain(arguments)) {
        Ok(arguments) => arguments,
        Err(error) => return crate::usage(&error),
    };
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build();
    let followed = runtime
        .map_err(|error| kernel::Error::refused("start", error).into())
        .and_then(|runtime| runtime.block_on(follow(&arguments)));
    followed.map_or_else(
        |error| {
            crit!(logger(None), "{error}");
            ExitCode::from(error.exit_code())
        },
        |()| ExitCode::SUCCESS,
    )
}

async fn follow(arguments: &Arguments) -> Result<()> {
    let path = arguments.state_dir.join(SERVICE_SOCKET);
    let lost = |error: ttrpc::Error| -> Error {
        let why = match error {
            ttrpc::Error::RpcStatus(status) => status.message,
            // Any other end of the connection.
            _ => "the service has ended".into(),
        };
        kernel::Error::refused(format!("follow {}", path.display()), io::Error::other(why)).into()
    };
    let client = dial::client(&path, PATIENCE).await.map_err(|error| match error.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => {
            Error::NotFound(format!("nobody serves {}; containerd-shim-ocinet-v2 serve does", path.display()))
        }
        _ => kernel::Error::refused(format!("connect to {}", path.display()), error).into(),
    })?;
    let client = NetworkClient::new(client);
    let mut events = client.events(context::with_timeout(0), &EventsRequest::new()).await.map_err(lost)?;
    loop {
        let event = events.recv().await.map_err(lost)?.ok_or_else(|| lost(ttrpc::Error::RemoteClosed))?;
        let line = if arguments.json { json(&event) } else { text(&event) };
        let Some(line) = line else { continue };
        match writeln!(io::stdout(), "{line}") {
            // A reader that goes away early (`| head`) is no error.
            Err(error) if error.kind() == ErrorKind::BrokenPipe => return Ok(()),
            written => written.map_err(|error| kernel::Error::refused("write to stdout", error))?,
        }
    }
}

/// The message in protobuf's JSON form.
fn json(event: &Event) -> Option<String> {
    protobuf_json_mapping::print_to_string(event).ok().map(|json| shown_json(&json))
}

/// A line of text for an event; none for a heartbeat.
fn text(event: &Event) -> Option<String> {
    let time = OffsetDateTime::from_unix_timestamp_nanos(event.time_unix_nano.into()).ok()?;
    let time = time.replace_nanosecond(0).ok()?.format(&Rfc3339).ok()?;
    let word = match event.kind.enum_value() {
        Ok(Kind::KIND_ATTACHED) => "attached",
        Ok(Kind::KIND_DETACHED) => "detached",
        Ok(kind @ (Kind::KIND_CONNECTED | Kind::KIND_DISCONNECTED)) => {
            let (word, way) = if kind == Kind::KIND_CONNECTED { ("connected", "to") } else { ("disconnected", "from") };
            return Some(shown(&format!("{time} {word} {} {way} network {}", event.container.id, event.network)));
        }
        Ok(Kind::KIND_NETWORK_CREATED) => return Some(shown(&format!("{time} created network {}", event.network))),
        Ok(Kind::KIND_NETWORK_REMOVED) => return Some(shown(&format!("{time} removed network {}", event.network))),
        _ => return None,
    };
    let Container { id, endpoints, published, .. } = event.container.as_ref()?;
    let addresses = endpoints.iter().flat_map(|endpoint| endpoint.addresses.iter().cloned());
    let words =
        [time, word.to_owned(), id.clone()].into_iter().chain(addresses).chain(published.iter().map(convert::ports));
    Some(shown(&words.collect::<Vec<_>>().join(" ")))
}

#[cfg(test)]
mod tests {
    use ocinet_proto::v1::PublishedPorts;

    use super::*;

    #[test]
    fn a_line_says_who_and_where() {
        let endpoint = ocinet_proto::v1::Endpoint { addresses: vec!["10.90.0.2/16".into()], ..Default::default() };
        let published = |host_address: &str, count| PublishedPorts {
            host_address: host_address.into(),
            host_port: 8080,
            container_port: 80,
            count,
            ..Default::default()
        };
        let container = Container {
            id: "web".into(),
            endpoints: vec![endpoint],
            published: vec![published("", 1), published("::1", 3)],
            ..Default::default()
        };
        let mut event = Event { time_unix_nano: 1_000_000_001, ..Default::default() };
        assert_eq!(text(&event), None, "a kind of later versions");
        (event.kind, event.container) = (Kind::KIND_ATTACHED.into(), Some(container).into());
        let line = "1970-01-01T00:00:01Z attached web 10.90.0.2/16 0.0.0.0:8080->80/tcp [::1]:8080-8082->80-82/tcp";
        assert_eq!(text(&event).as_deref(), Some(line));
        (event.kind, event.network) = (Kind::KIND_DISCONNECTED.into(), "front".into());
        assert_eq!(text(&event).as_deref(), Some("1970-01-01T00:00:01Z disconnected web from network front"));
        event = Event { kind: Kind::KIND_NETWORK_CREATED.into(), network: "front".into(), ..Default::default() };
        assert_eq!(text(&event).as_deref(), Some("1970-01-01T00:00:00Z created network front"));
    }
}
