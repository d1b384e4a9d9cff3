//! Arguments as bytes: equal arguments give equal bytes, different ones different bytes.
//!
//! Every value starts with a byte that tells its kind, texts carry their length and sequences end with a byte that starts
//! no value, so no two values of a type share an encoding and none is the beginning of another. Maps are put in the order
//! of their encoded keys. A set is a sequence to serde: one whose order is random (`HashSet`) gives different bytes for
//! the same content, which costs hits but mixes nothing up.

use std::fmt;

use serde::ser::{self, Serialize};

use crate::key::KeyError;

/// No value starts with it.
const END: u8 = 0;
const UNIT: u8 = 1;
const FALSE: u8 = 2;
const TRUE: u8 = 3;
const I8: u8 = 4;
const I16: u8 = 5;
const I32: u8 = 6;
const I64: u8 = 7;
const I128: u8 = 8;
const U8: u8 = 9;
const U16: u8 = 10;
const U32: u8 = 11;
const U64: u8 = 12;
const U128: u8 = 13;
const F32: u8 = 14;
const F64: u8 = 15;
const CHAR: u8 = 16;
const TEXT: u8 = 17;
const BYTES: u8 = 18;
const DISPLAYED: u8 = 19;
const NONE: u8 = 20;
const SOME: u8 = 21;
const SEQUENCE: u8 = 22;
const STRUCT: u8 = 23;
const MAP: u8 = 24;
const VARIANT: u8 = 25;

/// Where the bytes go.
pub(crate) trait Sink {
    /// Adds `bytes` at the end.
    fn put(&mut self, bytes: &[u8]);
    /// The same for a kind and few bytes whose number the compiler knows; `word` tells as much as they do, in one piece.
    fn put_word<const N: usize>(&mut self, kind: u8, bytes: [u8; N], word: u128);
    /// How many bytes there are.
    fn len(&self) -> usize;
    /// The bytes from `start` on.
    fn tail(&mut self, start: usize) -> &mut [u8];
    /// What follows may still be moved about, so it is not hashed yet.
    fn hold(&mut self);
    /// What was written since `start` is as it should be.
    fn release(&mut self, start: usize);
}

/// Writes values to a sink.
pub(crate) struct Canonical<'s, S> {
    sink: &'s mut S,
}

impl<'s, S: Sink> Canonical<'s, S> {
    pub(crate) fn new(sink: &'s mut S) -> Self {
        Canonical { sink }
    }

    #[inline]
    fn kind(&mut self, kind: u8) {
        self.sink.put_word(kind, [], 0);
    }

    #[inline]
    fn counted(&mut self, kind: u8, bytes: &[u8]) {
        // Two bytes of length are enough for nearly all texts; the third form says how many follow.
        match u16::try_from(bytes.len()) {
            Ok(short) if short < u16::MAX => {
                self.sink.put_word(kind, short.to_le_bytes(), u128::from(short));
            }
            _ => {
                self.sink.put_word(kind, u16::MAX.to_le_bytes(), u128::from(u16::MAX));
                self.sink.put(&(bytes.len() as u64).to_le_bytes());
            }
        }
        self.sink.put(bytes);
    }

    #[inline]
    fn part<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), KeyError> {
        value.serialize(Canonical { sink: &mut *self.sink })
    }

    fn variant(&mut self, name: &'static str) {
        // The name, not the index: a new variant in the middle must not change what the others are called in Redis.
        self.counted(VARIANT, name.as_bytes());
    }
}

macro_rules! word {
    (serialize_f32 $value:ident) => {
        u128::from($value.to_bits())
    };
    (serialize_f64 $value:ident) => {
        u128::from($value.to_bits())
    };
    ($method:ident $value:ident) => {
        $value as u128
    };
}

macro_rules! numbers {
    ($($method:ident $type:ty => $kind:ident),* $(,)?) => {
        $(#[inline]
        fn $method(self, value: $type) -> Result<(), KeyError> {
            self.sink.put_word($kind, value.to_le_bytes(), word!($method value));
            Ok(())
        })*
    };
}

