use crate::engine::Result;
use crate::kernel::HostLinks;
use crate::model::{Family, InterfaceName};

/// The links that the host's default routes leave by, of both families and all tables, each once.
///
/// # Errors
/// When the kernel cannot be asked.
pub fn uplinks() -> Result<Vec<InterfaceName>> {
    let mut links = HostLinks::open()?;
    let mut names: Vec<InterfaceName> = Vec::new();
    for family in Family::ALL {
        for way in links.ways_out(family)? {
            if !names.contains(&way.link) {
                names.push(way.link);
            }
        }
    }
    Ok(names)
}
