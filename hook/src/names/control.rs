//! What people and programs of the host ask by the socket in the state directory, which is root's alone: one line, and
//! one line of JSON as the answer.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use serde_json::{Value, json};

use ocinet::driver::NAME_SERVER;

use crate::answer;
use crate::shared::Shared;

/// A line is short, and its writer is at it.
const PATIENCE: Duration = Duration::from_secs(1);
const MAX_BYTES: u64 = 4096;

/// Answers one line.
pub fn serve(stream: UnixStream, shared: &Shared) {
    // Who has gone needs no answer.
    let _ = answer_line(stream, shared);
}

fn answer_line(mut stream: UnixStream, shared: &Shared) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.set_write_timeout(Some(PATIENCE))?;
    let mut line = String::new();
    BufReader::new((&stream).take(MAX_BYTES)).read_line(&mut line)?;
    let answer = match line.split_whitespace().collect::<Vec<_>>()[..] {
        ["status"] => status(shared),
        ["resolve", name] => resolve(shared, name, None),
        ["resolve", name, network] => resolve(shared, name, Some(network)),
        // Who only looks whether it is there says nothing.
        _ => return Ok(()),
    };
    writeln!(stream, "{answer}")
}

fn status(shared: &Shared) -> Value {
    shared.with(|source, _| {
        let directory = source.directory();
        json!({
            "pid": std::process::id(), "version": env!("CARGO_PKG_VERSION"), "address": NAME_SERVER,
            "containers": directory.len(), "networks": directory.networks_with_names(),
        })
    })
}

fn resolve(shared: &Shared, name: &str, network: Option<&str>) -> Value {
    shared.with(|source, _| {
        let mut networks = source.directory().networks_with_names();
        networks.retain(|known| network.is_none_or(|only| known.as_str() == only));
        json!({"addresses": answer::everywhere(source.directory(), &networks, name)})
    })
}
