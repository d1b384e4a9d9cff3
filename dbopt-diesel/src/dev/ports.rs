//! Free ports below the range the kernel gives to outgoing connections (32768 and up on Linux): up there another
//! program's closed connection can hold the very port of a server that was killed and shall come back on it.

use std::collections::HashSet;
use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{Ipv4Addr, TcpListener};
use std::ops::Range;
use std::sync::{LazyLock, Mutex};

use super::error::DevError;
use super::process::lock;

const PORTS: Range<u16> = 20_000..32_000;

/// Given out in this process: two clusters that start at once do not look at the same port.
static GIVEN: LazyLock<Mutex<HashSet<u16>>> = LazyLock::new(Mutex::default);

/// A port that nobody listened on a moment ago. Another process may still be faster: the caller tries again then.
pub(super) fn free() -> Result<u16, DevError> {
    listen().map(|listener| listener.1)
}

/// A listener on such a port.
pub(super) fn listen() -> Result<(TcpListener, u16), DevError> {
    let start = RandomState::new().build_hasher().finish();
    let count = u64::from(PORTS.end - PORTS.start);
    for offset in 0..count {
        let port = PORTS.start + u16::try_from(start.wrapping_add(offset) % count).unwrap_or_default();
        if !lock(&GIVEN).insert(port) {
            continue;
        }
        match TcpListener::bind((Ipv4Addr::LOCALHOST, port)) {
            Ok(listener) => return Ok((listener, port)),
            Err(_) => give_back(port),
        }
    }
    Err(DevError::Invalid(format!("no port is free from {} to {}: stop some servers", PORTS.start, PORTS.end)))
}

pub(super) fn give_back(port: u16) {
    lock(&GIVEN).remove(&port);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports_are_free_distinct_and_not_ephemeral() {
        let ports: Vec<u16> = (0..50).map(|_| free().unwrap()).collect();
        assert_eq!(ports.iter().collect::<HashSet<_>>().len(), ports.len());
        for port in ports {
            assert!(PORTS.contains(&port));
            TcpListener::bind((Ipv4Addr::LOCALHOST, port)).unwrap();
            give_back(port);
        }
    }
}
