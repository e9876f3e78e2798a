use ocinet::input::config::Config;

use super::document::{Document, Part, folded};

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

/// The file `packaging/examples/config.toml`: every key, commented out.
pub(super) fn example_file() -> String {
    let mut file = folded(HEAD, "# ");
    for key in Config::KEYS {
        file.push('\n');
        key.help.iter().for_each(|text| file += &folded(&text.replace('`', ""), "# "));
        file += &folded(&format!("Value: {}", key.grammar), "# ");
        let kind = if key.default().is_some() { "default" } else { "for example" };
        file += &format!("#{} = {} # {kind}\n", key.name, key.example);
    }
    file
}

const HEAD: &str = "Settings of ocinet, to be put into /etc/ocinet/config.toml. A setting counts once the # before it is \
                    taken away. Behind each value it says whether that is the default or an example.";

#[cfg(test)]
mod tests {
    use super::*;

    /// As it is, and with every setting in it.
    #[test]
    fn the_example_file_can_be_read() {
        let settings = |text: &str| format!("{:?}", Config::parse(text, "the example").unwrap());
        let file = example_file();
        assert_eq!(settings(&file), settings(""));
        let set: String = file.lines().filter_map(|line| Some(format!("{}\n", uncommented(line)?))).collect();
        assert_eq!(settings(&set), settings(&example()));
    }

    fn uncommented(line: &str) -> Option<&str> {
        line.strip_prefix('#').filter(|setting| !setting.starts_with(' '))
    }

    #[test]
    fn the_example_can_be_read() {
        Config::parse(&example(), "the example").unwrap();
    }
}
