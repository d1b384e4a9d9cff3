//! What was written, as plain data: no tokens are built here and nothing is decided.

use std::num::NonZeroU32;
use std::time::Duration;

use proc_macro2::{Delimiter, Group, Ident, Span, TokenStream};
use syn::{Attribute, Expr, Lit, Member, Path, Receiver, Signature, Type, Visibility};

use crate::rate::Rate;
use crate::template::Part;

/// The block under `#[repository]`.
pub(crate) struct Block {
    /// Everything before the braces, word for word.
    pub(crate) head: TokenStream,
    pub(crate) place: Place,
    pub(crate) braces: Span,
    pub(crate) inner_attrs: Vec<Attribute>,
    pub(crate) items: Vec<Item>,
}

/// Where the methods live.
pub(crate) enum Place {
    Impl {
        /// The last segment of the type: `Flights`.
        name: String,
        /// Whether the type has types or constants as parameters, so that one method is many.
        generic: bool,
        /// `Some` for `impl Trait for Type`, which cannot be a repository.
        of_trait: Option<Path>,
    },
    Module {
        name: String,
    },
}

impl Place {
    pub(crate) fn name(&self) -> &str {
        match self {
            Self::Impl { name, .. } | Self::Module { name } => name,
        }
    }

    pub(crate) fn generic(&self) -> bool {
        matches!(self, Self::Impl { generic: true, .. })
    }
}

pub(crate) enum Item {
    Function(Box<Function>),
    Other(Other),
}

/// A function, its body untouched: a half-typed body is the compiler's and the editor's business.
pub(crate) struct Function {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) vis: Visibility,
    pub(crate) sig: Signature,
    pub(crate) body: Group,
}

/// Anything that is not a function, or that could not be read as one.
pub(crate) struct Other {
    pub(crate) attrs: Vec<Attribute>,
    pub(crate) tokens: TokenStream,
    /// Why a thing that looks like a function is not one for us.
    pub(crate) unreadable: Option<syn::Error>,
}

/// A value and the tokens that gave it, to point at.
pub(crate) struct Given<T> {
    pub(crate) value: T,
    pub(crate) tokens: TokenStream,
}

impl<T> Given<T> {
    pub(crate) fn map<U>(self, f: impl FnOnce(T) -> U) -> Given<U> {
        Given { value: f(self.value), tokens: self.tokens }
    }
}

/// The options of `#[repository(..)]`.
#[derive(Default)]
pub(crate) struct Settings {
    pub(crate) db: Option<Given<Expr>>,
    pub(crate) krate: Option<Given<Path>>,
}

/// The helper attributes of one method, as written.
#[derive(Default)]
pub(crate) struct Helpers {
    pub(crate) read: Option<Given<Read>>,
    pub(crate) write: Option<Given<Write>>,
    pub(crate) critical: Option<Given<()>>,
    pub(crate) cached: Option<Given<Cached>>,
    pub(crate) batched: Option<Given<Batched>>,
    pub(crate) rate_limited: Option<Given<RateLimited>>,
}

#[derive(Default)]
pub(crate) struct Read {
    pub(crate) max_staleness: Option<Given<Duration>>,
    pub(crate) from_primary: Option<Given<()>>,
    pub(crate) max_concurrent: Option<Given<NonZeroU32>>,
    pub(crate) hedge: Option<Given<Duration>>,
}

#[derive(Default)]
pub(crate) struct Write {
    pub(crate) invalidates: Option<Given<Vec<Template>>>,
    pub(crate) write_through: Option<Given<Target>>,
    pub(crate) idempotent: Option<Given<()>>,
    pub(crate) transaction: Option<Given<bool>>,
    pub(crate) max_concurrent: Option<Given<NonZeroU32>>,
}

/// `find(id)`: a cached method, and with what to call it.
pub(crate) struct Target {
    pub(crate) method: Ident,
    pub(crate) args: Vec<Given<Source>>,
}

/// An argument of a target.
pub(crate) struct Source {
    pub(crate) origin: Origin,
    /// Written with a `&` in front, so that a `String` may become a `&str`.
    pub(crate) borrowed: bool,
}

/// Where an argument of a target comes from.
pub(crate) enum Origin {
    Literal(Lit),
    /// An argument or `ret`, and its fields.
    Value {
        name: String,
        fields: Vec<Member>,
    },
}

/// A key or a tag.
pub(crate) type Template = Given<Vec<Part>>;

