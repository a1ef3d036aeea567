//! The standard variables of OpenTelemetry that say whether spans are exported at all. Those that say how are read by its
//! own SDK.

use std::env;

/// Whether the environment asks for an exporter of spans, and by which of its variables.
pub(super) fn exporter_is_wanted() -> Option<&'static str> {
    wanted_by(|name| env::var(name).ok().filter(|value| !value.is_empty()))
}

fn wanted_by(variable: impl Fn(&'static str) -> Option<String>) -> Option<&'static str> {
    const EXPORTER: &str = "OTEL_TRACES_EXPORTER";
    if variable("OTEL_SDK_DISABLED").is_some_and(|value| value.eq_ignore_ascii_case("true")) {
        return None;
    }
    let exporters = variable(EXPORTER);
    let exporters = exporters.as_deref().map(|names| names.split(',').map(str::trim).any(|name| name == "otlp"));
    let endpoints = ["OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "OTEL_EXPORTER_OTLP_ENDPOINT"];
    match exporters {
        Some(true) => Some(EXPORTER),
        Some(false) => None,
        None => endpoints.into_iter().find(|name| variable(name).is_some()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_exported_where_the_environment_names_a_collector() {
        let endpoint = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318");
        let of_traces = ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://collector:4318/v1/traces");
        let exporter = |name| ("OTEL_TRACES_EXPORTER", name);
        for (environment, expected) in [
            (&[][..], None),
            (&[("OTEL_SERVICE_NAME", "aetherium")], None),
            (&[endpoint], Some("OTEL_EXPORTER_OTLP_ENDPOINT")),
            (&[endpoint, of_traces], Some("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")),
            (&[exporter("otlp")], Some("OTEL_TRACES_EXPORTER")),
            (&[exporter("console, otlp")], Some("OTEL_TRACES_EXPORTER")),
            (&[exporter("none"), endpoint], None),
            (&[exporter("console"), endpoint], None),
            (&[("OTEL_SDK_DISABLED", "TRUE"), endpoint], None),
            (&[("OTEL_SDK_DISABLED", "false"), endpoint], Some("OTEL_EXPORTER_OTLP_ENDPOINT")),
        ] {
            let variable =
                |wanted| environment.iter().find(|(name, _)| *name == wanted).map(|(_, value)| (*value).to_owned());
            assert_eq!(wanted_by(variable), expected, "{environment:?}");
        }
    }
}
