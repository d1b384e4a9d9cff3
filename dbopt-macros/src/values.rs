//! The values of each attribute's options, one function per attribute.

use std::num::NonZeroU32;

use quote::ToTokens;
use syn::{Attribute, Expr, Ident, Lit, LitStr, Member};

use crate::errors::Errors;
use crate::model::{
    Batched, Cached, Cost, Given, Layers, Origin, RateLimited, Read, Settings, Source, Target, Template, Write,
};
use crate::options::{Opt, literal};
use crate::rate;
use crate::template;

pub(crate) fn repository(options: Vec<Opt>, errors: &mut Errors) -> Settings {
    let mut settings = Settings::default();
    for option in options {
        match (option.spec.name, &option.value) {
            ("db", Some(value)) if literal(value).is_none() => {
                settings.db = Some(Given { value: value.clone(), tokens: option.tokens.clone() });
            }
            ("db", _) => settings.db = option.expected("an expression", errors),
            ("crate", Some(Expr::Path(path))) => {
                settings.krate = Some(Given { value: path.path.clone(), tokens: option.tokens.clone() });
            }
            ("crate", _) => settings.krate = option.expected("a path, without quotes", errors),
            _ => option.unread(errors),
        }
    }
    settings
}

pub(crate) fn read(options: Vec<Opt>, errors: &mut Errors) -> Read {
    let mut read = Read::default();
    for option in options {
        match option.spec.name {
            "max_staleness" => read.max_staleness = option.duration(errors),
            "from" => read.from_primary = option.choice(&[("primary", ())], errors),
            "max_concurrent" => read.max_concurrent = calls(&option, errors),
            "hedge" => read.hedge = option.duration(errors),
            _ => option.unread(errors),
        }
    }
    read
}

pub(crate) fn write(options: Vec<Opt>, errors: &mut Errors) -> Write {
    let mut write = Write::default();
    for option in options {
        match option.spec.name {
            "invalidates" => write.invalidates = tags(&option, errors),
            "write_through" => write.write_through = target(&option, errors),
            "idempotent" => write.idempotent = option.flag(errors),
            "transaction" => write.transaction = option.boolean(errors),
            "max_concurrent" => write.max_concurrent = calls(&option, errors),
            _ => option.unread(errors),
        }
    }
    write
}

pub(crate) fn cached(options: Vec<Opt>, bare: Vec<LitStr>, errors: &mut Errors) -> Cached {
    let mut cached = Cached::default();
    for option in options {
        match option.spec.name {
            "tags" if !bare.is_empty() => {
                errors.at(&option.tokens, "the tags are given twice, with and without `tags =`: keep one list");
            }
            "tags" => cached.tags = tags(&option, errors),
            "ttl" => cached.ttl = option.duration(errors),
            "l1_ttl" => cached.l1_ttl = option.duration(errors),
            "key" => cached.key = option.text("a text in quotes", template::parse, errors),
            "vary" => cached.vary_by_user = vary(&option, errors),
            "cache_none" => cached.cache_none = option.boolean(errors),
            "consistency" => cached.strong = option.choice(&[("strong", ())], errors),
            "stale_if_error" => cached.stale_if_error = option.duration(errors),
            "refresh_ahead" => cached.refresh_ahead = fraction(&option, errors),
            "layers" => cached.layers = option.choice(&[("l1", Layers::L1), ("l2", Layers::L2)], errors),
            _ => option.unread(errors),
        }
    }
    if cached.tags.is_none()
        && let Some(first) = bare.first()
    {
        let tokens = first.to_token_stream();
        let value = bare.iter().filter_map(|text| tag(text, "tags", errors)).collect();
        cached.tags = Some(Given { value, tokens });
    }
    cached
}

pub(crate) fn batched(options: Vec<Opt>, attr: &Attribute, errors: &mut Errors) -> Batched {
    let mut batched = Batched::default();
    if options.is_empty() {
        errors.at(&attr.meta, "`#[batched]` must name the singular method it makes: write `#[batched(one = find)]`");
    }
    for option in options {
        match (option.spec.name, &option.value) {
            ("one", Some(Expr::Path(path))) if path.path.get_ident().is_some() => {
                let name = path.path.get_ident().cloned();
                batched.one = name.map(|value| Given { value, tokens: option.tokens.clone() });
            }
            ("one", _) => batched.one = option.expected("the name of a method", errors),
            _ => option.unread(errors),
        }
    }
    batched
}

pub(crate) fn rate_limited(options: Vec<Opt>, errors: &mut Errors) -> RateLimited {
    let mut limited = RateLimited::default();
    for option in options {
        match option.spec.name {
            "per_user" => limited.per_user = option.text("a rate in quotes", rate::parse_all, errors),
            "global" => limited.global = option.text("a rate in quotes", rate::parse_all, errors),
            "key" => limited.key = option.text("a text in quotes", template::parse, errors),
            "cost" => limited.cost = cost(&option, errors),
            _ => option.unread(errors),
        }
    }
    limited
}

