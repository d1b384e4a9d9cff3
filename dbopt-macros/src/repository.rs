//! `#[repository]` from end to end: parse, model, check, expand, and the fallback in between.

use proc_macro2::TokenStream;
use quote::{ToTokens, quote};

use crate::check::All;
use crate::errors::Errors;
use crate::expand::Scope;
use crate::model::{Block, Helpers, Item, Settings};
use crate::vocabulary::REPOSITORY;
use crate::{check, crate_path, expand, fallback, helpers, options, parse, values};

/// The macro on `proc_macro2`'s tokens, so that tests can call it.
pub(crate) fn repository(arguments: TokenStream, item: TokenStream) -> TokenStream {
    let mut errors = Errors::default();
    let settings = settings(arguments, &mut errors);
    let expanded = match parse::block(item.clone()) {
        Ok(mut block) if check::block(&block, &settings, &mut errors) => expanded(&mut block, &settings, &mut errors),
        Ok(_) => fallback::whole(item),
        Err(error) => {
            errors.push(error);
            fallback::whole(item)
        }
    };
    let errors = errors.into_compile_errors();
    quote!(#expanded #errors)
}

fn settings(arguments: TokenStream, errors: &mut Errors) -> Settings {
    let (options, bare) = options::read(&REPOSITORY, arguments, errors);
    helpers::refuse(&REPOSITORY, bare, errors);
    values::repository(options, errors)
}

fn expanded(block: &mut Block, settings: &Settings, errors: &mut Errors) -> TokenStream {
    let krate = match &settings.krate {
        Some(given) => given.value.to_token_stream(),
        None => crate_path::runtime(errors),
    };
    let taken: Vec<Option<Helpers>> = block.items.iter_mut().map(|item| helpers::take(item.attrs(), errors)).collect();
    let block = &*block;
    let scope = Scope { krate, name: block.place.name(), generic: block.place.generic(), settings };
    let all = All { block, helpers: &taken };
    let items =
        block.items.iter().zip(&taken).map(|(item, helpers)| self::item(item, helpers.as_ref(), &all, &scope, errors));
    let items: TokenStream = items.collect();
    let (head, inner_attrs) = (&block.head, &block.inner_attrs);
    let body = block.braced(quote!(#(#inner_attrs)* #items));
    quote!(#head #body)
}

fn item<'a>(
    item: &'a Item,
    helpers: Option<&'a Helpers>,
    all: &All<'a>,
    scope: &Scope<'_>,
    errors: &mut Errors,
) -> TokenStream {
    match (item, helpers) {
        (Item::Function(function), Some(helpers)) => match check::method(function, helpers, all, errors) {
            Some(method) => expand::method(&method, scope),
            None => fallback::function(function),
        },
        (Item::Function(function), None) => fallback::function(function),
        (Item::Other(other), helpers) => {
            match (helpers, &other.unreadable) {
                (Some(_), Some(error)) => errors.push(error.clone()),
                (Some(helpers), None) => helpers.misplaced(errors),
                (None, _) => {}
            }
            fallback::other(other)
        }
    }
}

impl Item {
    fn attrs(&mut self) -> &mut Vec<syn::Attribute> {
        match self {
            Self::Function(function) => &mut function.attrs,
            Self::Other(other) => &mut other.attrs,
        }
    }
}
