use clap_mangen::roff::{Roff, bold, italic, roman};

use ocinet::input::{AnnotationKey, Annotations};

use super::{NO_DATE, SOURCE, literal, section, see_also};

/// ocinet-annotations(7).
pub(super) fn page() -> Roff {
    let mut roff = Roff::new();
    roff.control("TH", ["ocinet-annotations", "7", NO_DATE, SOURCE, "ocinet"]);
    section(&mut roff, "NAME");
    roff.text([roman("ocinet-annotations - what a container says about its network")]);
    section(&mut roff, "DESCRIPTION");
    for (index, paragraph) in DESCRIPTION.iter().enumerate() {
        if index > 0 {
            roff.control("PP", []);
        }
        roff.text([roman(*paragraph)]);
    }
    section(&mut roff, "KEYS");
    Annotations::KEYS.iter().for_each(|key| describe(&mut roff, key));
    section(&mut roff, "EXAMPLES");
    roff.text([roman("In a bundle's config.json:")]);
    literal(&mut roff, &example());
    see_also(&mut roff, &["ocinet(1)", "ocinet-hook(1)"]);
    roff
}

const DESCRIPTION: [&str; 2] = [
    "ocinet reads what to do from the annotations of a container: those in the state that the runtime hands to a hook, \
     and those in the bundle's config.json, where the state has no such key. Values are text; lists are joined by commas or by blanks, since podman run \
     --annotation takes some apart at their commas.",
    "A container with no key of ocinet is left alone, unless default_network in config.toml says otherwise. A key that \
     begins with io.ocinet. and is not listed here is an error, and so is a value that does not follow its grammar: the \
     container does not start.",
];

fn describe(roff: &mut Roff, key: &AnnotationKey) {
    roff.control("TP", []).text([bold(key.name), roman(" = "), italic(key.grammar)]);
    for (index, paragraph) in key.help.iter().enumerate() {
        if index > 0 {
            roff.control("IP", []);
        }
        roff.text([roman(*paragraph)]);
    }
    roff.control("IP", []).text([roman("Example: "), bold(key.example)]);
}

fn example() -> String {
    let lines: Vec<String> =
        Annotations::KEYS.iter().map(|key| format!("    {:?}: {:?}", key.name, key.example)).collect();
    format!("  \"annotations\": {{\n{}\n  }}", lines.join(",\n"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_is_json_with_every_key() {
        let json: serde_json::Value = serde_json::from_str(&format!("{{{}}}", example())).unwrap();
        assert_eq!(json["annotations"].as_object().unwrap().len(), Annotations::KEYS.len());
    }
}
