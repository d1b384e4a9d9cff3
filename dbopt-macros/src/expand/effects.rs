//! What a write says about cached values: before its body, as that may consume the arguments, and after it.

use proc_macro2::{Ident, Span, TokenStream};
use quote::{ToTokens, format_ident, quote, quote_spanned};
use syn::Member;

use super::text::{self, Values, field_of};
use super::{Scope, cached, hygienic, located};
use crate::model::{Argument, Effects, Given, Method, Origin, Source, Template, Through};
use crate::template::{Part, RETURNED};

/// The statements of one write.
pub(super) struct Statements<'a> {
    method: &'a Method<'a>,
    effects: &'a Effects<'a>,
    scope: &'a Scope<'a>,
    kept: Kept,
}

/// Copies of arguments that are needed once the body has run.
#[derive(Default)]
struct Kept {
    statements: TokenStream,
    texts: Vec<(String, Vec<String>, Ident)>,
    /// By the place in the target's list of arguments.
    values: Vec<Option<Ident>>,
    count: usize,
}

impl<'a> Statements<'a> {
    pub(super) fn new(method: &'a Method<'a>, scope: &'a Scope<'a>) -> Option<Self> {
        let effects = method.effects.as_ref()?;
        let mut kept = Kept::default();
        for template in effects.invalidates.iter().filter(|template| needs_result(template)) {
            kept.texts_of(template, &method.arguments);
        }
        if let Some(through) = &effects.through {
            kept.values_of(through, &method.arguments, scope);
        }
        Some(Self { method, effects, scope, kept })
    }

