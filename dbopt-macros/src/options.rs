//! Reads lists of options: one way to be unknown, double, or of the wrong type, for all helpers.

use std::time::Duration;

use proc_macro2::{Delimiter, Ident, TokenStream, TokenTree};
use quote::ToTokens;
use syn::ext::IdentExt;
use syn::parse::{ParseStream, Parser};
use syn::{Expr, Lit, LitStr, Token};

use crate::errors::{Errors, listed};
use crate::model::Given;
use crate::parse::plain;
use crate::problem::Problem;
use crate::suggest::nearest;
use crate::vocabulary::{HELPERS, Helper, OptionSpec};

/// One option that the helper has, with its value still to be read.
pub(crate) struct Opt {
    pub(crate) spec: &'static OptionSpec,
    pub(crate) name: Ident,
    pub(crate) value: Option<Expr>,
    pub(crate) tokens: TokenStream,
}

/// What stood between two commas.
enum Entry {
    Named(Ident, Option<Expr>),
    Bare(LitStr),
}

/// The known options in `tokens` and the bare literals among them; what is wrong with the rest goes to `errors`.
pub(crate) fn read(helper: &Helper, tokens: TokenStream, errors: &mut Errors) -> (Vec<Opt>, Vec<LitStr>) {
    let (mut options, mut bare): (Vec<Opt>, Vec<LitStr>) = (Vec::new(), Vec::new());
    for tokens in split(tokens) {
        let (name, value) = match entry.parse2(tokens.clone()) {
            Ok(Entry::Named(name, value)) => (name, value),
            Ok(Entry::Bare(text)) => {
                bare.push(text);
                continue;
            }
            Err(error) => {
                errors.push(error);
                continue;
            }
        };
        match helper.option(&plain(&name)) {
            None => errors.at(&name, unknown(helper, &plain(&name))),
            Some(spec) if options.iter().any(|option| option.spec.name == spec.name) => {
                errors.at(&name, format!("`{}` is given twice: keep one", spec.name));
            }
            Some(spec) => options.push(Opt { spec, name, value, tokens }),
        }
    }
    (options, bare)
}

/// Splits at the commas, so that one option that cannot be read does not hide the others.
fn split(tokens: TokenStream) -> Vec<TokenStream> {
    let mut parts = vec![TokenStream::new()];
    for token in tokens {
        match (&token, parts.last_mut()) {
            (TokenTree::Punct(mark), _) if mark.as_char() == ',' => parts.push(TokenStream::new()),
            (_, Some(part)) => part.extend([token]),
            (_, None) => {}
        }
    }
    parts.retain(|part| !part.is_empty());
    parts
}

fn entry(input: ParseStream<'_>) -> syn::Result<Entry> {
    if input.peek(LitStr) {
        return Ok(Entry::Bare(input.parse()?));
    }
    if !input.peek(Ident::peek_any) {
        return Err(input.error("expected an option: `name`, or `name = value`"));
    }
    let name = input.call(Ident::parse_any)?;
    if input.is_empty() {
        return Ok(Entry::Named(name, None));
    }
    if let Some((TokenTree::Group(group), _)) = input.cursor().token_tree()
        && group.delimiter() == Delimiter::Parenthesis
    {
        let message = format!("options take their value after `=`: write `{name} = {}`", group.stream());
        return Err(syn::Error::new_spanned(group, message));
    }
    input.parse::<Token![=]>().map_err(|error| {
        syn::Error::new(error.span(), format!("expected `=` after `{name}`, or a `,` before the next option"))
    })?;
    if input.is_empty() {
        return Err(syn::Error::new_spanned(&name, format!("`{name} =` lacks its value")));
    }
    Ok(Entry::Named(name, Some(input.parse()?)))
}

fn unknown(helper: &Helper, name: &str) -> String {
    let owner = helper.name;
    if helper.options.is_empty() {
        return format!("`#[{owner}]` takes no options: write `#[{owner}]`");
    }
    if let Some(meant) = nearest(name, helper.options.iter().map(|option| option.name)) {
        return format!("`#[{owner}]` has no option `{name}`: did you mean `{meant}`?");
    }
    let options = listed(helper.options.iter().map(|option| option.name), "and");
    match HELPERS.iter().find(|other| other.name != owner && other.option(name).is_some()) {
        Some(other) => {
            format!("`{name}` is an option of `#[{}]`, not of `#[{owner}]`, which has {options}", other.name)
        }
        None => format!("`#[{owner}]` has no option `{name}`: it has {options}"),
    }
}