impl<'s, S: Sink> ser::Serializer for Canonical<'s, S> {
    type Ok = ();
    type Error = KeyError;
    type SerializeSeq = Parts<'s, S>;
    type SerializeTuple = Parts<'s, S>;
    type SerializeTupleStruct = Parts<'s, S>;
    type SerializeTupleVariant = Parts<'s, S>;
    type SerializeStruct = Parts<'s, S>;
    type SerializeStructVariant = Parts<'s, S>;
    type SerializeMap = Sorted<'s, S>;

    numbers! {
        serialize_i8 i8 => I8, serialize_i16 i16 => I16, serialize_i32 i32 => I32, serialize_i64 i64 => I64,
        serialize_i128 i128 => I128, serialize_u8 u8 => U8, serialize_u16 u16 => U16, serialize_u32 u32 => U32,
        serialize_u64 u64 => U64, serialize_u128 u128 => U128, serialize_f32 f32 => F32, serialize_f64 f64 => F64,
    }

    fn serialize_bool(mut self, value: bool) -> Result<(), KeyError> {
        self.kind(if value { TRUE } else { FALSE });
        Ok(())
    }

    fn serialize_char(self, value: char) -> Result<(), KeyError> {
        self.sink.put_word(CHAR, u32::from(value).to_le_bytes(), u128::from(u32::from(value)));
        Ok(())
    }

    #[inline]
    fn serialize_str(mut self, value: &str) -> Result<(), KeyError> {
        self.counted(TEXT, value.as_bytes());
        Ok(())
    }

    fn serialize_bytes(mut self, value: &[u8]) -> Result<(), KeyError> {
        self.counted(BYTES, value);
        Ok(())
    }

    fn collect_str<T: fmt::Display + ?Sized>(self, value: &T) -> Result<(), KeyError> {
        struct Writer<'s, S>(&'s mut S);
        impl<S: Sink> fmt::Write for Writer<'_, S> {
            fn write_str(&mut self, text: &str) -> fmt::Result {
                self.0.put(text.as_bytes());
                Ok(())
            }
        }
        self.sink.hold();
        self.sink.put_word(DISPLAYED, [0; 8], 0);
        let start = self.sink.len();
        fmt::Write::write_fmt(&mut Writer(&mut *self.sink), format_args!("{value}"))
            .map_err(|_| KeyError::Refused("a value could not be displayed".into()))?;
        let length = (self.sink.len() - start) as u64;
        self.sink.tail(start - 8)[..8].copy_from_slice(&length.to_le_bytes());
        self.sink.release(start - 9);
        Ok(())
    }

    fn serialize_none(mut self) -> Result<(), KeyError> {
        self.kind(NONE);
        Ok(())
    }

    fn serialize_some<T: Serialize + ?Sized>(mut self, value: &T) -> Result<(), KeyError> {
        self.kind(SOME);
        self.part(value)
    }

    fn serialize_unit(mut self) -> Result<(), KeyError> {
        self.kind(UNIT);
        Ok(())
    }

    fn serialize_unit_struct(self, _name: &'static str) -> Result<(), KeyError> {
        self.serialize_unit()
    }

    fn serialize_unit_variant(mut self, _: &'static str, _: u32, variant: &'static str) -> Result<(), KeyError> {
        self.variant(variant);
        self.kind(UNIT);
        Ok(())
    }

    fn serialize_newtype_struct<T: Serialize + ?Sized>(mut self, _: &'static str, value: &T) -> Result<(), KeyError> {
        self.part(value)
    }

    fn serialize_newtype_variant<T: Serialize + ?Sized>(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        value: &T,
    ) -> Result<(), KeyError> {
        self.variant(variant);
        self.part(value)
    }

    #[inline]
    fn serialize_seq(mut self, _len: Option<usize>) -> Result<Self::SerializeSeq, KeyError> {
        self.kind(SEQUENCE);
        Ok(Parts(self))
    }

    #[inline]
    fn serialize_tuple(self, _len: usize) -> Result<Self::SerializeTuple, KeyError> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_struct(self, _: &'static str, _: usize) -> Result<Self::SerializeTupleStruct, KeyError> {
        self.serialize_seq(None)
    }

    fn serialize_tuple_variant(
        mut self,
        _: &'static str,
        _: u32,
        variant: &'static str,
        _: usize,
    ) -> Result<Self::SerializeTupleVariant, KeyError> {
        self.variant(variant);
        self.serialize_seq(None)
    }

    fn serialize_map(mut self, _len: Option<usize>) -> Result<Self::SerializeMap, KeyError> {
        self.kind(MAP);
        self.sink.hold();
        Ok(Sorted { start: self.sink.len(), ends: Vec::new(), to: self })
    }

    fn serialize_struct(mut self, _: &'static str, _: usize) -> Result<Self::SerializeStruct, KeyError> {
        self.kind(STRUCT);
        Ok(Parts(self))
    }

    fn serialize_struct_variant(
        mut self,
        name: &'static str,
        _: u32,
        variant: &'static str,
        len: usize,
    ) -> Result<Self::SerializeStructVariant, KeyError> {
        self.variant(variant);
        self.serialize_struct(name, len)
    }

    fn is_human_readable(&self) -> bool {
        false
    }
}

