//! What a call is known by: its method and its arguments.

use std::borrow::Borrow;
use std::cell::Cell;
use std::fmt;
use std::hash::{BuildHasher, Hash, Hasher};
use std::sync::LazyLock;

use foldhash::quality::RandomState;
use serde::Serialize;
use siphasher::sip128::{Hasher128, SipHasher13};

use crate::canonical::{Canonical, Sink};

/// The longest key, in bytes of encoded arguments: what is larger is data, and no cache should compare it on each lookup.
pub const MAX_LEN: usize = 64 * 1024;

/// Arguments that fit here are encoded on the stack.
const ON_STACK: usize = 64;

/// A [`Key`] up to this many bytes needs no memory of its own.
const INLINE: usize = 30;

/// Seeded anew in each process, so that nobody can prepare arguments that collide.
static HASHES: LazyLock<RandomState> = LazyLock::new(RandomState::default);

thread_local! {
    /// For arguments that do not fit on the stack; taken out while it is in use.
    static SCRATCH: Cell<Vec<u8>> = const { Cell::new(Vec::new()) };
}

/// A method and its encoded arguments, borrowed, with their hash.
#[derive(Clone, Copy)]
pub struct KeyRef<'a> {
    /// The id of the method ([`crate::op::Op::id`]).
    pub method: usize,
    /// The canonical encoding of the arguments.
    pub bytes: &'a [u8],
    /// Over both; differs from process to process.
    pub hash: u64,
}

impl<'a> KeyRef<'a> {
    /// The key with bytes of its own. Allocates for long arguments only.
    pub fn to_key(self) -> Key {
        let mut inline = [0; INLINE];
        let bytes = match inline.get_mut(..self.bytes.len()) {
            Some(start) => {
                start.copy_from_slice(self.bytes);
                Bytes::Inline(self.bytes.len() as u8, inline)
            }
            None => Bytes::Heap(self.bytes.into()),
        };
        Key { method: self.method, hash: self.hash, bytes }
    }

    /// A hash that is the same in every process and version, for keys in Redis. `method` is the method's full name: ids
    /// differ from process to process.
    pub fn stable_hash128(self, method: &str) -> u128 {
        // Fixed for ever: other processes must find what this one stored.
        let mut hasher = SipHasher13::new_with_keys(0x6462_6f70_745f_6b31, 0x6b65_795f_6861_7368);
        hasher.write(&(method.len() as u64).to_le_bytes());
        hasher.write(method.as_bytes());
        hasher.write(self.bytes);
        hasher.finish128().as_u128()
    }
}

impl PartialEq for KeyRef<'_> {
    #[inline]
    fn eq(&self, other: &Self) -> bool {
        self.hash == other.hash && self.method == other.method && same(self.bytes, other.bytes)
    }
}

/// `one == other`, without a call for the length that most keys have.
#[inline]
fn same(one: &[u8], other: &[u8]) -> bool {
    if let (8..=16, true) = (one.len(), one.len() == other.len()) {
        one.first_chunk::<8>() == other.first_chunk::<8>() && one.last_chunk::<8>() == other.last_chunk::<8>()
    } else {
        one == other
    }
}

impl Eq for KeyRef<'_> {}

impl fmt::Debug for KeyRef<'_> {
    /// Without the arguments: they may be personal.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("KeyRef").field("method", &self.method).field("len", &self.bytes.len()).finish_non_exhaustive()
    }
}

/// A method and its encoded arguments.
#[derive(Clone)]
pub struct Key {
    method: usize,
    hash: u64,
    bytes: Bytes,
}

#[derive(Clone)]
enum Bytes {
    Inline(u8, [u8; INLINE]),
    Heap(Box<[u8]>),
}

impl Key {
    /// The key, borrowed.
    #[inline]
    pub fn as_ref(&self) -> KeyRef<'_> {
        let bytes = match &self.bytes {
            Bytes::Inline(len, bytes) => &bytes[..usize::from(*len).min(INLINE)],
            Bytes::Heap(bytes) => bytes,
        };
        KeyRef { method: self.method, bytes, hash: self.hash }
    }

    /// See [`KeyRef::stable_hash128`].
    pub fn stable_hash128(&self, method: &str) -> u128 {
        self.as_ref().stable_hash128(method)
    }
}

impl PartialEq for Key {
    fn eq(&self, other: &Self) -> bool {
        self.as_ref() == other.as_ref()
    }
}

impl Eq for Key {}

impl Hash for Key {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.hash);
    }
}

impl fmt::Debug for Key {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_ref().fmt(f)
    }
}

/// What a map of keys can be asked with, so that a lookup needs no [`Key`].
pub(crate) trait Keyed {
    fn key(&self) -> KeyRef<'_>;
}

impl Keyed for KeyRef<'_> {
    #[inline]
    fn key(&self) -> KeyRef<'_> {
        *self
    }
}

impl<'a> Borrow<dyn Keyed + 'a> for Key {
    fn borrow(&self) -> &(dyn Keyed + 'a) {
        self
    }
}

impl Keyed for Key {
    #[inline]
    fn key(&self) -> KeyRef<'_> {
        self.as_ref()
    }
}

impl PartialEq for dyn Keyed + '_ {
    fn eq(&self, other: &Self) -> bool {
        self.key() == other.key()
    }
}

impl Eq for dyn Keyed + '_ {}

impl Hash for dyn Keyed + '_ {
    fn hash<H: Hasher>(&self, state: &mut H) {
        state.write_u64(self.key().hash);
    }
}

