//! Generic parameters of the public function, and how they reach the body.

use proc_macro2::{TokenStream, TokenTree};
use quote::{ToTokens, quote};
use syn::{GenericParam, Generics};

use crate::model::Method;

/// The user's generics, without the lifetimes that only the connection had.
pub(crate) fn without_connection(method: &Method<'_>) -> Generics {
    let own = &method.source.sig.generics;
    let (types, returns, receiver) =
        (method.arguments.iter().map(|argument| argument.ty), method.returns, method.receiver);
    let (types, where_clause) = (quote!(#(#types)*), &own.where_clause);
    let elsewhere = quote!(#receiver #types #returns #where_clause);
    let used = |at: usize, param: &GenericParam| {
        let GenericParam::Lifetime(param) = param else { return true };
        let others = own.params.iter().enumerate().filter(|(other, _)| *other != at).map(|(_, other)| other);
        mentions(quote!(#elsewhere #(#others)*), &param.lifetime.to_string())
    };
    let kept = own.params.iter().enumerate().filter(|(at, param)| used(*at, param)).map(|(_, param)| param.clone());
    let kept: syn::punctuated::Punctuated<_, _> = kept.collect();
    match kept.is_empty() {
        true => Generics { where_clause: own.where_clause.clone(), ..Generics::default() },
        false => Generics { params: kept, ..own.clone() },
    }
}

/// Types and constants are passed on by name, as the body may use some that no argument tells.
pub(crate) fn turbofish(generics: &Generics) -> Option<TokenStream> {
    let names = generics.params.iter().filter_map(|param| match param {
        GenericParam::Type(param) => Some(&param.ident),
        GenericParam::Const(param) => Some(&param.ident),
        _ => None,
    });
    let names: Vec<_> = names.collect();
    (!names.is_empty()).then(|| quote!(::<#(#names),*>))
}

/// Whether something in the tokens has a type without a name.
pub(crate) fn contains_impl(tokens: impl ToTokens) -> bool {
    tokens.to_token_stream().into_iter().any(|token| match token {
        TokenTree::Ident(word) => word == "impl",
        TokenTree::Group(group) => contains_impl(group.stream()),
        _ => false,
    })
}

/// Whether a type holds a reference or a lifetime other than `'static`.
pub(crate) fn borrows(tokens: impl ToTokens) -> bool {
    let tokens: Vec<TokenTree> = tokens.to_token_stream().into_iter().collect();
    let is = |token: Option<&TokenTree>, char| matches!(token, Some(TokenTree::Punct(mark)) if mark.as_char() == char);
    tokens.iter().enumerate().any(|(at, token)| match token {
        TokenTree::Punct(mark) if mark.as_char() == '&' => !is(tokens.get(at + 1), '\''),
        TokenTree::Ident(word) => at > 0 && is(tokens.get(at - 1), '\'') && word != "static",
        TokenTree::Group(group) => borrows(group.stream()),
        _ => false,
    })
}

/// Whether a lifetime occurs in the tokens.
pub(crate) fn mentions(tokens: impl ToTokens, lifetime: &str) -> bool {
    let mut quoted = false;
    tokens.to_token_stream().into_iter().any(|token| match token {
        TokenTree::Punct(mark) => {
            quoted = mark.as_char() == '\'';
            false
        }
        TokenTree::Ident(word) => std::mem::take(&mut quoted) && format!("'{word}") == lifetime,
        TokenTree::Group(group) => mentions(group.stream(), lifetime),
        TokenTree::Literal(_) => false,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_borrowed_is_seen_at_any_depth() {
        for (ty, borrowed) in [
            ("Result<Vec<(i64, &str)>, E>", true),
            ("QueryResult<Cow<'_, str>>", true),
            ("QueryResult<&'a str>", true),
            ("QueryResult<&'static str>", false),
            ("QueryResult<Cow<'static, str>>", false),
            ("QueryResult<Option<Flight>>", false),
        ] {
            assert_eq!(borrows(ty.parse::<TokenStream>().unwrap()), borrowed, "{ty}");
        }
    }

    #[test]
    fn lifetimes_are_found_at_any_depth() {
        let tokens: TokenStream = "Vec<(&'a str, [Cow<'bc, str>; 1])>".parse().unwrap();
        for (lifetime, found) in [("'a", true), ("'bc", true), ("'b", false), ("'Vec", false)] {
            assert_eq!(mentions(&tokens, lifetime), found, "{lifetime}");
        }
    }
}
