//! A limited method: what is fixed about its limits in one static, and who is limited in the call.

use proc_macro2::{Ident, Span, TokenStream};
use quote::quote_spanned;

use super::{located, text};
use crate::model::{Cost, Given, Method};
use crate::rate::Rate;

/// `static __DBOPT_LIMITED: Limited = ..;`, beside `__DBOPT_OP`.
pub(super) fn description(method: &Method<'_>, krate: &TokenStream) -> Option<TokenStream> {
    let limited = method.limited?;
    let site = Span::mixed_site();
    let windows = |name: &str, given: &Option<Given<Vec<Rate>>>| {
        given.as_ref().map(|given| {
            let name = Ident::new(name, site);
            let windows = given.value.iter().map(|rate| {
                let (count, millis) = (rate.count.get(), u64::try_from(rate.per.as_millis()).unwrap_or(u64::MAX));
                quote_spanned!(site=> (#count, #millis))
            });
            quote_spanned!(site=> .#name(&[#(#windows),*]))
        })
    };
    let (per_user, global) = (windows("per_user", &limited.per_user), windows("global", &limited.global));
    let cost = limited.cost.as_ref().map(|given| match given.value {
        Cost::Calls(cost) => {
            let cost = cost.get();
            quote_spanned!(site=> .cost(#cost))
        }
        Cost::DatabaseTime => quote_spanned!(site=> .cost_by_time()),
    });
    Some(quote_spanned! {site=>
        static __DBOPT_LIMITED: #krate::__private::Limited =
            #krate::__private::Limited::new(&__DBOPT_OP) #per_user #global #cost;
    })
}

/// Who is limited, as an `Option<Arguments>`: the caller, or whom the arguments name.
pub(super) fn key(method: &Method<'_>) -> Option<TokenStream> {
    let Some(key) = &method.limited?.key else {
        return Some(quote_spanned!(Span::mixed_site()=> ::core::option::Option::None));
    };
    let arguments = text::arguments(key, method.arguments.as_slice());
    Some(quote_spanned!(located(&key.tokens)=> ::core::option::Option::Some(#arguments)))
}

/// `__dbopt_call.limited(..);`
pub(super) fn statement(method: &Method<'_>) -> Option<TokenStream> {
    let key = key(method)?;
    Some(quote_spanned!(Span::mixed_site()=> __dbopt_call.limited(&__DBOPT_LIMITED, #key);))
}
