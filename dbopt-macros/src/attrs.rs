//! Which attributes of a method go on the public function, and which on `<name>_in`.

use quote::quote;
use syn::punctuated::Punctuated;
use syn::{Attribute, Meta, Token, parse_quote};

/// What the public function is given: documentation, conditions and lints. Everything else, such as
/// `#[tracing::instrument(skip(conn))]`, belongs to the body and stays with it.
pub(crate) fn public(attrs: &[Attribute]) -> Vec<Attribute> {
    let mut public = kept(attrs, &["doc", "cfg", "must_use", "deprecated", "allow", "warn", "deny", "forbid"]);
    if public.iter().any(|attr| attr.path().is_ident("deprecated")) {
        // It calls its twin, which is deprecated with it.
        public.push(parse_quote!(#[allow(deprecated)]));
    }
    public
}

/// What an item that is written beside a method shares with it: whether it is there at all, and lints that were silenced.
pub(crate) fn beside(attrs: &[Attribute]) -> Vec<Attribute> {
    kept(attrs, &["cfg", "allow"])
}

fn kept(attrs: &[Attribute], names: &[&str]) -> Vec<Attribute> {
    let kept = |attr: &Attribute| Some(Attribute { meta: kept_meta(&attr.meta, names)?, ..attr.clone() });
    attrs.iter().filter_map(kept).collect()
}

fn kept_meta(meta: &Meta, names: &[&str]) -> Option<Meta> {
    if names.iter().any(|name| meta.path().is_ident(name)) {
        return Some(meta.clone());
    }
    let Meta::List(list) = meta else { return None };
    if list.path.is_ident("expect") {
        // What is expected may be true of the body only, and an expectation that is not met is a warning.
        let lints = &list.tokens;
        return Some(parse_quote!(allow(#lints)));
    }
    if list.path.is_ident("cfg_attr") {
        let mut parts = list.parse_args_with(Punctuated::<Meta, Token![,]>::parse_terminated).ok()?.into_iter();
        let condition = parts.next()?;
        let kept: Vec<Meta> = parts.filter_map(|part| kept_meta(&part, names)).collect();
        return (!kept.is_empty()).then(|| parse_quote!(cfg_attr(#condition, #(#kept),*)));
    }
    None
}

/// The documentation of `<name>_in`: the user's own, and a line about the difference.
pub(crate) fn documentation_of_twin(attrs: &[Attribute]) -> proc_macro2::TokenStream {
    let line = " The same statements on a connection you already hold, for example inside a transaction.";
    if attrs.iter().any(|attr| attr.path().is_ident("doc")) {
        quote!(#[doc = ""] #[doc = #line])
    } else {
        quote!(#[doc = #line])
    }
}

#[cfg(test)]
mod tests {
    use quote::ToTokens;
    use syn::parse::Parser;

    use super::*;

    fn attrs(source: &str) -> Vec<Attribute> {
        Attribute::parse_outer.parse_str(source).unwrap()
    }

    fn written(attrs: &[Attribute]) -> String {
        attrs.iter().map(|attr| attr.to_token_stream().to_string()).collect::<Vec<_>>().join(" ")
    }

    fn same(left: &str, right: &str) {
        let right: proc_macro2::TokenStream = right.parse().unwrap();
        assert_eq!(written(&public(&attrs(left))), right.to_string(), "{left}");
    }

    #[test]
    fn documentation_conditions_and_lints_are_on_both() {
        for attr in [
            "#[doc = \"a\"]",
            "#[doc(hidden)]",
            "#[cfg(unix)]",
            "#[must_use]",
            "#[allow(clippy::all)]",
            "#[deny(warnings)]",
        ] {
            same(attr, attr);
        }
    }

    #[test]
    fn a_deprecated_function_may_call_its_twin() {
        same("#[deprecated(note = \"b\")]", "#[deprecated(note = \"b\")] #[allow(deprecated)]");
    }

    #[test]
    fn everything_else_is_on_the_twin_only() {
        for attr in ["#[tracing::instrument(skip(conn))]", "#[inline]", "#[rustfmt::skip]"] {
            same(attr, "");
        }
    }

    #[test]
    fn an_item_beside_is_there_when_the_method_is() {
        let given = attrs("#[doc = \"a\"] #[cfg(a)] #[must_use] #[deprecated] #[instrument] #[cfg_attr(b, cfg(c))]");
        assert_eq!(written(&beside(&given)), written(&attrs("#[cfg(a)] #[cfg_attr(b, cfg(c))]")));
    }

    #[test]
    fn an_expectation_is_only_allowed() {
        same("#[expect(unused_mut, reason = \"b\")]", "#[allow(unused_mut, reason = \"b\")]");
    }

    #[test]
    fn a_condition_is_kept_with_what_it_may_keep() {
        same("#[cfg_attr(unix, doc = \"a\", instrument)]", "#[cfg_attr(unix, doc = \"a\")]");
        same("#[cfg_attr(unix, instrument)]", "");
    }
}
