//! The command lines of OCI runtimes.

use anyhow::Result;

use crate::Place;

/// The runtime that starts and stops containers.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Runtime {
    /// The reference implementation.
    Runc,
    /// The runtime of podman's authors. It never calls poststop after a failed start.
    Crun,
    /// No runtime: `unshare` makes the namespace, and the test calls the hook as a runtime would. This is quick.
    Bare,
}

impl Runtime {
    /// The program's name; `None` without a runtime.
    pub fn program(self) -> Option<&'static str> {
        match self {
            Self::Runc => Some("runc"),
            Self::Crun => Some("crun"),
            Self::Bare => None,
        }
    }

    /// The default folder of its state.
    pub(crate) fn root(self) -> String {
        format!("/mnt/{}", self.program().unwrap_or("bare"))
    }
}

/// One container under a runtime.
#[derive(Clone, Debug)]
pub(crate) struct Handle {
    /// The runtime.
    pub program: &'static str,
    /// The folder of its state: ids are unique within one.
    pub root: String,
    /// The container's id.
    pub id: String,
}

impl Handle {
    /// `run`. The container's output goes to files: the test would wait for a pipe as long as a process holds its end.
    pub fn run(&self, place: &Place, bundle: &str) -> Result<crate::Output> {
        let script = format!(
            "cd {bundle}; exec {} --root {} run --detach --bundle {bundle} --pid-file {bundle}/pid {} </dev/null >stdout 2>stderr",
            self.program, self.root, self.id
        );
        let mut output = place.output(&["sh", "-euc", &script])?;
        output.stderr = place.sh(&format!("cat {bundle}/stderr; cat {bundle}/hook-stderr 2>/dev/null || true"))?;
        Ok(output)
    }

    /// `delete --force`: also kills a container that is running.
    pub fn delete(&self, place: &Place) -> Result<()> {
        place.output(&[self.program, "--root", &self.root, "delete", "--force", &self.id])?.success()?;
        Ok(())
    }

    /// `exec`: returns what the program prints.
    pub fn exec(&self, place: &Place, argv: &[&str]) -> Result<String> {
        place.output(&[&[self.program, "--root", &self.root, "exec", &self.id], argv].concat())?.success()
    }
}
