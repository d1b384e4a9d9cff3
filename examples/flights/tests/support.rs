//! One cluster for all tests of this file, and a database of its own for each.

use std::net::{SocketAddr, TcpListener};
use std::time::Duration;

use dbopt_diesel::dev::Cluster;
use dbopt_diesel::{Config, Conn, Db};
use diesel_async::AsyncConnection;
use flights::load::{self, JANUARY_NOW, Source};
use indicatif::ProgressBar;
use tokio::sync::OnceCell;

/// Never dropped, as statics are; its servers end with this process all the same.
static CLUSTER: OnceCell<Cluster> = OnceCell::const_new();

/// What the tests copy, so that January is loaded once.
const JANUARY: &str = "january";
static LOADED: OnceCell<()> = OnceCell::const_new();

/// A database on a primary and a replica.
pub(crate) struct Database {
    cluster: &'static Cluster,
    name: String,
}

impl Database {
    /// With the schema, and nothing in it.
    pub(crate) async fn empty(name: &str) -> Self {
        let database = Database { cluster: cluster().await, name: name.to_owned() };
        database.cluster.create_database(name).await.unwrap();
        let primary = database.cluster.primary().url_for(name);
        flights::migrate::migrate(&Config::for_urls([primary])).await.unwrap();
        database
    }

    /// With January in it.
    pub(crate) async fn loaded(name: &str) -> Self {
        LOADED.get_or_init(load_january).await;
        let cluster = cluster().await;
        cluster.create_database_from(name, JANUARY).await.unwrap();
        cluster.wait_caught_up(Duration::from_secs(30)).await.unwrap();
        Database { cluster, name: name.to_owned() }
    }

    /// A connection to the primary, past dbopt.
    pub(crate) async fn connect(&self) -> Conn {
        Conn::establish(&self.cluster.primary().url_for(&self.name)).await.unwrap()
    }

    pub(crate) fn config(&self) -> Config {
        let mut config = Config::for_urls(self.cluster.nodes().iter().map(|node| node.url_for(&self.name)));
        config.cache.redis = self.cluster.redis().unwrap().url().as_str().into();
        config.cache.namespace = self.name.clone();
        // Tests are not optimised and run side by side: that makes no slow Redis.
        config.cache.timeout = Duration::from_millis(250);
        config
    }

    pub(crate) async fn db(&self) -> Db {
        Db::connect(self.config()).await.unwrap()
    }
}

async fn cluster() -> &'static Cluster {
    let start = async || Cluster::builder().replicas(1).start().await.unwrap();
    CLUSTER.get_or_init(start).await
}

async fn load_january() {
    let database = Database::empty(JANUARY).await;
    let mut conn = database.connect().await;
    load::load(&mut conn, &Source::January, JANUARY_NOW, &ProgressBar::hidden()).await.unwrap();
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