/// Values one after the other; a struct's with their names, because a field may be left out.
pub(crate) struct Parts<'s, S>(Canonical<'s, S>);

impl<S: Sink> Parts<'_, S> {
    fn named<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), KeyError> {
        self.0.counted(TEXT, name.as_bytes());
        self.0.part(value)
    }

    #[inline]
    fn close(mut self) -> Result<(), KeyError> {
        self.0.kind(END);
        Ok(())
    }
}

macro_rules! parts {
    ($($trait:ident::$method:ident),* $(,)?) => {
        $(impl<S: Sink> ser::$trait for Parts<'_, S> {
            type Ok = ();
            type Error = KeyError;

            #[inline]
            fn $method<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), KeyError> {
                self.0.part(value)
            }

            #[inline]
            fn end(self) -> Result<(), KeyError> {
                self.close()
            }
        })*
    };
}

parts! {
    SerializeSeq::serialize_element, SerializeTuple::serialize_element, SerializeTupleStruct::serialize_field,
    SerializeTupleVariant::serialize_field,
}

macro_rules! named_parts {
    ($($trait:ident),* $(,)?) => {
        $(impl<S: Sink> ser::$trait for Parts<'_, S> {
            type Ok = ();
            type Error = KeyError;

            fn serialize_field<T: Serialize + ?Sized>(&mut self, name: &'static str, value: &T) -> Result<(), KeyError> {
                self.named(name, value)
            }

            fn end(self) -> Result<(), KeyError> {
                self.close()
            }
        })*
    };
}

named_parts!(SerializeStruct, SerializeStructVariant);

/// A map: its pairs are written as they come and put in order at the end.
pub(crate) struct Sorted<'s, S> {
    to: Canonical<'s, S>,
    start: usize,
    /// Where each pair ends, counted from `start`.
    ends: Vec<usize>,
}

impl<S: Sink> ser::SerializeMap for Sorted<'_, S> {
    type Ok = ();
    type Error = KeyError;

    fn serialize_key<T: Serialize + ?Sized>(&mut self, key: &T) -> Result<(), KeyError> {
        self.to.part(key)
    }

    fn serialize_value<T: Serialize + ?Sized>(&mut self, value: &T) -> Result<(), KeyError> {
        self.to.part(value)?;
        self.ends.push(self.to.sink.len() - self.start);
        Ok(())
    }

    fn end(mut self) -> Result<(), KeyError> {
        let written = self.to.sink.tail(self.start);
        let starts = std::iter::once(0).chain(self.ends.iter().copied());
        let mut pairs: Vec<&[u8]> = starts.zip(&self.ends).map(|(from, &to)| &written[from..to]).collect();
        if !pairs.is_sorted() {
            // No key's bytes begin another key's, so ordering whole pairs orders them by key.
            pairs.sort_unstable();
            let ordered = pairs.concat();
            self.to.sink.tail(self.start).copy_from_slice(&ordered);
        }
        self.to.sink.release(self.start);
        self.to.kind(END);
        Ok(())
    }
}

impl ser::Error for KeyError {
    fn custom<T: fmt::Display>(message: T) -> Self {
        KeyError::Refused(message.to_string())
    }
}
