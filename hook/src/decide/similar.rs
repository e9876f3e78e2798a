/// The candidate that `text` was probably meant to be, for a `did you mean`; `None` where nothing is near enough to be
/// worth a guess.
///
/// Near is one edit in three letters, or a beginning of at least two letters, since people cut long ids short.
pub fn similar<'a>(text: &str, candidates: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let tolerance = (text.chars().count() / 3).max(1);
    let begins = |candidate: &str| text.len() >= 2 && candidate.starts_with(text);
    let distance = |candidate: &str| match begins(candidate) {
        true => 0,
        false => strsim::damerau_levenshtein(text, candidate),
    };
    let ranked = candidates.into_iter().map(|candidate| (distance(candidate), candidate));
    ranked.filter(|(distance, _)| *distance <= tolerance).min().map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_near_is_guessed() {
        let known = ["bridge", "host", "none", "3f1c9a77e2b0"];
        let rows = [
            ("brigde", Some("bridge")),
            ("hots", Some("host")),
            ("3f1", Some("3f1c9a77e2b0")),
            ("frontend", None),
            ("x", None),
            ("", None),
        ];
        for (text, expected) in rows {
            assert_eq!(similar(text, known), expected, "{text}");
        }
    }
}
