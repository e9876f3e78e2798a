//! From text to the parts of a template.

use super::{Expression, Function, Part, Read, Root};

/// How deep blocks and brackets may stand in each other: each takes its share of the stack.
const MOST_NESTED: usize = 100;

/// The parts of a template.
pub(super) fn parts(text: &str) -> Read<Vec<Part>> {
    let pieces = pieces(text)?;
    if depth(&pieces) > MOST_NESTED {
        return Err(format!("has more than {MOST_NESTED} blocks and brackets in each other"));
    }
    match block(&mut pieces.into_iter())? {
        (parts, None) => Ok(parts),
        (_, Some(word)) => Err(format!("has an {word} that belongs to nothing")),
    }
}

/// Text and actions, in turns.
fn pieces(text: &str) -> Read<Vec<Piece>> {
    let (mut pieces, mut rest, mut trims) = (Vec::new(), text, false);
    loop {
        let (plain, action) = match rest.split_once("{{") {
            Some((plain, behind)) => (plain, Some(behind)),
            None => (rest, None),
        };
        let plain = if trims { plain.trim_start() } else { plain };
        let Some(behind) = action else {
            pieces.push(Piece::Text(plain.to_owned()));
            return Ok(pieces);
        };
        let (action, after) = behind.split_once("}}").ok_or("has a {{ without }}")?;
        let (plain, action) = match action.strip_prefix("- ") {
            Some(action) => (plain.trim_end(), action),
            None => (plain, action),
        };
        pieces.push(Piece::Text(plain.to_owned()));
        let trimmed = action.strip_suffix(" -");
        trims = trimmed.is_some();
        pieces.push(Piece::Action(tokens(trimmed.unwrap_or(action))?));
        rest = after;
    }
}

enum Piece {
    Text(String),
    Action(Vec<String>),
}

/// Words, texts in quotes, brackets and commas.
fn tokens(action: &str) -> Read<Vec<String>> {
    let mut tokens = Vec::new();
    let mut rest = action.trim_start();
    while let Some(first) = rest.chars().next() {
        let length = match first {
            '(' | ')' | ',' => 1,
            '"' | '`' => rest[1..].find(first).ok_or("has a text without its end")? + 2,
            // Fields of what stands between brackets follow at once.
            _ => rest.find([' ', '\t', '\n', '(', ')', ',', '"', '`']).unwrap_or(rest.len()),
        };
        tokens.push(rest[..length].to_owned());
        rest = rest[length..].trim_start();
    }
    Ok(tokens)
}

/// How deep the innermost bracket or block of a template stands.
fn depth(pieces: &[Piece]) -> usize {
    let (mut blocks, mut deepest) = (0_usize, 0);
    for piece in pieces {
        let Piece::Action(tokens) = piece else { continue };
        match tokens.first().map(String::as_str) {
            Some("range" | "if") => blocks += 1,
            Some("end") => blocks = blocks.saturating_sub(1),
            _ => {}
        }
        let mut brackets = 0_usize;
        for token in tokens {
            match token.as_str() {
                "(" => brackets += 1,
                ")" => brackets = brackets.saturating_sub(1),
                _ => {}
            }
            deepest = deepest.max(blocks + brackets);
        }
    }
    deepest
}

/// Parts up to an `end` or `else`, and that word.
fn block(pieces: &mut std::vec::IntoIter<Piece>) -> Read<(Vec<Part>, Option<String>)> {
    let mut parts = Vec::new();
    while let Some(piece) = pieces.next() {
        let tokens = match piece {
            Piece::Text(text) if text.is_empty() => continue,
            Piece::Text(text) => {
                parts.push(Part::Text(text));
                continue;
            }
            Piece::Action(tokens) => tokens,
        };
        match tokens.iter().map(String::as_str).collect::<Vec<_>>()[..] {
            [] => return Err("has an empty {{}}".into()),
            [word @ ("end" | "else")] => return Ok((parts, Some(word.to_owned()))),
            ["range", ..] => {
                let assigned = tokens.iter().position(|token| token == ":=");
                let names = assigned.map_or(&[][..], |at| &tokens[1..at]);
                let names = names.iter().filter(|name| *name != ",").cloned().collect();
                let over = expression(&tokens[assigned.map_or(1, |at| at + 1)..])?;
                let (body, end) = block(pieces)?;
                if end.as_deref() != Some("end") {
                    return Err("has a range without its end".into());
                }
                parts.push(Part::Range { names, over, body });
            }
            ["if", ..] => {
                let condition = expression(&tokens[1..])?;
                let (body, mut end) = block(pieces)?;
                let mut otherwise = Vec::new();
                if end.as_deref() == Some("else") {
                    (otherwise, end) = block(pieces)?;
                }
                if end.as_deref() != Some("end") {
                    return Err("has an if without its end".into());
                }
                parts.push(Part::If { condition, body, otherwise });
            }
            _ => parts.push(Part::Show(expression(&tokens)?)),
        }
    }
    Ok((parts, None))
}

fn expression(tokens: &[String]) -> Read<Expression> {
    let mut rest = tokens;
    let function = match tokens.first().map(String::as_str) {
        Some("json") => Some(Function::Json),
        Some("index") => Some(Function::Index),
        Some("len") => Some(Function::Len),
        _ => None,
    };
    if function.is_some() {
        rest = &rest[1..];
    }
    let mut operands = Vec::new();
    while !rest.is_empty() {
        operands.push(operand(&mut rest)?);
    }
    match (function, operands.len()) {
        (Some(function), 1..) => Ok(Expression::Call(function, operands)),
        (None, 1) => Ok(operands.remove(0)),
        _ => Err(format!(
            "has {{{{{}}}}}, of which only fields, json, index, len, if, range and end are known",
            tokens.join(" ")
        )),
    }
}

fn operand(rest: &mut &[String]) -> Read<Expression> {
    let (first, mut behind) = rest.split_first().ok_or("has an action that ends too early")?;
    let fields = |text: &str| text.split('.').filter(|field| !field.is_empty()).map(str::to_owned).collect();
    let found = match first.as_str() {
        "(" => {
            let end = closing(behind)?;
            let inner = Expression::into_root(expression(&behind[..end])?);
            behind = &behind[end + 1..];
            match behind.split_first() {
                Some((field, after)) if field.starts_with('.') && field.len() > 1 => {
                    behind = after;
                    Expression::Fields(inner, fields(field))
                }
                _ => Expression::Fields(inner, Vec::new()),
            }
        }
        text if text.starts_with(['"', '`']) => Expression::Literal(text[1..text.len() - 1].into()),
        path if path.starts_with('.') => Expression::Fields(Root::Here, fields(path)),
        path if path.starts_with('$') => {
            let (name, path) = path.split_once('.').unwrap_or((path, ""));
            Expression::Fields(Root::Variable(name.to_owned()), fields(path))
        }
        word => match word.parse::<i64>() {
            Ok(number) => Expression::Literal(number.into()),
            Err(_) => {
                return Err(format!(
                    "has {word:?}, of which only fields, json, index, len, if, range and end are known"
                ));
            }
        },
    };
    *rest = behind;
    Ok(found)
}

/// Where the bracket closes that was opened before `tokens`.
fn closing(tokens: &[String]) -> Read<usize> {
    let mut depth = 1;
    for (at, token) in tokens.iter().enumerate() {
        depth += match token.as_str() {
            "(" => 1,
            ")" => -1,
            _ => 0,
        };
        if depth == 0 {
            return Ok(at);
        }
    }
    Err("has a bracket without its end".into())
}

impl Expression {
    fn into_root(self) -> Root {
        Root::Of(Box::new(self))
    }
}
