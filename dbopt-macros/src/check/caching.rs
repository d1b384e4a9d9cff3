//! What a method must be for its result to be kept.

use proc_macro2::{Group, Ident, TokenStream, TokenTree};
use syn::Type;

use crate::errors::{Errors, spelled};
use crate::generics::{borrows, contains_impl};
use crate::model::{Cached, Function};

/// Whether the result can be kept at all.
pub(super) fn check(function: &Function, returns: Option<&Type>, errors: &mut Errors) -> bool {
    let Some(returns) = returns else { return false };
    if contains_impl(returns) {
        let message = "a cached value is kept under the type that it has, and `impl Trait` names none: write the type, such \
                       as `QueryResult<Vec<Flight>>`";
        errors.at(returns, message);
        return false;
    }
    if borrows(returns) {
        let message = format!(
            "a cached value outlives the call of `{}`, so `{}` cannot borrow: return owned values, such as `String` in \
             place of `&str`",
            function.sig.ident,
            spelled(returns)
        );
        errors.at(returns, message);
        return false;
    }
    true
}

/// The words of the body that ask who is calling, when one value would be kept for all callers.
pub(super) fn asks_who_calls(cached: &Cached, body: &Group) -> Vec<Ident> {
    let mut found = Vec::new();
    let by_user = cached.vary_by_user.as_ref().is_some_and(|vary| vary.value);
    if !by_user && cached.key.is_none() {
        search(body.stream(), &mut found);
    }
    found
}

/// `Context::current`, `Context::token` and `.user_id(`: bodies are not parsed, so this is about what they spell.
fn search(tokens: TokenStream, found: &mut Vec<Ident>) {
    let tokens: Vec<TokenTree> = tokens.into_iter().collect();
    let mark = |at: usize, char| matches!(tokens.get(at), Some(TokenTree::Punct(mark)) if mark.as_char() == char);
    for (at, token) in tokens.iter().enumerate() {
        match token {
            TokenTree::Ident(word) if word == "Context" && mark(at + 1, ':') && mark(at + 2, ':') => {
                if let Some(TokenTree::Ident(asked)) = tokens.get(at + 3)
                    && (asked == "current" || asked == "token")
                {
                    found.push(asked.clone());
                }
            }
            TokenTree::Ident(word) if word == "user_id" && at > 0 && mark(at - 1, '.') => {
                if matches!(tokens.get(at + 1), Some(TokenTree::Group(_))) {
                    found.push(word.clone());
                }
            }
            TokenTree::Group(group) => search(group.stream(), found),
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(body: &str) -> Vec<String> {
        let mut found = Vec::new();
        search(body.parse().unwrap(), &mut found);
        found.iter().map(Ident::to_string).collect()
    }

    #[test]
    fn asking_who_calls_is_found_at_any_depth() {
        assert_eq!(asked("let a = { dbopt_diesel::Context::current() };"), ["current"]);
        assert_eq!(asked("f(Context::token(), context.user_id())"), ["token", "user_id"]);
    }

    #[test]
    fn other_words_are_not_taken_for_it() {
        for body in ["Context::new()", "flights::user_id.eq(1)", "row.user_id", "user_id(1)", "Other::current()"] {
            assert_eq!(asked(body), Vec::<String>::new(), "{body}");
        }
    }
}