fn calls(option: &Opt, errors: &mut Errors) -> Option<Given<NonZeroU32>> {
    let number = match option.literal() {
        Some(Lit::Int(number)) => number.base10_parse::<NonZeroU32>().ok(),
        _ => None,
    };
    match number {
        Some(value) => Some(Given { value, tokens: option.tokens.clone() }),
        None => option.expected("a whole number of calls from 1 on", errors),
    }
}

/// A number of calls, or `"db_ms"`.
fn cost(option: &Opt, errors: &mut Errors) -> Option<Given<Cost>> {
    let cost = match option.literal() {
        Some(Lit::Int(number)) => number.base10_parse::<NonZeroU32>().ok().map(Cost::Calls),
        Some(Lit::Str(text)) if text.value() == "db_ms" => Some(Cost::DatabaseTime),
        _ => None,
    };
    match cost {
        Some(value) => Some(Given { value, tokens: option.tokens.clone() }),
        None => option.expected("a whole number from 1 on, or \"db_ms\" for the time on the connection", errors),
    }
}

/// From 0.1 to below 1: earlier than that, and hits would do little but refresh.
fn fraction(option: &Opt, errors: &mut Errors) -> Option<Given<f64>> {
    let number = match option.literal() {
        Some(Lit::Float(number)) => number.base10_parse::<f64>().ok(),
        _ => None,
    };
    match number {
        Some(value) if (0.1..1.0).contains(&value) => Some(Given { value, tokens: option.tokens.clone() }),
        _ => option.expected("the part of the ttl after which a hit refreshes, from 0.1 to below 1", errors),
    }
}

fn vary(option: &Opt, errors: &mut Errors) -> Option<Given<bool>> {
    let by = option.list("a list of words", errors, |expr, errors| match expr {
        Expr::Path(path) if path.path.is_ident("user") => Some(()),
        other => {
            errors.at(other, "a cached value can vary by `user` only: write `vary = [user]`");
            None
        }
    })?;
    Some(by.map(|words| !words.is_empty()))
}

fn tags(option: &Opt, errors: &mut Errors) -> Option<Given<Vec<Template>>> {
    option.list("a list of texts", errors, |expr, errors| match literal(expr) {
        Some(Lit::Str(text)) => tag(text, option.spec.name, errors),
        _ => {
            errors.at(expr, format!("a tag is a text in quotes: write `{}`", option.spec.example));
            None
        }
    })
}

fn tag(text: &LitStr, option: &str, errors: &mut Errors) -> Option<Template> {
    match template::parse(&text.value()) {
        Ok(value) => Some(Given { value, tokens: text.to_token_stream() }),
        Err(problem) => {
            errors.at(text, format!("{}: write `{option} = [\"{}\"]`", problem.what, problem.instead));
            None
        }
    }
}

/// `find(id, ret.airport, 3)`.
fn target(option: &Opt, errors: &mut Errors) -> Option<Given<Target>> {
    let Some(Expr::Call(call)) = &option.value else {
        return option.expected("a cached method of this block, called with its key", errors);
    };
    let Some(method) = single_name(&call.func) else {
        errors.at(
            &call.func,
            format!("a cached method of this block, by its name alone: write `{}`", option.spec.example),
        );
        return None;
    };
    let args: Vec<Option<Given<Source>>> = call
        .args
        .iter()
        .map(|arg| {
            let found = source(arg);
            if found.is_none() {
                errors.at(arg, "only arguments of this method, `ret`, their fields, and literals can be passed on");
            }
            found.map(|value| Given { value, tokens: arg.to_token_stream() })
        })
        .collect();
    let args = args.into_iter().collect::<Option<_>>()?;
    Some(Given { value: Target { method, args }, tokens: option.tokens.clone() })
}

fn source(expr: &Expr) -> Option<Source> {
    match expr {
        Expr::Reference(reference) if reference.mutability.is_none() => {
            origin(&reference.expr).map(|origin| Source { origin, borrowed: true })
        }
        _ => origin(expr).map(|origin| Source { origin, borrowed: false }),
    }
}

fn origin(expr: &Expr) -> Option<Origin> {
    match expr {
        Expr::Lit(literal) => Some(Origin::Literal(literal.lit.clone())),
        Expr::Field(field) => {
            let Origin::Value { name, mut fields } = origin(&field.base)? else { return None };
            fields.push(Member::clone(&field.member));
            Some(Origin::Value { name, fields })
        }
        Expr::Group(group) => origin(&group.expr),
        _ => single_name(expr).map(|name| Origin::Value { name: crate::parse::plain(&name), fields: Vec::new() }),
    }
}

fn single_name(expr: &Expr) -> Option<Ident> {
    match expr {
        Expr::Path(path) => path.path.get_ident().cloned(),
        _ => None,
    }
}
