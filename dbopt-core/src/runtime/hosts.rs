//! Who is asked how busy the nodes' machines are.

use std::sync::Arc;

use super::{Extras, Runtime};
use crate::backend::{Backend, Endpoint, Site};
use crate::cluster::{HostSourceKind, HostWatcher, Sources};

/// Why there is nothing to say of any machine.
pub(super) const NO_SOURCE: &str = "cluster.host.source is \"none\"";

/// One for each node that a source knows; of the others it is noted why there is none.
pub(super) fn watchers<B: Backend>(
    runtime: &Arc<Runtime<B>>,
    backend: &Arc<B>,
    sites: &[Site],
    extras: &Extras,
) -> Vec<HostWatcher<B>> {
    let mut watchers = Vec::new();
    for (i, site) in sites.iter().enumerate() {
        match source(runtime, &site.endpoint(), extras) {
            Ok(Some(source)) => {
                watchers.push(HostWatcher::new(backend.clone(), site.clone(), i, runtime.cluster.clone(), source));
            }
            Ok(None) => runtime.cluster.host_has_no_source(i, NO_SOURCE),
            // A slot has no [[database.nodes]] that could name one.
            Err(why) if runtime.is_slot(i) => runtime.cluster.host_has_no_source(i, why),
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
