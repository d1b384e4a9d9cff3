//! Bound values as the protocol has them: what follows the names of a Bind message (PostgreSQL manual, "Message Formats"). Pure.

/// What follows the names of a Bind message; its end may be missing.
#[derive(Debug, Clone, Copy)]
pub(super) struct Binds<'b> {
    /// Two bytes for each value, or for all of them, or none: all are text.
    formats: &'b [u8],
    count: u16,
    values: &'b [u8],
}

/// One of the values.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Bound<'b> {
    /// Of the whole value in bytes; -1 for NULL.
    pub(super) length: i32,
    /// The value, as far as it is there.
    pub(super) bytes: &'b [u8],
}

impl Bound<'_> {
    /// Whether nothing of it is missing.
    pub(super) fn is_whole(&self) -> bool {
        self.bytes.len() == self.length.max(0) as usize
    }
}

impl<'b> Binds<'b> {
    /// Nothing if not even the number of values is there.
    #[inline]
    pub(super) fn of(message: &'b [u8]) -> Option<Self> {
        let (formats, rest) = message.split_first_chunk()?;
        let (formats, rest) = rest.split_at_checked(2 * usize::from(u16::from_be_bytes(*formats)))?;
        let (count, values) = rest.split_first_chunk()?;
        Some(Binds { formats, count: u16::from_be_bytes(*count), values })
    }

    /// How many were bound.
    pub(super) fn count(&self) -> usize {
        self.count.into()
    }

    /// Whether the value in this place is in binary form.
    pub(super) fn is_binary(&self, place: usize) -> bool {
        let format = if self.formats.len() == 2 { 0 } else { place };
        self.formats.chunks_exact(2).nth(format).is_some_and(|format| format == [0, 1])
    }

    /// The values, up to the first that is not there at all.
    #[inline]
    pub(super) fn values(&self) -> impl Iterator<Item = Bound<'b>> + use<'b> {
        let mut rest = self.values;
        (0..self.count).map_while(move |_| {
            let (length, behind) = rest.split_first_chunk()?;
            let length = i32::from_be_bytes(*length);
            let bytes = behind.get(..length.max(0) as usize).unwrap_or(behind);
            rest = &behind[bytes.len()..];
            Some(Bound { length, bytes })
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(formats: &[u16], values: &[Option<&[u8]>]) -> Vec<u8> {
        let mut bytes = (formats.len() as u16).to_be_bytes().to_vec();
        bytes.extend(formats.iter().flat_map(|format| format.to_be_bytes()));
        bytes.extend((values.len() as u16).to_be_bytes());
        for value in values {
            bytes.extend(value.map_or(-1, |value| value.len() as i32).to_be_bytes());
            bytes.extend(value.unwrap_or_default());
        }
        bytes
    }

    #[test]
    fn one_format_may_stand_for_all_and_none_for_text() {
        let values = [Some(&b"a"[..]), None, Some(b"")];
        for (formats, binary) in [(&[][..], [false; 3]), (&[1], [true; 3]), (&[0, 1, 1], [false, true, true])] {
            let message = message(formats, &values);
            let binds = Binds::of(&message).unwrap();
            assert_eq!([0, 1, 2].map(|place| binds.is_binary(place)), binary, "{formats:?}");
            let found: Vec<_> = binds.values().map(|bound| (bound.length, bound.bytes)).collect();
            assert_eq!(found, [(1, &b"a"[..]), (-1, b""), (0, b"")]);
        }
    }

    #[test]
    fn what_is_cut_is_given_as_far_as_it_is_there() {
        let message = message(&[1], &[Some(b"abc"), Some(b"defg")]);
        let cut = Binds::of(&message[..message.len() - 3]).unwrap();
        let found: Vec<_> = cut.values().map(|bound| (bound.bytes, bound.is_whole())).collect();
        assert_eq!(found, [(&b"abc"[..], true), (b"d", false)]);
    }

    proptest! {
        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            if let Some(binds) = Binds::of(&bytes) {
                prop_assert!(binds.values().count() <= binds.count());
                prop_assert!(binds.values().map(|bound| bound.bytes.len()).sum::<usize>() <= bytes.len());
                binds.is_binary(0);
            }
        }
    }
}
