//! Expansions as a whole: a picture of each option and connection type, and promises that hold for all of them.

mod refusals;

use proc_macro2::TokenStream;

use crate::available;
use crate::repository::repository;
use crate::vocabulary::HELPERS;

fn expand(arguments: &str, item: &str) -> TokenStream {
    repository(arguments.parse().unwrap(), item.parse().unwrap())
}

/// The method in an `impl Flights`, expanded and formatted.
fn method(source: &str) -> String {
    pretty(expand("", &format!("impl Flights {{ {source} }}")))
}

fn pretty(tokens: TokenStream) -> String {
    let text = tokens.to_string();
    prettyplease::unparse(&syn2::parse_str(&text).unwrap_or_else(|error| panic!("{error}: {text}")))
}

macro_rules! pictures {
    ($($name:ident: $source:expr;)*) => {
        $(
            #[test]
            fn $name() {
                insta::assert_snapshot!(stringify!($name), $source);
            }
        )*
    };
}

const FIND: &str = "pub async fn find(&self, conn: &mut Conn, id: i64) -> QueryResult<Flight> { body(conn, id).await }";

pictures! {
    read: method(&format!("#[read] {FIND}"));
    read_max_staleness: method(&format!("#[read(max_staleness = \"2s\")] {FIND}"));
    read_from_primary: method(&format!("#[read(from = \"primary\")] {FIND}"));
    read_hedge: method(&format!("#[read(hedge = \"50ms\")] {FIND}"));
    read_max_concurrent: method(&format!("#[read(max_concurrent = 20)] {FIND}"));
    write: method(&format!("#[write] {FIND}"));
    write_idempotent: method(&format!("#[write(idempotent)] {FIND}"));
    write_without_transaction: method(&format!("#[write(transaction = false)] {FIND}"));
    critical: method(&format!("#[critical] {FIND}"));
    critical_read: method(&format!("#[critical] #[read] {FIND}"));
    conn_shared: method("#[read] async fn find(&self, conn: &Conn) -> QueryResult<()> {}");
    conn_pg: method("#[read] async fn find(&self, conn: &mut AsyncPgConnection) -> QueryResult<()> {}");
    conn_pg_shared: method(
        "#[read] async fn find(&self, mut conn: &diesel_async::AsyncPgConnection) -> QueryResult<()> {}"
    );
    arguments: method(
        "#[read] async fn find(&self, c: &mut Conn, n: i64, q: &str, names: Vec<String>, mut m: String, \
         (a, b): (i32, i32), _: Day, f: impl Fn() + Clone) -> QueryResult<()> {}"
    );
    arguments_of_a_write: method(
        "#[write] async fn store(&self, c: &mut Conn, names: Vec<String>, (a, b): (i32, i32), into: &mut Vec<u8>) \
         -> QueryResult<()> {}"
    );
    arguments_with_cfg: method(
        "#[read] async fn find(&self, c: &mut Conn, #[cfg(a)] x: i32, y: i32, #[cfg(not(a))] z: i32) -> Out<()> {}"
    );
    generics: method(
        "#[read] async fn find<'a, 'c, T: From<Row>, const N: usize>(&'a self, c: &'c mut Conn, n: [i32; N]) \
         -> Result<&'a T, E> where T: Send {}"
    );
    attributes: method(
        "/// Finds.\n #[cfg(unix)] #[instrument(skip(conn))] #[expect(unused)] #[must_use] #[deprecated] #[read] \
         async fn find(&self, conn: &mut Conn) -> QueryResult<()> {}"
    );
    impl_in_return_type: method("#[read] async fn find(&self, conn: &mut Conn) -> Out<impl Iterator<Item = i64>> {}");
    db_and_crate: pretty(expand(
        "db = self.inner.db, crate = facade::dbopt",
        "impl<T: Clone> a::Repo<T> where T: Send { #[read] async fn find(&self, conn: &mut Conn) -> Out<()> {} }"
    ));
    module: pretty(expand("", &format!(
        "pub mod flights {{ use super::*; #[read] {} #[write] async fn store(conn: &Conn, db: i64) -> Out<()> {{}} }}",
        FIND.replace("&self, ", "")
    )));
    other_items_stay: method("const A: B = B { c: 1 }; fn plain(&self) -> i64 { 1 } m! { x }");
    mistake_in_an_option: method(&format!("#[read(max_stalenes = \"2s\")] {FIND}"));
    mistake_in_the_signature: method("#[read] async fn find(&self, id: i64) -> QueryResult<()> {}");
    not_available_yet: method("#[batched(one = find)] async fn all(&self, conn: &mut Conn, ids: Vec<i64>) -> Out<u8> {}");
    rate_limited: method(&format!("#[read] #[rate_limited] {FIND}"));
    rate_limited_per_user: method(&format!("#[read] #[rate_limited(per_user = \"5/s, 100/min\")] {FIND}"));
    rate_limited_global: method(&format!("#[write] #[rate_limited(global = \"10000/min\")] {FIND}"));
    rate_limited_key: method(&format!("#[read] #[rate_limited(key = \"flight {{id}}\", cost = 5)] {FIND}"));
    rate_limited_by_time: method(&format!("#[read] #[rate_limited(cost = \"db_ms\")] {FIND}"));
    rate_limited_cached: method(&format!("#[cached(\"flights\")] #[rate_limited(per_user = \"5/s\", key = \"{{id}}\")] {FIND}"));
    cached: method(&format!("#[cached] {FIND}"));
    cached_tags: method(&format!("#[cached(\"flight:{{id}}\", \"flights\")] {FIND}"));
    cached_ttl: cached_with("ttl = \"5m\"");
    cached_l1_ttl: cached_with("l1_ttl = \"10s\"");
    cached_key: cached_with("key = \"flight:{id}\"");
    cached_vary: cached_with("vary = [user]");
    cached_without_none: cached_with("cache_none = false");
    cached_strong: cached_with("consistency = \"strong\"");
    cached_stale_if_error: cached_with("stale_if_error = \"1m\"");
    cached_refresh_ahead: cached_with("refresh_ahead = 0.8");
    cached_only_l1: cached_with("layers = \"l1\"");
    cached_only_l2: cached_with("layers = \"l2\"");
    cached_arguments: method(
        "#[cached(key = \"{{}}{filter.range.0}:{q}\")] async fn a(&self, c: &mut Conn, filter: &Filter, q: &str) \
         -> Out<u8> {} \
         #[cached] async fn none(&self, c: &mut Conn) -> Out<u8> {} \
         #[cached] async fn b(&self, c: &mut Conn, (a, b): (i32, i32), r#type: i64, names: Vec<String>) -> Out<u8> {}"
    );
    cached_with_cfg: method(
        "#[cfg(b)] #[cached] async fn find(&self, c: &mut Conn, #[cfg(a)] x: i32, y: i32) -> QueryResult<()> {}"
    );
    cached_generics: pretty(expand("", "impl<T> Repo<T> { #[cached] async fn find<'a, U: Row, const N: usize>(\
        &'a self, c: &'a mut Conn, q: impl AsRef<str>) -> Out<U> where U: Send {} }"));
    cached_for_all_callers: method(
        "#[cached] async fn find(&self, conn: &mut Conn) -> QueryResult<()> { Context::current(); }"
    );
    cached_module: pretty(expand("", &format!(
        "mod flights {{ #[cached(\"a\")] {} #[write(write_through = find(id))] async fn store(conn: &Conn, id: i64) \
         -> Out<Flight> {{}} }}",
        FIND.replace("&self, ", "")
    )));
    write_invalidates: method(&format!("#[write(invalidates = [\"flight:{{id}}\", \"flights\"])] {FIND}"));
    write_invalidates_result: method(
        "/// Stores.\n #[instrument(skip(conn))] #[must_use] #[write(idempotent, invalidates = [\"a:{ret.airline}:{id}\", \
         \"b:{id}:{ret}\", \"c\"])] pub async fn store<'c>(&self, mut conn: &'c mut Conn, id: i64, (a, b): (i8, i8)) \
         -> Out<Flight> { body() }"
    );
    write_through: method(
        "#[cached(tags = [\"flight:{id}\"])] async fn find(&self, conn: &mut Conn, id: i64, name: &str) -> Out<Flight> {} \
         #[write(write_through = find(ret.id, &change.name))] async fn store(&self, _: &mut Conn, change: Change) \
         -> Out<Flight> {}"
    );
    write_through_key: method(
        "#[cached(key = \"flight:{id}\", tags = [\"flights\"])] async fn find(&self, conn: &mut Conn, id: i64) \
         -> Out<Option<Flight>> {} \
         #[write(invalidates = [\"a\"], write_through = find(3))] async fn store(&self, conn: &Conn) \
         -> Out<Option<Flight>> {}"
    );
}

