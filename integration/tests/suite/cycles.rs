//! Containers one after the other: memory, store and rules do not grow.

use anyhow::Result;
use ocinet_integration::survive::{cycles, is_flat};

/// Neither the store, nor the rules, nor the memory of a hook grows.
#[test]
fn many_attaches_and_detaches() -> Result<()> {
    is_flat(&cycles(200)?)
}
