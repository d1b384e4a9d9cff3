//! What must compile, however unusual: each file here is a case, and that it builds is the test.
#![allow(missing_docs, unreachable_pub, dead_code, clippy::all)]

mod attributes;
mod cached;
mod cached_writes;
mod from_macro_rules;
mod generic_repository;
mod no_implicit_prelude;
mod shadowed_names;
mod signatures;