    fn known_before(&self) -> impl Iterator<Item = &'a Template> {
        self.effects.invalidates.iter().filter(|template| !needs_result(template))
    }

    fn known_after(&self) -> impl Iterator<Item = &'a Template> {
        self.effects.invalidates.iter().filter(|template| needs_result(template))
    }

    /// In the public function, when its call has begun.
    pub(super) fn before(&self) -> TokenStream {
        let kept = &self.kept.statements;
        let tags = self.known_before().map(|template| {
            let tag = text::tag(template, self.method.arguments.as_slice(), &self.scope.krate);
            quote_spanned!(Span::mixed_site()=> __dbopt_call.invalidates(#tag);)
        });
        quote!(#(#tags)* #kept)
    }

    /// In the public function, between the body and the end of the call.
    pub(super) fn after(&self) -> Option<TokenStream> {
        let site = Span::mixed_site();
        let krate = &self.scope.krate;
        let tags = self.known_after().map(|template| {
            let tag = text::tag(template, &self.kept, krate);
            quote_spanned!(site=> __dbopt_call.invalidates(#tag);)
        });
        let tags: Vec<TokenStream> = tags.collect();
        let through = self.effects.through.as_ref().map(|through| self.write_through(through));
        (!tags.is_empty() || through.is_some()).then(|| {
            quote_spanned! {site=>
                if let #krate::__private::Attempt::Done(::core::result::Result::Ok(__dbopt_ret)) = &__dbopt_attempt {
                    #(#tags)*
                    #through
                }
            }
        })
    }

    fn write_through(&self, through: &Through<'_>) -> TokenStream {
        let site = Span::mixed_site();
        let (krate, target) = (&self.scope.krate, &*through.method);
        let parameters = self.parameters(through);
        let accessor = cached::accessor_call(target);
        let key = cached::explicit_key(through.options, target, krate).unwrap_or_else(|| {
            let names = target.arguments.iter().map(|argument| hygienic(&argument.name).into_token_stream());
            let key =
                cached::joined(cached::instance(target, &[], self.scope).into_iter().chain(names).collect(), target);
            quote_spanned!(site=> &#key)
        });
        let tags = text::tags(target_tags(through), target.arguments.as_slice(), krate);
        let absence = cached::probe(target, "absence", krate);
        // A value of another type is a mistake in the target's name.
        let value = quote_spanned!(located(through.name)=> __dbopt_ret);
        quote_spanned! {site=>
            {
                use #krate::__private::{MayBeNone as _, NeverNone as _};
                #parameters
                #krate::__private::write_through(&mut __dbopt_call, #accessor, #key, #tags, #absence, #value);
            }
        }
    }

    /// In `<name>_in`, around `run`, which runs the body. What is known without a result is stale even when the body fails:
    /// the transaction is the caller's, who may commit what the body did before.
    pub(super) fn joined(&self, run: &TokenStream, conn: &Ident) -> TokenStream {
        let site = Span::mixed_site();
        let krate = &self.scope.krate;
        let kept = &self.kept.statements;
        let before = text::tags(self.known_before(), self.method.arguments.as_slice(), krate);
        let after = self.known_after().map(|template| text::tag(template, &self.kept, krate));
        let mut after: Vec<TokenStream> = after.map(|tag| quote_spanned!(site=> __dbopt_tags.push(#tag);)).collect();
        if let Some(through) = &self.effects.through {
            let parameters = self.parameters(through);
            let tags = target_tags(through).map(|tag| text::tag(tag, through.method.arguments.as_slice(), krate));
            after.push(quote_spanned!(site=> { #parameters #(__dbopt_tags.push(#tags);)* }));
        }
        let mutable = (!after.is_empty()).then(|| quote!(mut));
        let after = (!after.is_empty()).then(|| {
            quote_spanned! {site=>
                if let ::core::result::Result::Ok(__dbopt_ret) = &__dbopt_result {
                    #(#after)*
                }
            }
        });
        quote_spanned! {site=>
            let #mutable __dbopt_tags: ::std::vec::Vec<#krate::__private::Tag> = #before;
            #kept
            #run
            #after
            #krate::__private::invalidates_on_commit(&*#conn, __dbopt_tags);
            __dbopt_result
        }
    }

    /// The target's own parameters, as references, so that its key and tags can be written out again.
    fn parameters(&self, through: &Through<'_>) -> TokenStream {
        let bind = |((argument, given), kept): ((&Argument<'_>, &Given<Source>), &Option<Ident>)| {
            let site = located(&given.tokens);
            let (name, ty) = (hygienic(&argument.name), argument.ty);
            let reference = match (&given.value.origin, kept) {
                (_, Some(kept)) => {
                    let mut kept = kept.clone();
                    kept.set_span(site);
                    quote_spanned!(site=> &#kept)
                }
                (Origin::Literal(literal), None) => quote_spanned!(site=> &#literal),
                (Origin::Value { fields, .. }, None) if fields.is_empty() => quote_spanned!(site=> &*__dbopt_ret),
                (Origin::Value { fields, .. }, None) => quote_spanned!(site=> &__dbopt_ret #(.#fields)*),
            };
            if given.value.borrowed {
                quote_spanned!(site=> let __dbopt_lent: #ty = #reference; let #name: &#ty = &__dbopt_lent;)
            } else {
                quote_spanned!(site=> let #name: &#ty = #reference;)
            }
        };
        through.method.arguments.iter().zip(through.args).zip(&self.kept.values).map(bind).collect()
    }
}

fn target_tags<'t>(through: &'t Through<'_>) -> impl Iterator<Item = &'t Template> {
    through.options.tags.iter().flat_map(|tags| &tags.value)
}

fn needs_result(template: &Template) -> bool {
    template.value.iter().any(|part| matches!(part, Part::Value { name, .. } if name == RETURNED))
}

impl Kept {
    fn next(&mut self) -> Ident {
        let name = format_ident!("__dbopt_kept_{}", self.count, span = Span::mixed_site());
        self.count += 1;
        name
    }

    /// The arguments in a tag, as they are written.
    fn texts_of(&mut self, template: &Template, arguments: &[Argument<'_>]) {
        let site = located(&template.tokens);
        for part in &template.value {
            let Part::Value { name, fields } = part else { continue };
            if name == RETURNED || self.texts.iter().any(|(text, inside, _)| (text, inside) == (name, fields)) {
                continue;
            }
            let (value, text) = (arguments.value(name, fields, site), self.next());
            self.statements.extend(quote_spanned! {site=>
                let #text = ::std::string::ToString::to_string(&#value);
            });
            self.texts.push((name.clone(), fields.clone(), text));
        }
    }

    /// The arguments that are passed on to a target.
    fn values_of(&mut self, through: &Through<'_>, arguments: &[Argument<'_>], scope: &Scope<'_>) {
        let krate = &scope.krate;
        for given in through.args {
            let kept = match &given.value.origin {
                Origin::Value { name, fields } if name != RETURNED => {
                    let site = located(&given.tokens);
                    let (value, kept) = (arguments.value(name, &written(fields), site), self.next());
                    self.statements.extend(quote_spanned!(site=> let #kept = #krate::__private::clone_arg(&#value);));
                    Some(kept)
                }
                _ => None,
            };
            self.values.push(kept);
        }
    }
}

fn written(fields: &[Member]) -> Vec<String> {
    fields.iter().map(|field| field.to_token_stream().to_string()).collect()
}

/// After the body: `ret` is what it returned, and arguments are what was kept of them.
impl Values for Kept {
    fn value(&self, name: &str, fields: &[String], site: Span) -> TokenStream {
        let kept = self.texts.iter().find(|(text, inside, _)| text == name && inside == fields);
        match kept {
            Some((_, _, kept)) => kept.to_token_stream(),
            None => field_of(quote_spanned!(site=> __dbopt_ret), fields, site),
        }
    }
}
