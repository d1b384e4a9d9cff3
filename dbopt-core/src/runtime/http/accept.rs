//! Which of the two text formats a reader of metrics asks for. Pure.

use http::{HeaderMap, header};

/// Whether the older format of Prometheus is asked for: `text/plain`, and not more urgently OpenMetrics. Who asks for nothing in particular
/// gets OpenMetrics.
pub(super) fn wants_classic(headers: &HeaderMap) -> bool {
    let (mut classic, mut openmetrics) = (0.0_f32, 0.0_f32);
    let fields = headers.get_all(header::ACCEPT).into_iter().filter_map(|value| value.to_str().ok());
    for (kind, quality) in fields.flat_map(|field| field.split(',')).filter_map(range) {
        match kind.as_str() {
            "text/plain" => classic = classic.max(quality),
            "application/openmetrics-text" => openmetrics = openmetrics.max(quality),
            _ => {}
        }
    }
    classic > openmetrics
}

/// A media type and how much it is wanted; `None` for what is not one.
fn range(text: &str) -> Option<(String, f32)> {
    let mut parts = text.split(';').map(str::trim);
    let kind = parts.next().filter(|kind| kind.contains('/'))?.to_ascii_lowercase();
    let quality = parts.find_map(|part| part.strip_prefix("q=").or_else(|| part.strip_prefix("Q=")));
    let quality = quality.map_or(Some(1.0), |quality| quality.parse().ok().filter(|q| (0.0..=1.0).contains(q)))?;
    Some((kind, quality))
}

#[cfg(test)]
mod tests {
    use super::*;
    use http::HeaderValue;

    fn classic(accept: &'static str) -> bool {
        wants_classic(&HeaderMap::from_iter([(header::ACCEPT, HeaderValue::from_static(accept))]))
    }

    #[test]
    fn each_reader_gets_what_it_prefers() {
        // Prometheus 2.42, and one that does not know OpenMetrics.
        assert!(!classic(
            "application/openmetrics-text;version=1.0.0,application/openmetrics-text;version=0.0.1;q=0.75,text/plain;version=0.0.4;q=0.5,*/*;q=0.1"
        ));
        assert!(classic("text/plain;version=0.0.4;q=1,*/*;q=0.1"));
        assert!(classic("text/plain"));
        assert!(!classic("*/*") && !classic("") && !wants_classic(&HeaderMap::new()));
        assert!(!classic("text/plain;q=0") && !classic("text/plain; q=high") && !classic("nonsense, ;;,q=1"));
        assert!(classic("Text/Plain; Q=0.9, application/openmetrics-text;q=0.1"));
    }
}
