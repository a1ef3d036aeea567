//! The OpenAPI 3.1 document of the REST API.
//!
//! Objects are generated from the field lists that make the JSON, limits are the constants that input is checked
//! against. What no constant says (what a route is for, how it fails) is written in [`operations`]; tests hold it
//! against the routes and against real responses.

mod answers;
mod bodies;
mod examples;
mod object_schemas;
mod operations;
mod parameters;
mod schema;
mod shapes;

use std::sync::LazyLock;

use axum::http::{HeaderValue, Method, header};
use axum::response::IntoResponse;
use utoipa::openapi::info::{Contact, Info, License};
use utoipa::openapi::path::ParameterIn;
use utoipa::openapi::schema::{SchemaType, Type};
use utoipa::openapi::security::{ApiKey, ApiKeyValue, Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
use utoipa::openapi::tag::{Tag, TagBuilder};
use utoipa::openapi::{Components, OpenApi, OpenApiBuilder, RefOr, Schema, Server};

use self::operations::{AGENTS, CLUSTER, EVENTS, PLACEMENT, SERVER, TOKENS, VMS, WORKERS};
use crate::http::Parameter;

/// The description of the whole API.
const DESCRIPTION: &str = "\
Answers for a cluster of workers and their VMs. Every answer of a question has the revision it was read at in \
`x-revision`; every failure, on every path, has the same body (`Failure`). Keys that are not described here may be \
added to answers. Unknown parameters of a query string are refused, except those whose names begin with `_`; so are \
unknown keys in bodies of commands. Those in registrations and heartbeats are ignored, because agents and servers are of \
different ages. The same questions and commands are in GraphQL at `/graphql`.";

/// The base of the document's paths.
const SERVER_PATH: &str = "/api/v1";

/// The name of the security scheme.
const BEARER: &str = "token";

/// The names of the cookies of sessions.
const SESSION: &str = "session";
const SESSION_OVER_TLS: &str = "sessionOverTls";

/// Roles are no scopes of OAuth, which alone the document could name.
const NO_SCOPES: [&str; 0] = [];

static DOCUMENT: LazyLock<String> = LazyLock::new(|| {
    // Strings and numbers always serialise.
    let mut json = made().to_pretty_json().unwrap_or_default();
    json.push('\n');
    json
});

/// The document, as JSON.
pub fn document() -> &'static str {
    &DOCUMENT
}

/// The parameters that an operation takes in its query string: those that are documented, and no others.
pub(super) fn query_parameters(method: &Method, path: &str) -> Vec<Parameter> {
    let paths = operations::paths().paths;
    let item = path.strip_prefix(SERVER_PATH).and_then(|path| paths.get(path));
    let operation = item.and_then(|item| match *method {
        Method::GET => item.get.as_ref(),
        Method::PUT => item.put.as_ref(),
        Method::POST => item.post.as_ref(),
        Method::DELETE => item.delete.as_ref(),
        _ => None,
    });
    let documented = operation.and_then(|operation| operation.parameters.as_deref()).unwrap_or_default();
    let documented = documented.iter().filter_map(|parameter| match parameter {
        RefOr::T(parameter) => Some(parameter),
        RefOr::Ref(_) => None,
    });
    let query = documented.filter(|parameter| parameter.parameter_in == ParameterIn::Query);
    query.map(|it| Parameter { name: it.name.clone(), is_text: !is_number_or_flag(it.schema.as_ref()) }).collect()
}

fn is_number_or_flag(schema: Option<&RefOr<Schema>>) -> bool {
    let Some(RefOr::T(Schema::Object(object))) = schema else { return false };
    [Type::Integer, Type::Number, Type::Boolean].into_iter().any(|kind| object.schema_type == SchemaType::Type(kind))
}

/// `GET /api/v1/openapi.json`
pub(super) async fn show() -> impl IntoResponse {
    ([(header::CONTENT_TYPE, HeaderValue::from_static(answers::JSON))], document())
}

