//! The OpenAPI document in shapes that generators of clients read, with examples that can be sent as they are.
//!
//! Clients themselves are generated, compiled and run in `tests/conformance/openapi`.

use aetherium::auth::Caller;
use aetherium::resolvers::tokens::TokenInput;
use std::collections::{BTreeMap, BTreeSet};

use serde_json::{Map, Value, json};

use crate::harness::openapi::{BASE, document, visit};
use crate::harness::*;

/// What puts schemas together.
const COMPOSITIONS: [&str; 3] = ["allOf", "anyOf", "oneOf"];

/// Generators name types after components. A branch without a name gets one that changes with the document, and a
/// union within something else becomes one object of all fields, or nothing.
#[test]
fn what_is_put_together_has_a_name_and_so_has_each_part() {
    let mut wrong = Vec::new();
    visit(&document(), &mut |place, schema| {
        for composition in COMPOSITIONS {
            let Some(parts) = schema.get(composition).and_then(Value::as_array) else { continue };
            let is_or_null = composition == "anyOf" && parts.len() == 2 && parts[1] == json!({"type": "null"});
            let named = parts.iter().filter(|part| part.get("$ref").is_some()).count();
            let is_component = place.starts_with("/components/schemas/") && place.matches('/').count() == 3;
            let is_body = place.ends_with("/schema");
            if !(is_or_null && named == 1 && !is_body || is_component && named == parts.len()) {
                wrong.push(format!("{place}: {composition}"));
            }
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A type for what restricts an object beside its fields is one that nobody uses.
#[test]
fn what_is_not_has_no_fields_of_its_own() {
    visit(&document(), &mut |place, schema| {
        let Some(not) = schema.get("not") else { return };
        let makes_a_type = ["properties", "additionalProperties", "enum", "allOf", "anyOf", "oneOf"];
        assert!(makes_a_type.iter().all(|keyword| not.get(keyword).is_none()), "{place}: {not}");
    });
}

/// A heartbeat has the whole inventory or what changed of it, and either may be `null`.
#[test]
fn the_document_knows_that_a_heartbeat_has_one_inventory() {
    let components = &document()["components"];
    for name in ["Heartbeat", "WorkersHeartbeat"] {
        let schema = json!({"$ref": format!("#/components/schemas/{name}"), "components": components});
        let validator = jsonschema::validator_for(&schema).unwrap();
        for (mut heartbeat, is_valid) in [
            (json!({}), true),
            (json!({"vms": []}), true),
            (json!({"vms_delta": {}}), true),
            (json!({"vms": null, "vms_delta": {}}), true),
            (json!({"vms": [], "vms_delta": null}), true),
            (json!({"vms": null, "vms_delta": null}), true),
            (json!({"vms": [], "vms_delta": {}}), false),
            (json!({"vms": 7}), false),
        ] {
            heartbeat["worker_id"] = json!("w1");
            heartbeat["incarnation"] = json!(1);
            assert_eq!(validator.is_valid(&heartbeat), is_valid, "{name}: {heartbeat}");
        }
    }
}

/// A purge has conditions, or is for all workers.
#[test]
fn the_document_knows_that_a_purge_has_conditions_or_is_for_all() {
    let schema = json!({"$ref": "#/components/schemas/PurgeRequest", "components": document()["components"]});
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (purge, is_valid) in [
        (json!({}), false),
        (json!({"all": false}), false),
        (json!({"filter": null, "offline_for": null}), false),
        (json!({"filter": {"search": "", "min_free_vm_slots": 0, "zones": null}}), false),
        (json!({"offline_for": "720h"}), true),
        (json!({"filter": {"search": "sim"}}), true),
        (json!({"filter": {"ids": []}, "all": false}), true),
        (json!({"filter": {"min_free_vm_slots": 1}}), true),
        (json!({"all": true}), true),
        (json!({"all": true, "filter": {}, "offline_for": null}), true),
        (json!({"all": true, "offline_for": "720h"}), false),
        (json!({"all": true, "filter": {"labels": {"simulated": null}}}), false),
    ] {
        assert_eq!(validator.is_valid(&purge), is_valid, "{purge}");
    }
}

/// No body, `null` and an object are the same to the server.
#[test]
fn the_document_knows_that_a_reason_may_be_null_and_nothing_else_but_an_object() {
    let schema = json!({"$ref": "#/components/schemas/Reason", "components": document()["components"]});
    let validator = jsonschema::validator_for(&schema).unwrap();
    for (body, is_valid) in [
        (Value::Null, true),
        (json!({}), true),
        (json!({"reason": "new disks"}), true),
        (json!({"reason": null}), true),
        (json!({"reason": 7}), false),
        (json!("new disks"), false),
        (json!(7), false),
        (json!(7.5), false),
        (json!(true), false),
        (json!([]), false),
    ] {
        assert_eq!(validator.is_valid(&body), is_valid, "{body}");
    }
}

/// A union of which one part may be `null`, as a body, cannot be left out by some generated clients; and a body
/// without a name has none in a client either.
#[test]
fn every_body_in_json_is_a_component_that_is_no_union_with_null() {
    let document = document();
    let mut wrong = Vec::new();
    let mut bodies = 0;
    visit(&document, &mut |place, media| {
        let Some(schema) = media.get("schema") else { return };
        if !place.ends_with("/application~1json") && !place.ends_with("/application/json")
            || place.contains("/openapi.json/")
        {
            return;
        }
        bodies += 1;
        let Some(component) = schema["$ref"].as_str() else { return wrong.push(place.to_owned()) };
        let component = document.pointer(component.strip_prefix('#').unwrap()).unwrap();
        if component["type"].is_array() {
            wrong.push(format!("{place}: {}", component["type"]));
        }
    });
    assert!(bodies > 20, "bodies were not found: {bodies}");
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// A generated client for Java tells the parts of a union apart by the types of their values alone: it knows neither
/// which keys have to be there nor which ranges numbers have.
#[test]
fn parts_of_a_union_of_answers_differ_in_the_words_of_one_field() {
    let document = document();
    let mut unions = 0;
    for (name, schema) in document["components"]["schemas"].as_object().unwrap() {
        let Some(parts) = schema["oneOf"].as_array() else { continue };
        unions += 1;
        let values = |part: &Value| -> BTreeMap<String, BTreeSet<String>> {
            let part = document.pointer(part["$ref"].as_str().unwrap().strip_prefix('#').unwrap()).unwrap();
            let words =
                |field: &Value| field["enum"].as_array().map(|words| words.iter().map(Value::to_string).collect());
            let fields = part["properties"].as_object().unwrap().iter();
            fields.filter_map(|(name, field)| Some((name.clone(), words(field)?))).collect()
        };
        for (index, one) in parts.iter().enumerate() {
            for other in &parts[index + 1..] {
                let (one, other) = (values(one), values(other));
                let differ = one.iter().any(|(field, words)| other.get(field).is_some_and(|o| o.is_disjoint(words)));
                assert!(differ, "{name}: {one:?} and {other:?}");
            }
        }
    }
    assert!(unions > 0, "no union was found");
}

/// Generators for Go put the constants of all enums into one package.
#[test]
fn no_two_enums_have_a_constant_of_the_same_name() {
    let mut seen: BTreeMap<String, String> = BTreeMap::new();
    for (name, schema) in document()["components"]["schemas"].as_object().unwrap() {
        let Some(words) = schema["enum"].as_array() else { continue };
        let names = schema["x-enum-varnames"].as_array().unwrap_or(words);
        assert_eq!(names.len(), words.len(), "{name}");
        for constant in names {
            let constant = constant.as_str().unwrap().to_uppercase();
            let other = seen.insert(constant.clone(), name.clone());
            assert!(other.is_none(), "{constant} is in {name} and in {other:?}");
        }
    }
    assert!(seen.len() > 10, "enums were not found: {seen:?}");
}

/// Words that are written within a map are taken for its keys by generators for Rust.
#[test]
fn the_words_of_a_map_have_a_name() {
    let mut wrong = Vec::new();
    visit(&document(), &mut |place, schema| {
        if schema.get("additionalProperties").is_some_and(|values| values.get("enum").is_some()) {
            wrong.push(place.to_owned());
        }
    });
    assert!(wrong.is_empty(), "{wrong:#?}");
}

/// In OpenAPI a link's body may be any JSON; generators read it as one text and refuse the document otherwise.
#[test]
fn a_link_carries_no_body_but_a_text() {
    let mut links = 0;
    visit(&document(), &mut |place, node| {
        if node.contains_key("operationId") && place.contains("/links/") {
            links += 1;
            assert!(node.get("requestBody").is_none_or(Value::is_string), "{place}");
        }
    });
    assert!(links > 10, "links were not found: {links}");
}

/// One request of the document.
struct Example {
    /// Such as `POST /workers/{id}/drain`, and which of its parameters it has.
    name: String,
    method: String,
    path: String,
    headers: Vec<(&'static str, String)>,
    body: Option<Value>,
    /// The statuses that are no failure.
    successes: Vec<u16>,
}

/// Every operation with the examples of all its parameters, with none that may be left out, and with each of them
/// alone.
fn examples(document: &Value) -> Vec<Example> {
    let mut examples = Vec::new();
    for (path, item) in document["paths"].as_object().unwrap() {
        for (method, operation) in item.as_object().unwrap() {
            let parameters = operation["parameters"].as_array().cloned().unwrap_or_default();
            let is_required = |parameter: &&Value| parameter["required"] == json!(true);
            let (required, optional): (Vec<_>, Vec<_>) = parameters.iter().partition(is_required);
            let mut chosen = vec![optional.clone(), Vec::new()];
            chosen.extend(optional.iter().map(|parameter| vec![*parameter]));
            for chosen in chosen {
                let mut names: Vec<_> = chosen.iter().map(|parameter| parameter["name"].as_str().unwrap()).collect();
                let mut example = Example {
                    name: String::new(),
                    method: method.to_uppercase(),
                    path: path.clone(),
                    headers: Vec::new(),
                    body: operation["requestBody"].pointer("/content/application~1json/example").cloned(),
                    successes: operation["responses"].as_object().unwrap().keys().map(|s| s.parse().unwrap()).collect(),
                };
                example.successes.retain(|status| (200..300).contains(status));
                let mut query = Vec::new();
                for parameter in required.iter().chain(&chosen) {
                    let (name, value) = (parameter["name"].as_str().unwrap(), &parameter["example"]);
                    let values = value.as_array().cloned().unwrap_or_else(|| vec![value.clone()]);
                    let texts = values.iter().map(|value| value.as_str().map_or(value.to_string(), str::to_owned));
                    for text in texts {
                        match parameter["in"].as_str().unwrap() {
                            "path" => example.path = example.path.replace(&format!("{{{name}}}"), &text),
                            "query" => query.push((name, text)),
                            _ => example.headers.push((header_name(name), text)),
                        }
                    }
                }
                if !query.is_empty() {
                    let pairs = query.iter().map(|(name, value)| format!("{name}={}", encoded(value)));
                    example.path += &format!("?{}", pairs.collect::<Vec<_>>().join("&"));
                }
                names.sort_unstable();
                example.name = format!("{} {path} with {names:?}", example.method);
                examples.push(example);
            }
        }
    }
    examples
}

/// The headers that parameters are, by names that live as long as the program.
fn header_name(name: &str) -> &'static str {
    const HEADERS: [&str; 4] = ["idempotency-key", "if-match", "if-none-match", "last-event-id"];
    HEADERS.into_iter().find(|header| *header == name).unwrap_or_else(|| panic!("{name}: add it to the list"))
}

fn encoded(text: &str) -> String {
    let is_plain = |byte: &u8| byte.is_ascii_alphanumeric() || b"-._~".contains(byte);
    text.bytes().map(|byte| if is_plain(&byte) { char::from(byte).into() } else { format!("%{byte:02X}") }).collect()
}

/// The worker that the examples are about.
const WORKER: &str = "worker-01";

/// Makes something of the cluster that the examples are of, by their own example.
async fn make(cluster: &TestCluster, document: &Value, method: &str, template: &str, id: &str) {
    let operation = &document["paths"][template][method.to_lowercase()];
    let body = operation["requestBody"].pointer("/content/application~1json/example").unwrap();
    let path = format!("{BASE}{}", template.replace("{id}", id));
    let answer = cluster.rest().ask(method, &path).json(body.clone()).await;
    assert!([200, 201].contains(&answer.status), "{method} {path}: {}", answer.body);
}

async fn populate(cluster: &TestCluster, document: &Value) {
    make(cluster, document, "PUT", "/workers/{id}", WORKER).await;
    make(cluster, document, "POST", "/workers/{id}/heartbeat", WORKER).await;
    make(cluster, document, "POST", "/workers/{id}/drain", WORKER).await;
    // Reservations find room on another one.
    cluster.add([worker("with-room")]).await;
}

on_both_databases! {
    async fn every_example_can_be_sent_as_it_is(cluster: TestCluster) {
        let document = document();
        let examples = examples(&document);
        assert!(examples.len() > 60, "examples were not found: {}", examples.len());
        populate(&cluster, &document).await;
        let mut wrong = Vec::new();
        let (mut deletions, mut about_tokens) = (Vec::new(), Vec::new());
        for mut example in examples {
            if example.name.ends_with("[\"idempotency-key\"]") {
                // With all parameters, it was another request.
                example.headers.iter_mut().for_each(|(_, key)| key.push_str("-alone"));
            }
            if example.path.starts_with("/reservations/") {
                // Its id is given by the server.
                let made = cluster.rest().post("/api/v1/reservations").json(json!({"vcpus": 1, "memory_mb": 1})).await;
                let made = made.json()["id"].as_str().unwrap().to_owned();
                example.path = format!("/reservations/{made}{}", example.path.find('?').map_or("", |at| &example.path[at..]));
                send(&cluster, example, &mut wrong).await;
                continue;
            }
            let is_sign_in = example.method == "POST" && example.path == "/session";
            if example.path.starts_with("/tokens") || example.path.ends_with("/join") || is_sign_in {
                // From the first token on, the server asks for one.
                about_tokens.push(example);
            } else if example.method == "DELETE" {
                // It may purge the worker that the others speak of.
                deletions.push(example);
            } else {
                send(&cluster, example, &mut wrong).await;
            }
        }
        // A process that has said goodbye is over, so that each has a worker of its own.
        for (number, mut example) in deletions.into_iter().enumerate() {
            let id = format!("{WORKER}-{number}");
            make(&cluster, &document, "PUT", "/workers/{id}", &id).await;
            example.path = example.path.replace(WORKER, &id);
            send(&cluster, example, &mut wrong).await;
        }
        let admin = TokenInput { name: "me".to_owned(), role: "admin".to_owned(), ..TokenInput::default() };
        let admin = cluster.server().resolvers().create_token(&Caller::server(), admin).await.unwrap();
        let admin = format!("Bearer {}", admin.text.expose());
        let join = cluster.token(join_token(Some(WORKER), 1)).await;
        for mut example in about_tokens {
            if example.path.ends_with("/join") {
                example.headers.push(("authorization", join.bearer()));
                send(&cluster, example, &mut wrong).await;
                continue;
            }
            if example.method == "DELETE" {
                let another = cluster.rest().post("/api/v1/tokens").header("authorization", &admin);
                let another = another.json(json!({"name": "another", "role": "viewer"})).await.json();
                example.path = format!("/tokens/{}", another["token"]["id"].as_str().unwrap());
            }
            if example.path == "/session" {
                // Each code counts once.
                let code = cluster.sign_in_code("viewer").await;
                example.body = Some(json!({"code": code.text}));
            }
            example.headers.push(("authorization", admin.clone()));
            send(&cluster, example, &mut wrong).await;
        }
        assert!(wrong.is_empty(), "{wrong:#?}");
    }

    async fn whoever_names_every_form_of_an_answer_gets_json(cluster: TestCluster) {
        let document = document();
        populate(&cluster, &document).await;
        let port = Port::of(&cluster).await;
        for (path, item) in document["paths"].as_object().unwrap() {
            let Some(operation) = item.get("get") else { continue };
            let mut forms = BTreeSet::new();
            for response in operation["responses"].as_object().unwrap().values() {
                let place = response["$ref"].as_str().and_then(|place| place.strip_prefix('#'));
                let response = place.map_or(response, |place| document.pointer(place).unwrap());
                forms.extend(response["content"].as_object().into_iter().flat_map(Map::keys).map(String::as_str));
            }
            let id = operation.pointer("/parameters/0/example").and_then(Value::as_str).unwrap_or_default();
            if path.starts_with("/reservations/{") {
                // The one of the example was made elsewhere.
                continue;
            }
            let needed = operation["parameters"].as_array().into_iter().flatten();
            let needed = needed.filter(|it| it["required"] == json!(true) && it["in"] == json!("query"));
            let needed: Vec<_> = needed.map(|it| format!("{}={}", it["name"].as_str().unwrap(), it["example"])).collect();
            let question = if needed.is_empty() { String::new() } else { format!("?{}", needed.join("&")) };
            let path = format!("{BASE}{}{question}", path.replace("{id}", id).replace("{zone}", id));
            let forwards: Vec<_> = forms.iter().copied().collect();
            let backwards: Vec<_> = forms.iter().rev().copied().collect();
            for accept in [forwards.join(", "), backwards.join(",")] {
                // Read as it comes, for a stream has no end.
                let answer = HttpStream::get(&port.authority(), &path, &[("accept", &accept)]).await;
                let found = answer.headers.get("content-type").map(String::as_str);
                assert_eq!((answer.status, found), (200, Some("application/json")), "{path}, {accept}");
            }
        }
    }
}

async fn send(cluster: &TestCluster, example: Example, wrong: &mut Vec<String>) {
    let mut ask = cluster.rest().ask(&example.method, &format!("{BASE}{}", example.path));
    for (name, value) in &example.headers {
        ask = ask.header(name, value);
    }
    if let Some(body) = example.body {
        ask = ask.json(body);
    }
    let answer = ask.await;
    if !example.successes.contains(&answer.status) {
        wrong.push(format!("{}: {} {}", example.name, answer.status, answer.body));
    }
}
