//! One container after the other: nothing grows.

use anyhow::Result;
use ocinet_integration::survive::{cycles, is_flat};

/// Neither the store, nor the rules, nor what a hook needs.
#[test]
fn many_attaches_and_detaches() -> Result<()> {
    is_flat(&cycles(200)?)
}
