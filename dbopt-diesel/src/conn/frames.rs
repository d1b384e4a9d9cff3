//! Cuts a byte stream of the PostgreSQL protocol into its messages. Pure.
//!
//! Every message after start-up is a type byte, a length that counts itself, and a body (PostgreSQL manual, "Message Formats").

/// Finds the messages in a stream that arrives in pieces.
#[derive(Debug, Default)]
pub(super) struct Frames {
    header: [u8; 5],
    header_len: usize,
    /// Bytes of the current body still to come.
    body_left: usize,
    /// How many bytes of the current body are wanted.
    wanted: usize,
    body: Vec<u8>,
}

/// The bytes cannot be messages.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Garbled;

impl Frames {
    /// Takes the next piece. `wanted` says how much of a body of that type is of interest; `seen` is called for each
    /// complete message with that much of its body.
    pub(super) fn feed(
        &mut self,
        mut bytes: &[u8],
        wanted: impl Fn(u8) -> usize,
        mut seen: impl FnMut(u8, &[u8]),
    ) -> Result<(), Garbled> {
        while !bytes.is_empty() {
            if self.header_len < 5 {
                let taken = bytes.len().min(5 - self.header_len);
                self.header[self.header_len..self.header_len + taken].copy_from_slice(&bytes[..taken]);
                self.header_len += taken;
                bytes = &bytes[taken..];
                if self.header_len < 5 {
                    return Ok(());
                }
                let [kind, length @ ..] = self.header;
                let length = u32::from_be_bytes(length) as usize;
                self.body_left = length.checked_sub(4).ok_or(Garbled)?;
                self.wanted = wanted(kind).min(self.body_left);
                self.body.clear();
                if let Some(whole) = bytes.get(..self.body_left) {
                    // The usual case: the whole message is here, and nothing needs to be kept.
                    self.header_len = 0;
                    seen(kind, &whole[..self.wanted]);
                    bytes = &bytes[self.body_left..];
                    self.body_left = 0;
                    continue;
                }
            }
            let taken = bytes.len().min(self.body_left);
            let kept = taken.min(self.wanted - self.body.len());
            self.body.extend_from_slice(&bytes[..kept]);
            self.body_left -= taken;
            bytes = &bytes[taken..];
            if self.body_left == 0 {
                self.header_len = 0;
                seen(self.header[0], &self.body);
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn message(kind: u8, body: &[u8]) -> Vec<u8> {
        let mut bytes = vec![kind];
        bytes.extend((body.len() as u32 + 4).to_be_bytes());
        bytes.extend(body);
        bytes
    }

    proptest! {
        #[test]
        fn cuts_do_not_matter(bodies in proptest::collection::vec((any::<u8>(), proptest::collection::vec(any::<u8>(), 0..40)), 1..10), cuts in proptest::collection::vec(1usize..30, 0..20), keep in 0usize..20) {
            let stream: Vec<u8> = bodies.iter().flat_map(|(kind, body)| message(*kind, body)).collect();
            let mut frames = Frames::default();
            let mut found = Vec::new();
            let mut rest = &stream[..];
            for cut in cuts.iter().copied().chain([usize::MAX]) {
                let piece = &rest[..cut.min(rest.len())];
                rest = &rest[piece.len()..];
                frames.feed(piece, |_| keep, |kind, body| found.push((kind, body.to_vec()))).unwrap();
            }
            let expected: Vec<_> = bodies.into_iter().map(|(kind, mut body)| { body.truncate(keep); (kind, body) }).collect();
            prop_assert_eq!(found, expected);
        }

        #[test]
        fn any_bytes_are_survived(bytes: Vec<u8>) {
            let _ = Frames::default().feed(&bytes, |_| 100, |_, _| {});
        }
    }

    #[test]
    fn a_length_below_four_is_garbled() {
        let mut frames = Frames::default();
        assert_eq!(frames.feed(&[b'D', 0, 0, 0, 3], |_| 0, |_, _| {}), Err(Garbled));
    }
}
