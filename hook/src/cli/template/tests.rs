use super::*;
use serde_json::json;

fn rendered(template: &str) -> Result<String, Invalid> {
    let network = json!({
        "Name": "web", "Internal": false, "Labels": {"a.b": "c"},
        "IPAM": {"Config": [{"Subnet": "10.64.0.0/24"}, {"Subnet": "10.64.1.0/24"}]},
        "Containers": {"id1": {"Name": "one"}, "id2": {"Name": "two"}},
    });
    Template::parse(template)?.render(&network)
}

#[test]
fn what_people_write() {
    let rows = [
        ("{{.Name}}", "web"),
        ("{{ .Name }}:{{.Internal}}\\n", "web:false\n"),
        ("{{range .IPAM.Config}}{{.Subnet}} {{end}}", "10.64.0.0/24 10.64.1.0/24 "),
        ("{{(index .IPAM.Config 1).Subnet}}", "10.64.1.0/24"),
        ("{{index .Labels \"a.b\"}}", "c"),
        ("{{.Labels.none}}", "<no value>"),
        ("{{.Containers.none.Name}}", "<no value>"),
        ("{{range $id, $c := .Containers}}{{$id}}={{$c.Name}},{{$.Name}};{{end}}", "id1=one,web;id2=two,web;"),
        ("{{range $c := .Containers}}{{$c.Name}}{{end}}", "onetwo"),
        ("{{json .Labels}}", "{\"a.b\":\"c\"}"),
        ("{{len .Containers}}", "2"),
        ("{{if .Internal}}in{{else}}out{{end}}", "out"),
        ("{{if .Labels}}labelled{{end}}", "labelled"),
        ("a {{- \"x\" -}} b", "axb"),
        ("{{.Labels}}", "map[a.b:c]"),
        ("{{.IPAM.Config}}", "[map[Subnet:10.64.0.0/24] map[Subnet:10.64.1.0/24]]"),
        ("no action", "no action"),
    ];
    for (template, expected) in rows {
        assert_eq!(rendered(template).unwrap(), expected, "{template}");
    }
    let whole = rendered("{{json .}}").unwrap();
    assert_eq!(serde_json::from_str::<Value>(&whole).unwrap()["Name"], "web");
}

#[test]
fn mistakes_are_named() {
    let rows = [
        ("{{.Name", "without }}"),
        ("{{}}", "empty"),
        ("{{.Nme}}", "no field \"Nme\"; there are Name"),
        ("{{.IPAM.Cnfig}}", "no field \"Cnfig\"; there are Config"),
        ("{{range .Containers}}{{.Nme}}{{end}}", "no field \"Nme\"; there are Name"),
        ("{{(index .IPAM.Config 0).Sbnet}}", "there are Subnet"),
        ("{{.Name.First}}", "which has none"),
        ("{{end}}", "belongs to nothing"),
        ("{{range .Containers}}", "without its end"),
        ("{{if .Name}}", "without its end"),
        ("{{upper .Name}}", "only fields"),
        ("{{json}}", "only fields"),
        ("{{(index .Labels 0}}", "bracket"),
        ("{{index .IPAM.Config 7}}", "of a list of 2"),
        ("{{range .Name}}{{end}}", "no list"),
        ("{{$x}}", "not set"),
        ("{{index .Labels \"a}}", "without its end"),
    ];
    for (template, part) in rows {
        let error = rendered(template).expect_err(template);
        assert!(error.field == "--format" && error.value == template && error.why.contains(part), "{error}");
    }
}

#[test]
fn a_table_has_the_names_of_its_fields() {
    assert_eq!(Template::parse("{{.ID}}\\t{{json .Labels}} x").unwrap().fields(), ["ID", "Labels"]);
}

#[test]
fn never_panics() {
    let mut state = 7_u32;
    let words = ["{{", "}}", ".", "Name", "range", "end", "if", "(", ")", "index", "\"", "$x", " ", ":=", ",", "- "];
    for _ in 0..20_000 {
        let mut template = String::new();
        for _ in 0..8 {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            template += words[(state >> 24) as usize % words.len()];
        }
        let _ = rendered(&template);
    }
}

#[test]
fn what_is_nested_too_deep_is_refused() {
    let brackets = |count| format!("{{{{{}.Name{}}}}}", "(".repeat(count), ")".repeat(count));
    let blocks = |count| format!("{}{}", "{{if .Name}}".repeat(count), "{{end}}".repeat(count));
    for nested in [brackets, blocks] as [fn(usize) -> String; 2] {
        assert!(Template::parse(&nested(100)).is_ok());
        assert!(Template::parse(&nested(101)).is_err());
        assert!(Template::parse(&nested(50_000)).is_err());
    }
}
