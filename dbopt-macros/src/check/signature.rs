//! The shape of a repository method: `async fn name(&self, conn: &mut Conn, ..) -> Result<T, E>`.

use proc_macro2::{Ident, Span};
use quote::{ToTokens, format_ident};
use syn::{Attribute, FnArg, Pat, PatType, Receiver, ReceiverKind, ReturnType, Safety, Type};

use crate::errors::{Errors, spelled};
use crate::generics::mentions;
use crate::model::{Argument, Connection, Function, Operation, Place};
use crate::parse::plain;

/// As much of a signature as could be read.
pub(super) struct Signature<'a> {
    pub(super) receiver: Option<&'a Receiver>,
    pub(super) connection: Option<Connection<'a>>,
    pub(super) arguments: Vec<Argument<'a>>,
    pub(super) returns: Option<&'a Type>,
    /// The arguments that a key or tag can name.
    pub(super) names: Vec<String>,
    pub(super) sound: bool,
}

/// More different `#[cfg]`s than this on arguments, and the calls would double once more for each.
const MAX_CFGS: usize = 4;

pub(super) fn read<'a>(
    function: &'a Function,
    place: &Place,
    operation: Operation,
    errors: &mut Errors,
) -> Signature<'a> {
    let sig = &function.sig;
    let mut sound = qualifiers(function, errors);
    let mut parameters = sig.inputs.iter().peekable();
    let receiver = match parameters.next_if(|first| matches!(first, FnArg::Receiver(_))) {
        Some(FnArg::Receiver(receiver)) => Some(receiver),
        _ => None,
    };
    sound &= receiver_fits(function, receiver, place, errors);
    let typed: Vec<&PatType> = parameters
        .filter_map(|parameter| match parameter {
            FnArg::Typed(typed) => Some(typed),
            FnArg::Receiver(_) => None,
        })
        .collect();
    let connection = typed.first().and_then(|first| lent(first));
    if connection.is_none() {
        missing_connection(function, &typed, place, errors);
    }
    let rest = typed.get(usize::from(connection.is_some())..).unwrap_or_default();
    let arguments = arguments(rest, operation, errors);
    sound &= few_cfgs(&arguments, errors);
    let names = rest.iter().filter_map(|typed| simple_name(&typed.pat)).map(plain).collect();
    let returns = returns(function, errors);
    if let (Some(connection), Some(returns)) = (typed.first(), returns) {
        sound &= returns_outlive(connection, returns, errors);
    }
    Signature { receiver, connection, arguments, returns, names, sound }
}

fn qualifiers(function: &Function, errors: &mut Errors) -> bool {
    let sig = &function.sig;
    if sig.asyncness.is_none() {
        errors.at(sig.fn_token, format!("a repository method waits for the database: write `async fn {}`", sig.ident));
    }
    if let Safety::Unsafe(token) = sig.safety {
        errors.at(token, "a repository method cannot be `unsafe`: check what it needs inside, and remove the word");
    }
    if let Some(variadic) = &sig.variadic {
        errors.at(variadic, "a repository method has no variable arguments");
    }
    sig.asyncness.is_some() && !matches!(sig.safety, Safety::Unsafe(_)) && sig.variadic.is_none()
}

fn receiver_fits(function: &Function, receiver: Option<&Receiver>, place: &Place, errors: &mut Errors) -> bool {
    let name = &function.sig.ident;
    let found = match (place, receiver) {
        (Place::Module { .. }, None) => return true,
        (Place::Module { .. }, Some(receiver)) => {
            errors.at(receiver, "a function of a module has no `self`: its first parameter is `conn: &mut Conn`");
            return false;
        }
        (Place::Impl { .. }, None) => {
            errors.at(
                name,
                format!(
                    "`{name}` needs `&self`, which holds the `db`: write `async fn {name}(&self, conn: &mut Conn, ..)`"
                ),
            );
            return false;
        }
        (Place::Impl { .. }, Some(receiver)) => receiver,
    };
    let shared = match &found.kind {
        ReceiverKind::Reference(_, _, mutability) => mutability.is_none(),
        ReceiverKind::Typed(_, ty) => matches!(bare(ty), Type::Reference(reference) if reference.mutability.is_none()),
        _ => false,
    };
    if !shared {
        errors.at(
            found,
            format!("a repository method borrows its repository: write `&self` in place of `{}`", spelled(found)),
        );
    }
    shared
}

/// The type without the invisible groups and parentheses around it.
fn bare(ty: &Type) -> &Type {
    match ty {
        Type::Group(group) => bare(&group.elem),
        Type::Paren(paren) => bare(&paren.elem),
        other => other,
    }
}

/// `&mut Conn`, `&AsyncPgConnection`, with any path in front.
fn connection(ty: &Type) -> Option<&syn::TypeReference> {
    match bare(ty) {
        Type::Reference(reference) if is_connection(&reference.elem) => Some(reference),
        _ => None,
    }
}

fn lent(typed: &PatType) -> Option<Connection<'_>> {
    let reference = connection(&typed.ty)?;
    Some(Connection {
        ty: &reference.elem,
        exclusive: reference.mutability.is_some(),
        written: &typed.ty,
        name: simple_name(&typed.pat),
    })
}

fn is_connection(ty: &Type) -> bool {
    let Type::Path(path) = bare(ty) else { return false };
    let Some(last) = path.path.segments.last() else { return false };
    last.arguments.is_empty() && (last.ident == "Conn" || last.ident == "AsyncPgConnection")
}