fn made() -> OpenApi {
    let mut info = Info::new("Aetherium", env!("CARGO_PKG_VERSION"));
    info.description = Some(DESCRIPTION.to_owned());
    let mut contact = Contact::new();
    contact.name = Some("Whoever runs this server".to_owned());
    info.contact = Some(contact);
    let mut license = License::new("All rights reserved");
    license.identifier = Some("LicenseRef-All-Rights-Reserved".to_owned());
    info.license = Some(license);
    let mut server = Server::new(SERVER_PATH);
    server.description = Some("The server that this document comes from.".to_owned());
    OpenApiBuilder::new()
        .info(info)
        .servers(Some([server]))
        .paths(operations::paths())
        .components(Some(components()))
        // With a token; or without one, as long as the server has none.
        .security(Some([
            SecurityRequirement::new(BEARER, NO_SCOPES),
            SecurityRequirement::new(SESSION, NO_SCOPES),
            SecurityRequirement::new(SESSION_OVER_TLS, NO_SCOPES),
            SecurityRequirement::default(),
        ]))
        .tags(Some(tags()))
        .build()
}

fn components() -> Components {
    let mut components = Components::new();
    for (name, schema) in object_schemas::components().into_iter().chain(bodies::components()) {
        components.schemas.insert(name.to_owned(), schema);
    }
    for (name, response) in answers::components() {
        components.responses.insert(name.to_owned(), response.into());
    }
    let mut bearer = Http::new(HttpAuthScheme::Bearer);
    bearer.description = Some("A token of `POST /tokens`, or of `aetherium token create`.".to_owned());
    components.add_security_scheme(BEARER, SecurityScheme::Http(bearer));
    let cookie = |name, description: &str| {
        SecurityScheme::ApiKey(ApiKey::Cookie(ApiKeyValue::with_description(name, description)))
    };
    let plain =
        "The session of a browser, which signed in by `POST /session`. It counts for the server's own pages only.";
    components.add_security_scheme(SESSION, cookie("aetherium", plain));
    components.add_security_scheme(SESSION_OVER_TLS, cookie("__Host-aetherium", "The same over TLS."));
    components
}

