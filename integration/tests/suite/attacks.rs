//! The table of attacks that `integration/attacks` prints: each fails, and succeeds where its guard is removed.

use anyhow::{Result, ensure};
use ocinet_integration::attack::{CHAPTERS, Chapter, Outcome};
use ocinet_integration::every;

#[test]
fn packets_that_must_not_pass() -> Result<()> {
    held(&CHAPTERS[0])
}

#[test]
fn a_neighbour_on_the_same_bridge() -> Result<()> {
    held(&CHAPTERS[1])
}

#[test]
fn what_a_runtime_an_image_or_a_user_says() -> Result<()> {
    held(&CHAPTERS[2])
}

fn held(chapter: &Chapter) -> Result<()> {
    every(chapter.attacks, |attack| {
        chapter.worlds().try_for_each(|world| {
            let outcome = attack.attempt(world.settings())?;
            ensure!(outcome == Outcome::HELD, "{world:?}: {outcome:?}");
            Ok(())
        })
    })
}
