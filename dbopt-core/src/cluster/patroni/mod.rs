//! Patroni's word on who leads: its REST API is asked again and again, and its leader is followed where SQL confirms it.

mod answer;
mod ask;
mod command;
mod config;
mod follow;
mod lead;
mod settled;
#[cfg(feature = "patroni")]
mod untrusted;

pub use command::{Patroni, PatroniError, PatroniMember};
pub use config::PatroniConfig;
pub(crate) use follow::Follower;
pub(in crate::cluster) use lead::{Lead, Member, Said};