fn tags() -> [Tag; 8] {
    [
        (WORKERS, "What runs VMs: what it is, and what operators want of it."),
        (VMS, "What runs on workers."),
        (CLUSTER, "The whole."),
        (PLACEMENT, "Where VMs fit, and room that is held for them."),
        (EVENTS, "What happened, and what happens."),
        (AGENTS, "How workers come, tell that they are alive, and go."),
        (TOKENS, "Who may ask, and what."),
        (SERVER, "The server itself."),
    ]
    .map(|(name, description)| TagBuilder::new().name(name).description(Some(description)).build())
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use serde::de::value::Error;
    use serde::de::{Deserialize, Deserializer, Error as _, Visitor};
    use serde::forward_to_deserialize_any;
    use utoipa::openapi::RefOr;
    use utoipa::openapi::path::{Operation, ParameterIn};

    use crate::rest::paging::PagingQuery;
    use crate::rest::query_response::MinRevisionQuery;
    use crate::rest::{drain_workers, events, placement, reservations, service_discovery, vms, workers};

    /// Tells which fields a struct would read, and reads nothing.
    struct FieldsOf<'a>(&'a mut BTreeSet<&'static str>);

    impl<'de> Deserializer<'de> for FieldsOf<'_> {
        type Error = Error;

        fn deserialize_struct<V: Visitor<'de>>(
            self,
            _: &'static str,
            fields: &'static [&'static str],
            _: V,
        ) -> Result<V::Value, Error> {
            self.0.extend(fields);
            Err(Error::custom("read nothing"))
        }

        fn deserialize_any<V: Visitor<'de>>(self, _: V) -> Result<V::Value, Error> {
            Err(Error::custom("not a struct"))
        }

        forward_to_deserialize_any! {
            bool i8 i16 i32 i64 i128 u8 u16 u32 u64 u128 f32 f64 char str string bytes byte_buf option unit
            unit_struct newtype_struct seq tuple tuple_struct map enum identifier ignored_any
        }
    }

    /// Names of all fields of several structs.
    macro_rules! fields_of {
        ($($query:ty),*) => {{
            let mut fields = BTreeSet::new();
            $(assert!(<$query>::deserialize(FieldsOf(&mut fields)).is_err());)*
            fields
        }};
    }

    fn documented(operation: Option<&Operation>) -> BTreeSet<&str> {
        let parameters = operation.and_then(|operation| operation.parameters.as_deref()).unwrap_or_default();
        let parameters = parameters.iter().filter_map(|parameter| match parameter {
            RefOr::T(parameter) => Some(parameter),
            RefOr::Ref(_) => None,
        });
        let query = parameters.filter(|parameter| parameter.parameter_in == ParameterIn::Query);
        query.map(|parameter| parameter.name.as_str()).collect()
    }

    #[test]
    fn every_parameter_that_is_read_is_documented_and_no_other() {
        let document = crate::rest::openapi::made();
        let paths = &document.paths.paths;
        assert_eq!(
            documented(paths["/workers"].get.as_ref()),
            fields_of!(workers::WorkerListQuery, PagingQuery, MinRevisionQuery)
        );
        assert_eq!(documented(paths["/workers/{id}"].get.as_ref()), fields_of!(MinRevisionQuery));
        assert_eq!(documented(paths["/workers/{id}"].delete.as_ref()), fields_of!(workers::DeregistrationQuery));
        assert_eq!(
            documented(paths["/workers/{id}/vms"].get.as_ref()),
            fields_of!(workers::VmsQuery, vms::VmOrderQuery, MinRevisionQuery)
        );
        assert_eq!(
            documented(paths["/vms"].get.as_ref()),
            fields_of!(vms::VmListQuery, vms::VmOrderQuery, PagingQuery, MinRevisionQuery)
        );
        assert_eq!(documented(paths["/vms/{id}"].get.as_ref()), fields_of!(MinRevisionQuery));
        assert_eq!(documented(paths["/cluster/stats"].get.as_ref()), fields_of!(MinRevisionQuery));
        assert_eq!(documented(paths["/cluster/distribution"].get.as_ref()), fields_of!(MinRevisionQuery));
        assert_eq!(
            documented(paths["/placement"].get.as_ref()),
            fields_of!(placement::ConstraintsQuery, placement::PlacementQuery, MinRevisionQuery)
        );
        assert_eq!(
            documented(paths["/evacuation-plan"].get.as_ref()),
            fields_of!(workers::WorkerFilterQuery, drain_workers::EvacuationPlanQuery, MinRevisionQuery)
        );
        assert_eq!(
            documented(paths["/capacity"].get.as_ref()),
            fields_of!(placement::ConstraintsQuery, MinRevisionQuery)
        );
        assert_eq!(
            documented(paths["/reservations"].get.as_ref()),
            fields_of!(reservations::ReservationListQuery, PagingQuery, MinRevisionQuery)
        );
        assert_eq!(documented(paths["/cluster/zones"].get.as_ref()), fields_of!(MinRevisionQuery));
        assert_eq!(
            documented(paths["/cluster/worker-counts"].get.as_ref()),
            fields_of!(workers::WorkerFilterQuery, MinRevisionQuery)
        );
        assert_eq!(
            documented(paths["/cluster/vm-counts"].get.as_ref()),
            fields_of!(vms::VmListQuery, MinRevisionQuery)
        );
        assert_eq!(
            documented(paths["/sd/prometheus"].get.as_ref()),
            fields_of!(workers::WorkerFilterQuery, service_discovery::DiscoveryQuery, MinRevisionQuery)
        );
        assert_eq!(documented(paths["/events"].get.as_ref()), fields_of!(events::EventsQuery, MinRevisionQuery));
    }
}
