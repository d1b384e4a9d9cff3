//! Who is asked how busy the nodes' machines are.

use std::sync::Arc;

use super::{Extras, Runtime};
use crate::backend::{Backend, Endpoint};
use crate::cluster::{HostSourceKind, HostWatcher, Sources};

/// One for each node that a source knows; of the others it is noted why there is none.
pub(super) fn watchers<B: Backend>(
    runtime: &Arc<Runtime<B>>,
    backend: &Arc<B>,
    endpoints: &[Endpoint],
    extras: &Extras,
) -> Vec<HostWatcher<B>> {
    let mut watchers = Vec::new();
    for (i, endpoint) in endpoints.iter().enumerate() {
        match source(runtime, endpoint, extras) {
            Ok(Some(source)) => {
                watchers.push(HostWatcher::new(backend.clone(), endpoint.clone(), i, runtime.cluster.clone(), source));
            }
            Ok(None) => runtime.cluster.host_has_no_source(i, "cluster.host.source is \"none\""),
            Err(why) => runtime.cluster.host_is_unknown(i, why.into()),
        }
    }
    watchers
}

fn source<B: Backend>(
    runtime: &Runtime<B>,
    endpoint: &Endpoint,
    extras: &Extras,
) -> Result<Option<Sources>, &'static str> {
    if let Some(custom) = &extras.host_source {
        return Ok(Some(Sources::Custom(custom.clone())));
    }
    match runtime.config.cluster.host.source {
        HostSourceKind::None => Ok(None),
        HostSourceKind::Sql => Ok(Some(Sources::Sql)),
        HostSourceKind::NodeExporter => match runtime.config.exporter_of(&endpoint.name) {
            Some(url) => Ok(Some(Sources::Exporter(url))),
            None => Err("no host_metrics is written for it in [[database.nodes]]"),
        },
    }
}