fn cached_with(option: &str) -> String {
    method(&format!("#[cached({option})] {FIND}"))
}

/// One text with an option of a helper, on a method that has what the examples name.
fn with_option(helper: &str, option: Option<&str>) -> String {
    let options = option.map(|option| format!("({option})")).unwrap_or_default();
    // `#[rate_limited]` does not say what the method does.
    let read = if helper == "rate_limited" { "#[read] " } else { "" };
    // A target for `write_through`.
    let (target, method) = match helper {
        "write" => (format!("#[cached(\"flights\")] {FIND}"), FIND.replace("fn find", "fn store")),
        _ => (String::new(), FIND.to_owned()),
    };
    expand("", &format!("impl Flights {{ {target} {read}#[{helper}{options}] {method} }}")).to_string()
}

#[test]
fn every_option_of_the_table_is_parsed() {
    for helper in HELPERS {
        for option in helper.options {
            let expanded = with_option(helper.name, Some(option.example));
            for complaint in ["has no option", "write `", "bug in dbopt-macros", "names no argument"] {
                let about_availability = expanded.contains("until then write `#[read]`");
                assert!(
                    !expanded.contains(complaint) || (complaint == "write `" && about_availability),
                    "#[{}({})]: {expanded}",
                    helper.name,
                    option.example
                );
            }
        }
    }
}

