//! Keys and tags with placeholders: `"flight:{id}"`, `"airline:{ret.airline}"`.

use crate::problem::Problem;

/// The name under which a write's tags see what the method returned.
pub(crate) const RETURNED: &str = "ret";

#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Part {
    Text(String),
    /// A name and the fields behind it: `{filter.airport}` is `filter`, `[airport]`.
    Value {
        name: String,
        fields: Vec<String>,
    },
}

/// Reads the text; `{{` and `}}` stand for the braces themselves, as in `format!`.
pub(crate) fn parse(text: &str) -> Result<Vec<Part>, Problem> {
    if text.trim().is_empty() {
        return Err(Problem::new("an empty text names nothing", "flights"));
    }
    let mut parts = Vec::new();
    let mut plain = String::new();
    let mut rest = text;
    while let Some(at) = rest.find(['{', '}']) {
        plain.push_str(&rest[..at]);
        let brace = &rest[at..=at];
        rest = &rest[at + 1..];
        if let Some(tail) = rest.strip_prefix(brace) {
            plain.push_str(brace);
            rest = tail;
            continue;
        }
        if brace == "}" {
            return Err(Problem::new(
                "a `}` without its `{`; a brace itself is written twice",
                text.replace('}', "}}"),
            ));
        }
        let Some((inside, tail)) = rest.split_once('}') else {
            return Err(Problem::new("a `{` without its `}`", format!("{text}}}")));
        };
        if !plain.is_empty() {
            parts.push(Part::Text(std::mem::take(&mut plain)));
        }
        parts.push(value(text, inside)?);
        rest = tail;
    }
    plain.push_str(rest);
    if !plain.is_empty() {
        parts.push(Part::Text(plain));
    }
    Ok(parts)
}

fn value(text: &str, inside: &str) -> Result<Part, Problem> {
    let whole = format!("{{{inside}}}");
    if inside.trim().is_empty() {
        return Err(Problem::new(format!("`{whole}` does not say which argument"), text.replacen(&whole, "{id}", 1)));
    }
    if let Some((name, _)) = inside.split_once(':') {
        let instead = text.replacen(&whole, &format!("{{{name}}}"), 1);
        return Err(Problem::new(
            format!("`{whole}`: a key or tag has no format, values are written with Display"),
            instead,
        ));
    }
    let mut names = inside.split('.');
    let name = names.next().unwrap_or_default();
    let fields: Vec<String> = names.map(str::to_owned).collect();
    let field = |field: &String| is_identifier(field) || field.parse::<u8>().is_ok();
    if !is_identifier(name) || !fields.iter().all(field) {
        let start = inside.trim_start();
        let end = start.find(|c: char| !(c.is_alphanumeric() || c == '_')).unwrap_or(start.len());
        let kept = if is_identifier(&start[..end]) { &start[..end] } else { "id" };
        return Err(Problem::new(
            format!("`{whole}` is not the name of an argument or of its fields"),
            text.replacen(&whole, &format!("{{{kept}}}"), 1),
        ));
    }
    Ok(Part::Value { name: name.trim_start_matches("r#").to_owned(), fields })
}

fn is_identifier(name: &str) -> bool {
    name.trim() == name && syn::parse_str::<syn::Ident>(name).is_ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn value(name: &str, fields: &[&str]) -> Part {
        Part::Value { name: name.to_owned(), fields: fields.iter().map(|field| (*field).to_owned()).collect() }
    }

    #[test]
    fn text_and_values() {
        assert_eq!(parse("flights"), Ok(vec![Part::Text("flights".into())]));
        assert_eq!(parse("flight:{id}"), Ok(vec![Part::Text("flight:".into()), value("id", &[])]));
        assert_eq!(parse("{a}{b.c.0}"), Ok(vec![value("a", &[]), value("b", &["c", "0"])]));
        assert_eq!(parse("{{{id}}}"), Ok(vec![Part::Text("{".into()), value("id", &[]), Part::Text("}".into())]));
    }

    #[test]
    fn every_refusal_says_what_to_write() {
        for (text, instead) in [
            ("", "flights"),
            ("flight:{}", "flight:{id}"),
            ("flight:{id", "flight:{id}"),
            ("flight:id}", "flight:id}}"),
            ("flight:{id:?}", "flight:{id}"),
            ("flight:{ id }", "flight:{id}"),
            ("flight:{1 + 1}", "flight:{id}"),
            ("flight:{number + 1}", "flight:{number}"),
        ] {
            assert_eq!(parse(text).map_err(|problem| problem.instead), Err(instead.to_owned()), "{text}");
        }
    }

    /// Whatever text is given, plain text is kept to the last character.
    #[test]
    fn text_without_braces_is_kept() {
        for text in ["a", "ü:ß", "a b", "日本"] {
            assert_eq!(parse(text), Ok(vec![Part::Text(text.into())]));
        }
    }
}
