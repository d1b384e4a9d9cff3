//! What a value looks like in Redis: under which epoch and generations it was filled, for which key and type, then the
//! payload. Pure; any mismatch is a miss.

use crate::position::{Lsn, Position};

/// The digits of the expiry, which the storing script puts in front: milliseconds on Redis' clock.
const EXPIRY: usize = 16;
const VERSION: u8 = 1;
const COMPRESSED: u8 = 1;
const HAS_POSITION: u8 = 2;

/// What is known of a value besides its payload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Header {
    pub(super) fingerprint: u64,
    pub(super) epoch: u64,
    /// Which tags the generations are of.
    pub(super) tags: u64,
    pub(super) generations: Vec<u64>,
    pub(super) position: Option<Position>,
}

/// A value as it was read.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Envelope<'a> {
    pub(super) expires_ms: u64,
    pub(super) header: Header,
    pub(super) identity: &'a [u8],
    pub(super) body: Body,
}

/// Where the payload is.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Body {
    /// It begins here.
    Plain(usize),
    /// It is compressed, begins here, and this is its size afterwards.
    Compressed(usize, usize),
}

/// Everything behind the expiry; compresses a payload larger than `compress_above` if that makes it smaller.
pub(super) fn encode(header: &Header, identity: &[u8], payload: &[u8], compress_above: Option<usize>) -> Vec<u8> {
    let compressed = compress_above
        .filter(|limit| payload.len() > *limit)
        .map(|_| lz4_flex::block::compress(payload))
        .filter(|compressed| compressed.len() < payload.len());
    let mut flags = 0;
    if compressed.is_some() {
        flags |= COMPRESSED;
    }
    if header.position.is_some() {
        flags |= HAS_POSITION;
    }
    let body = compressed.as_deref().unwrap_or(payload);
    let mut out = Vec::with_capacity(64 + header.generations.len() * 8 + identity.len() + body.len());
    out.extend_from_slice(&[VERSION, flags]);
    for number in [header.fingerprint, header.epoch, header.tags] {
        out.extend_from_slice(&number.to_le_bytes());
    }
    out.extend_from_slice(&(header.generations.len() as u32).to_le_bytes());
    for generation in &header.generations {
        out.extend_from_slice(&generation.to_le_bytes());
    }
    if let Some(position) = header.position {
        out.extend_from_slice(&position.timeline.to_le_bytes());
        out.extend_from_slice(&position.lsn.0.to_le_bytes());
    }
    out.extend_from_slice(&(identity.len() as u32).to_le_bytes());
    out.extend_from_slice(identity);
    if compressed.is_some() {
        out.extend_from_slice(&(payload.len() as u32).to_le_bytes());
    }
    out.extend_from_slice(body);
    out
}

/// Reads a stored value; `None` when it is not one of this version.
pub(super) fn decode(bytes: &[u8]) -> Option<Envelope<'_>> {
    let mut reader = Reader { bytes, at: 0 };
    let expires_ms = std::str::from_utf8(reader.take(EXPIRY)?).ok()?.parse().ok()?;
    let [version, flags] = reader.array()?;
    if version != VERSION || flags & !(COMPRESSED | HAS_POSITION) != 0 {
        return None;
    }
    let (fingerprint, epoch, tags) = (reader.u64()?, reader.u64()?, reader.u64()?);
    let count = reader.u32()? as usize;
    // Bounded by what is there, so that a damaged count reserves nothing.
    let list = reader.take(count.checked_mul(8)?)?;
    let generations =
        list.chunks_exact(8).map(|chunk| u64::from_le_bytes(chunk.try_into().unwrap_or([0; 8]))).collect();
    let position = match flags & HAS_POSITION {
        0 => None,
        _ => Some(Position { timeline: reader.u32()?, lsn: Lsn(reader.u64()?) }),
    };
    let length = reader.u32()? as usize;
    let identity = reader.take(length)?;
    let body = match flags & COMPRESSED {
        0 => Body::Plain(reader.at),
        _ => {
            let size = reader.u32()? as usize;
            Body::Compressed(reader.at, size)
        }
    };
    let header = Header { fingerprint, epoch, tags, generations, position };
    Some(Envelope { expires_ms, header, identity, body })
}

/// The payload of a stored value, at most `limit` bytes; `None` when it is damaged or larger.
pub(super) fn payload(mut bytes: Vec<u8>, body: Body, limit: usize) -> Option<Vec<u8>> {
    match body {
        Body::Plain(start) => {
            bytes.drain(..start);
            Some(bytes)
        }
        Body::Compressed(_, size) if size > limit => None,
        Body::Compressed(start, size) => {
            let plain = lz4_flex::block::decompress(bytes.get(start..)?, size).ok()?;
            (plain.len() == size).then_some(plain)
        }
    }
}

struct Reader<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Reader<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let slice = self.bytes.get(self.at..self.at.checked_add(length)?)?;
        self.at += length;
        Some(slice)
    }

    fn array<const N: usize>(&mut self) -> Option<[u8; N]> {
        self.take(N)?.try_into().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.array().map(u32::from_le_bytes)
    }

    fn u64(&mut self) -> Option<u64> {
        self.array().map(u64::from_le_bytes)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::collection::vec;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn what_is_encoded_is_read_back(
            numbers: (u64, u64, u64),
            generations in vec(any::<u64>(), 0..5),
            position: Option<(u32, u64)>,
            identity in vec(any::<u8>(), 0..40),
            payload in vec(any::<u8>(), 0..300),
            repeat in 1usize..20,
            compress_above: Option<u8>,
        ) {
            let payload = payload.repeat(repeat);
            let header = Header {
                fingerprint: numbers.0,
                epoch: numbers.1,
                tags: numbers.2,
                generations,
                position: position.map(|(timeline, lsn)| Position { timeline, lsn: Lsn(lsn) }),
            };
            let mut bytes = b"0000000000001234".to_vec();
            bytes.extend(encode(&header, &identity, &payload, compress_above.map(usize::from)));
            let envelope = decode(&bytes).unwrap();
            prop_assert_eq!(envelope.expires_ms, 1234);
            prop_assert_eq!(&envelope.header, &header);
            prop_assert_eq!(envelope.identity, &identity[..]);
            let body = envelope.body;
            prop_assert_eq!(super::payload(bytes, body, 1 << 20), Some(payload));
        }

        #[test]
        fn any_bytes_are_read_or_refused_without_panic(bytes in vec(any::<u8>(), 0..200), cut: bool) {
            let mut whole = if cut { Vec::new() } else { b"0000000000001234\x01\x03".to_vec() };
            whole.extend(bytes);
            if let Some(envelope) = decode(&whole) {
                let body = envelope.body;
                let _ = payload(whole, body, 1 << 20);
            }
        }
    }

    #[test]
    fn a_size_beyond_the_limit_is_never_reserved() {
        assert_eq!(payload(vec![0; 8], Body::Compressed(0, usize::MAX), 100), None);
    }
}
