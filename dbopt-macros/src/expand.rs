//! A [`Method`] to tokens: one static, and one call into the runtime. Nothing is decided here.

mod cached;
mod effects;
mod limited;
mod text;
mod twin;

use std::time::Duration;

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, quote, quote_spanned};
use syn::spanned::Spanned;
use syn::{Attribute, Type};

use self::effects::Statements;
use crate::attrs;
use crate::generics;
use crate::model::{Argument, Intent, Method, Operation, Settings};
use crate::parse::plain;

/// What all methods of a block have in common.
pub(crate) struct Scope<'a> {
    /// Path of the runtime crate.
    pub(crate) krate: TokenStream,
    /// `Flights`, in `Flights::find`.
    pub(crate) name: &'a str,
    /// Whether that is a type with types or constants as parameters.
    pub(crate) generic: bool,
    pub(crate) settings: &'a Settings,
}

/// The public function, and the user's own under the name `<name>_in`; before them, how a cached result is kept.
pub(crate) fn method(method: &Method<'_>, scope: &Scope<'_>) -> TokenStream {
    let accessor = cached::accessor(method, scope);
    let public = public(method, scope);
    let twin = twin::twin(method, scope);
    quote!(#accessor #public #twin)
}

fn public(method: &Method<'_>, scope: &Scope<'_>) -> TokenStream {
    let site = Span::mixed_site();
    let (source, returns) = (method.source, method.returns);
    let sig = &source.sig;
    let (attrs, vis, name) = (attrs::public(&source.attrs), &source.vis, &sig.ident);
    let (asyncness, fn_token, generics) = (&sig.asyncness, &sig.fn_token, generics::without_connection(method));
    let where_clause = &sig.generics.where_clause;
    let (first, _) = database(method, scope);
    let parameters = method.arguments.iter().map(parameter);
    let work = match &method.cached {
        Some(kept) => cached::work(method, kept, scope),
        None => work(method, scope),
    };
    quote_spanned! {site=>
        #(#attrs)*
        #vis #asyncness #fn_token #name #generics (#first, #(#parameters),*) -> #returns #where_clause {
            #work
        }
    }
}

/// The body of the public function.
fn work(method: &Method<'_>, scope: &Scope<'_>) -> TokenStream {
    let (site, krate) = (Span::mixed_site(), &scope.krate);
    let operation = operation(method, scope);
    let (_, db) = database(method, scope);
    let outcome = assert_outcome(method.returns, krate);
    let effects = Statements::new(method, scope);
    let before = effects.as_ref().map(Statements::before);
    let attempts = attempts(method, effects.and_then(|effects| effects.after()), krate);
    let limits = limited::statement(method);
    let limited = limited::description(method, krate);
    quote_spanned! {site=>
        static __DBOPT_OP: #krate::__private::Op = #operation;
        #limited
        #outcome
        let mut __dbopt_call = #krate::__private::call(#db, &__DBOPT_OP);
        #limits
        #before
        #attempts
    }
}

/// The body may run again: a loop, until the runtime is content. Else: once.
fn attempts(method: &Method<'_>, after: Option<TokenStream>, krate: &TokenStream) -> TokenStream {
    let site = Span::mixed_site();
    // What needs `E: From<Error>` stands at the return type, where a message about it belongs.
    let at_return = located(method.returns);
    let acquire = quote_spanned! {at_return=>
        let mut __dbopt_lease = __dbopt_call.acquire().await?;
    };
    if method.operation.runs_again() {
        return repeated(method, &acquire, after, krate);
    }
    let body = body(method, |argument| passed(argument, krate), krate);
    let finish = quote_spanned!(at_return=> __dbopt_call.finish_once(__dbopt_lease, __dbopt_attempt).await);
    quote_spanned! {site=>
        #acquire
        #body
        let __dbopt_attempt = __dbopt_call.run(__dbopt_body).await;
        #after
        #finish
    }
}

fn repeated(
    method: &Method<'_>,
    acquire: &TokenStream,
    after: Option<TokenStream>,
    krate: &TokenStream,
) -> TokenStream {
    let run = match method.operation.hedge {
        Some(_) => hedged(method, krate),
        None => {
            let body = body(method, |argument| passed(argument, krate), krate);
            quote_spanned! {Span::mixed_site()=>
                #body
                let __dbopt_attempt = __dbopt_call.run(__dbopt_body).await;
            }
        }
    };
    let at_return = located(method.returns);
    let finish = quote_spanned!(at_return=> __dbopt_call.finish(__dbopt_lease, __dbopt_attempt).await);
    quote_spanned! {Span::mixed_site()=>
        loop {
            #acquire
            #run
            #after
            if let ::core::option::Option::Some(__dbopt_result) = #finish {
                break __dbopt_result;
            }
        }
    }
}

