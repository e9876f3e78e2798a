//! From the parts of a template and a value to text.

use std::fmt::Write;

use serde_json::Value;

use super::{Expression, Function, Part, Read, Root};

/// What `parts` make of `value`.
pub(super) fn render(parts: &[Part], value: &Value) -> Read<String> {
    let mut out = String::new();
    add(parts, &Scope { top: value, here: value, variables: Vec::new() }, &mut out)?;
    Ok(out)
}

/// What names mean where a part is rendered.
#[derive(Clone)]
struct Scope<'v> {
    top: &'v Value,
    here: &'v Value,
    variables: Vec<(String, Value)>,
}

fn add(parts: &[Part], scope: &Scope<'_>, out: &mut String) -> Read<()> {
    for part in parts {
        match part {
            Part::Text(text) => *out += text,
            Part::Show(expression) => *out += &shown(&evaluate(expression, scope)?),
            Part::If { condition, body, otherwise } => {
                let chosen = if is_true(&evaluate(condition, scope)?) { body } else { otherwise };
                add(chosen, scope, out)?;
            }
            Part::Range { names, over, body } => {
                for (key, item) in items(evaluate(over, scope)?)? {
                    let mut variables = scope.variables.clone();
                    match &names[..] {
                        [] => {}
                        [value] => variables.push((value.clone(), item.clone())),
                        [key_name, value, ..] => {
                            variables.push((key_name.clone(), key));
                            variables.push((value.clone(), item.clone()));
                        }
                    }
                    add(body, &Scope { top: scope.top, here: &item, variables }, out)?;
                }
            }
        }
    }
    Ok(())
}

fn items(value: Value) -> Read<Vec<(Value, Value)>> {
    match value {
        Value::Array(list) => Ok(list.into_iter().enumerate().map(|(nth, item)| (nth.into(), item)).collect()),
        Value::Object(object) => Ok(object.into_iter().map(|(key, item)| (key.into(), item)).collect()),
        Value::Null => Ok(Vec::new()),
        other => Err(format!("has a range over {other}, which is no list")),
    }
}

fn evaluate(expression: &Expression, scope: &Scope<'_>) -> Read<Value> {
    match expression {
        Expression::Literal(value) => Ok(value.clone()),
        Expression::Fields(root, fields) => {
            let root = match root {
                Root::Here => scope.here.clone(),
                Root::Variable(name) if name == "$" => scope.top.clone(),
                Root::Variable(name) => {
                    let known = scope.variables.iter().rev().find(|(known, _)| known == name);
                    known.ok_or_else(|| format!("has {name}, which is not set"))?.1.clone()
                }
                Root::Of(inner) => evaluate(inner, scope)?,
            };
            field(root, fields)
        }
        Expression::Call(function, arguments) => {
            let mut values = arguments.iter().map(|argument| evaluate(argument, scope)).collect::<Read<Vec<_>>>()?;
            let first = values.remove(0);
            match function {
                Function::Json => Ok(first.to_string().into()),
                Function::Len => Ok(match &first {
                    Value::Array(list) => list.len(),
                    Value::Object(object) => object.len(),
                    Value::String(text) => text.len(),
                    other => return Err(format!("has the len of {other}")),
                }
                .into()),
                Function::Index => values.iter().try_fold(first, |value, key| index(&value, key)),
            }
        }
    }
}

/// Fields whose own are names that people chose, and `Record`, whose fields are left out where they say nothing: what is
/// missing there is no mistake.
const OPEN: [&str; 6] = ["Labels", "Options", "Networks", "Containers", "AuxiliaryAddresses", "Record"];

/// A field that is not known is a mistake, but in what is open. What is nothing has no fields that could be known.
fn field(root: Value, fields: &[String]) -> Read<Value> {
    let mut value = root;
    let mut of = "";
    for name in fields {
        value = match value.get(name) {
            Some(found) => found.clone(),
            None if value.is_null() || OPEN.contains(&of) => Value::Null,
            None => return Err(unknown_field(name, &value)),
        };
        // All that a record holds is open.
        of = if of == "Record" { of } else { name };
    }
    Ok(value)
}

fn unknown_field(name: &str, value: &Value) -> String {
    match value.as_object() {
        Some(all) => {
            let known: Vec<&str> = all.keys().map(String::as_str).collect();
            format!("has no field {name:?}; there are {}", known.join(", "))
        }
        None => format!("has the field {name:?} of {value}, which has none"),
    }
}

fn index(value: &Value, key: &Value) -> Read<Value> {
    match (value, key) {
        (Value::Object(object), Value::String(key)) => Ok(object.get(key).cloned().unwrap_or_default()),
        (Value::Array(list), Value::Number(nth)) => {
            let found = nth.as_u64().and_then(|nth| list.get(usize::try_from(nth).ok()?));
            found.cloned().ok_or_else(|| format!("has the index {nth} of a list of {}", list.len()))
        }
        _ => Err(format!("has the index {key} of what has none such")),
    }
}

fn is_true(value: &Value) -> bool {
    match value {
        Value::Null => false,
        Value::Bool(is) => *is,
        Value::Number(number) => number.as_f64() != Some(0.0),
        Value::String(text) => !text.is_empty(),
        Value::Array(list) => !list.is_empty(),
        Value::Object(object) => !object.is_empty(),
    }
}

/// As Go prints it.
fn shown(value: &Value) -> String {
    match value {
        Value::Null => "<no value>".into(),
        Value::String(text) => text.clone(),
        Value::Array(list) => format!("[{}]", list.iter().map(shown).collect::<Vec<_>>().join(" ")),
        Value::Object(object) => {
            let mut text = String::new();
            for (nth, (key, value)) in object.iter().enumerate() {
                let _ = write!(text, "{}{key}:{}", if nth == 0 { "" } else { " " }, shown(value));
            }
            format!("map[{text}]")
        }
        other => other.to_string(),
    }
}
