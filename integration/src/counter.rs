//! Whether packets come by.

use anyhow::Result;

use crate::Place;

/// Counts in `place`, at `hook`, the packets that match `matching`, after all rules of others.
pub fn count(place: &Place, hook: &str, matching: &str) -> Result<()> {
    let script = format!(
        "nft -f - <<'RULES'
table inet watch {{
    chain {hook} {{
        type filter hook {hook} priority 400
        {matching} counter
    }}
}}
RULES"
    );
    place.sh(&script).map(drop)
}

/// Whether any was counted. Counting begins anew, where `nft` can do that (since 1.0.7).
pub fn has_counted(place: &Place) -> Result<bool> {
    let rules = place.sh("nft list table inet watch")?;
    place.sh("nft reset rules table inet watch >/dev/null || true")?;
    Ok(rules.lines().any(|line| line.contains("counter") && !line.contains("packets 0 ")))
}
