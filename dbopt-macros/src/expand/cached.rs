//! A cached read: what is fixed about it in one static, and the calls into the runtime around the read itself.

use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{format_ident, quote, quote_spanned};
use syn::GenericParam;

use super::{Scope, combinations, database, hygienic, located, operation, repeated};
use super::{limited, text};
use crate::attrs;
use crate::generics;
use crate::model::{Argument, Cached, Given, Kept, Layers, Method};
use crate::parse::plain;

/// The function beside the method that knows how its result is kept; a `write_through` asks it too.
pub(super) fn accessor(method: &Method<'_>, scope: &Scope<'_>) -> Option<TokenStream> {
    let kept = method.cached.as_ref()?;
    let site = Span::mixed_site();
    let (krate, returns) = (&scope.krate, method.returns);
    let attrs = attrs::beside(&method.source.attrs);
    let name = accessor_name(method);
    let (generics, where_clause) = (generics::without_connection(method), &method.source.sig.generics.where_clause);
    let store = match kept.options.layers.as_ref().map(|layers| layers.value) {
        Some(Layers::L1) => quote_spanned!(site=> InMemory),
        _ => quote_spanned!(site=> Serde),
    };
    let ty = quote_spanned!(located(returns)=> #krate::__private::CachedMethod<#returns, #krate::__private::#store>);
    // A type that cannot be kept is a mistake at the return type.
    let at_return = placed(krate, located(returns));
    let made = quote_spanned!(located(returns)=> #at_return::__private::CachedMethod::new(&__DBOPT_CACHED));
    let (operation, options) = (operation(method, scope), options(kept.options));
    let limited = limited::description(method, krate);
    let with_limits = limited.is_some().then(|| quote_spanned!(site=> .limited(&__DBOPT_LIMITED)));
    Some(quote_spanned! {site=>
        #(#attrs)*
        #[doc(hidden)]
        fn #name #generics () -> #ty #where_clause {
            static __DBOPT_OP: #krate::__private::Op = #operation;
            static __DBOPT_CACHED: #krate::__private::Cached = #krate::__private::Cached::new(&__DBOPT_OP) #options;
            #limited
            #made #with_limits
        }
    })
}

/// The same path, shown at another place.
fn placed(path: &TokenStream, at: Span) -> TokenStream {
    let placed = path.clone().into_iter().map(|mut token| {
        token.set_span(token.span().located_at(at));
        token
    });
    placed.collect()
}

fn accessor_name(method: &Method<'_>) -> Ident {
    format_ident!("__dbopt_cached_{}", plain(&method.source.sig.ident), span = Span::mixed_site())
}

/// `Self::__dbopt_cached_find()`
pub(super) fn accessor_call(method: &Method<'_>) -> TokenStream {
    let (name, turbofish) = (accessor_name(method), generics::turbofish(&method.source.sig.generics));
    match method.receiver {
        Some(_) => quote_spanned!(Span::mixed_site()=> Self::#name #turbofish()),
        None => quote_spanned!(Span::mixed_site()=> self::#name #turbofish()),
    }
}

/// Only what is written: the rest is what the configuration says.
fn options(cached: &Cached) -> TokenStream {
    let site = Span::mixed_site();
    let duration = |name: &str, given: &Option<Given<Duration>>| {
        given.as_ref().map(|given| {
            let name = Ident::new(name, site);
            let millis = u64::try_from(given.value.as_millis()).unwrap_or(u64::MAX);
            quote_spanned!(site=> .#name(::core::time::Duration::from_millis(#millis)))
        })
    };
    let flag = |name: &str, set: bool| {
        set.then(|| {
            let name = Ident::new(name, site);
            quote_spanned!(site=> .#name())
        })
    };
    let layers = cached.layers.as_ref().map(|layers| layers.value);
    let refresh = cached.refresh_ahead.as_ref().map(|given| {
        let part = given.value;
        quote_spanned!(site=> .refresh_ahead(#part))
    });
    let all = [
        duration("ttl", &cached.ttl),
        duration("l1_ttl", &cached.l1_ttl),
        flag("keyed", cached.key.is_some()),
        flag("vary_by_user", cached.vary_by_user.as_ref().is_some_and(|vary| vary.value)),
        flag("without_none", cached.cache_none.as_ref().is_some_and(|none| !none.value)),
        flag("strong", cached.strong.is_some()),
        duration("stale_if_error", &cached.stale_if_error),
        refresh,
        flag("only_l1", layers == Some(Layers::L1)),
        flag("only_l2", layers == Some(Layers::L2)),
    ];
    all.into_iter().flatten().collect()
}

/// The body of the public function: look, and read only when nobody has or does.
pub(super) fn work(method: &Method<'_>, kept: &Kept<'_>, scope: &Scope<'_>) -> TokenStream {
    let site = Span::mixed_site();
    let (krate, returns) = (&scope.krate, method.returns);
    let at_return = located(returns);
    let warning = warning(kept);
    let look = look(method, kept, scope);
    let acquire = quote_spanned! {at_return=>
        let mut __dbopt_lease = match __dbopt_call.acquire().await {
            ::core::result::Result::Ok(__dbopt_lease) => __dbopt_lease,
            ::core::result::Result::Err(__dbopt_error) => {
                break ::core::result::Result::Err(::core::convert::From::from(__dbopt_error));
            }
        };
    };
    let attempts = repeated(method, &acquire, None, krate);
    quote_spanned! {site=>
        #krate::__private::assert_outcome::<#returns>();
        #warning
        use #krate::__private::{ByClone as _, ByMessage as _, MayBeNone as _, NeverNone as _};
        let __dbopt_miss = match #look {
            #krate::__private::Look::Hit(__dbopt_result) => return __dbopt_result,
            #krate::__private::Look::Miss(__dbopt_miss) => __dbopt_miss,
        };
        // In a box: a future that is answered from memory stays small, and costs little to make.
        ::std::boxed::Box::pin(async {
            let mut __dbopt_cached = __dbopt_miss;
            let mut __dbopt_call = match __dbopt_cached.next().await {
                #krate::__private::Next::Return(__dbopt_result) => return __dbopt_result,
                #krate::__private::Next::Load(__dbopt_call) => __dbopt_call,
            };
            let __dbopt_result = #attempts;
            __dbopt_cached.end(__dbopt_call, __dbopt_result).await
        })
        .await
    }
}

fn look(method: &Method<'_>, kept: &Kept<'_>, scope: &Scope<'_>) -> TokenStream {
    let site = Span::mixed_site();
    let krate = &scope.krate;
    let (_, db) = database(method, scope);
    let accessor = accessor_call(method);
    let (sharing, absence) = (probe(method, "sharing", krate), probe(method, "absence", krate));
    let tags = text::tags(kept.tags(), method.arguments.as_slice(), krate);
    let limit_key = limited::key(method);
    let look = |key: TokenStream| match &limit_key {
        None => quote_spanned!(site=> #krate::__private::look(#db, #accessor, #sharing, #absence, #key, || #tags)),
        Some(who) => quote_spanned! {site=>
            #krate::__private::look_limited(#db, #who, #accessor, #sharing, #absence, #key, || #tags)
        },
    };
    if let Some(key) = explicit_key(kept.options, method, krate) {
        return look(key);
    }
    let values = |passed: &[&Argument<'_>]| {
        let arguments = passed.iter().map(|argument| value_of(argument));
        joined(instance(method, passed, scope).into_iter().chain(arguments).collect(), method)
    };
    if method.arguments.iter().all(|argument| argument.cfg.is_empty()) {
        let key = values(&method.arguments.iter().collect::<Vec<_>>());
        return look(quote_spanned!(located(&method.source.sig.ident)=> &#key));
    }
    let keys = combinations(&method.arguments, |passed| {
        let key = values(passed);
        quote_spanned!(site=> let __dbopt_key = #key;)
    });
    let look = look(quote_spanned!(site=> &__dbopt_key));
    quote_spanned!(site=> { #keys let __dbopt_look = #look; __dbopt_look })
}

/// What a type is to the cache, found out by what it implements: see `Probe`.
pub(super) fn probe(method: &Method<'_>, question: &str, krate: &TokenStream) -> TokenStream {
    let (returns, question) = (method.returns, Ident::new(question, Span::mixed_site()));
    quote_spanned!(located(returns)=> (&&#krate::__private::Probe::<#returns>::NEW).#question())
}

/// `&text(format_args!(..))` for `key = ".."`.
pub(super) fn explicit_key(cached: &Cached, method: &Method<'_>, krate: &TokenStream) -> Option<TokenStream> {
    let key = cached.key.as_ref()?;
    let arguments = text::arguments(key, method.arguments.as_slice());
    Some(quote_spanned!(located(&key.tokens)=> &#krate::__private::text(#arguments)))
}

/// What tells the instances of a generic method apart: they share no entries.
pub(super) fn instance(method: &Method<'_>, passed: &[&Argument<'_>], scope: &Scope<'_>) -> Vec<TokenStream> {
    let site = Span::mixed_site();
    let this =
        (scope.generic && method.receiver.is_some()).then(|| quote_spanned!(site=> ::core::any::type_name::<Self>()));
    let own = method.source.sig.generics.params.iter().filter_map(|param| match param {
        GenericParam::Type(param) => {
            let name = &param.ident;
            Some(quote_spanned!(site=> ::core::any::type_name::<#name>()))
        }
        GenericParam::Const(param) => {
            let name = &param.ident;
            Some(quote!(#name))
        }
        _ => None,
    });
    // The type of an `impl Trait` has no name, but its value tells.
    let unnamed = passed.iter().filter(|argument| generics::contains_impl(argument.ty)).map(|argument| {
        let name = hygienic(&argument.name);
        quote_spanned!(site=> ::core::any::type_name_of_val(&#name))
    });
    this.into_iter().chain(own).chain(unnamed).collect()
}

fn value_of(argument: &Argument<'_>) -> TokenStream {
    let name = hygienic(&argument.name);
    quote_spanned!(located(argument.ty)=> &#name)
}

/// One value as it is, several as a tuple; many as tuples in a tuple, as traits are implemented for short ones only.
pub(super) fn joined(values: Vec<TokenStream>, method: &Method<'_>) -> TokenStream {
    const LONGEST: usize = 12;
    let site = located(&method.source.sig.ident);
    match values.as_slice() {
        // A tuple around it would be encoded and hashed too.
        [value] => value.clone(),
        values if values.len() <= LONGEST => quote_spanned!(site=> (#(#values,)*)),
        values => joined(values.chunks(LONGEST).map(|part| joined(part.to_vec(), method)).collect(), method),
    }
}

/// Stable Rust has no warnings for macros, but the use of what is deprecated is one.
fn warning(kept: &Kept<'_>) -> Option<TokenStream> {
    let site = Span::mixed_site();
    let uses = kept.caller.iter().map(|word| {
        let span = word.span();
        quote_spanned!(span=> let _ = one_value_for_all_callers;)
    });
    let note = "this body asks who is calling, but what it returns is kept for everybody: add `vary = [user]` to \
                `#[cached]`, or a `key` that says whom a value is for";
    (!kept.caller.is_empty()).then(|| {
        quote_spanned! {site=>
            #[deprecated(note = #note)]
            const one_value_for_all_callers: () = ();
            #(#uses)*
        }
    })
}
