//! What a shell and `nft` make of the lines that `ocinet plan` prints and `nft -f` is fed.

use ocinet::firewall::{Kind, Needs, Publish, nftables};
use ocinet::model::Protocol;
use ocinet::shell;

/// The words of a line that must be one simple command. Outside quotes only what no shell takes for more than a letter.
pub fn words(line: &str) -> Vec<String> {
    assert!(!line.contains(char::is_control), "{line:?}");
    let mut words = vec![String::new()];
    let mut rest = line.chars();
    while let Some(c) = rest.next() {
        let word = words.last_mut().expect("never empty");
        match c {
            ' ' => words.push(String::new()),
            '\'' => {
                let (quoted, behind) =
                    rest.as_str().split_once('\'').unwrap_or_else(|| panic!("an open quote: {line}"));
                word.push_str(quoted);
                rest = behind.chars();
            }
            '"' => loop {
                match rest.next().unwrap_or_else(|| panic!("an open quote: {line}")) {
                    '"' => break,
                    '\\' => word.extend(rest.next().filter(|c| "\"\\".contains(*c))),
                    c if "$`!".contains(c) => panic!("{c:?} means something in quotes in: {line}"),
                    c => word.push(c),
                }
            },
            '\\' => word.extend(rest.next()),
            '$' if rest.as_str().starts_with('\'') => {
                rest.next();
                word.push_str(&dollar_quoted(&mut rest));
            }
            _ if c.is_ascii_alphanumeric() || "._-+:/=,@%]".contains(c) => word.push(c),
            _ => panic!("{c:?} means something to a shell in: {line}"),
        }
    }
    words
}

/// What is between `$'` and its end: octal numbers of three digits for bytes, and characters (POSIX.1-2024, Shell
/// Command Language, 2.2.4).
fn dollar_quoted(rest: &mut std::str::Chars<'_>) -> String {
    let mut bytes = Vec::new();
    loop {
        match rest.next().expect("an open quote") {
            '\'' => return String::from_utf8(bytes).expect("the bytes of characters"),
            '\\' if rest.as_str().starts_with(['\'', '\\']) => bytes.extend(rest.next().map(|c| c as u8)),
            '\\' => {
                let digits: String = rest.by_ref().take(3).collect();
                bytes.push(u8::from_str_radix(&digits, 8).expect("three octal digits"));
            }
            c => bytes.extend(c.encode_utf8(&mut [0; 4]).bytes()),
        }
    }
}

/// Makes sure that a ruleset is the fixed one and, a line each, elements that cannot be read as anything else.
pub fn only_elements(needs: &Needs) {
    let nothing = nftables::Held::default();
    let fixed = nftables::ruleset(&Needs { base: needs.base, ..Needs::default() }, &nothing);
    let text = nftables::ruleset(needs, &nothing);
    let elements = text.strip_prefix(&fixed).expect("the rules depend on no network and no port");
    let input_loop = usize::from(needs.base.input_loop.is_used());
    let of_a_port = |port: &Publish| 1 + usize::from(port.protocol != Protocol::Udp) + input_loop;
    let expected = needs.networks.iter().map(|network| 2 + 2 * network.ranges.len()).sum::<usize>()
        + needs.publish.iter().map(of_a_port).sum::<usize>();
    assert_eq!(elements.lines().count(), expected, "{elements}");
    elements.lines().for_each(one_element);
    for port in &needs.publish {
        let lines = shell::port(Kind::Nftables, port, &needs.base);
        assert_eq!(lines.len(), of_a_port(port), "{lines:?}");
        for line in lines.iter().map(|line| words(line)) {
            assert!(line.len() == 7 && line[..3] == ["nft", "add", "element"], "{line:?}");
            one_element(&line[1..].join(" "));
        }
    }
}

/// `add element FAMILY ocinet SET { ... }` with nothing in the braces that ends a string, a brace or a line.
fn one_element(line: &str) {
    let table = ["inet", "ip"].map(|family| format!("add element {family} {} ", nftables::TABLE));
    let inside = table.iter().find_map(|table| line.strip_prefix(table)).and_then(|rest| rest.split_once(" { "));
    let inside = inside.and_then(|(_, rest)| rest.strip_suffix(" }")).unwrap_or_else(|| panic!("{line:?}"));
    let parts: Vec<&str> = inside.split('"').collect();
    assert!(parts.len() % 2 == 1, "an open string in {line:?}");
    for (nth, part) in parts.into_iter().enumerate() {
        let harmless = |c: char| c.is_ascii_alphanumeric() || "_.+-/".contains(c) || nth % 2 == 0 && " ,:".contains(c);
        assert!(part.chars().all(harmless), "{line:?}");
    }
}