impl Opt {
    fn given<T>(&self, value: T) -> Option<Given<T>> {
        Some(Given { value, tokens: self.tokens.clone() })
    }

    /// "expected ..: write `max_staleness = "2s"`", at the value, or at the name when there is none.
    pub(crate) fn expected<T>(&self, what: &str, errors: &mut Errors) -> Option<T> {
        errors.at(self.at(), format!("`{}` takes {what}: write `{}`", self.spec.name, self.spec.example));
        None
    }

    /// A word without a value.
    pub(crate) fn flag(&self, errors: &mut Errors) -> Option<Given<()>> {
        match &self.value {
            None => self.given(()),
            Some(value) => {
                errors.at(value, format!("`{0}` takes no value: write `{0}`, or leave it out", self.spec.name));
                None
            }
        }
    }

    pub(crate) fn boolean(&self, errors: &mut Errors) -> Option<Given<bool>> {
        match self.literal() {
            Some(Lit::Bool(value)) => self.given(value.value),
            _ => self.expected("`true` or `false`", errors),
        }
    }

    /// A text of this crate's own small languages: a duration, a rate, a template.
    pub(crate) fn text<T>(
        &self,
        what: &str,
        parse: impl Fn(&str) -> Result<T, Problem>,
        errors: &mut Errors,
    ) -> Option<Given<T>> {
        let Some(Lit::Str(text)) = self.literal() else {
            return self.expected(what, errors);
        };
        match parse(&text.value()) {
            Ok(value) => self.given(value),
            Err(Problem { what, instead }) => {
                errors.at(text, format!("{what}: write `{} = \"{instead}\"`", self.spec.name));
                None
            }
        }
    }

    pub(crate) fn duration(&self, errors: &mut Errors) -> Option<Given<Duration>> {
        self.text("a duration in quotes", crate::duration::parse, errors)
    }

    /// One of a few fixed texts.
    pub(crate) fn choice<T: Copy>(&self, choices: &[(&str, T)], errors: &mut Errors) -> Option<Given<T>> {
        let names = || listed(choices.iter().map(|(name, _)| format!("{} = \"{name}\"", self.spec.name)), "or");
        let Some(Lit::Str(text)) = self.literal() else {
            errors.at(self.at(), format!("`{}` takes a text in quotes: write {}", self.spec.name, names()));
            return None;
        };
        match choices.iter().find(|(name, _)| *name == text.value()) {
            Some((_, value)) => self.given(*value),
            None => {
                errors.at(text, format!("`{}` cannot be \"{}\": write {}", self.spec.name, text.value(), names()));
                None
            }
        }
    }

    /// `[a, b]`; each element is read by `element`, which reports its own mistakes.
    pub(crate) fn list<T>(
        &self,
        what: &str,
        errors: &mut Errors,
        mut element: impl FnMut(&Expr, &mut Errors) -> Option<T>,
    ) -> Option<Given<Vec<T>>> {
        let Some(Expr::Array(array)) = &self.value else {
            return self.expected(what, errors);
        };
        if array.elems.is_empty() {
            errors.at(array, format!("`{}` is empty: leave it out, or write `{}`", self.spec.name, self.spec.example));
        }
        self.given(array.elems.iter().filter_map(|expr| element(expr, errors)).collect())
    }

    pub(crate) fn literal(&self) -> Option<&Lit> {
        literal(self.value.as_ref()?)
    }

    fn at(&self) -> TokenStream {
        self.value.as_ref().map_or_else(|| self.name.to_token_stream(), ToTokens::to_token_stream)
    }

    /// For the reader of a helper that forgot an option of its table: loud, never silent.
    pub(crate) fn unread(&self, errors: &mut Errors) {
        errors.at(
            &self.name,
            format!("bug in dbopt-macros: `{}` is known but not read; please report it", self.spec.name),
        );
    }
}

/// The literal that `expr` is, also when it came through a macro.
pub(crate) fn literal(expr: &Expr) -> Option<&Lit> {
    match expr {
        Expr::Lit(literal) => Some(&literal.lit),
        Expr::Group(group) => literal(&group.expr),
        _ => None,
    }
}
