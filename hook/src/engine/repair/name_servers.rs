use std::net::IpAddr;

use crate::engine::locks::place_of;
use crate::engine::{Engine, Failures, Result};

impl Engine {
    /// Brings each container's `/etc/resolv.conf` up to date with the host's, and returns the containers whose file
    /// changed. `fallback` is what a container gets where the host has no server for it. What fails for one container
    /// is noted in `failures`.
    ///
    /// # Errors
    /// Those of the store.
    pub fn refresh_resolvers(&mut self, fallback: &[IpAddr], failures: &mut Failures) -> Result<Vec<String>> {
        let mut refreshed = Vec::new();
        for sandbox in self.sandboxes()? {
            let result = self.refresh_resolver(sandbox.number, fallback);
            if failures.note(format!("container {}", sandbox.container), result)? == Some(true) {
                refreshed.push(sandbox.container.to_string());
            }
        }
        Ok(refreshed)
    }

    fn refresh_resolver(&mut self, number: i64, fallback: &[IpAddr]) -> Result<bool> {
        let Some(sandbox) = self.store.read().sandbox(number)? else { return Ok(false) };
        // An attach or detach of it is at work: the one writes the file, the other removes it.
        let Some(_alone) = self.locks.attempt(place_of(&sandbox))? else { return Ok(false) };
        match self.store.read().sandbox(number)? {
            Some(sandbox) => self.files.refresh_resolver(&sandbox, fallback),
            None => Ok(false),
        }
    }
}
