//! A deserializer that makes values up and notes what it was asked for.

use std::fmt;

use serde::de::value::StrDeserializer;
use serde::de::{self, DeserializeSeed, Deserializer, IntoDeserializer, Visitor};

use super::trace::{TEXTS, Trace};

/// How deep a type may be nested before the rest of it is left out.
const DEPTH: usize = 64;

/// The made-up value cannot be had, or was refused.
#[derive(Debug)]
pub(super) struct Refused;

impl fmt::Display for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a made-up value was refused")
    }
}

impl std::error::Error for Refused {}

impl de::Error for Refused {
    fn custom<T: fmt::Display>(_: T) -> Self {
        Refused
    }
}

pub(super) struct Probe<'a> {
    trace: &'a mut Trace,
}

impl<'a> Probe<'a> {
    pub(super) fn new(trace: &'a mut Trace) -> Self {
        Self { trace }
    }

    /// Runs `visit` one step deeper.
    fn step<T>(
        trace: &mut Trace,
        name: &str,
        visit: impl FnOnce(&mut Trace) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        let length = trace.path.len();
        if trace.path.matches('/').count() >= DEPTH {
            return Err(Refused);
        }
        trace.path.push('/');
        trace.path.push_str(name);
        let result = visit(trace);
        trace.path.truncate(length);
        result
    }

    /// Runs `visit` inside a named type; a type inside itself ends there.
    fn named<T>(
        trace: &mut Trace,
        name: &'static str,
        visit: impl FnOnce(&mut Trace) -> Result<T, Refused>,
    ) -> Result<T, Refused> {
        /// Two types may share a name, one inside the other; it takes more to be a recursion.
        const SAME_NAME: usize = 2;
        if trace.inside.iter().filter(|outer| **outer == name).count() >= SAME_NAME {
            return Err(Refused);
        }
        trace.inside.push(name);
        let result = visit(trace);
        trace.inside.pop();
        result
    }
}

fn seed<'de, S: DeserializeSeed<'de>>(trace: &mut Trace, name: &str, seed: S) -> Result<S::Value, Refused> {
    Probe::step(trace, name, |trace| seed.deserialize(Probe::new(trace)))
}

macro_rules! primitives {
    ($($method:ident $visit:ident $kind:literal [$($value:expr),+]),+ $(,)?) => {$(
        fn $method<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
            let values = [$($value),+];
            self.trace.note($kind);
            let index = self.trace.choose($kind, values.len() as u32) as usize;
            visitor.$visit(values[index.min(values.len() - 1)])
        }
    )+};
}

impl<'de> Deserializer<'de> for Probe<'_> {
    type Error = Refused;

    fn is_human_readable(&self) -> bool {
        // As the payload's format answers.
        false
    }

    primitives! {
        deserialize_bool visit_bool "bool" [false, true],
        deserialize_i8 visit_i8 "i8" [0, 1],
        deserialize_i16 visit_i16 "i16" [0, 1],
        deserialize_i32 visit_i32 "i32" [0, 1],
        deserialize_i64 visit_i64 "i64" [0, 1],
        deserialize_i128 visit_i128 "i128" [0, 1],
        deserialize_u8 visit_u8 "u8" [0, 1],
        deserialize_u16 visit_u16 "u16" [0, 1],
        deserialize_u32 visit_u32 "u32" [0, 1],
        deserialize_u64 visit_u64 "u64" [0, 1],
        deserialize_u128 visit_u128 "u128" [0, 1],
        deserialize_f32 visit_f32 "f32" [0.0, 1.0],
        deserialize_f64 visit_f64 "f64" [0.0, 1.0],
        deserialize_char visit_char "char" ['a', '0'],
        deserialize_bytes visit_bytes "bytes" [&[0; 0][..], &[0; 16], &[0; 4], &[0; 6], &[0; 8], &[0; 12], &[0; 32]],
    }

    fn deserialize_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.trace.note("any");
        match self.trace.choose("any", 5) {
            0 => visitor.visit_unit(),
            1 => visitor.visit_i64(0),
            2 => visitor.visit_str(""),
            3 => visitor.visit_seq(de::value::SeqDeserializer::new(std::iter::empty::<u8>())),
            _ => visitor.visit_map(de::value::MapDeserializer::new(std::iter::empty::<(u8, u8)>())),
        }
    }

    fn deserialize_str<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.trace.note("text");
        let index = self.trace.choose("text", TEXTS.len() as u32) as usize;
        visitor.visit_str(TEXTS[index.min(TEXTS.len() - 1)])
    }

    fn deserialize_string<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_byte_buf<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_bytes(visitor)
    }

    fn deserialize_option<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.trace.note("optional");
        match self.trace.choose("optional", 2) {
            0 => Probe::step(self.trace, "some", |trace| visitor.visit_some(Probe::new(trace))),
            _ => visitor.visit_none(),
        }
    }

    fn deserialize_unit<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.trace.note("unit");
        visitor.visit_unit()
    }

    fn deserialize_unit_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refused> {
        self.trace.note(&format!("unit struct {name}"));
        visitor.visit_unit()
    }

    fn deserialize_newtype_struct<V: Visitor<'de>>(self, name: &'static str, visitor: V) -> Result<V::Value, Refused> {
        self.trace.note(&format!("newtype {name}"));
        Probe::named(self.trace, name, |trace| {
            Probe::step(trace, "0", |trace| visitor.visit_newtype_struct(Probe::new(trace)))
        })
    }

    fn deserialize_seq<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.trace.note("list");
        let length = if self.trace.choose("list", 2) == 0 { 1 } else { 0 };
        visitor.visit_seq(Items { trace: self.trace, next: 0, length, same: true })
    }

    fn deserialize_tuple<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Refused> {
        self.trace.note(&format!("tuple of {length}"));
        visitor.visit_seq(Items { trace: self.trace, next: 0, length, same: false })
    }

    fn deserialize_tuple_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        length: usize,
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.trace.note(&format!("tuple struct {name}"));
        Probe::named(self.trace, name, |trace| Probe::new(trace).deserialize_tuple(length, visitor))
    }

    fn deserialize_map<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.trace.note("map");
        let length = if self.trace.choose("map", 2) == 0 { 1 } else { 0 };
        visitor.visit_map(Entries { trace: self.trace, left: length })
    }

    fn deserialize_struct<V: Visitor<'de>>(
        self,
        name: &'static str,
        fields: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.trace.note(&format!("struct {name} {fields:?}"));
        Probe::named(self.trace, name, |trace| visitor.visit_map(Fields { trace, names: fields, current: "" }))
    }

    fn deserialize_enum<V: Visitor<'de>>(
        self,
        name: &'static str,
        variants: &'static [&'static str],
        visitor: V,
    ) -> Result<V::Value, Refused> {
        self.trace.note(&format!("enum {name} {variants:?}"));
        // Inside itself an enum is a variant that is known to end.
        let chosen = match self.trace.inside.contains(&name).then(|| self.trace.simple_variant(name)).flatten() {
            Some(simple) => simple,
            None => self.trace.choose_variant(name, variants.len() as u32),
        };
        let Some(variant) = variants.get(chosen as usize) else { return Err(Refused) };
        Probe::named(self.trace, name, |trace| visitor.visit_enum(Variant { trace, name: variant }))
    }

    fn deserialize_identifier<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        self.deserialize_str(visitor)
    }

    fn deserialize_ignored_any<V: Visitor<'de>>(self, visitor: V) -> Result<V::Value, Refused> {
        visitor.visit_unit()
    }
}