fn missing_connection(function: &Function, typed: &[&PatType], place: &Place, errors: &mut Errors) {
    let (after, place) = match place {
        Place::Impl { .. } => ("after `&self`", "right after `&self`"),
        Place::Module { .. } => ("as the first parameter", "first"),
    };
    if let Some(late) = typed.iter().skip(1).find(|typed| connection(&typed.ty).is_some()) {
        errors.at(late, format!("the connection must stand {place}: move `{}` there", spelled(late)));
        return;
    }
    let message = format!("missing connection: write `conn: &mut Conn` {after}");
    match typed.first() {
        Some(owned) if is_connection(&owned.ty) => {
            errors.at(owned, "the connection is lent for the call: write `conn: &mut Conn`");
        }
        Some(first) => errors.at(first, message),
        None => errors.at(&function.sig.ident, message),
    }
}

fn arguments<'a>(rest: &[&'a PatType], operation: Operation, errors: &mut Errors) -> Vec<Argument<'a>> {
    let taken: Vec<String> = rest.iter().filter_map(|typed| simple_name(&typed.pat)).map(plain).collect();
    let mut arguments = Vec::new();
    for (index, typed) in rest.iter().enumerate() {
        let name = simple_name(&typed.pat).cloned().unwrap_or_else(|| {
            let mut name = format!("arg{}", index + 1);
            while taken.contains(&name) {
                name.push('_');
            }
            format_ident!("{name}", span = Span::mixed_site())
        });
        if operation.runs_again() && is_exclusive_reference(&typed.ty) && connection(&typed.ty).is_none() {
            let message = "this body may run again on another node, and would find here what its first run left: take the \
                           argument by value or by `&`, and return what changed";
            errors.at(&typed.ty, message);
        }
        arguments.push(Argument {
            name,
            ty: &typed.ty,
            cfg: typed.attrs.iter().filter(|attr| attr.path().is_ident("cfg")).collect(),
            cloned: operation.runs_again() && !is_copied(&typed.ty),
        });
    }
    arguments
}

/// The name in `x`, `mut x`, `ref x` and `x @ ..`.
fn simple_name(pat: &Pat) -> Option<&Ident> {
    match pat {
        Pat::Ident(pat) => Some(&pat.ident),
        Pat::Paren(paren) => simple_name(&paren.pat),
        _ => None,
    }
}

pub(super) fn is_exclusive_reference(ty: &Type) -> bool {
    matches!(bare(ty), Type::Reference(reference) if reference.mutability.is_some())
}

/// References and the small types of the language, which need no clone.
fn is_copied(ty: &Type) -> bool {
    const SMALL: [&str; 16] = [
        "bool", "char", "f32", "f64", "i8", "i16", "i32", "i64", "i128", "isize", "u8", "u16", "u32", "u64", "u128",
        "usize",
    ];
    match bare(ty) {
        Type::Reference(_) => true,
        Type::Path(path) => SMALL.iter().any(|small| path.path.is_ident(small)),
        _ => false,
    }
}

fn few_cfgs(arguments: &[Argument<'_>], errors: &mut Errors) -> bool {
    let mut seen: Vec<String> = Vec::new();
    for argument in arguments {
        let Some(first) = argument.cfg.first() else { continue };
        let text: String = argument.cfg.iter().map(|cfg: &&Attribute| cfg.to_token_stream().to_string()).collect();
        if !seen.contains(&text) {
            seen.push(text);
        }
        if seen.len() > MAX_CFGS {
            errors.at(
                first,
                format!("more than {MAX_CFGS} different `#[cfg]`s on arguments: write the method twice instead"),
            );
            return false;
        }
    }
    true
}

fn returns<'a>(function: &'a Function, errors: &mut Errors) -> Option<&'a Type> {
    let ReturnType::Type(_, returns) = &function.sig.output else {
        let message = "a repository method can fail, as the database can: write `-> Result<(), E>` with \
                       `E: From<dbopt_diesel::Error>`, or `-> QueryResult<()>`";
        errors.at(&function.sig.ident, message);
        return None;
    };
    if cannot_be_a_result(returns) {
        let written = spelled(returns);
        let message = format!(
            "a repository method can fail, as the database can: write `-> Result<{written}, E>` with \
             `E: From<dbopt_diesel::Error>`, or `-> QueryResult<{written}>`"
        );
        errors.at(returns, message);
        return None;
    }
    Some(returns)
}

/// Only what is certain from the spelling; the trait bound in the expansion decides about the rest.
fn cannot_be_a_result(ty: &Type) -> bool {
    match bare(ty) {
        Type::Path(path) => {
            let std = ["Option", "Vec", "String", "str", "Box", "Arc"].iter().any(|name| {
                path.qself.is_none() && path.path.segments.len() == 1 && path.path.segments[0].ident == name
            });
            std || (is_copied(ty) && path.qself.is_none())
        }
        Type::Tuple(_) | Type::Array(_) | Type::Slice(_) | Type::Reference(_) | Type::Ptr(_) => true,
        Type::ImplTrait(_) | Type::TraitObject(_) | Type::Never(_) => true,
        _ => false,
    }
}

/// The connection goes back when the call ends: nothing returned can borrow from it.
fn returns_outlive(connection: &PatType, returns: &Type, errors: &mut Errors) -> bool {
    let Type::Reference(reference) = bare(&connection.ty) else { return true };
    let Some(lifetime) = &reference.lifetime else { return true };
    let borrows = lifetime.ident != "static" && lifetime.ident != "_" && mentions(returns, &lifetime.to_string());
    if borrows {
        let message = format!(
            "the connection goes back when the call ends, so nothing returned can live as long as it: \
                               use another lifetime than `{lifetime}` here"
        );
        errors.at(returns, message);
    }
    !borrows
}
