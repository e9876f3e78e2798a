//! The table of attacks that `integration/attacks` prints: each is held off, and succeeds where its guard is taken out.

use anyhow::{Result, ensure};
use ocinet_integration::attack::{Attack, CHAPTERS, Outcome, WORLDS};
use ocinet_integration::every;

#[test]
fn packets_that_must_not_pass() -> Result<()> {
    held(CHAPTERS[0].1)
}

#[test]
fn a_neighbour_on_the_same_bridge() -> Result<()> {
    held(CHAPTERS[1].1)
}

#[test]
fn what_a_runtime_an_image_or_a_user_says() -> Result<()> {
    held(CHAPTERS[2].1)
}

fn held(attacks: &[Attack]) -> Result<()> {
    every(attacks, |attack| {
        WORLDS.into_iter().try_for_each(|world| {
            let outcome = attack.attempt(world.settings())?;
            ensure!(outcome == Outcome::HELD, "{world:?}: {outcome:?}");
            Ok(())
        })
    })
}
