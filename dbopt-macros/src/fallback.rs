//! What is left when something is wrong: the user's own code without our attributes, so that the compiler and the editor
//! see everything they can.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::{ToTokens, quote};

use crate::helpers;
use crate::model::{Function, Other};

/// A function that cannot be a repository method.
pub(crate) fn function(function: &Function) -> TokenStream {
    let Function { attrs, vis, sig, body } = function;
    quote!(#(#attrs)* #vis #sig #body)
}

/// An item that is not a function.
pub(crate) fn other(other: &Other) -> TokenStream {
    let Other { attrs, tokens, .. } = other;
    quote!(#(#attrs)* #tokens)
}

/// An item that cannot be a repository: all of it, without the helpers on it and directly in its braces.
pub(crate) fn whole(item: TokenStream) -> TokenStream {
    let mut tokens: Vec<TokenTree> = without_helpers(item);
    if let Some(TokenTree::Group(body)) = tokens.pop_if(|last| matches!(last, TokenTree::Group(_))) {
        let mut inner = match body.delimiter() {
            Delimiter::Brace => Group::new(Delimiter::Brace, without_helpers(body.stream()).into_iter().collect()),
            _ => body.clone(),
        };
        inner.set_span(body.span());
        tokens.push(TokenTree::Group(inner));
    }
    tokens.into_iter().collect()
}

fn without_helpers(tokens: TokenStream) -> Vec<TokenTree> {
    let mut kept: Vec<TokenTree> = Vec::new();
    for token in tokens {
        let after_pound = matches!(kept.last(), Some(TokenTree::Punct(mark)) if mark.as_char() == '#');
        if after_pound && is_helper(&token) {
            kept.pop();
        } else {
            kept.push(token);
        }
    }
    kept
}

fn is_helper(token: &TokenTree) -> bool {
    let TokenTree::Group(group) = token else { return false };
    let path = |input: syn::parse::ParseStream<'_>| {
        let path = input.call(syn::Path::parse_mod_style)?;
        input.parse::<TokenStream>()?;
        Ok(path)
    };
    group.delimiter() == Delimiter::Bracket
        && syn::parse::Parser::parse2(path, group.stream()).is_ok_and(|path| helpers::named(&path).is_some())
}

/// The stub for a helper that stands alone: the item, and why it is not enough.
pub(crate) fn outside(helper: &str, item: TokenStream) -> TokenStream {
    let message = format!(
        "`#[{helper}]` works only on an `async fn` directly inside an `impl` block or module marked `#[repository]`: \
         put `#[repository]` on the `impl`"
    );
    let error = syn::Error::new(proc_macro2::Span::call_site(), message).into_compile_error();
    quote!(#error #item).into_token_stream()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_attributes_go() {
        let item: TokenStream = "#[read] impl A for B { #[write(idempotent)] #[inline] fn a() { #[read] let b; } \
                                 #[cached::macros::cached] #[dbopt_diesel::cached] fn c() {} }"
            .parse()
            .unwrap();
        let left: TokenStream =
            "impl A for B { #[inline] fn a() { #[read] let b; } #[cached::macros::cached] fn c() {} }".parse().unwrap();
        assert_eq!(whole(item).to_string(), left.to_string());
    }

    #[test]
    fn an_item_without_braces_stays() {
        let item: TokenStream = "struct A(#[b] u8);".parse().unwrap();
        assert_eq!(whole(item.clone()).to_string(), item.to_string());
    }
}
