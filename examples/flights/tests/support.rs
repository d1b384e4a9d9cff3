//! A cluster of its own for each test.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use dbopt_diesel::dev::Cluster;
use dbopt_diesel::{Config, Conn, Db};
use diesel_async::AsyncConnection;
use flights::load::{self, JANUARY_NOW, Source};
use indicatif::ProgressBar;

/// A primary and a replica.
pub(crate) struct Database {
    cluster: Cluster,
}

impl Database {
    /// Empty, with the schema.
    pub(crate) async fn start() -> Self {
        let cluster = Cluster::builder().replicas(1).redis(false).start().await.unwrap();
        let database = Database { cluster };
        flights::migrate::migrate(database.connect().await).unwrap();
        database
    }

    /// With January in it.
    pub(crate) async fn loaded() -> Self {
        let database = Self::start().await;
        let mut conn = database.connect().await;
        load::load(&mut conn, &Source::January, JANUARY_NOW, &ProgressBar::hidden()).await.unwrap();
        database.cluster.wait_caught_up(Duration::from_secs(30)).await.unwrap();
        database
    }

    /// A connection to the primary, past dbopt.
    pub(crate) async fn connect(&self) -> Conn {
        Conn::establish(&self.cluster.primary().url()).await.unwrap()
    }

    pub(crate) fn config(&self) -> Config {
        Config::for_urls(self.cluster.nodes().iter().map(|node| node.url()))
    }

    pub(crate) async fn db(&self) -> Db {
        Db::connect(self.config()).await.unwrap()
    }
}

/// A port below those that the system hands out by itself.
pub(crate) fn free_address() -> SocketAddr {
    loop {
        let address = SocketAddr::from(([127, 0, 0, 1], fastrand::u16(20_000..32_000)));
        if TcpListener::bind(address).is_ok() {
            return address;
        }
    }
}
