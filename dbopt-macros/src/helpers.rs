//! Takes the helper attributes off a method and reads their options.

use proc_macro2::TokenStream;
use quote::ToTokens;
use syn::punctuated::Punctuated;
use syn::{Attribute, LitStr, Meta, Path, Token};

use crate::available;
use crate::errors::Errors;
use crate::model::{Given, Helpers};
use crate::options;
use crate::parse::plain;
use crate::values;
use crate::vocabulary::{HELPERS, Helper, Kind};

/// The helper that a path names: `read`, or `dbopt_diesel::read`. Other paths belong to others
/// (`cached::macros::cached`).
pub(crate) fn named(path: &Path) -> Option<&'static Helper> {
    let names: Vec<String> = path.segments.iter().map(|segment| plain(&segment.ident)).collect();
    let name = match names.as_slice() {
        [name] => name,
        [from, name] if from.starts_with("dbopt") => name,
        _ => return None,
    };
    HELPERS.into_iter().find(|helper| helper.name == name)
}

/// Removes the helpers from `attrs` and reads them. `None` when there is none: such an item is left alone.
pub(crate) fn take(attrs: &mut Vec<Attribute>, errors: &mut Errors) -> Option<Helpers> {
    let mut helpers = Helpers::default();
    let mut any = false;
    attrs.retain(|attr| {
        let hidden = inside_cfg_attr(attr);
        if let Some(helper) = named(attr.path()) {
            read(helper, attr, &mut helpers, errors);
        } else if let Some(helper) = hidden {
            let message = format!(
                "`#[{}]` cannot stand inside `#[cfg_attr]`, which `#[repository]` cannot evaluate: \
                 write the method twice, each under its own `#[cfg]`",
                helper.name
            );
            errors.at(&attr.meta, message);
        } else {
            return true;
        }
        any = true;
        false
    });
    any.then_some(helpers)
}

fn inside_cfg_attr(attr: &Attribute) -> Option<&'static Helper> {
    let Meta::List(list) = &attr.meta else { return None };
    if !list.path.is_ident("cfg_attr") {
        return None;
    }
    let parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?;
    parts.iter().skip(1).find_map(|meta| named(meta.path()))
}

fn read(helper: &'static Helper, attr: &Attribute, into: &mut Helpers, errors: &mut Errors) {
    if into.has(helper.kind) {
        errors.at(&attr.meta, format!("`#[{}]` is given twice: put all options into one", helper.name));
        return;
    }
    if let Some(message) = available::missing(helper, None) {
        errors.at(attr.path(), message);
    }
    let (given, bare) = options::read(helper, arguments(helper, attr, errors), errors);
    for option in &given {
        if let Some(message) = available::missing(helper, Some(option.spec.name)) {
            errors.at(&option.name, message);
        }
    }
    let bare = if helper.kind == Kind::Cached { bare } else { refuse(helper, bare, errors) };
    let this = Given { value: (), tokens: attr.meta.to_token_stream() };
    match helper.kind {
        Kind::Read => into.read = Some(this.map(|()| values::read(given, errors))),
        Kind::Write => into.write = Some(this.map(|()| values::write(given, errors))),
        Kind::Critical => into.critical = Some(this),
        Kind::Cached => into.cached = Some(this.map(|()| values::cached(given, bare, errors))),
        Kind::Batched => into.batched = Some(this.map(|()| values::batched(given, attr, errors))),
        Kind::RateLimited => into.rate_limited = Some(this.map(|()| values::rate_limited(given, errors))),
        Kind::Repository => {}
    }
}

fn arguments(helper: &Helper, attr: &Attribute, errors: &mut Errors) -> TokenStream {
    match &attr.meta {
        Meta::Path(_) => TokenStream::new(),
        Meta::List(list) => list.tokens.clone(),
        Meta::NameValue(pair) => {
            let message = match helper.options.first() {
                Some(first) => format!("options go in parentheses: write `#[{}({})]`", helper.name, first.example),
                None => format!("`#[{0}]` takes no options: write `#[{0}]`", helper.name),
            };
            errors.at(pair, message);
            TokenStream::new()
        }
    }
}

/// A text without a name: only the tags of `#[cached]` may be written so.
pub(crate) fn refuse(helper: &Helper, bare: Vec<LitStr>, errors: &mut Errors) -> Vec<LitStr> {
    for text in bare {
        let message = match helper.options.first() {
            Some(first) => format!("a text without a name: write an option, such as `{}`", first.example),
            None => format!("`#[{0}]` takes no options: write `#[{0}]`", helper.name),
        };
        errors.at(text, message);
    }
    Vec::new()
}

impl Helpers {
    fn has(&self, kind: Kind) -> bool {
        match kind {
            Kind::Read => self.read.is_some(),
            Kind::Write => self.write.is_some(),
            Kind::Critical => self.critical.is_some(),
            Kind::Cached => self.cached.is_some(),
            Kind::Batched => self.batched.is_some(),
            Kind::RateLimited => self.rate_limited.is_some(),
            Kind::Repository => false,
        }
    }
}

impl Helpers {
    /// The helpers stand on something that is not a function.
    pub(crate) fn misplaced(&self, errors: &mut Errors) {
        let all = [
            self.read.as_ref().map(|given| &given.tokens),
            self.write.as_ref().map(|given| &given.tokens),
            self.critical.as_ref().map(|given| &given.tokens),
            self.cached.as_ref().map(|given| &given.tokens),
            self.batched.as_ref().map(|given| &given.tokens),
            self.rate_limited.as_ref().map(|given| &given.tokens),
        ];
        for tokens in all.into_iter().flatten() {
            errors.at(tokens, format!("`#[{tokens}]` goes on an `async fn` of this block"));
        }
    }
}
