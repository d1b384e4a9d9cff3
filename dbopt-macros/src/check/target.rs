//! Whom `write_through` writes to: a cached method of the same block whose key can be written out a second time.

use syn::Attribute;

use super::All;
use crate::errors::{Errors, listed};
use crate::generics;
use crate::model::{Cached, Function, Helpers, Item, Method, Target, Through};
use crate::parse::plain;
use crate::suggest::nearest;

pub(super) fn find<'a>(
    target: &'a Target,
    writer: &Function,
    all: &All<'a>,
    errors: &mut Errors,
) -> Option<Through<'a>> {
    let (function, helpers) = named(target, writer, all, errors)?;
    let name = &target.method;
    let Some((helpers, cached)) = helpers.and_then(|helpers| Some((helpers, helpers.cached.as_ref()?))) else {
        let message = format!(
            "`{name}` is not cached, so there is nothing to write through to: put `#[cached(..)]` on it, or remove \
             `write_through`"
        );
        errors.at(name, message);
        return None;
    };
    if helpers.write.is_some() {
        return None;
    }
    // What is wrong with the target itself is reported where it stands.
    let method = super::method(function, helpers, all, &mut Errors::default())?;
    method.cached.as_ref()?;
    if let Some(message) = obstacle(&method, &cached.value, target) {
        errors.at(name, message);
        return None;
    }
    Some(Through { method: Box::new(method), options: &cached.value, name, args: &target.args })
}

type Candidate<'a> = (&'a Function, Option<&'a Helpers>);

/// The function that is meant. Of several with one name, that under the same conditions as the write.
fn named<'a>(target: &Target, writer: &Function, all: &All<'a>, errors: &mut Errors) -> Option<Candidate<'a>> {
    let name = plain(&target.method);
    let functions = all.block.items.iter().zip(all.helpers).filter_map(|(item, helpers)| match item {
        Item::Function(function) => Some((&**function, helpers.as_ref())),
        Item::Other(_) => None,
    });
    let functions: Vec<Candidate<'a>> = functions.collect();
    let same: Vec<_> = functions.iter().filter(|(function, _)| plain(&function.sig.ident) == name).collect();
    match same.as_slice() {
        [] => {
            let cached =
                functions.iter().filter(|(_, helpers)| helpers.is_some_and(|helpers| helpers.cached.is_some()));
            let cached: Vec<String> = cached.map(|(function, _)| plain(&function.sig.ident)).collect();
            let hint = nearest(&name, cached.iter().map(String::as_str));
            let hint = hint
                .map(|meant| format!(": did you mean `{meant}`?"))
                .unwrap_or_else(|| ": write the name of one, or remove `write_through`".to_owned());
            errors.at(&target.method, format!("this block has no `#[cached]` method `{name}`{hint}"));
            None
        }
        [only] => Some(**only),
        several => {
            let conditions = conditions(&writer.attrs);
            let found = several.iter().find(|(function, _)| self::conditions(&function.attrs) == conditions);
            if found.is_none() {
                let message = format!(
                    "there is more than one `{name}`, each under its own `#[cfg]`: write `{}` as often, under the same ones",
                    writer.sig.ident
                );
                errors.at(&target.method, message);
            }
            found.map(|found| **found)
        }
    }
}

fn conditions(attrs: &[Attribute]) -> Vec<String> {
    let conditions = attrs.iter().filter(|attr| attr.path().is_ident("cfg"));
    conditions.map(|attr| quote::ToTokens::to_token_stream(attr).to_string()).collect()
}

/// Why the key of this method cannot be written out a second time, or its entry not be kept right.
fn obstacle(method: &Method<'_>, cached: &Cached, target: &Target) -> Option<String> {
    let name = &target.method;
    let instead = "put its tags into `invalidates` in place of `write_through`";
    if !generics::without_connection(method).params.is_empty()
        || method.arguments.iter().any(|argument| generics::contains_impl(argument.ty))
    {
        return Some(format!("`write_through` cannot tell for which types of the generic `{name}`: {instead}"));
    }
    if method.arguments.iter().any(|argument| !argument.cfg.is_empty()) {
        return Some(format!(
            "`write_through` cannot tell which arguments `{name}` has, as `#[cfg]` decides: {instead}"
        ));
    }
    if method.arguments.len() != target.args.len() {
        let names: Vec<String> = method.arguments.iter().map(|argument| plain(&argument.name)).collect();
        let (count, given) = (names.len(), target.args.len());
        let takes = match count {
            0 => "no arguments".to_owned(),
            1 => format!("one argument, {}", listed(&names, "and")),
            _ => format!("{count} arguments, {}", listed(&names, "and")),
        };
        return Some(format!(
            "`{name}` takes {takes}, and {given} are given here: write `write_through = {name}({})`",
            names.join(", ")
        ));
    }
    if cached.tags.is_none() {
        return Some(format!(
            "`{name}` has no tags, so nothing could keep an older value from replacing the one written: give it one that \
             names its key, such as `tags = [\"{}\"]`",
            example_tag(method)
        ));
    }
    None
}

/// `find:{id}`.
fn example_tag(method: &Method<'_>) -> String {
    let name = plain(&method.source.sig.ident);
    let arguments = method.arguments.iter().map(|argument| format!(":{{{}}}", plain(&argument.name)));
    format!("{name}{}", arguments.collect::<String>())
}
