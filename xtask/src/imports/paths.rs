//! The paths in a file: `crate::pool::Pool`, one for each leaf of `use super::{a, b::c}`.

use crate::source::{is_ident, is_punct, line};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

#[derive(Clone, Debug, PartialEq)]
pub(super) struct Path {
    /// The inline modules around it, inside the file.
    pub(super) inside: Vec<String>,
    /// Written with a leading `::`, so that it starts with a crate's name.
    pub(super) absolute: bool,
    /// `*` for a glob.
    pub(super) segments: Vec<String>,
    pub(super) alias: Option<String>,
    pub(super) line: usize,
}

#[derive(Debug, Default)]
pub(super) struct Paths {
    pub(super) paths: Vec<Path>,
    /// Names of the modules that the file declares, inline or not.
    pub(super) declared: Vec<String>,
}

pub(super) fn paths(tokens: TokenStream) -> Paths {
    let mut found = Paths::default();
    walk(tokens, &[], &mut found);
    found
}

fn walk(tokens: TokenStream, inside: &[String], found: &mut Paths) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        match token {
            TokenTree::Ident(word) if word == "mod" => {
                if let Some(TokenTree::Ident(name)) = tokens.get(at + 1) {
                    found.declared.push(name.to_string());
                    if let Some(TokenTree::Group(body)) = tokens.get(at + 2) {
                        let mut deeper = inside.to_vec();
                        deeper.push(name.to_string());
                        walk(body.stream(), &deeper, found);
                        at += 2;
                    }
                }
                at += 1;
            }
            TokenTree::Ident(word) if word == "use" => {
                let mut reader = Reader { inside, found };
                at = reader.tree(&tokens, at + 1, &[], false);
            }
            TokenTree::Ident(_) => {
                let absolute = is_separator(&tokens, at.wrapping_sub(2));
                at = read_in_code(&tokens, at, absolute, inside, found);
            }
            TokenTree::Group(group) => {
                walk(group.stream(), inside, found);
                at += 1;
            }
            _ => at += 1,
        }
    }
}

/// A path outside of `use`: only idents and `::`. A single word is a name, not a path.
fn read_in_code(tokens: &[TokenTree], start: usize, absolute: bool, inside: &[String], found: &mut Paths) -> usize {
    let mut segments = Vec::new();
    let mut at = start;
    while let Some(TokenTree::Ident(word)) = tokens.get(at) {
        segments.push(word.to_string());
        at += 1;
        if !(is_separator(tokens, at) && matches!(tokens.get(at + 2), Some(TokenTree::Ident(_)))) {
            break;
        }
        at += 2;
    }
    let is_path = segments.len() > 1 || is_separator(tokens, at);
    let is_field =
        start > 0 && is_punct(tokens.get(start - 1), '.') && !is_punct(tokens.get(start.wrapping_sub(2)), '.');
    if is_path && !is_field {
        let line = line(&tokens[start]);
        found.paths.push(Path { inside: inside.to_vec(), absolute, segments, alias: None, line });
    }
    at
}

fn is_separator(tokens: &[TokenTree], at: usize) -> bool {
    is_punct(tokens.get(at), ':') && is_punct(tokens.get(at.wrapping_add(1)), ':')
}

/// Reads the tree of a `use`.
struct Reader<'a> {
    inside: &'a [String],
    found: &'a mut Paths,
}

impl Reader<'_> {
    /// Reads one tree that continues `before`; answers where it ended.
    fn tree(&mut self, tokens: &[TokenTree], mut at: usize, before: &[String], mut absolute: bool) -> usize {
        let mut segments = before.to_vec();
        let mut last_line = tokens.get(at).map_or(0, line);
        if before.is_empty() && is_separator(tokens, at) {
            absolute = true;
            at += 2;
        }
        loop {
            match tokens.get(at) {
                Some(token @ TokenTree::Ident(word)) => {
                    last_line = line(token);
                    segments.push(word.to_string());
                }
                Some(token) if is_punct(Some(token), '*') => {
                    last_line = line(token);
                    segments.push("*".to_owned());
                }
                Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => {
                    let leaves: Vec<TokenTree> = group.stream().into_iter().collect();
                    for leaf in leaves.split(|token| is_punct(Some(token), ',')).filter(|leaf| !leaf.is_empty()) {
                        self.tree(leaf, 0, &segments, absolute);
                    }
                    return at + 1;
                }
                _ => break,
            }
            at += 1;
            if !is_separator(tokens, at) {
                break;
            }
            at += 2;
        }
        let mut alias = None;
        if is_ident(tokens.get(at), "as") {
            alias = tokens.get(at + 1).map(ToString::to_string);
            at += 2;
        }
        if segments.len() > before.len() {
            let inside = self.inside.to_vec();
            self.found.paths.push(Path { inside, absolute, segments, alias, line: last_line });
        }
        at
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source;

    fn read(text: &str) -> Vec<String> {
        let found = paths(source::tokens(text).unwrap());
        let written = |path: &Path| {
            let start = if path.absolute { "::" } else { "" };
            let alias = path.alias.as_ref().map_or(String::new(), |alias| format!(" as {alias}"));
            format!(
                "{}{start}{}{alias}",
                path.inside.iter().map(|name| format!("{name}> ")).collect::<String>(),
                path.segments.join("::")
            )
        };
        found.paths.iter().map(written).collect()
    }

    #[test]
    fn a_use_has_one_path_for_each_leaf() {
        assert_eq!(
            read("pub(crate) use crate::{pool::{self, Pool as P}, route::*};"),
            ["crate::pool::self", "crate::pool::Pool as P", "crate::route::*"]
        );
        assert_eq!(read("use ::redis::{Client}; use bb8;"), ["::redis::Client", "bb8"]);
    }

    #[test]
    fn paths_in_code_are_read_and_names_are_not() {
        assert_eq!(
            read(
                "fn f(cached: &redis::Client) -> Vec<crate::pool::Lane> { cached.get(); x.redis; ::bb8::go(redis::<u8>()) }"
            ),
            ["redis::Client", "crate::pool::Lane", "::bb8::go", "redis"]
        );
    }

    #[test]
    fn comments_and_strings_hold_no_paths() {
        assert!(read("// crate::pool::X\n/// [`crate::pool::X`]\nconst A: &str = \"crate::pool::X\";").is_empty());
    }

    #[test]
    fn inline_modules_are_remembered() {
        assert_eq!(read("mod tests { use super::super::pool::X; }"), ["tests> super::super::pool::X"]);
    }

    #[test]
    fn macros_are_read_too() {
        assert_eq!(read("macro_rules! m { () => { $crate::pool::go() } }"), ["crate::pool::go"]);
    }
}