#[derive(Default)]
pub(crate) struct Cached {
    pub(crate) tags: Option<Given<Vec<Template>>>,
    pub(crate) ttl: Option<Given<Duration>>,
    pub(crate) l1_ttl: Option<Given<Duration>>,
    pub(crate) key: Option<Template>,
    pub(crate) vary_by_user: Option<Given<bool>>,
    pub(crate) cache_none: Option<Given<bool>>,
    pub(crate) strong: Option<Given<()>>,
    pub(crate) stale_if_error: Option<Given<Duration>>,
    pub(crate) refresh_ahead: Option<Given<f64>>,
    pub(crate) layers: Option<Given<Layers>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Layers {
    L1,
    L2,
}

#[derive(Default)]
#[allow(dead_code, reason = "checked now, expanded once #[batched] is available")]
pub(crate) struct Batched {
    pub(crate) one: Option<Given<Ident>>,
}

#[derive(Default)]
pub(crate) struct RateLimited {
    pub(crate) per_user: Option<Given<Vec<Rate>>>,
    pub(crate) global: Option<Given<Vec<Rate>>>,
    pub(crate) key: Option<Template>,
    pub(crate) cost: Option<Given<Cost>>,
}

/// What a call counts as.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Cost {
    Calls(NonZeroU32),
    /// The milliseconds that it uses its connection.
    DatabaseTime,
}

/// A method whose signature holds: what `expand` needs, all of it decided.
pub(crate) struct Method<'a> {
    pub(crate) source: &'a Function,
    pub(crate) operation: Operation,
    /// `None` for a free function.
    pub(crate) receiver: Option<&'a Receiver>,
    pub(crate) connection: Connection<'a>,
    pub(crate) arguments: Vec<Argument<'a>>,
    pub(crate) returns: &'a Type,
    /// Not on a method with mistakes in keys or tags: it is expanded as the plain read that it is besides.
    pub(crate) cached: Option<Kept<'a>>,
    pub(crate) effects: Option<Effects<'a>>,
    pub(crate) limited: Option<&'a RateLimited>,
}

/// How the result of a method is kept.
pub(crate) struct Kept<'a> {
    pub(crate) options: &'a Cached,
    /// Words of the body that ask who is calling, though the key does not say it.
    pub(crate) caller: Vec<Ident>,
}

impl Kept<'_> {
    pub(crate) fn tags(&self) -> &[Template] {
        self.options.tags.as_ref().map(|tags| tags.value.as_slice()).unwrap_or_default()
    }
}

/// What a write does to cached values.
pub(crate) struct Effects<'a> {
    pub(crate) invalidates: &'a [Template],
    pub(crate) through: Option<Through<'a>>,
}

/// The cached method whose value a write returns.
pub(crate) struct Through<'a> {
    pub(crate) method: Box<Method<'a>>,
    pub(crate) options: &'a Cached,
    /// The name as it stands in `write_through`.
    pub(crate) name: &'a Ident,
    pub(crate) args: &'a [Given<Source>],
}

/// What the call means to the runtime.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) struct Operation {
    pub(crate) intent: Intent,
    pub(crate) critical: bool,
    pub(crate) max_staleness: Option<Duration>,
    pub(crate) from_primary: bool,
    pub(crate) idempotent: bool,
    pub(crate) without_transaction: bool,
    pub(crate) max_concurrent: Option<NonZeroU32>,
    /// After which time the body runs on a second replica, too.
    pub(crate) hedge: Option<Duration>,
}

impl Operation {
    /// Whether the body may run a second time, on another node.
    pub(crate) fn runs_again(&self) -> bool {
        self.intent == Intent::Read || self.idempotent
    }
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Intent {
    Read,
    Write,
}

/// The parameter that the runtime fills in.
pub(crate) struct Connection<'a> {
    /// `Conn` in `&mut Conn`.
    pub(crate) ty: &'a Type,
    pub(crate) exclusive: bool,
    /// `&mut Conn`
    pub(crate) written: &'a Type,
    /// `None` for a pattern without a name.
    pub(crate) name: Option<&'a Ident>,
}

/// A parameter of the public function.
pub(crate) struct Argument<'a> {
    pub(crate) name: Ident,
    pub(crate) ty: &'a Type,
    pub(crate) cfg: Vec<&'a Attribute>,
    /// Cloned for each attempt, because the body may run again and the value is owned.
    pub(crate) cloned: bool,
}

impl Block {
    /// The braces around `inside`, with the user's own span.
    pub(crate) fn braced(&self, inside: TokenStream) -> Group {
        let mut group = Group::new(Delimiter::Brace, inside);
        group.set_span(self.braces);
        group
    }
}
