//! How containerd calls a shim: `SHIM -namespace N -address A -publish-binary P -id ID [-bundle B] start|delete`.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

/// The parts of a call that our shim uses. The rest, including flags of later versions, is passed on to the stock shim.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Call {
    /// The action; `None` for calls that the stock shim handles alone, such as `-v`.
    pub action: Option<Action>,
    /// containerd's namespace of the container.
    pub namespace: Option<OsString>,
    /// The socket of the containerd that calls.
    pub address: Option<OsString>,
    /// containerd's program, which publishes events.
    pub publish_binary: Option<OsString>,
    /// The container's id.
    pub id: Option<OsString>,
    /// The bundle, if a flag names it. The working directory is the same.
    pub bundle: Option<OsString>,
}

/// The calls in which a container is wired or unwired.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Action {
    /// A container is to be created from the bundle in the working directory.
    Start,
    /// A container is gone, or the remains of its shim are to be removed.
    Delete,
}

impl Call {
    /// Parses the words after the program's name as Go does (package `flag`): one dash or two, and the value after `=`
    /// or in the next word. `containerd_shim::parse` would refuse a call with a flag that is newer than the crate,
    /// although the stock shim, which comes with the calling containerd, knows it.
    pub fn parse(arguments: &[OsString]) -> Self {
        let mut call = Self::default();
        let mut words = arguments.iter();
        while let Some(word) = words.next() {
            // The action is the last word: a word before it is the value of an unknown flag.
            call.action = None;
            let Some(flag) = flag(word) else {
                call.action = action(word);
                continue;
            };
            let (name, value) = split(flag);
            let Some(field) = call.field(name) else { continue };
            *field = value.map(OsStr::to_owned).or_else(|| words.next().cloned());
        }
        call
    }

    fn field(&mut self, flag: &OsStr) -> Option<&mut Option<OsString>> {
        match flag.to_str()? {
            "namespace" => Some(&mut self.namespace),
            "address" => Some(&mut self.address),
            "publish-binary" => Some(&mut self.publish_binary),
            "id" => Some(&mut self.id),
            "bundle" => Some(&mut self.bundle),
            _ => None,
        }
    }
}

fn action(word: &OsStr) -> Option<Action> {
    match word.to_str()? {
        "start" => Some(Action::Start),
        "delete" => Some(Action::Delete),
        _ => None,
    }
}

/// The word without its dashes, if it is a flag.
fn flag(word: &OsStr) -> Option<&OsStr> {
    let bytes = word.as_bytes();
    let name = bytes.strip_prefix(b"--").or_else(|| bytes.strip_prefix(b"-"))?;
    Some(OsStr::from_bytes(name))
}

fn split(flag: &OsStr) -> (&OsStr, Option<&OsStr>) {
    let bytes = flag.as_bytes();
    match bytes.iter().position(|byte| *byte == b'=') {
        Some(at) => (OsStr::from_bytes(&bytes[..at]), Some(OsStr::from_bytes(&bytes[at + 1..]))),
        None => (flag, None),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn call(line: &str) -> Call {
        Call::parse(&line.split(' ').map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_containerd_says() {
        let start = call("-namespace k8s.io -address /c.sock -publish-binary /usr/bin/containerd -id web -debug start");
        assert_eq!(start.action, Some(Action::Start));
        assert_eq!(start.namespace.as_deref(), Some(OsStr::new("k8s.io")));
        assert_eq!(start.publish_binary.as_deref(), Some(OsStr::new("/usr/bin/containerd")));
        let delete = call("--namespace=n --id=start -bundle /b/delete delete");
        assert_eq!((delete.action, delete.id), (Some(Action::Delete), Some("start".into())));
        assert_eq!(delete.bundle.as_deref(), Some(OsStr::new("/b/delete")));
    }

    #[test]
    fn what_is_not_ours() {
        for line in [
            "-v",
            "-info",
            "",
            "-",
            "-id",
            "-id start",
            "-namespace n -id delete",
            "start -id",
            "later",
            "-new start -x",
        ] {
            assert_eq!(call(line).action, None, "{line}");
        }
        assert_eq!(call("-new value -id web start").action, Some(Action::Start), "a flag of later versions");
    }
}
