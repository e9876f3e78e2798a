use crate::engine::locks::alone_at_sandbox;
use crate::engine::{Engine, Result};
use crate::model::Key;

impl Engine {
    /// Takes away everything of the container `key`. None there is no error: poststop comes after a failed attach, too.
    ///
    /// # Errors
    /// Those of the kernel and the store; the sandbox stays in the store, so that it can be tried again.
    pub fn detach(&mut self, key: &Key) -> Result<()> {
        let _alone = alone_at_sandbox(&self.locks, key)?;
        self.with_whole_store(|engine, _| engine.detach_found(key))
    }
}
