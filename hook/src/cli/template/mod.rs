//! The part of Go's templates that people use with `--format`: fields, `json`, `index`, `len`, `if`, `range` and `end`.

mod evaluate;
mod read;

use serde_json::Value;

use ocinet::model::Invalid;

type Read<T> = Result<T, String>;

/// A template, read.
#[derive(Debug)]
pub(super) struct Template {
    text: String,
    parts: Vec<Part>,
}

#[derive(Debug)]
enum Part {
    Text(String),
    Show(Expression),
    Range { names: Vec<String>, over: Expression, body: Vec<Part> },
    If { condition: Expression, body: Vec<Part>, otherwise: Vec<Part> },
}

#[derive(Debug)]
enum Expression {
    Literal(Value),
    /// Fields of the value that is meant now, of a variable, or of another expression.
    Fields(Root, Vec<String>),
    Call(Function, Vec<Expression>),
}

#[derive(Debug)]
enum Root {
    Here,
    Variable(String),
    Of(Box<Expression>),
}

#[derive(Debug, Clone, Copy)]
enum Function {
    Json,
    Index,
    Len,
}

impl Template {
    /// Reads a template. As in Docker, `\t` and `\n` stand for what they do elsewhere.
    pub(super) fn parse(text: &str) -> Result<Self, Invalid> {
        let wrong = |why: String| Invalid::new("--format", text, why);
        let plain = text.replace("\\t", "\t").replace("\\n", "\n");
        let parts = read::parts(&plain).map_err(wrong)?;
        Ok(Self { text: text.to_owned(), parts })
    }

    /// What it makes of `value`.
    pub(super) fn render(&self, value: &Value) -> Result<String, Invalid> {
        evaluate::render(&self.parts, value).map_err(|why| Invalid::new("--format", &self.text, why))
    }

    /// The last name of each of its fields, in their order: the heads of a table.
    pub(super) fn fields(&self) -> Vec<String> {
        let of = |part: &Part| match part {
            Part::Show(Expression::Fields(_, fields)) => fields.last().cloned(),
            Part::Show(Expression::Call(_, arguments)) => match arguments.first() {
                Some(Expression::Fields(_, fields)) => fields.last().cloned(),
                _ => None,
            },
            _ => None,
        };
        self.parts.iter().filter_map(of).collect()
    }
}

#[cfg(test)]
mod tests;
