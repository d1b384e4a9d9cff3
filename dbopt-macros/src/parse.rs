//! Tokens to a [`Block`]. Only what is looked at is parsed; everything else stays as it was written.

use proc_macro2::{Delimiter, Group, TokenStream, TokenTree};
use quote::quote;
use syn::parse::discouraged::Speculative;
use syn::parse::{ParseStream, Parser};
use syn::{Attribute, GenericArgument, ItemImpl, ItemMod, PathArguments, Result, Type};

use crate::model::{Block, Function, Item, Other, Place};

/// Reads the item under `#[repository]`.
pub(crate) fn block(item: TokenStream) -> Result<Block> {
    let mut head: Vec<TokenTree> = item.into_iter().collect();
    let body = match head.pop() {
        Some(TokenTree::Group(group)) if group.delimiter() == Delimiter::Brace => group,
        last => {
            head.extend(last);
            return Err(wrong_item(head.into_iter().collect()));
        }
    };
    let head: TokenStream = head.into_iter().collect();
    let place = place(&head)?;
    let (inner_attrs, items) = items.parse2(body.stream())?;
    Ok(Block { head, place, braces: body.span(), inner_attrs, items })
}

/// The head alone says where we are, so a broken body cannot hide it.
fn place(head: &TokenStream) -> Result<Place> {
    let empty = quote!(#head {});
    if let Ok(item) = syn::parse2::<ItemMod>(empty.clone()) {
        return Ok(Place::Module { name: plain(&item.ident) });
    }
    if !head.clone().into_iter().any(|token| matches!(token, TokenTree::Ident(word) if word == "impl")) {
        return Err(wrong_item(head.clone()));
    }
    let item = syn::parse2::<ItemImpl>(empty)?;
    let Some(name) = type_name(&item.self_ty) else {
        return Err(syn::Error::new_spanned(
            &item.self_ty,
            "`#[repository]` goes on the `impl` block of a named type, such as `impl Flights { .. }`",
        ));
    };
    let generic = has_arguments(&item.self_ty);
    Ok(Place::Impl { name, generic, of_trait: item.trait_.map(|(path, _)| path) })
}

fn wrong_item(item: TokenStream) -> syn::Error {
    let message = "`#[repository]` goes on an `impl Type { .. }` block, or on a module written out in place: \
                   `mod flights { .. }`";
    // Without its attributes, so that the caret is at the item and not at its documentation.
    let mut bare = item.into_iter().peekable();
    while bare.next_if(|token| matches!(token, TokenTree::Punct(mark) if mark.as_char() == '#')).is_some() {
        bare.next();
    }
    syn::Error::new_spanned(bare.collect::<TokenStream>(), message)
}

fn type_name(ty: &Type) -> Option<String> {
    match ty {
        Type::Path(path) => path.path.segments.last().map(|segment| plain(&segment.ident)),
        Type::Group(group) => type_name(&group.elem),
        Type::Paren(paren) => type_name(&paren.elem),
        _ => None,
    }
}

/// Whether the type is one of many with its name: `Repo<T>`, and also `Repo<u8>`; lifetimes make no difference.
fn has_arguments(ty: &Type) -> bool {
    match ty {
        Type::Path(path) => path.path.segments.iter().any(|segment| match &segment.arguments {
            PathArguments::AngleBracketed(given) => {
                given.args.iter().any(|argument| !matches!(argument, GenericArgument::Lifetime(_)))
            }
            _ => false,
        }),
        Type::Group(group) => has_arguments(&group.elem),
        Type::Paren(paren) => has_arguments(&paren.elem),
        _ => false,
    }
}

/// `r#type` is called `type` in names that people read.
pub(crate) fn plain(ident: &syn::Ident) -> String {
    ident.to_string().trim_start_matches("r#").to_owned()
}

fn items(input: ParseStream<'_>) -> Result<(Vec<Attribute>, Vec<Item>)> {
    let inner = input.call(Attribute::parse_inner)?;
    let mut items = Vec::new();
    while !input.is_empty() {
        items.push(item(input)?);
    }
    Ok((inner, items))
}

fn item(input: ParseStream<'_>) -> Result<Item> {
    let attrs = input.call(Attribute::parse_outer)?;
    let ahead = input.fork();
    match function(&ahead) {
        Ok((vis, sig, body)) => {
            input.advance_to(&ahead);
            Ok(Item::Function(Box::new(Function { attrs, vis, sig, body })))
        }
        Err(error) => {
            let tokens = other(input)?;
            let looks_like_one =
                tokens.clone().into_iter().any(|token| matches!(token, TokenTree::Ident(word) if word == "fn"));
            Ok(Item::Other(Other { attrs, tokens, unreadable: looks_like_one.then_some(error) }))
        }
    }
}

/// The body is one token tree, never parsed.
fn function(input: ParseStream<'_>) -> Result<(syn::Visibility, syn::Signature, Group)> {
    let (vis, sig) = (input.parse()?, input.parse()?);
    match input.parse()? {
        // A body that came through `macro_rules!` as `$body:block` sits in a group without braces of its own.
        TokenTree::Group(body) if matches!(body.delimiter(), Delimiter::Brace | Delimiter::None) => {
            Ok((vis, sig, body))
        }
        token => Err(syn::Error::new_spanned(token, "expected the body of the function")),
    }
}

/// Takes one item that is none of our business. Where it ends matters little, as all of it is written out again in the
/// same order; it only has to find the beginning of the next function.
fn other(input: ParseStream<'_>) -> Result<TokenStream> {
    let mut tokens = TokenStream::new();
    let mut ends_with_semicolon = false;
    while !input.is_empty() {
        let token: TokenTree = input.parse()?;
        let end = match &token {
            TokenTree::Punct(mark) => mark.as_char() == ';',
            TokenTree::Group(group) => group.delimiter() == Delimiter::Brace && !ends_with_semicolon,
            TokenTree::Ident(word) => {
                ends_with_semicolon |=
                    ["const", "static", "type", "use", "extern"].iter().any(|keyword| word == keyword);
                ends_with_semicolon &= word != "fn";
                false
            }
            TokenTree::Literal(_) => false,
        };
        tokens.extend([token]);
        if end {
            break;
        }
    }
    Ok(tokens)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn kinds(source: &str) -> Vec<&'static str> {
        let block = block(source.parse().unwrap()).unwrap();
        block
            .items
            .iter()
            .map(|item| match item {
                Item::Function(_) => "fn",
                Item::Other(other) if other.unreadable.is_some() => "broken fn",
                Item::Other(_) => "other",
            })
            .collect()
    }

    fn refusal(source: &str) -> String {
        block(source.parse().unwrap()).err().map(|error| error.to_string()).unwrap_or_default()
    }

    #[test]
    fn functions_are_found_among_other_items() {
        assert_eq!(
            kinds(
                "impl A { const X: B = B { a: 1 }; type T = u8; fn a() {} m! { x } pub(crate) async fn b(&self) {} }"
            ),
            ["other", "other", "fn", "other", "fn"]
        );
        assert_eq!(
            kinds(
                "mod a { use b::{c, d}; struct E { f: u8 } impl E { fn g() {} } const fn h() {} static I: u8 = { 1 }; }"
            ),
            ["other", "other", "other", "fn", "other"]
        );
        assert_eq!(kinds("extern_mod! {}".replace("extern_mod!", "mod x").as_str()), Vec::<&str>::new());
    }

    #[test]
    fn a_half_typed_body_is_still_a_function() {
        assert_eq!(kinds("impl A { fn a() { self.find(.) self. } fn b() { let x = } }"), ["fn", "fn"]);
    }

    #[test]
    fn a_broken_signature_spoils_only_itself() {
        assert_eq!(kinds("impl A { fn a(x: = 1) {} fn b() {} }"), ["broken fn", "fn"]);
    }

    #[test]
    fn only_impl_blocks_and_modules_are_repositories() {
        for item in ["struct A { b: u8 }", "struct A;", "fn a() {}", "trait A {}", "mod a;", "enum A {}"] {
            assert!(refusal(item).contains("goes on an `impl Type { .. }` block"), "{item}");
        }
        assert!(refusal("impl (A, B) { }").contains("named type"));
    }

    #[test]
    fn a_type_with_arguments_is_one_of_many() {
        for (source, generic) in [
            ("impl<T> Repo<T> {}", true),
            ("impl a::Repo<u8> {}", true),
            ("impl<'a> Repo<'a> {}", false),
            ("impl Repo {}", false),
        ] {
            assert_eq!(block(source.parse().unwrap()).unwrap().place.generic(), generic, "{source}");
        }
    }

    #[test]
    fn names_are_those_people_read() {
        for (source, name) in
            [("impl<T: Clone> a::Repo<T> where T: Send {}", "Repo"), ("mod r#type {}", "type"), ("pub mod a {}", "a")]
        {
            assert_eq!(block(source.parse().unwrap()).unwrap().place.name(), name);
        }
    }
}
