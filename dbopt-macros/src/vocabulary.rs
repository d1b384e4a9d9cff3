//! The helpers and their options: the table of the book, as data. Parsing, suggestions and tests all read it.

/// Which attribute.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Kind {
    Read,
    Write,
    Critical,
    Cached,
    Batched,
    RateLimited,
    /// `#[repository]` itself: it has options, but is not a helper.
    Repository,
}

/// One attribute and its options.
pub(crate) struct Helper {
    pub(crate) kind: Kind,
    pub(crate) name: &'static str,
    pub(crate) options: &'static [OptionSpec],
}

/// One option of a helper, with a text that is right as it stands (messages quote it, tests run it).
pub(crate) struct OptionSpec {
    pub(crate) name: &'static str,
    pub(crate) example: &'static str,
}

const fn option(name: &'static str, example: &'static str) -> OptionSpec {
    OptionSpec { name, example }
}

pub(crate) const READ: Helper = Helper {
    kind: Kind::Read,
    name: "read",
    options: &[
        option("max_staleness", r#"max_staleness = "2s""#),
        option("from", r#"from = "primary""#),
        option("max_concurrent", "max_concurrent = 20"),
        option("hedge", r#"hedge = "50ms""#),
    ],
};

pub(crate) const WRITE: Helper = Helper {
    kind: Kind::Write,
    name: "write",
    options: &[
        option("invalidates", r#"invalidates = ["flight:{id}", "flights"]"#),
        option("write_through", "write_through = find(id)"),
        option("idempotent", "idempotent"),
        option("transaction", "transaction = false"),
        option("max_concurrent", "max_concurrent = 20"),
    ],
};

pub(crate) const CRITICAL: Helper = Helper { kind: Kind::Critical, name: "critical", options: &[] };

pub(crate) const CACHED: Helper = Helper {
    kind: Kind::Cached,
    name: "cached",
    options: &[
        option("tags", r#"tags = ["flight:{id}", "flights"]"#),
        option("ttl", r#"ttl = "5m""#),
        option("l1_ttl", r#"l1_ttl = "10s""#),
        option("key", r#"key = "flight:{id}""#),
        option("vary", "vary = [user]"),
        option("cache_none", "cache_none = false"),
        option("consistency", r#"consistency = "strong""#),
        option("stale_if_error", r#"stale_if_error = "1m""#),
        option("refresh_ahead", "refresh_ahead = 0.8"),
        option("layers", r#"layers = "l1""#),
    ],
};

pub(crate) const BATCHED: Helper =
    Helper { kind: Kind::Batched, name: "batched", options: &[option("one", "one = find")] };

pub(crate) const RATE_LIMITED: Helper = Helper {
    kind: Kind::RateLimited,
    name: "rate_limited",
    options: &[
        option("per_user", r#"per_user = "100/min""#),
        option("global", r#"global = "10000/min""#),
        option("key", r#"key = "{id}""#),
        option("cost", "cost = 5"),
    ],
};

pub(crate) const HELPERS: [&Helper; 6] = [&READ, &WRITE, &CRITICAL, &CACHED, &BATCHED, &RATE_LIMITED];

/// The options of `#[repository(..)]` itself.
pub(crate) const REPOSITORY: Helper = Helper {
    kind: Kind::Repository,
    name: "repository",
    options: &[option("db", "db = self.inner.db"), option("crate", "crate = my_facade::dbopt_diesel")],
};

impl Helper {
    pub(crate) fn option(&self, name: &str) -> Option<&'static OptionSpec> {
        self.options.iter().find(|option| option.name == name)
    }
}