struct Items<'a> {
    trace: &'a mut Trace,
    next: usize,
    length: usize,
    /// A list's items are all alike, a tuple's are not.
    same: bool,
}

impl<'de> de::SeqAccess<'de> for Items<'_> {
    type Error = Refused;

    fn next_element_seed<S: DeserializeSeed<'de>>(&mut self, item: S) -> Result<Option<S::Value>, Refused> {
        if self.next == self.length {
            return Ok(None);
        }
        let name = if self.same { "item".to_owned() } else { self.next.to_string() };
        self.next += 1;
        seed(self.trace, &name, item).map(Some)
    }

    fn size_hint(&self) -> Option<usize> {
        Some(self.length - self.next)
    }
}

struct Entries<'a> {
    trace: &'a mut Trace,
    left: usize,
}

impl<'de> de::MapAccess<'de> for Entries<'_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, key: S) -> Result<Option<S::Value>, Refused> {
        let Some(left) = self.left.checked_sub(1) else { return Ok(None) };
        self.left = left;
        seed(self.trace, "key", key).map(Some)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, value: S) -> Result<S::Value, Refused> {
        seed(self.trace, "value", value)
    }
}

struct Fields<'a> {
    trace: &'a mut Trace,
    names: &'static [&'static str],
    current: &'static str,
}

impl<'de> de::MapAccess<'de> for Fields<'_> {
    type Error = Refused;

    fn next_key_seed<S: DeserializeSeed<'de>>(&mut self, key: S) -> Result<Option<S::Value>, Refused> {
        while let [name, rest @ ..] = self.names {
            (self.names, self.current) = (rest, name);
            // An alias is a field of its own in this list, and refused beside the field it stands for.
            if Probe::step(self.trace, name, |trace| Ok(trace.choose("given", 2)))? == 0 {
                let name: StrDeserializer<'_, Refused> = name.into_deserializer();
                return key.deserialize(name).map(Some);
            }
        }
        Ok(None)
    }

    fn next_value_seed<S: DeserializeSeed<'de>>(&mut self, value: S) -> Result<S::Value, Refused> {
        seed(self.trace, self.current, value)
    }
}

struct Variant<'a> {
    trace: &'a mut Trace,
    name: &'static str,
}

impl<'de> de::EnumAccess<'de> for Variant<'_> {
    type Error = Refused;
    type Variant = Self;

    fn variant_seed<S: DeserializeSeed<'de>>(self, variant: S) -> Result<(S::Value, Self), Refused> {
        let name: StrDeserializer<'_, Refused> = self.name.into_deserializer();
        Ok((variant.deserialize(name)?, self))
    }
}

impl<'de> de::VariantAccess<'de> for Variant<'_> {
    type Error = Refused;

    fn unit_variant(self) -> Result<(), Refused> {
        Probe::step(self.trace, self.name, |trace| {
            trace.note("unit variant");
            Ok(())
        })
    }

    fn newtype_variant_seed<S: DeserializeSeed<'de>>(self, value: S) -> Result<S::Value, Refused> {
        seed(self.trace, self.name, value)
    }

    fn tuple_variant<V: Visitor<'de>>(self, length: usize, visitor: V) -> Result<V::Value, Refused> {
        Probe::step(self.trace, self.name, |trace| Probe::new(trace).deserialize_tuple(length, visitor))
    }

    fn struct_variant<V: Visitor<'de>>(self, fields: &'static [&'static str], visitor: V) -> Result<V::Value, Refused> {
        Probe::step(self.trace, self.name, |trace| {
            trace.note(&format!("struct variant {fields:?}"));
            visitor.visit_map(Fields { trace, names: fields, current: "" })
        })
    }
}
