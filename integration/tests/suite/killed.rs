//! Hooks are killed: at their system calls, at random times, by the end of their runtime. Nothing is left.

use anyhow::Result;
use ocinet_integration::survive::{Scene, Share, at_every_call};

/// Every thread and child of every kind of call, at a share of its system calls.
#[test]
fn killed_at_system_calls() -> Result<()> {
    for scene in Scene::ALL {
        let start = std::time::Instant::now();
        let tally = at_every_call(scene, Share::percent(3.0), 2)?;
        eprintln!("{} {} {} {:?}", scene.name(), tally.points, tally.tried, start.elapsed());
        tally.is_clean()?;
    }
    Ok(())
}
