//! What `#[cached]` and `write_through` refuse, and what they say instead.

use super::{FIND, cached_with, expand};

/// The mistakes in an `impl Flights`, as they are shown.
fn mistakes(source: &str) -> String {
    expand("", &format!("impl Flights {{ {source} }}")).to_string()
}

#[track_caller]
fn refused(source: &str, messages: &[&str]) {
    let shown = mistakes(source);
    for message in messages {
        assert!(shown.contains(message), "{message} is not in {shown}");
    }
    assert_eq!(shown.matches("compile_error").count(), messages.len(), "{shown}");
}

/// What cannot work is refused with what to write instead.
#[test]
fn what_cannot_be_cached_is_refused() {
    for (options, signature, message) in [
        ("", "() -> Out<impl Iterator<Item = u8>>", "write the type, such as `QueryResult<Vec<Flight>>`"),
        ("", "() -> QueryResult<&str>", "return owned values, such as `String` in place of `&str`"),
        ("", "() -> QueryResult<Cow<'_, str>>", "`QueryResult<Cow<'_, str>>` cannot borrow"),
        ("", "(into: &mut Vec<u8>) -> Out<u8>", "take the argument by value or by `&`"),
        ("(ttl = \"0s\")", "() -> Out<u8>", "a duration must be more than zero"),
        ("(ttl = \"1s\", l1_ttl = \"2s\")", "() -> Out<u8>", "`l1_ttl` is longer than `ttl`"),
        ("(refresh_ahead = 0.05)", "() -> Out<u8>", "from 0.1 to below 1"),
        ("(refresh_ahead = 1.5)", "() -> Out<u8>", "from 0.1 to below 1"),
        ("(\" \")", "() -> Out<u8>", "an empty text names nothing"),
        ("(consistency = \"strong\", stale_if_error = \"1s\")", "() -> Out<u8>", "never serves a stale value"),
    ] {
        let signature = signature.replace('(', "(&self, conn: &mut Conn, ").replacen(", )", ")", 1);
        refused(&format!("#[cached{options}] async fn find{signature} {{}}"), &[message]);
    }
}

#[test]
fn memory_only_may_be_strong() {
    let both = cached_with("layers = \"l1\", consistency = \"strong\"");
    assert!(both.contains(".strong()") && both.contains(".only_l1()") && !both.contains("compile_error"), "{both}");
}

/// The target of `write_through` is a cached method whose key can be written out again.
#[test]
fn what_cannot_be_written_through_is_refused() {
    for (found, target, message) in [
        ("#[cached(\"a\")] async fn find(&self, conn: &mut Conn)", "fnd()", "did you mean `find`?"),
        ("#[read] async fn find(&self, conn: &mut Conn)", "find()", "`find` is not cached"),
        ("async fn find(&self)", "find()", "`find` is not cached"),
        ("async fn other(&self)", "find()", "no `#[cached]` method `find`"),
        (
            "#[cached(\"a\")] async fn find(&self, conn: &mut Conn, id: i64, name: &str)",
            "find(id)",
            "takes 2 arguments, `id` and `name`, and 1 are given here: write `write_through = find(id, name)`",
        ),
        ("#[cached(\"a\")] async fn find(&self, conn: &mut Conn)", "find(id)", "takes no arguments"),
        ("#[cached(\"a\")] async fn find<T>(&self, conn: &mut Conn, id: T)", "find(id)", "the generic `find`"),
        ("#[cached(\"a\")] async fn find(&self, conn: &mut Conn, id: impl Key)", "find(id)", "the generic `find`"),
        ("#[cached(\"a\")] async fn find(&self, conn: &mut Conn, #[cfg(a)] id: i64)", "find(id)", "`#[cfg]` decides"),
        (
            "#[cached] async fn find(&self, conn: &mut Conn, id: i64)",
            "find(id)",
            "such as `tags = [\\\"find:{id}\\\"]`",
        ),
    ] {
        refused(
            &format!(
                "{found} -> Out<u8> {{}} \
                 #[write(write_through = {target})] async fn store(&self, conn: &mut Conn, id: i64) -> Out<u8> {{}}"
            ),
            &[message],
        );
    }
}

/// Of targets under different conditions, that under the write's own.
#[test]
fn a_target_is_found_under_the_same_condition() {
    let find = |cfg: &str| {
        format!(
            "#[cfg({cfg})] #[cached(key = \"{cfg}\", tags = [\"t\"])] async fn find(&self, c: &mut Conn) -> Out<u8> {{}}"
        )
    };
    let store = |cfg: &str| {
        format!("{cfg} #[write(write_through = find())] async fn store(&self, c: &mut Conn) -> Out<u8> {{}}")
    };
    let block = |cfg: &str| format!("{} {} {}", find("a"), find("b"), store(cfg));
    refused(&block(""), &["write `store` as often, under the same ones"]);
    let expanded = mistakes(&block("#[cfg(b)]"));
    let through = expanded.split("write_through").nth(1).unwrap();
    assert!(through.contains("\"b\"") && !through.contains("\"a\")"), "{through}");
}

/// A method that writes through to itself is a mistake, not an endless expansion.
#[test]
fn a_write_is_no_target() {
    let store = "#[cached] #[write(write_through = store())] async fn store(&self, c: &mut Conn) -> Out<u8> {}";
    refused(store, &["`#[cached]` is for reads"]);
}

/// With a mistake in a key or tag, the method that callers see is still there.
#[test]
fn a_mistake_in_a_tag_leaves_the_method() {
    for helper in ["cached(\"{idd}\")", "write(invalidates = [\"{idd}\"])"] {
        let expanded = mistakes(&format!("#[{helper}] {FIND}"));
        assert!(expanded.contains("pub async fn find (& self , id : i64)"), "{expanded}");
        assert_eq!(expanded.matches("compile_error").count(), 1, "{expanded}");
        assert!(!expanded.contains("format_args"), "a second message about the same tag: {expanded}");
    }
}

/// Whom a value is for is asked of a body only when nothing else tells.
#[test]
fn a_body_that_asks_who_calls_brings_a_warning() {
    for (options, warned) in [("", true), ("(vary = [user])", false), ("(key = \"a\")", false)] {
        let body = "{ Context::current() }";
        let expanded = mistakes(&format!("#[cached{options}] async fn find(&self, c: &mut Conn) -> Out<u8> {body}"));
        assert_eq!(expanded.contains("deprecated"), warned, "{options}: {expanded}");
    }
}
