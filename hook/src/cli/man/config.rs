use ocinet::input::config::Config;

use super::document::{Document, Part};

/// ocinet-config(5).
pub(super) fn document() -> Document {
    let mut parts: Vec<Part> = DESCRIPTION.iter().map(|text| Part::paragraph(text)).collect();
    parts.push(Part::Section("Keys"));
    parts.extend(Config::KEYS.iter().map(|key| Part::Key {
        name: key.name,
        grammar: key.grammar,
        paragraphs: key.help,
        example: format!("{} = {}", key.name, key.example),
    }));
    parts.extend([Part::Section("Examples"), Part::Literal("toml", example())]);
    Document {
        name: "ocinet-config",
        section: "5",
        summary: "settings of the host in /etc/ocinet/config.toml",
        parts,
        see_also: &["ocinet(1)", "ocinet-annotations(7)", "ocinet-publish(7)"],
    }
}

const DESCRIPTION: [&str; 2] = [
    "The file `/etc/ocinet/config.toml` is optional, and so is every key in it. Hooks read it at each start, so a change \
     needs no reload. A key that is not listed here is an error that names its line.",
    "The range of the network `bridge` is chosen when the first container is attached. It is kept until `ocinet reset`, \
     or until the host restarts.",
];

fn example() -> String {
    Config::KEYS.iter().map(|key| format!("{} = {}\n", key.name, key.example)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_can_be_read() {
        Config::parse(&example(), "the example").unwrap();
    }
}