/// The body runs on its connection and, should that take long, on one of another replica. The second run is in a box: most calls do
/// without it. It owns its arguments, as one that is no more than `Send` cannot be lent to it.
fn hedged(method: &Method<'_>, krate: &TokenStream) -> TokenStream {
    let first = body(method, |argument| passed(argument, krate), krate);
    let second = body(method, |argument| hygienic(&argument.name).into_token_stream(), krate);
    let copies = method.arguments.iter().filter(|argument| argument.cloned).map(|argument| {
        let (cfg, name, copy) = (&argument.cfg, hygienic(&argument.name), passed(argument, krate));
        quote_spanned!(Span::mixed_site()=> #(#cfg)* let #name = #copy;)
    });
    quote_spanned! {Span::mixed_site()=>
        let mut __dbopt_second = ::core::option::Option::None;
        let mut __dbopt_attempt = {
            #first
            let mut __dbopt_body = ::core::pin::pin!(__dbopt_body);
            match __dbopt_call.begin(__dbopt_body.as_mut()).await {
                #krate::__private::Begun::Ended(__dbopt_attempt) => __dbopt_attempt,
                #krate::__private::Begun::Slow(__dbopt_other) => {
                    #(#copies)*
                    let __dbopt_second = __dbopt_second.insert(::std::boxed::Box::pin(async move {
                        let mut __dbopt_lease = __dbopt_other;
                        #second
                        let __dbopt_result = __dbopt_body.await;
                        (__dbopt_lease, __dbopt_result)
                    }));
                    __dbopt_call.race(__dbopt_body, __dbopt_second.as_mut()).await
                }
            }
        };
        if let ::core::option::Option::Some(__dbopt_second) = __dbopt_second {
            __dbopt_attempt = __dbopt_call.settle(&mut __dbopt_lease, __dbopt_attempt, __dbopt_second).await;
        }
    }
}

