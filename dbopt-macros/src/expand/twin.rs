//! `<name>_in`: the same statements on a connection that the caller holds.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};

use super::effects::Statements;
use super::{Scope, call, combinations, hygienic, parameter};
use crate::attrs;
use crate::model::{Connection, Function, Method};
use crate::parse::plain;

/// The twin, and with it whatever else holds the user's own body.
pub(super) fn twin(method: &Method<'_>, scope: &Scope<'_>) -> TokenStream {
    match Statements::new(method, scope) {
        None => renamed(method.source),
        Some(statements) => {
            let body = hidden_body(method.source);
            let twin = joining(method, &statements);
            quote!(#twin #body)
        }
    }
}

/// What the public function runs: the user's own function, under this name.
pub(super) fn body_name(method: &Method<'_>) -> Ident {
    let name = &method.source.sig.ident;
    match method.effects {
        None => twin_name(name),
        Some(_) => hidden_name(name),
    }
}

fn twin_name(name: &Ident) -> Ident {
    format_ident!("{}_in", name)
}

fn hidden_name(name: &Ident) -> Ident {
    format_ident!("__dbopt_body_{}", plain(name), span = name.span().resolved_at(Span::mixed_site()))
}

/// The user's function, renamed and otherwise as it was.
fn renamed(source: &Function) -> TokenStream {
    let (attrs, vis, body) = (&source.attrs, &source.vis, &source.body);
    let documentation = attrs::documentation_of_twin(attrs);
    let mut sig = source.sig.clone();
    sig.ident = twin_name(&sig.ident);
    quote!(#(#attrs)* #documentation #vis #sig #body)
}

/// The same, behind the twin.
fn hidden_body(source: &Function) -> TokenStream {
    let (attrs, body) = (&source.attrs, &source.body);
    let mut sig = source.sig.clone();
    sig.ident = hidden_name(&sig.ident);
    quote!(#(#attrs)* #[doc(hidden)] #sig #body)
}

/// Runs the body, and has its tags invalidated when the transaction commits that it was part of.
fn joining(method: &Method<'_>, statements: &Statements<'_>) -> TokenStream {
    let site = Span::mixed_site();
    let (source, returns) = (method.source, method.returns);
    let sig = &source.sig;
    let (attrs, documentation) = (attrs::public(&source.attrs), attrs::documentation_of_twin(&source.attrs));
    let (vis, asyncness, fn_token, generics) = (&source.vis, &sig.asyncness, &sig.fn_token, &sig.generics);
    let where_clause = &generics.where_clause;
    // Nobody needs to call it, and so it must not be reported as never used.
    let name = hygienic(&twin_name(&sig.ident));
    let conn = connection_name(method);
    let Connection { written, exclusive, .. } = method.connection;
    let receiver = method.receiver.into_iter().map(ToTokens::to_token_stream);
    let parameters = receiver.chain([quote!(#conn: #written)]).chain(method.arguments.iter().map(parameter));
    let lent = if exclusive { quote_spanned!(site=> &mut *#conn) } else { quote_spanned!(site=> &*#conn) };
    let run = combinations(&method.arguments, |passed| {
        let values = passed.iter().map(|argument| hygienic(&argument.name).into_token_stream());
        let call = call(method, &lent, values);
        quote_spanned!(site=> let __dbopt_result = #call.await;)
    });
    let work = statements.joined(&run, &conn);
    quote_spanned! {site=>
        #(#attrs)*
        #documentation
        #vis #asyncness #fn_token #name #generics (#(#parameters),*) -> #returns #where_clause {
            #work
        }
    }
}

/// The user's own name for it, where there is one.
fn connection_name(method: &Method<'_>) -> Ident {
    match method.connection.name {
        Some(name) => hygienic(name),
        None => {
            let taken = method.arguments.iter().any(|argument| argument.name == "conn");
            Ident::new(if taken { "dbopt_conn" } else { "conn" }, Span::mixed_site())
        }
    }
}
