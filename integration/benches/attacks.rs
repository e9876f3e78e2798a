//! The table of attacks, with the guards and without them. `integration/attacks` runs it.

use std::process::ExitCode;

use anyhow::Result;
use ocinet_integration::Firewall;
use ocinet_integration::attack::{Attack, CHAPTERS, Chapter};

fn main() -> Result<ExitCode> {
    println!("{:<12}{:<12}{:<12}attack", "nftables", "iptables", "no guard");
    let mut good = true;
    for chapter in &CHAPTERS {
        println!("\n{:<36}{}", "", chapter.who);
        for attack in chapter.attacks {
            good &= row(chapter, attack)?;
        }
    }
    println!("\n{}", if good { "every guard holds" } else { "A GUARD DOES NOT HOLD, or an attack does not work" });
    Ok(if good { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

/// Tries the attack with each firewall. The result combines the worst outcomes; iptables counts as one firewall with
/// two variants.
fn row(chapter: &Chapter, attack: &Attack) -> Result<bool> {
    let (mut nftables, mut iptables, mut unguarded) = (false, false, true);
    for world in chapter.worlds() {
        let outcome = attack.attempt(world.settings())?;
        match world.firewall {
            Firewall::Nftables => nftables |= outcome.guarded,
            Firewall::IptablesNft | Firewall::IptablesLegacy => iptables |= outcome.guarded,
        }
        unguarded &= outcome.unguarded;
    }
    let word = |succeeds| if succeeds { "succeeds" } else { "held" };
    let Attack { what, seen, guard, .. } = attack;
    println!("{:<12}{:<12}{:<12}{what}", word(nftables), word(iptables), word(unguarded));
    println!("{:<36}  {seen}: {guard}", "");
    Ok(!nftables && !iptables && unguarded)
}
