//! Finds the tests that name a criterion.

use crate::criteria::list::{PER_REQUIREMENT, REQUIREMENTS};
use crate::source::{is_punct, line};
use proc_macro2::{Delimiter, TokenStream, TokenTree};

#[derive(Debug, PartialEq)]
pub(super) struct Test {
    pub(super) name: String,
    pub(super) requirement: u32,
    pub(super) criterion: u32,
    pub(super) file: String,
    pub(super) line: usize,
    pub(super) ignored: bool,
}

impl Test {
    pub(super) fn shows(&self, requirement: u32, criterion: u32) -> bool {
        (self.requirement, self.criterion) == (requirement, criterion)
    }
}

/// The tests of a file that show a criterion, and what is wrong with the names of others.
pub(super) fn tests(file: &str, tokens: TokenStream) -> (Vec<Test>, Vec<String>) {
    let mut found = (Vec::new(), Vec::new());
    walk(file, tokens, &mut found);
    found
}

fn walk(file: &str, tokens: TokenStream, found: &mut (Vec<Test>, Vec<String>)) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mut attributes = Attributes::default();
    let mut at = 0;
    while let Some(token) = tokens.get(at) {
        at += 1;
        match token {
            TokenTree::Punct(sign) if sign.as_char() == '#' => {
                if let Some(TokenTree::Group(attribute)) = tokens.get(at) {
                    attributes.add(attribute.stream());
                    at += 1;
                }
            }
            TokenTree::Ident(word) if word == "fn" => {
                if let (true, Some(name)) = (attributes.test, tokens.get(at)) {
                    take(file, &name.to_string(), line(name), attributes.ignored, found);
                }
                attributes = Attributes::default();
            }
            // What may stand between an attribute and its `fn`.
            TokenTree::Ident(word)
                if ["pub", "async", "const", "unsafe", "extern"].iter().any(|known| word == known) => {}
            TokenTree::Literal(_) => {}
            TokenTree::Group(group) => {
                if group.delimiter() != Delimiter::Parenthesis {
                    attributes = Attributes::default();
                }
                walk(file, group.stream(), found);
            }
            _ => attributes = Attributes::default(),
        }
    }
}

fn take(file: &str, name: &str, line: usize, ignored: bool, found: &mut (Vec<Test>, Vec<String>)) {
    match criterion(name) {
        Name::Other => {}
        Name::Criterion { requirement, criterion } => {
            let (name, file) = (name.to_owned(), file.to_owned());
            found.0.push(Test { name, requirement, criterion, file, line, ignored });
        }
        Name::Malformed => found.1.push(format!(
            "{file}:{line}: `{name}`: write rNN_M_what_holds, with NN from 01 to {} and M from 1 to {PER_REQUIREMENT}",
            REQUIREMENTS.len()
        )),
    }
}

/// Names two tests share: a filter could not tell them apart.
pub(super) fn duplicates(tests: &[Test]) -> Vec<String> {
    let mut sorted: Vec<&Test> = tests.iter().collect();
    sorted.sort_by(|a, b| a.name.cmp(&b.name));
    let twins = sorted.windows(2).filter(|pair| pair[0].name == pair[1].name);
    twins
        .map(|pair| {
            let (first, second) = (pair[0], pair[1]);
            let other = format!("{}:{}", first.file, first.line);
            format!("{}:{}: `{}` is also at {other}: rename one", second.file, second.line, second.name)
        })
        .collect()
}

#[derive(Default)]
struct Attributes {
    test: bool,
    ignored: bool,
}

impl Attributes {
    fn add(&mut self, attribute: TokenStream) {
        // The attribute's path: what stands before its arguments.
        let path: Vec<TokenTree> = attribute.into_iter().take_while(is_path).collect();
        let Some(TokenTree::Ident(last)) = path.last() else { return };
        let last = last.to_string();
        self.test |= last == "test" || last.ends_with("_test") || last == "rstest";
        self.ignored |= last == "ignore";
    }
}

fn is_path(token: &TokenTree) -> bool {
    matches!(token, TokenTree::Ident(_)) || is_punct(Some(token), ':')
}

#[derive(Debug, PartialEq)]
enum Name {
    Criterion { requirement: u32, criterion: u32 },
    Malformed,
    Other,
}

fn criterion(name: &str) -> Name {
    let Some(rest) = name.strip_prefix('r').filter(|rest| rest.starts_with(|letter: char| letter.is_ascii_digit()))
    else {
        return Name::Other;
    };
    let mut parts = rest.splitn(3, '_');
    let (Some(requirement), Some(criterion), Some(what)) = (parts.next(), parts.next(), parts.next()) else {
        return Name::Malformed;
    };
    let number = |text: &str, digits: usize, highest: usize| {
        let number = text.parse::<u32>().ok().filter(|_| text.len() == digits)?;
        (1..=highest).contains(&(number as usize)).then_some(number)
    };
    match (number(requirement, 2, REQUIREMENTS.len()), number(criterion, 1, PER_REQUIREMENT)) {
        (Some(requirement), Some(criterion)) if !what.is_empty() => Name::Criterion { requirement, criterion },
        _ => Name::Malformed,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::source;

    fn find(text: &str) -> (Vec<String>, usize) {
        let (found, wrong) = tests("a.rs", source::tokens(text).unwrap());
        (
            found.iter().map(|test| format!("{}{}", test.name, if test.ignored { "!" } else { "" })).collect(),
            wrong.len(),
        )
    }

    #[test]
    fn a_test_is_found_by_attribute_and_name() {
        let (found, wrong) = find(
            r#"
            #[test] fn r01_1_a() {}
            #[tokio::test(flavor = "multi_thread")] #[ignore = "slow"] pub(crate) async fn r12_5_b() {}
            mod inner { /// Why.
                #[dbopt_tests::cluster_test] async fn r03_2_c() {} }
            proptest! { #[test] fn r07_4_d(x in 0..9) {} }
            "#,
        );
        assert_eq!(found, ["r01_1_a", "r12_5_b!", "r03_2_c", "r07_4_d"]);
        assert_eq!(wrong, 0);
    }

    #[test]
    fn what_is_no_test_does_not_count() {
        let (found, wrong) = find(
            r##"
            fn r01_1_helper() {}
            #[test] struct Odd; fn r01_2_after_an_item() {}
            // #[test] fn r01_3_commented_out() {}
            const TEXT: &str = "#[test] fn r01_4_in_a_string() {}";
            #[inline] fn r01_5_inlined() {}
            #[cfg(test)] fn r02_1_helper_for_tests() {}
            #[test] fn reads_go_to_replicas() {}
            #[test] fn redis_is_optional() {}
            "##,
        );
        assert!(found.is_empty(), "{found:?}");
        assert_eq!(wrong, 0);
    }

    #[test]
    fn names_of_criteria_that_do_not_exist_are_mistakes() {
        for name in
            ["r13_1_x", "r00_1_x", "r04_6_x", "r04_0_x", "r4_1_x", "r004_1_x", "r04_1", "r04_1_", "r04_x", "r04"]
        {
            assert_eq!(criterion(name), Name::Malformed, "{name}");
            assert_eq!(find(&format!("#[test] fn {name}() {{}}")).1, 1, "{name}");
        }
    }

    #[test]
    fn twins_are_mistakes() {
        let (mut found, _) = tests("a.rs", source::tokens("#[test] fn r01_1_a() {}").unwrap());
        found.extend(tests("b.rs", source::tokens("#[test] fn r01_1_a() {}").unwrap()).0);
        assert_eq!(duplicates(&found).len(), 1);
        found.pop();
        assert!(duplicates(&found).is_empty());
    }
}
