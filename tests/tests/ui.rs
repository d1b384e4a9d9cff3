//! What the compiler says: one file per mistake in `ui/`. What must compile is in `unusual_code/`.
//!
//! After a change of a message: `TRYBUILD=overwrite cargo test -p dbopt-tests --test ui`, then read the difference.

#[test]
fn mistakes_are_explained() {
    let cases = trybuild::TestCases::new();
    cases.compile_fail("ui/*.rs");
}
