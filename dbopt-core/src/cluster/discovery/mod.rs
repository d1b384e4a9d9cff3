//! Servers that are found under a name in DNS: who is asked (`Resolver`), and which slot an address takes (`slots.rs`, pure).

mod slots;

use std::future::Future;
use std::io;
use std::net::IpAddr;
use std::pin::Pin;

pub(crate) use slots::{Changes, Slots};

/// What a resolver answers: all addresses of a name, or why there are none.
pub type Found<'a> = Pin<Box<dyn Future<Output = io::Result<Vec<IpAddr>>> + Send + 'a>>;

/// Knows the addresses of names, in place of the system's DNS: a service registry, for instance.
#[diagnostic::on_unimplemented(message = "`{Self}` is nothing that dbopt can look up names with")]
pub trait Resolver: Send + Sync + 'static {
    /// All addresses of `host`, the preferred ones first.
    ///
    /// # Errors
    /// Why they are not known. What was found before stays in use.
    ///
    /// # Cancel safety
    /// The future is dropped when it takes more than 5 s.
    fn resolve<'a>(&'a self, host: &'a str) -> Found<'a>;
}

/// The system's resolver.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct SystemResolver;

impl Resolver for SystemResolver {
    fn resolve<'a>(&'a self, host: &'a str) -> Found<'a> {
        Box::pin(async move { Ok(tokio::net::lookup_host((host, 0)).await?.map(|found| found.ip()).collect()) })
    }
}
