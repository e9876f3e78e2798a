use std::path::Path;

use crate::engine::{Error, Result};
use crate::input::{Bundle, State};
use crate::kernel;
use crate::model::Invalid;

/// Reads config.json of the bundle that `state` names.
///
/// # Errors
/// When it cannot be read, or is no OCI spec.
pub fn bundle_of(state: &State) -> Result<Bundle> {
    let path = Path::new(&state.bundle).join("config.json");
    let json = kernel::read_regular(&path, Bundle::MAX_BYTES)
        .map_err(|error| Error::about_input(error, |why| Invalid::new("bundle", &state.bundle, why)))?
        .ok_or_else(|| Invalid::new("bundle", &state.bundle, "has no config.json"))?;
    Ok(Bundle::parse(&json, &path.to_string_lossy())?)
}