/// A hasher for what is hashed already.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct PassThrough(u64);

impl Hasher for PassThrough {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Not reached by keys, which write one u64.
        for &byte in bytes {
            self.0 = self.0.rotate_left(8) ^ u64::from(byte);
        }
    }

    #[inline]
    fn write_u64(&mut self, hash: u64) {
        self.0 = hash;
    }
}

impl BuildHasher for PassThrough {
    type Hasher = PassThrough;

    #[inline]
    fn build_hasher(&self) -> PassThrough {
        PassThrough(0)
    }
}

/// Why arguments make no key. The call can still be made, without a cache.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum KeyError {
    /// An argument's `Serialize` returned this error.
    #[error("an argument cannot be part of a cache key: {0}; leave it out of the key or implement Serialize for it")]
    Refused(String),
    /// The encoded arguments are longer than [`MAX_LEN`].
    #[error("the arguments are {0} bytes long, too long for a cache key (64 KiB); leave the large one out of the key")]
    TooLong(usize),
}

/// Calls `use_it` with the key of a call: `args` are its arguments, usually a tuple.
///
/// Allocates nothing for numbers and texts once a thread has met arguments of that length.
///
/// # Errors
/// When an argument's `Serialize` fails, or the arguments are longer than [`MAX_LEN`].
#[inline(always)]
pub fn with_key<A, F, R>(method: usize, args: &A, use_it: F) -> Result<R, KeyError>
where
    A: Serialize + ?Sized,
    F: FnOnce(KeyRef<'_>) -> R,
{
    let mut buffer = Buffer { stack: [0; ON_STACK], len: 0, spilled: None, hasher: HASHES.build_hasher(), held: 0 };
    args.serialize(Canonical::new(&mut buffer))?;
    if buffer.spilled.is_some() {
        return with_long_key(method, buffer, use_it);
    }
    Ok(use_it(KeyRef { method, bytes: &buffer.stack[..buffer.len], hash: buffer.hash(method) }))
}

#[cold]
fn with_long_key<R>(method: usize, mut buffer: Buffer, use_it: impl FnOnce(KeyRef<'_>) -> R) -> Result<R, KeyError> {
    let done = match buffer.bytes() {
        bytes if bytes.len() > MAX_LEN => Err(KeyError::TooLong(bytes.len())),
        bytes => Ok(use_it(KeyRef { method, bytes, hash: buffer.hash(method) })),
    };
    if let Some(spilled) = buffer.spilled.take() {
        give_back(spilled);
    }
    done
}

fn give_back(spilled: Vec<u8>) {
    // One huge key must not occupy every thread for ever.
    if spilled.capacity() <= 2 * MAX_LEN {
        SCRATCH.set(spilled);
    }
}

struct Buffer {
    stack: [u8; ON_STACK],
    len: usize,
    spilled: Option<Vec<u8>>,
    /// Fed as the bytes come: to read them again while they are on their way to memory would take longer.
    hasher: <RandomState as BuildHasher>::Hasher,
    /// How many have asked not to hash yet.
    held: u32,
}

impl Buffer {
    #[inline]
    fn hash(&self, method: usize) -> u64 {
        self.hasher.finish() ^ (method as u64).wrapping_mul(0x9e37_79b9_7f4a_7c15)
    }

    #[inline]
    fn bytes(&self) -> &[u8] {
        match &self.spilled {
            Some(spilled) => spilled,
            None => &self.stack[..self.len],
        }
    }

    #[cold]
    fn spill(&mut self, bytes: &[u8]) {
        let stack = &self.stack[..self.len];
        let spilled = self.spilled.get_or_insert_with(|| {
            let mut scratch = SCRATCH.take();
            scratch.clear();
            scratch.extend_from_slice(stack);
            scratch
        });
        spilled.extend_from_slice(bytes);
    }
}

impl Sink for Buffer {
    #[inline]
    fn put(&mut self, bytes: &[u8]) {
        if self.held == 0 {
            self.hasher.write(bytes);
        }
        match self.stack.get_mut(self.len..self.len + bytes.len()) {
            Some(free) if self.spilled.is_none() => {
                free.copy_from_slice(bytes);
                self.len += bytes.len();
            }
            _ => self.spill(bytes),
        }
    }

    #[inline]
    fn put_word<const N: usize>(&mut self, kind: u8, bytes: [u8; N], word: u128) {
        if self.held == 0 {
            self.hasher.write_u128(word ^ (u128::from(kind) << 64));
        }
        if self.spilled.is_none()
            && let Some([first, free @ ..]) = self.stack.get_mut(self.len..self.len + N + 1)
            && let Ok(free) = <&mut [u8; N]>::try_from(free)
        {
            *first = kind;
            *free = bytes;
            self.len += 1 + N;
        } else {
            self.spill(&[kind]);
            self.spill(&bytes);
        }
    }

    fn len(&self) -> usize {
        self.bytes().len()
    }

    fn tail(&mut self, start: usize) -> &mut [u8] {
        match &mut self.spilled {
            Some(spilled) => &mut spilled[start..],
            None => &mut self.stack[start..self.len],
        }
    }

    fn hold(&mut self) {
        self.held += 1;
    }

    fn release(&mut self, start: usize) {
        self.held -= 1;
        if self.held == 0 {
            let settled = match &self.spilled {
                Some(spilled) => &spilled[start..],
                None => &self.stack[start..self.len],
            };
            self.hasher.write(settled);
        }
    }
}

#[cfg(test)]
mod tests;
