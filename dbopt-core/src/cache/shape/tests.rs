use std::collections::HashMap;
use std::net::IpAddr;
use std::num::NonZeroU32;

use serde::{Deserialize, Deserializer};

use super::{find, fingerprint};

/// Gives the fingerprints of several shapes of one name.
macro_rules! shapes {
    ($($item:item)+) => {[$({
        #[allow(dead_code)]
        mod shape {
            use super::*;
            #[derive(Deserialize)]
            $item
        }
        find::<shape::Shape>()
    }),+]};
}

fn all_differ(fingerprints: &[u64]) {
    for (index, one) in fingerprints.iter().enumerate() {
        assert!(!fingerprints[..index].contains(one), "shape {index} looks like an earlier one");
    }
}

#[test]
fn a_changed_field_changes_the_shape() {
    all_differ(&shapes! {
        pub(super) struct Shape { id: i64, name: String }
        pub(super) struct Shape { id: i64, name: String, more: bool }
        pub(super) struct Shape { id: i64, title: String }
        pub(super) struct Shape { id: i32, name: String }
        pub(super) struct Shape { id: i64, name: Option<String> }
        pub(super) struct Shape { id: i64, name: Vec<String> }
        pub(super) struct Shape { id: i64, name: HashMap<String, i64> }
        pub(super) struct Shape { id: i64, name: HashMap<String, i32> }
        pub(super) struct Shape { id: i64, name: HashMap<i64, i64> }
        pub(super) struct Shape { id: i64, name: (String, u8) }
        pub(super) struct Shape(i64, String);
        pub(super) struct Shape(i64);
        pub(super) struct Shape;
    });
}

#[test]
fn a_changed_enum_changes_the_shape() {
    all_differ(&shapes! {
        pub(super) enum Shape { A, B(i64) }
        pub(super) enum Shape { A, B(i32) }
        pub(super) enum Shape { A, C(i64) }
        pub(super) enum Shape { A, B(i64), C }
        pub(super) enum Shape { A, B { id: i64 } }
        pub(super) enum Shape { A, B { id: i32 } }
        pub(super) enum Shape { A, B(Option<i64>) }
        pub(super) enum Shape { A, B(i64, i64) }
    });
}

mod one {
    use super::*;
    #[derive(Deserialize)]
    #[allow(dead_code)]
    pub(super) struct Inner {
        x: u8,
    }
}

mod two {
    use super::*;
    #[derive(Deserialize)]
    #[allow(dead_code)]
    pub(super) struct Inner {
        x: u16,
    }
}

#[test]
fn a_change_deep_inside_changes_the_shape() {
    all_differ(&shapes! {
        pub(super) struct Shape { a: Vec<Option<HashMap<String, one::Inner>>> }
        pub(super) struct Shape { a: Vec<Option<HashMap<String, two::Inner>>> }
        pub(super) struct Shape { a: Vec<HashMap<String, one::Inner>> }
    });
}

#[test]
fn recursive_types_end_and_show_their_changes() {
    all_differ(&shapes! {
        pub(super) struct Shape { next: Option<Box<Shape>>, last: i64 }
        pub(super) struct Shape { next: Option<Box<Shape>>, last: i32 }
        pub(super) struct Shape { next: Vec<Shape>, other: Vec<Shape>, last: i64 }
        pub(super) struct Shape { next: Vec<Shape>, other: Vec<Shape>, last: i32 }
    });
    all_differ(&shapes! {
        pub(super) enum Shape { Number(i64), Add(Box<Shape>, Box<Shape>, i64) }
        pub(super) enum Shape { Number(i64), Add(Box<Shape>, Box<Shape>, i32) }
    });
}

/// Like the types of chrono, uuid and others: text that is checked.
#[allow(dead_code)]
struct Date(String);

impl<'de> Deserialize<'de> for Date {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        let fits = text.len() == 20 && text.ends_with('Z');
        if fits { Ok(Date(text)) } else { Err(serde::de::Error::custom("no date")) }
    }
}

#[test]
fn fields_behind_a_picky_type_still_count() {
    all_differ(&shapes! {
        pub(super) struct Shape { at: Date, from: IpAddr, n: NonZeroU32, last: i64 }
        pub(super) struct Shape { at: Date, from: IpAddr, n: NonZeroU32, last: i32 }
    });
}

#[allow(dead_code)]
struct Picky;

impl<'de> Deserialize<'de> for Picky {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        i64::deserialize(deserializer)?;
        Err(serde::de::Error::custom("never"))
    }
}

#[test]
fn what_came_before_a_type_that_takes_nothing_counts() {
    all_differ(&shapes! {
        pub(super) struct Shape { first: i64, picky: Picky }
        pub(super) struct Shape { first: i32, picky: Picky }
        pub(super) struct Shape { first: i64, picky: Picky, last: i64 }
        pub(super) struct Shape { first: i64, #[serde(default)] other: u8, picky: Picky }
    });
}

#[test]
fn an_alias_does_not_hide_what_follows() {
    all_differ(&shapes! {
        pub(super) struct Shape { #[serde(alias = "b")] a: i64, last: i64 }
        pub(super) struct Shape { #[serde(alias = "b")] a: i64, last: i32 }
    });
}

#[test]
fn the_number_is_the_same_in_every_build() {
    // Pinned: if this fails, every deployed entry becomes a miss. Change it knowingly.
    assert_eq!(fingerprint::<(i64, Option<String>)>(), find::<(i64, Option<String>)>());
    assert_eq!(fingerprint::<(i64, Option<String>)>(), PINNED);
    assert_eq!(fingerprint::<serde_json::Value>(), fingerprint::<serde_json::Value>());
}

const PINNED: u64 = 3_478_927_038_387_522_700;
