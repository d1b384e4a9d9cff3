//! Keys and tags, written out: `format_args!` with the values where they are at that place.

use proc_macro2::{Ident, Literal, Span, TokenStream};
use quote::{ToTokens, quote_spanned};
use syn::Index;

use super::{hygienic, located};
use crate::model::{Argument, Template};
use crate::parse::plain;
use crate::template::Part;

/// An expression for a value of a template, or of `write_through`.
pub(super) trait Values {
    fn value(&self, name: &str, fields: &[String], site: Span) -> TokenStream;
}

/// The arguments of the method themselves.
impl Values for [Argument<'_>] {
    fn value(&self, name: &str, fields: &[String], site: Span) -> TokenStream {
        let argument = self.iter().find(|argument| plain(&argument.name) == name);
        let name = argument.map(|argument| {
            let mut name = hygienic(&argument.name);
            name.set_span(site);
            name
        });
        field_of(name, fields, site)
    }
}

/// `filter.airport`
pub(super) fn field_of(base: impl ToTokens, fields: &[String], site: Span) -> TokenStream {
    let mut value = base.to_token_stream();
    for field in fields {
        let field = match field.parse::<u32>() {
            Ok(index) => Index { index, span: site }.into_token_stream(),
            Err(_) => syn::parse_str::<Ident>(field)
                .map(|mut field| {
                    field.set_span(site);
                    field.into_token_stream()
                })
                .unwrap_or_default(),
        };
        value = quote_spanned!(site=> #value.#field);
    }
    value
}

/// `format_args!("flight:{}", id)`, at the place of the text.
pub(super) fn arguments<V: Values + ?Sized>(template: &Template, values: &V) -> TokenStream {
    let site = located(&template.tokens);
    let mut format = String::new();
    let mut given: Vec<TokenStream> = Vec::new();
    for part in &template.value {
        match part {
            Part::Text(text) => format.push_str(&text.replace('{', "{{").replace('}', "}}")),
            Part::Value { name, fields } => {
                format.push_str("{}");
                given.push(values.value(name, fields, site));
            }
        }
    }
    let mut format = Literal::string(&format);
    format.set_span(site);
    quote_spanned!(site=> ::core::format_args!(#format #(, #given)*))
}

/// `tag(format_args!(..))`
pub(super) fn tag<V: Values + ?Sized>(template: &Template, values: &V, krate: &TokenStream) -> TokenStream {
    let arguments = arguments(template, values);
    quote_spanned!(located(&template.tokens)=> #krate::__private::tag(#arguments))
}

/// `vec![tag(..), ..]`
pub(super) fn tags<'t, V: Values + ?Sized>(
    templates: impl IntoIterator<Item = &'t Template>,
    values: &V,
    krate: &TokenStream,
) -> TokenStream {
    let tags = templates.into_iter().map(|template| tag(template, values, krate));
    quote_spanned!(Span::mixed_site()=> ::std::vec![#(#tags),*])
}
