//! Decides whether what was written makes sense, and what it means. Finds every mistake before it gives up.

mod caching;
mod operation;
mod placeholders;
mod signature;
mod target;

use crate::errors::Errors;
use crate::model::{Block, Effects, Function, Given, Helpers, Item, Kept, Method, Place, Settings};
use crate::parse::plain;

/// The block, and the helpers of each of its items.
pub(crate) struct All<'a> {
    pub(crate) block: &'a Block,
    pub(crate) helpers: &'a [Option<Helpers>],
}

/// The method to expand. `None` when its signature does not allow one; mistakes in options alone leave a method that can
/// be expanded, so that its callers still type-check.
pub(crate) fn method<'a>(
    function: &'a Function,
    helpers: &'a Helpers,
    all: &All<'a>,
    errors: &mut Errors,
) -> Option<Method<'a>> {
    let operation = operation::decide(helpers, errors);
    let signature = signature::read(function, &all.block.place, operation, errors);
    let named = placeholders::check(helpers, &signature.names, errors);
    let cached = helpers.cached.as_ref().map(|cached| &cached.value);
    let kept = cached.and_then(|options| {
        let kept = caching::check(function, signature.returns, errors);
        // What takes `&mut` is refused already, and is no key.
        let a_key = !signature.arguments.iter().any(|argument| signature::is_exclusive_reference(argument.ty));
        (kept && a_key).then(|| Kept { options, caller: caching::asks_who_calls(options, &function.body) })
    });
    let effects = effects(function, helpers, all, errors);
    let free = name_is_free(function, all.block, errors);
    let (connection, returns) = (signature.connection?, signature.returns?);
    (signature.sound && free).then_some(Method {
        source: function,
        operation,
        receiver: signature.receiver,
        connection,
        arguments: signature.arguments,
        returns,
        cached: kept.filter(|_| named && helpers.write.is_none()),
        effects: effects.filter(|_| named),
        limited: helpers.rate_limited.as_ref().map(|limited| &limited.value).filter(|_| named),
    })
}

/// What a write says about cached values.
fn effects<'a>(function: &Function, helpers: &'a Helpers, all: &All<'a>, errors: &mut Errors) -> Option<Effects<'a>> {
    let write = &helpers.write.as_ref()?.value;
    let invalidates = write.invalidates.as_ref().map(|tags| tags.value.as_slice()).unwrap_or_default();
    let through = write.write_through.as_ref().and_then(|given| target::find(&given.value, function, all, errors));
    (!invalidates.is_empty() || through.is_some()).then_some(Effects { invalidates, through })
}

/// `find` becomes `find` and `find_in`: nobody else may have that name.
fn name_is_free(function: &Function, block: &Block, errors: &mut Errors) -> bool {
    let name = plain(&function.sig.ident);
    let taken = block.items.iter().find_map(|item| match item {
        Item::Function(other) if plain(&other.sig.ident) == format!("{name}_in") => Some(other),
        _ => None,
    });
    if let Some(other) = taken {
        let message = format!(
            "`#[repository]` writes `{name}_in` for `{name}`: give this function another name, or take the helper \
             attribute off `{name}`"
        );
        errors.at(&other.sig.ident, message);
    }
    taken.is_none()
}

/// What is wrong with the block as a whole. `false`: nothing in it can be expanded.
pub(crate) fn block(block: &Block, settings: &Settings, errors: &mut Errors) -> bool {
    match (&block.place, &settings.db) {
        (Place::Impl { name, of_trait: Some(of_trait), .. }, _) => {
            let message = format!(
                "a trait's `impl` cannot be a repository, as the trait fixes the signatures: put the methods into \
                 `impl {name} {{ .. }}` and call them from here"
            );
            errors.at(of_trait, message);
            false
        }
        (Place::Module { .. }, Some(Given { tokens, .. })) => {
            errors
                .at(tokens, "`db` is for `impl` blocks: a function of a module takes `db: &Db` as its first parameter");
            true
        }
        _ => true,
    }
}