/// `let __dbopt_body = Self::find_in(self, lend(..), ..);`
fn body(method: &Method<'_>, passed: impl Fn(&Argument<'_>) -> TokenStream, krate: &TokenStream) -> TokenStream {
    let loan = loan(method, krate);
    combinations(&method.arguments, |arguments| {
        let call = call(method, &loan, arguments.iter().map(|argument| passed(argument)));
        quote_spanned!(Span::mixed_site()=> let __dbopt_body = #call;)
    })
}

/// A statement about the arguments. A `#[cfg]` cannot stand on an argument of a call, so with `#[cfg]` on parameters there
/// is one such statement for each combination.
fn combinations(arguments: &[Argument<'_>], statement: impl Fn(&[&Argument<'_>]) -> TokenStream) -> TokenStream {
    let site = Span::mixed_site();
    let conditions = conditions(arguments);
    let combinations = (0..1_usize << conditions.len()).map(|chosen| {
        let holds = |condition: &TokenStream| {
            let at = conditions.iter().position(|other| other.to_string() == condition.to_string());
            at.is_none_or(|at| chosen & (1 << at) != 0)
        };
        let passed = arguments.iter().filter(|argument| condition(argument).is_none_or(|it| holds(&it)));
        let statement = statement(&passed.collect::<Vec<_>>());
        let terms = conditions.iter().map(|it| if holds(it) { it.clone() } else { quote!(not(#it)) });
        let cfg = (!conditions.is_empty()).then(|| quote!(#[cfg(all(#(#terms),*))]));
        quote_spanned!(site=> #cfg #statement)
    });
    combinations.collect()
}

/// A call of the user's own function.
fn call(method: &Method<'_>, conn: &TokenStream, arguments: impl Iterator<Item = TokenStream>) -> TokenStream {
    let site = Span::mixed_site();
    let body = twin::body_name(method);
    let turbofish = generics::turbofish(&method.source.sig.generics);
    let function = match method.receiver {
        Some(_) => quote_spanned!(site=> Self::#body #turbofish),
        None => quote_spanned!(site=> self::#body #turbofish),
    };
    let receiver = method.receiver.map(|receiver| receiver.self_token).into_iter().map(|it| quote!(#it));
    let passed = receiver.chain([conn.clone()]).chain(arguments);
    quote_spanned!(site=> #function(#(#passed),*))
}

fn loan(method: &Method<'_>, krate: &TokenStream) -> TokenStream {
    let ty = method.connection.ty;
    let lent = quote_spanned!(located(ty)=> #krate::__private::lend::<#ty>(&mut __dbopt_lease));
    if method.connection.exclusive { lent } else { quote_spanned!(located(ty)=> &*#lent) }
}

fn passed(argument: &Argument<'_>, krate: &TokenStream) -> TokenStream {
    let name = hygienic(&argument.name);
    if !argument.cloned {
        return name.to_token_stream();
    }
    // From the first to the last token of the type, so that a missing `Clone` underlines all of it.
    let (first, last) = ends(argument.ty);
    let mut name = name;
    name.set_span(last.resolved_at(Span::mixed_site()));
    let reference = quote_spanned!(first.resolved_at(Span::mixed_site())=> &);
    quote_spanned!(located(argument.ty)=> #krate::__private::clone_arg(#reference #name))
}

fn operation(method: &Method<'_>, scope: &Scope<'_>) -> TokenStream {
    let site = Span::mixed_site();
    let krate = &scope.krate;
    let Operation {
        intent,
        critical,
        max_staleness,
        from_primary,
        idempotent,
        without_transaction,
        max_concurrent,
        hedge,
    } = method.operation;
    let ident = &method.source.sig.ident;
    let name = format!("{}::{}", scope.name, plain(ident));
    let intent = match intent {
        Intent::Read => quote_spanned!(site=> Read),
        Intent::Write => quote_spanned!(site=> Write),
    };
    let duration = |duration: Duration| {
        let millis = u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
        quote_spanned!(site=> ::core::time::Duration::from_millis(#millis))
    };
    let staleness = max_staleness.map(duration).map(|limit| quote_spanned!(site=> .max_staleness(#limit)));
    let hedge = hedge.map(duration).map(|after| quote_spanned!(site=> .hedge(#after)));
    let critical = critical.then(|| quote_spanned!(site=> .critical()));
    let primary = from_primary.then(|| quote_spanned!(site=> .from_primary()));
    let idempotent = idempotent.then(|| quote_spanned!(site=> .idempotent()));
    let transaction = without_transaction.then(|| quote_spanned!(site=> .without_transaction()));
    let concurrent = max_concurrent.map(|calls| {
        let calls = calls.get();
        quote_spanned!(site=> .max_concurrent(#calls))
    });
    // With the span of the name, as `line!` tells the line of the outermost expansion.
    let at = quote_spanned!(ident.span()=> ::core::module_path!(), ::core::file!(), ::core::line!());
    quote_spanned! {site=>
        #krate::__private::Op::new(#name, #krate::__private::Intent::#intent)
            #critical #staleness #primary #idempotent #transaction #concurrent #hedge
            .at(#at)
    }
}

/// The first parameter, and an expression for `&Db`.
fn database(method: &Method<'_>, scope: &Scope<'_>) -> (TokenStream, TokenStream) {
    let Some(receiver) = method.receiver else {
        let krate = &scope.krate;
        let taken = method.arguments.iter().any(|argument| argument.name == "db");
        let db = Ident::new(if taken { "dbopt_db" } else { "db" }, Span::mixed_site());
        return (quote!(#db: &#krate::Db), quote!(#db));
    };
    let db = match &scope.settings.db {
        Some(given) => {
            let db = &given.value;
            quote!(&#db)
        }
        None => {
            let this = receiver.self_token;
            quote!(&#this.db)
        }
    };
    (receiver.to_token_stream(), db)
}

fn parameter(argument: &Argument<'_>) -> TokenStream {
    let (cfg, name, ty) = (&argument.cfg, hygienic(&argument.name), argument.ty);
    quote!(#(#cfg)* #name: #ty)
}

/// The user's name at the user's place, but ours to resolve: it meets neither lints on the body nor other names.
fn hygienic(name: &Ident) -> Ident {
    let mut name = name.clone();
    name.set_span(name.span().resolved_at(Span::mixed_site()));
    name
}

/// A bound that says what a return type must be. `impl Trait` cannot be named in a body; `finish` checks it there.
fn assert_outcome(returns: &Type, krate: &TokenStream) -> Option<TokenStream> {
    let named = !generics::contains_impl(returns);
    named.then(|| quote_spanned!(located(returns)=> #krate::__private::assert_outcome::<#returns>();))
}

fn conditions(arguments: &[Argument<'_>]) -> Vec<TokenStream> {
    let mut conditions: Vec<TokenStream> = Vec::new();
    for it in arguments.iter().filter_map(condition) {
        if conditions.iter().all(|other| other.to_string() != it.to_string()) {
            conditions.push(it);
        }
    }
    conditions
}

fn condition(argument: &Argument<'_>) -> Option<TokenStream> {
    let inner = |attr: &&Attribute| attr.meta.require_list().ok().map(|list| list.tokens.clone());
    let all: Vec<TokenStream> = argument.cfg.iter().filter_map(inner).collect();
    match all.as_slice() {
        [] => None,
        [one] => Some(one.clone()),
        several => Some(quote!(all(#(#several),*))),
    }
}

/// The place of the tokens, with our own hygiene.
fn located(tokens: impl Spanned) -> Span {
    tokens.span().resolved_at(Span::mixed_site())
}

fn ends(tokens: impl ToTokens) -> (Span, Span) {
    let mut tokens = tokens.into_token_stream().into_iter();
    let first = tokens.next().map_or_else(Span::mixed_site, |token| token.span());
    (first, tokens.last().map_or(first, |token| token.span()))
}
