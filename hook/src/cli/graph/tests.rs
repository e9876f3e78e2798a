use super::picture::{Drawn, Node, Picture};
use super::*;

/// What a container's name could be where an engine or a person chose it to do harm.
const HOSTILE: &str = r#"</text><script>alert("x")</script>&amp;'\"]; -- | %%{init}%%"#;

fn node(number: i64, name: &str) -> Node {
    Node {
        number,
        name: name.to_owned(),
        status: "up".into(),
        addresses: vec![format!("eth0 10.64.1.{number}")],
        ports: vec![format!("0.0.0.0:{}->80/tcp", 8000 + number)],
        notes: Vec::new(),
    }
}

fn picture(names: &[&str]) -> Picture {
    let nodes = (1..).zip(names).map(|(number, name)| node(number, name)).collect();
    let own = Drawn { name: "own".into(), facts: vec!["bridge ocn-1".into()], leads_out: true, nodes };
    let inside = Drawn {
        name: "inside".into(),
        facts: vec!["10.64.2.0/24".into(), "internal".into()],
        leads_out: false,
        nodes: vec![Node { status: "dead".into(), ports: Vec::new(), ..node(1, names[0]) }],
    };
    Picture { uplinks: vec!["eth0".into()], networks: vec![own, inside] }
}

fn formats(picture: &Picture) -> [(&'static str, String); 5] {
    [
        ("text", text::drawn(picture, Screen::default())),
        ("dot", dot::drawn(picture)),
        ("mermaid", mermaid::drawn(picture)),
        ("svg", svg::drawn(picture)),
        ("html", svg::page(picture)),
    ]
}

#[test]
fn every_format_has_every_object() {
    let names: Vec<String> = (1..=50).map(|n| format!("web-{n}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    for (format, drawn) in formats(&picture(&names)) {
        let networks = ["own", "inside", "eth0", "internal", "ocn-1"];
        let addresses: Vec<String> = (1..=50).map(|n| format!("10.64.1.{n}")).collect();
        let ports: Vec<String> = (1..=50).map(|n| format!("0.0.0.0:{}", 8000 + n)).collect();
        let all = names.iter().copied().chain(networks).chain(addresses.iter().chain(&ports).map(String::as_str));
        for object in all {
            assert!(drawn.contains(object), "{object} in {format}:\n{drawn}");
        }
    }
}

#[test]
fn a_tree_has_its_branches() {
    let expected = "\
host: uplinks eth0
├─ own: bridge ocn-1
│  ├─ web (up): eth0 10.64.1.1, 0.0.0.0:8001->80/tcp
│  └─ db (up): eth0 10.64.1.2, 0.0.0.0:8002->80/tcp
└─ inside: 10.64.2.0/24, internal
   └─ web (dead): eth0 10.64.1.1
";
    assert_eq!(text::drawn(&picture(&["web", "db"]), Screen::default()), expected);
}

/// On a narrow terminal a line goes on below its container.
#[test]
fn a_tree_fits_the_terminal() {
    let narrow = text::drawn(&picture(&["web", "db"]), Screen { columns: Some(40), colour: false });
    assert!(narrow.contains("│  ├─ web (up): eth0 10.64.1.1,\n│  │    0.0.0.0:8001->80/tcp\n"), "{narrow}");
    assert!(narrow.ends_with("\n   └─ web (dead): eth0 10.64.1.1\n"), "{narrow}");
    assert!(narrow.lines().all(|line| line.chars().count() <= 40), "{narrow}");
    let narrow = text::drawn(&picture(&["web"]), Screen { columns: Some(24), colour: false });
    assert!(narrow.contains("\n└─ inside: 10.64.2.0/24,\n     internal\n"), "{narrow}");
}

/// A container on two networks is one object of a graph.
#[test]
fn a_graph_has_a_container_once() {
    let picture = picture(&["web"]);
    for drawn in [dot::drawn(&picture), mermaid::drawn(&picture)] {
        let (begins, joins) =
            (drawn.matches("  c1[").count() + drawn.matches("  c1 [").count(), drawn.matches("c1").count());
        assert_eq!((begins, joins), (1, 3), "{drawn}");
        assert!(drawn.contains("u0 -- n0") || drawn.contains("u0 --- n0"), "{drawn}");
        assert!(!drawn.contains("u0 -- n1") && !drawn.contains("u0 --- n1"), "{drawn}");
    }
}

/// A name is text, in whatever format it stands.
#[test]
fn what_others_chose_is_text() {
    let [_, (_, dot), (_, mermaid), (_, svg), (_, html)] = formats(&picture(&[HOSTILE]));
    for drawn in [&mermaid, &svg, &html] {
        assert!(!drawn.contains("<script") && !drawn.contains("</text><"), "{drawn}");
    }
    // No quote of the name ends a string: every line has an even number of those that are not escaped.
    for line in dot.lines() {
        let bare = line.replace("\\\\", "").replace("\\\"", "");
        assert_eq!(bare.matches('"').count() % 2, 0, "{line}");
        assert!(!bare.split('"').step_by(2).any(|code| code.contains("script")), "{line}");
    }
    for line in mermaid.lines() {
        assert!(line.matches('"').count() <= 2 && !line.contains('\\') && !line.contains('%'), "{line}");
    }
    assert!(svg.contains("&lt;/text&gt;&lt;script&gt;"), "{svg}");
}

/// Whether every element is closed where it was opened, and no text or value has a character of the language (XML 1.0,
/// sections 2.4 and 3.1). It knows what a picture has: elements, values in double quotes, and five entities.
fn is_well_formed(xml: &str) -> bool {
    let is_text = |text: &str| {
        let known = ["amp;", "lt;", "gt;", "quot;", "#39;"];
        !text.contains('>') && text.split('&').skip(1).all(|rest| known.iter().any(|entity| rest.starts_with(entity)))
    };
    let mut open = Vec::new();
    let mut parts = xml.split('<');
    let mut is_sound = parts.next() == Some("");
    for part in parts {
        let Some((tag, text)) = part.split_once('>') else { return false };
        let name = tag.trim_start_matches('/').trim_end_matches('/').split(' ').next().unwrap_or_default();
        let values = tag.split('"').skip(1).step_by(2);
        is_sound &= is_text(text) && tag.matches('"').count() % 2 == 0 && values.clone().all(is_text);
        is_sound &= match (tag.starts_with('/'), tag.ends_with('/')) {
            (true, _) => open.pop() == Some(name),
            (false, true) => true,
            (false, false) => {
                open.push(name);
                true
            }
        };
    }
    is_sound && open.is_empty()
}

#[test]
fn the_picture_is_well_formed() {
    for wrong in ["<a>", "<a></b>", "<a>&x;</a>", "<a b=\"c></a>", "<a>></a>", "x<a/>"] {
        assert!(!is_well_formed(wrong), "{wrong}");
    }
    let empty = Picture { uplinks: Vec::new(), networks: Vec::new() };
    for drawn in [picture(&["web", "db"]), picture(&[HOSTILE]), empty].iter().map(svg::drawn) {
        assert!(is_well_formed(&drawn), "{drawn}");
    }
}

/// What is too long for its card is cut there, and whole in its title.
#[test]
fn no_text_is_wider_than_its_card() {
    let long = "a".repeat(300);
    let drawn = svg::drawn(&picture(&[&long]));
    assert!(drawn.contains(&format!("<title>{long} (up)")), "{drawn}");
    let widest = drawn.lines().filter(|line| line.starts_with("<text")).map(|line| line.chars().count()).max();
    assert!(widest < Some(160), "{drawn}");
}
