use std::collections::{BTreeMap, HashMap};

use proptest::prelude::*;
use serde::Serialize;

use super::*;

fn bytes<A: Serialize>(args: &A) -> Vec<u8> {
    with_key(1, args, |key| key.bytes.to_vec()).unwrap()
}

fn hash<A: Serialize>(args: &A) -> u64 {
    with_key(1, args, |key| key.hash).unwrap()
}

#[derive(Debug, Clone, PartialEq, Serialize)]
enum Shape {
    Empty,
    One(String),
    Two(u8, Option<i64>),
    Named {
        #[serde(skip_serializing_if = "Option::is_none")]
        first: Option<u8>,
        #[serde(skip_serializing_if = "Option::is_none")]
        second: Option<u8>,
    },
}

fn shape() -> impl Strategy<Value = Shape> {
    prop_oneof![
        Just(Shape::Empty),
        "[ab]{0,3}".prop_map(Shape::One),
        (0u8..3, proptest::option::of(0i64..3)).prop_map(|(a, b)| Shape::Two(a, b)),
        (proptest::option::of(0u8..2), proptest::option::of(0u8..2))
            .prop_map(|(first, second)| Shape::Named { first, second }),
    ]
}

type Args = (String, String, Vec<String>, Vec<Shape>, BTreeMap<String, u8>, Option<Vec<bool>>);

/// From few letters and small numbers, so that near misses are frequent.
fn args() -> impl Strategy<Value = Args> {
    (
        "[ab]{0,3}",
        "[ab]{0,70}",
        proptest::collection::vec("[ab]{0,2}", 0..4),
        proptest::collection::vec(shape(), 0..3),
        proptest::collection::btree_map("[ab]{0,2}", 0u8..2, 0..3),
        proptest::option::of(proptest::collection::vec(any::<bool>(), 0..3)),
    )
}

proptest! {
    #[test]
    fn equal_arguments_and_only_those_give_equal_bytes(one in args(), other in args()) {
        prop_assert_eq!(one == other, bytes(&one) == bytes(&other));
        prop_assert_eq!(one == other, hash(&one) == hash(&other));
        prop_assert_eq!(bytes(&one), bytes(&one.clone()));
    }

    #[test]
    fn no_encoding_begins_another(one in args(), other in args()) {
        prop_assert!(one == other || !bytes(&one).starts_with(&bytes(&other)));
    }

    #[test]
    fn a_map_is_written_in_one_order(pairs in proptest::collection::hash_map(".{0,40}", any::<u32>(), 0..8)) {
        let again: HashMap<_, _> = pairs.clone().into_iter().collect();
        let ordered: BTreeMap<_, _> = pairs.clone().into_iter().collect();
        prop_assert_eq!(bytes(&pairs), bytes(&again));
        prop_assert_eq!(bytes(&pairs), bytes(&ordered));
        let nested = (&pairs, vec![pairs.clone()], 3);
        let same = (&again, vec![ordered], 3);
        prop_assert_eq!(hash(&nested), hash(&same));
    }

    #[test]
    fn a_kept_key_is_the_borrowed_one(text in ".{0,90}", method in 0usize..3) {
        with_key(method, &text, |key| {
            let kept = key.to_key();
            assert_eq!(kept.as_ref(), key);
            assert_eq!(kept.clone(), kept);
        }).unwrap();
    }
}

#[test]
fn the_same_arguments_of_two_methods_are_two_keys() {
    let one = with_key(1, &7u64, |key| key.to_key()).unwrap();
    let two = with_key(2, &7u64, |key| key.to_key()).unwrap();
    assert_ne!(one, two);
    assert_ne!(one.as_ref().hash, two.as_ref().hash);
}

#[test]
fn numbers_and_texts_that_look_alike_differ() {
    assert_ne!(bytes(&serde_json::json!(["1", 2])), bytes(&serde_json::json!([1, "2"])));
    assert_ne!(bytes(&("ab", "c")), bytes(&("a", "bc")));
    assert_ne!(bytes(&0.1f64), bytes(&0.1000000000000001f64));
    assert_ne!(bytes(&Some(())), bytes(&None::<()>));
}

#[test]
fn making_a_key_inside_another_is_safe() {
    let long = "x".repeat(200);
    with_key(1, &long, |outer| {
        let before = outer.bytes.to_vec();
        with_key(1, &"y".repeat(300), |_| ()).unwrap();
        assert_eq!(outer.bytes, before);
    })
    .unwrap();
}

#[test]
fn what_cannot_be_a_key_is_refused_and_says_why() {
    struct Broken;
    impl Serialize for Broken {
        fn serialize<S: serde::Serializer>(&self, _: S) -> Result<S::Ok, S::Error> {
            Err(serde::ser::Error::custom("no number"))
        }
    }
    let refused = with_key(1, &(1, Broken), |_| ()).unwrap_err();
    assert!(refused.to_string().contains("no number"), "{refused}");
    let long = with_key(1, &"x".repeat(MAX_LEN), |_| ()).unwrap_err();
    assert!(matches!(long, KeyError::TooLong(n) if n > MAX_LEN));
}

#[test]
fn the_stable_hash_never_changes() {
    // Written down: a change would lose every value in Redis at the next deployment.
    let hash = with_key(9, &(7u64, "seven"), |key| key.stable_hash128("Flights::find")).unwrap();
    assert_eq!(hash, 0x2db1_bac5_ab99_28d6_b849_4b43_3415_9016, "{hash:#x}");
    let other = with_key(9, &(7u64, "seven"), |key| key.stable_hash128("Flights::list")).unwrap();
    assert_ne!(hash, other);
}
