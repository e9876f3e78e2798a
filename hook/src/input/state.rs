use std::collections::HashMap;
use std::fmt;
use std::str::FromStr;

use serde::Deserialize;

use super::json;
use crate::model::{ContainerId, Invalid};

/// The state of a container as the runtime writes it to a hook's stdin (runtime-spec, "State").
///
/// Looser than the specification: `status` is not read at all, since runtimes differ in it and may add values of their
/// own.
#[derive(Debug)]
pub struct State {
    /// The container's id.
    pub id: ContainerId,
    /// The container's init process; absent or 0 once it is gone.
    pub pid: i64,
    /// The absolute path of the bundle directory.
    pub bundle: String,
    /// The container's annotations; empty where the runtime leaves them out.
    pub annotations: HashMap<String, String>,
}

#[derive(Deserialize)]
struct Raw {
    id: String,
    #[serde(default)]
    pid: serde_json::Value,
    bundle: String,
    #[serde(default, deserialize_with = "json::texts")]
    annotations: Option<HashMap<String, String>>,
}

impl State {
    /// As much as a bundle may have: a state repeats all of its annotations. stdin is not read beyond it.
    pub const MAX_BYTES: usize = 16 << 20;

    /// Reads what came on stdin.
    pub fn parse(json: &[u8]) -> Result<Self, Invalid> {
        if json.len() > Self::MAX_BYTES {
            return Err(Invalid::new(
                "state on stdin",
                format!("{}+ bytes", Self::MAX_BYTES),
                "is larger than any state",
            ));
        }
        if json.iter().all(u8::is_ascii_whitespace) {
            let why = "is empty; this command is called by an OCI runtime, which writes the container's state as JSON";
            return Err(Invalid::new("state on stdin", "", why));
        }
        let raw: Raw = serde_json::from_slice(json).map_err(|error| {
            Invalid::new("state on stdin", String::from_utf8_lossy(json), format!("is not an OCI state: {error}"))
        })?;
        let id = raw.id.parse().map_err(|e: Invalid| e.within("state"))?;
        if !raw.bundle.starts_with('/') || raw.bundle.contains('\0') {
            return Err(Invalid::new("state: bundle", &raw.bundle, "is not an absolute path"));
        }
        let pid = match &raw.pid {
            serde_json::Value::Null => 0,
            value => value.as_i64().ok_or_else(|| Invalid::new("state: pid", value, "is not a number"))?,
        };
        Ok(Self { id, pid, bundle: raw.bundle, annotations: raw.annotations.unwrap_or_default() })
    }

    /// The pid of the container's init process, which exists while a container is created.
    pub fn live_pid(&self) -> Result<i32, Invalid> {
        let wrong = |why: &str| Invalid::new("state: pid", self.pid, why);
        match i32::try_from(self.pid) {
            Ok(pid) if pid > 1 => Ok(pid),
            Ok(1) => Err(wrong("is the host's init, not a container")),
            _ => Err(wrong("is no process; at this stage the container's must exist")),
        }
    }
}

/// The point of a container's life at which a runtime calls its hooks (runtime-spec, "POSIX-platform Hooks"; podman's
/// oci-hooks(5) for `precreate`).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stage {
    /// Before the container exists: the hook gets its spec, and gives it back edited.
    Precreate,
    /// The deprecated forerunner of `createRuntime`.
    Prestart,
    /// After the namespaces exist, before pivot_root.
    CreateRuntime,
    /// After the container is deleted.
    Poststop,
}

impl Stage {
    /// What the stages are called.
    pub const NAMES: [&str; 4] = ["precreate", "prestart", "createRuntime", "poststop"];
}

impl FromStr for Stage {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        match text {
            "precreate" => Ok(Self::Precreate),
            "prestart" => Ok(Self::Prestart),
            "createRuntime" => Ok(Self::CreateRuntime),
            "poststop" => Ok(Self::Poststop),
            _ => Err(format!("is none of {}", Self::NAMES.join(", "))),
        }
    }
}

impl fmt::Display for Stage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Precreate => "precreate",
            Self::Prestart => "prestart",
            Self::CreateRuntime => "createRuntime",
            Self::Poststop => "poststop",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_runc_and_crun_write() {
        let runc = br#"{"ociVersion":"1.0.2-dev","id":"web","status":"creating","pid":41,"bundle":"/b","annotations":{"k":"v"}}"#;
        let state = State::parse(runc).unwrap();
        assert_eq!((state.id.as_str(), state.live_pid(), state.annotations["k"].as_str()), ("web", Ok(41), "v"));
        let crun = br#"{"ociVersion":"1.0","id":"web","pid":0,"root":"/r","bundle":"/b","status":"stopped"}"#;
        assert_eq!(State::parse(crun).unwrap().pid, 0);
    }

    #[test]
    fn refusals_name_the_field() {
        let rows: [(&str, &str); 8] = [
            ("", "empty"),
            ("  \n", "empty"),
            ("{\"id\":", "not an OCI state"),
            ("hello", "not an OCI state"),
            (r#"{"id":"a/b","bundle":"/b"}"#, "state: id"),
            (r#"{"id":"a\u0000b","bundle":"/b"}"#, "state: id"),
            (r#"{"id":"a","bundle":"b"}"#, "state: bundle"),
            (r#"{"id":"a","bundle":"/b","pid":"7"}"#, "state: pid"),
        ];
        for (json, part) in rows {
            let error = State::parse(json.as_bytes()).unwrap_err().to_string();
            assert!(error.contains(part), "{json}: {error}");
        }
        for pid in ["-1", "0", "1", "99999999999"] {
            let json = format!(r#"{{"id":"a","bundle":"/b","pid":{pid}}}"#);
            assert!(State::parse(json.as_bytes()).unwrap().live_pid().is_err(), "{pid}");
        }
        assert!(State::parse(&vec![b' '; State::MAX_BYTES + 1]).unwrap_err().to_string().contains("larger"));
    }

    proptest! {
        #[test]
        fn never_panics(bytes: Vec<u8>, pid: i64, id in ".{0,20}") {
            let _ = State::parse(&bytes);
            let json = serde_json::json!({"id": id, "pid": pid, "bundle": "/b"}).to_string();
            if let Ok(state) = State::parse(json.as_bytes()) {
                let _ = state.live_pid();
            }
        }
    }
}