/// An option changes what is expanded, or it is refused: nothing is accepted and then forgotten.
#[test]
fn no_option_is_silently_ignored() {
    for helper in HELPERS {
        let plain = with_option(helper.name, None);
        for option in helper.options {
            let expanded = with_option(helper.name, Some(option.example));
            let missing = [None, Some(option.name)].iter().any(|name| available::missing(helper, *name).is_some());
            assert_eq!(expanded.contains("not available yet"), missing, "{}", option.example);
            assert!(missing || (expanded != plain && !expanded.contains("compile_error")), "{}", option.example);
        }
    }
}

/// The order of the guards is the runtime's: that of the attributes changes nothing.
#[test]
fn the_order_of_attributes_does_not_matter() {
    let orders = [["#[critical]", "#[read(from = \"primary\")]"], ["#[read(from = \"primary\")]", "#[critical]"]];
    let [one, other] = orders.map(|order| method(&format!("{} {FIND}", order.join(" "))));
    assert_eq!(one, other);
}

/// The table of the contract, word for word: a new option must be added here and there.
#[test]
fn the_table_is_complete() {
    let table: Vec<(&str, Vec<&str>)> =
        HELPERS.iter().map(|helper| (helper.name, helper.options.iter().map(|option| option.name).collect())).collect();
    let expected: Vec<(&str, Vec<&str>)> = vec![
        ("read", vec!["max_staleness", "from", "max_concurrent", "hedge"]),
        ("write", vec!["invalidates", "write_through", "idempotent", "transaction", "max_concurrent"]),
        ("critical", vec![]),
        (
            "cached",
            vec![
                "tags",
                "ttl",
                "l1_ttl",
                "key",
                "vary",
                "cache_none",
                "consistency",
                "stale_if_error",
                "refresh_ahead",
                "layers",
            ],
        ),
        ("batched", vec!["one"]),
        ("rate_limited", vec!["per_user", "global", "key", "cost"]),
    ];
    assert_eq!(table, expected);
}

/// Bare literals in `#[cached]` are its tags.
#[test]
fn tags_may_be_bare() {
    let bare = expand("", &format!("impl Flights {{ #[cached(\"flight:{{id}}\", \"flights\")] {FIND} }}")).to_string();
    let named = expand("", &format!("impl Flights {{ #[cached(tags = [\"flight:{{id}}\", \"flights\"])] {FIND} }}"));
    assert_eq!(bare, named.to_string());
}

/// A mistake never takes the user's code away.
#[test]
fn the_users_code_survives_every_mistake() {
    for item in [
        "impl Trait for Flights { #[read] async fn kept(&self) {} }",
        "impl (A, B) { #[read] async fn kept(&self) {} }",
        "struct Flights { kept: #[read] u8 }",
        "impl Flights { #[read] fn kept(&mut self) }",
        "impl Flights { #[read] fn kept(x: = 1) {} fn other() { self. } }",
        "impl Flights { #[read(..)] #[write(=)] #[cached(1 2)] async fn kept(&self, conn: &mut Conn) -> O<()> {} }",
        "mod a { #[read] struct kept; }",
        "fn kept() {}",
    ] {
        let expanded = expand("", item).to_string();
        assert!(expanded.contains("kept") && expanded.contains("compile_error"), "{item}: {expanded}");
        let helper_left = expanded.replace("`#[", "").contains("# [read]");
        assert!(!helper_left || item.starts_with("struct"), "{item}: {expanded}");
    }
}
