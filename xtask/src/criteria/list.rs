//! The twelve requirements, five criteria each. A number never changes its meaning: tests are named after it.

pub(super) const PER_REQUIREMENT: usize = 5;

pub(super) const REQUIREMENTS: [(&str, [&str; PER_REQUIREMENT]); 12] = [
    (
        "Query performance",
        [
            "the plan of every kind of statement is analysed, off the caller's path",
            "a statement slower than 100 ms is logged with its execution statistics",
            "missing indexes are found from the patterns of queries",
            "performance figures are kept for every executed query",
            "N+1 patterns are detected, and batch loading is recommended",
        ],
    ),
    (
        "High availability",
        [
            "a replica is promoted within 30 s of the primary's failure, by itself",
            "at least two replicas are maintained, with a warning below that",
            "an unhealthy node leaves the active pool",
            "every node is checked every 10 s",
            "administrators hear of a failover through the configured channels",
        ],
    ),
    (
        "Workload isolation",
        [
            "all writes go to the primary",
            "all reads go to replicas",
            "critical operations use their own, high-priority connections",
            "a replica more than 5 s behind loses its reads to the primary",
            "reads and writes have pools of their own",
        ],
    ),
    (
        "Connection pool",
        [
            "an application instance holds 10 to 50 connections",
            "a connection idle for 300 s is closed, never below the minimum",
            "utilisation above 80 % logs a warning",
            "failed connection attempts back off exponentially",
            "pools are warmed up to the minimum at start",
        ],
    ),
    (
        "Multi-layer cache",
        [
            "results are kept in Redis for a configurable time (300 s)",
            "hot data is kept in memory, least recently used out first (1,000 entries, 60 s)",
            "a cached result is returned without touching the database",
            "a change of data invalidates the entries related to it",
            "the cache is warmed for predictable, frequent queries",
        ],
    ),
    (
        "Replication",
        [
            "every write reaches the replicas, and that is verified",
            "lag stays under 2 s under normal load",
            "lag over 5 s alerts administrators",
            "three replicas and more are supported, cascading ones too",
            "a replica that fell behind is brought back from the primary by itself",
        ],
    ),
    (
        "Rate limits",
        [
            "each user has a limit of queries in the application (100 a minute)",
            "all users together have a limit at the connection (10,000 a minute)",
            "above a limit: a descriptive error, and no query reaches the database",
            "windows slide, and their length is configurable",
            "administrative operations may pass",
        ],
    ),
    (
        "Schema management",
        [
            "every change of the schema is in a version history",
            "a migration runs within a transaction",
            "a failed migration is rolled back whole, to the state before",
            "migrations are tried on staging before production",
            "each forward migration gets a rollback script",
        ],
    ),
    (
        "Load balancing",
        [
            "reads are spread over all healthy replicas",
            "round robin is weighted by the capacity of replicas",
            "a replica at 80 % CPU gets less traffic",
            "response times are tracked, and faster replicas preferred",
            "with all replicas unhealthy, reads go to the primary",
        ],
    ),
    (
        "Monitoring",
        [
            "metrics of query latency, throughput and error rate",
            "metrics of cache hits, misses and evictions",
            "all slow queries are logged with their plans",
            "critical thresholds alert: latency, errors, pool, lag, hit rate, node health",
            "dashboards of pool utilisation, replication lag and query performance",
        ],
    ),
    (
        "Retry and circuit breaking",
        [
            "a failed connection is tried again up to 3 times, after 1, 2 and 4 s",
            "more than 50 % failed connections in 60 s open the circuit",
            "an open circuit refuses at once",
            "after 30 s open, one trial connection is made",
            "the circuit closes when that succeeds",
        ],
    ),
    (
        "Cache consistency",
        [
            "an update invalidates all keys related to it",
            "entries are invalidated by tag",
            "a failed invalidation is logged, and its entries live shortly",
            "critical data is written through the cache",
            "entries can be invalidated by pattern, by hand",
        ],
    ),
];
