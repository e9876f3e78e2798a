//! A client of containerd's Container Runtime Interface (`runtime.v1`), as a kubelet is one, for pods on a private
//! host.
//!
//! The messages are few and small, so they are encoded field by field, and curl sends them: a unary call of gRPC is one
//! HTTP/2 request.

use std::fs;
use std::sync::atomic::{AtomicU32, Ordering};

use anyhow::{Context, Result, bail, ensure};

use crate::Host;

/// A protobuf message with the field types that these calls need.
#[derive(Clone, Debug, Default)]
pub struct Message(Vec<u8>);

impl Message {
    /// A string in field `number`.
    pub fn text(self, number: u8, text: &str) -> Self {
        self.bytes(number, text.as_bytes())
    }

    /// A message in field `number`.
    pub fn message(self, number: u8, inner: &Self) -> Self {
        self.bytes(number, &inner.0)
    }

    /// Entries of the map in field `number`.
    pub fn map(self, number: u8, entries: &[(&str, &str)]) -> Self {
        entries
            .iter()
            .fold(self, |message, (key, value)| message.message(number, &Self::default().text(1, key).text(2, value)))
    }

    fn bytes(mut self, number: u8, bytes: &[u8]) -> Self {
        self.0.push(number << 3 | 2);
        self.varint(bytes.len());
        self.0.extend_from_slice(bytes);
        self
    }

    fn varint(&mut self, mut value: usize) {
        while value > 0x7f {
            self.0.push((value & 0x7f) as u8 | 0x80);
            value >>= 7;
        }
        self.0.push(value as u8);
    }
}

/// Calls a method of containerd's runtime service, and returns the text in the first field of its answer.
pub(crate) fn call(host: &Host, socket: &str, method: &str, request: &Message) -> Result<String> {
    static COUNT: AtomicU32 = AtomicU32::new(0);
    let place = format!("/mnt/cri-{}", COUNT.fetch_add(1, Ordering::Relaxed));
    let length = u32::try_from(request.0.len())?.to_be_bytes();
    fs::write(host.path(&place), [&[0], &length[..], &request.0].concat())?;
    let url = format!("http://localhost/runtime.v1.RuntimeService/{method}");
    // A refusal may come before the whole request was read. curl reports that as an error of the stream.
    let said = host.sh(&format!(
        "curl --silent --show-error --http2-prior-knowledge --unix-socket {socket} --data-binary @{place} \
         --header 'content-type: application/grpc' --header 'te: trailers' \
         --dump-header {place}.headers --output {place}.answer {url} 2>&1 || true"
    ))?;
    let headers = fs::read_to_string(host.path(format!("{place}.headers"))).unwrap_or_default();
    let answer = fs::read(host.path(format!("{place}.answer"))).unwrap_or_default();
    host.sh(&format!("rm -f {place}*"))?;
    let header = |name: &str| headers.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    match header("grpc-status:") {
        Some("0") => first_text(answer.get(5..).unwrap_or_default()),
        _ => bail!("{method}: {}", header("grpc-message:").unwrap_or(&said)),
    }
}

fn first_text(mut message: &[u8]) -> Result<String> {
    let Some((&tag, rest)) = message.split_first() else { return Ok(String::new()) };
    ensure!(tag == 1 << 3 | 2, "the answer begins with the field {tag:#x}");
    message = rest;
    let (mut length, mut shift) = (0_usize, 0);
    while let Some((&byte, rest)) = message.split_first() {
        message = rest;
        length |= usize::from(byte & 0x7f) << shift;
        shift += 7;
        if byte < 0x80 {
            break;
        }
    }
    let text = message.get(..length).context("the answer is cut off")?;
    Ok(String::from_utf8_lossy(text).into_owned())
}
