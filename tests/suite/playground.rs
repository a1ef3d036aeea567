//! What browsers are shown: the dashboard, the playground, the reference of the REST API. What the pages then do is
//! seen in a browser, in `tests/conformance/browser`. These hold with and without Node at hand when it was built.

use aetherium::graphql;
use serde_json::json;

use crate::harness::*;

/// What browsers send when a person opens an address.
const BROWSER: &str = "text/html,application/xhtml+xml,application/xml;q=0.9,image/avif,image/webp,*/*;q=0.8";

const PAGES: [&str; 3] = ["/", "/graphql", "/docs"];

on_both_databases! {
    async fn a_browser_that_opens_graphql_is_shown_a_page(cluster: TestCluster) {
        for accept in [BROWSER, "text/html", "application/xhtml+xml, Text/HTML;q=0.9"] {
            for address in ["/graphql", "/graphql/", "/graphql?query={clusterStats{totalWorkers}}"] {
                let page = cluster.rest().get(address).header("accept", accept).await;
                assert_eq!(page.status, 200, "{accept} {address}");
                assert_eq!(page.header("content-type"), Some("text/html; charset=utf-8"), "{accept} {address}");
                assert!(page.header("vary").unwrap().contains("Accept"), "a cache must not give it to programs");
                assert!(page.body.starts_with("<!doctype html>"), "{}", page.body);
            }
        }
    }

    async fn programs_that_ask_graphql_get_answers_and_no_page(cluster: TestCluster) {
        let question = "/graphql?query={clusterStats{totalWorkers}}";
        for accept in [
            None,
            Some("*/*"),
            Some("application/json"),
            Some("application/graphql-response+json"),
            Some("application/json, text/html"),
            Some("text/html, application/graphql-response+json;q=0.9"),
            Some("text/*"),
        ] {
            let ask = cluster.rest().get(question);
            let answer = match accept {
                Some(accept) => ask.header("accept", accept).await,
                None => ask.await,
            };
            assert_eq!(answer.json(), json!({"data": {"clusterStats": {"totalWorkers": 0}}}), "{accept:?}");
        }
    }

    async fn a_link_to_a_mutation_only_shows_it(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let link = "/graphql?query=mutation{drainWorker(input:{workerId:%22w1%22}){changed}}";
        assert_eq!(cluster.rest().get(link).header("accept", BROWSER).await.status, 200);
        assert_eq!(cluster.worker("w1").await["status"], "active");
    }

    async fn the_front_page_is_for_people_only(cluster: TestCluster) {
        let page = cluster.rest().get("/").header("accept", BROWSER).await;
        assert_eq!((page.status, page.header("content-type")), (200, Some("text/html; charset=utf-8")));
        for place in ["graphql", "docs", "graphql/schema.graphql", "api/v1/health"] {
            assert!(page.body.contains(&format!(r#"href="{place}""#)), "{place} is not on the front page");
            assert_eq!(cluster.rest().get(&format!("/{place}")).header("accept", BROWSER).await.status, 200, "{place}");
        }
        cluster.rest().get("/").await.assert_failure(404, "No route for GET /");
        cluster.rest().get("/").header("accept", "application/json").await.assert_failure(404, "No route for GET /");
    }

    async fn pages_of_the_dashboard_are_for_people_only(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for (address, front) in DASHBOARD {
            let page = cluster.rest().get(address).header("accept", BROWSER).await;
            assert_eq!(page.header("vary").is_some_and(|vary| vary.contains("Accept")), page.status == 200, "{address}");
            match page.status {
                200 => assert!(page.body.contains(&format!(r#"src="{}assets/dashboard-"#, front.trim_start_matches("./"))), "{address}: {}", page.body),
                // There was no Node when this was built, and the front page says so.
                307 => assert_eq!(page.header("location"), Some(front), "{address}"),
                status => panic!("{address}: {status}"),
            }
            cluster.rest().get(address).await.assert_failure(404, &format!("No route for GET {address}"));
            cluster.rest().get(address).header("accept", "application/json").await.assert_failure(404, &format!("No route for GET {address}"));
            assert_eq!(cluster.rest().post(address).await.status, 405, "{address}");
        }
        cluster.rest().get("/nothing").header("accept", BROWSER).await.assert_failure(404, "No route for GET /nothing");
    }

    async fn a_page_of_the_dashboard_that_is_opened_as_a_folder_loads_from_the_one_place(cluster: TestCluster) {
        let page = cluster.rest().get("/fleet/").header("accept", BROWSER).await;
        assert!([200, 307].contains(&page.status));
        for address in ["/fleet/assets/icon.svg", "/workers/assets/icon.svg"] {
            let asset = cluster.rest().get(address).await;
            assert_eq!((asset.status, asset.header("location")), (307, Some("../../assets/icon.svg")), "{address}");
        }
    }

    async fn the_schema_can_be_read_where_the_pages_say(cluster: TestCluster) {
        let schema = cluster.rest().get("/graphql/schema.graphql").await;
        assert_eq!((schema.status, schema.body), (200, graphql::sdl()));
    }

    async fn everything_a_page_names_is_on_this_server(cluster: TestCluster) {
        for address in PAGES {
            let page = cluster.rest().get(address).header("accept", BROWSER).await;
            let named = named_by(&page.body);
            assert!(named.iter().any(|name| name.starts_with("assets/")), "{address}: {named:?}");
            for name in &named {
                assert!(!name.contains("//") && !name.starts_with('/'), "{address} names {name}");
            }
            for name in named.iter().filter(|name| name.starts_with("assets/")) {
                // With a slash at its end the page is a folder, and its neighbours are within.
                for folder in ["/".to_owned(), format!("{}/", address.trim_end_matches('/'))] {
                    let asset = cluster.rest().get(&format!("{folder}{name}")).await;
                    assert_eq!(asset.status, 200, "{folder}{name}");
                    assert!(asset.header("content-encoding").is_none() && !asset.body.is_empty(), "{folder}{name}");
                }
            }
        }
    }

    async fn a_page_may_ask_this_server_and_nobody_else(cluster: TestCluster) {
        let page = |address: &str| cluster.rest().get(address).header("accept", BROWSER);
        let mut addresses: Vec<_> = PAGES.map(str::to_owned).into();
        for address in PAGES {
            let named = named_by(&page(address).await.body);
            addresses.extend(named.into_iter().filter(|name| name.starts_with("assets/")).map(|name| format!("/{name}")));
        }
        for address in addresses {
            let answer = page(&address).await;
            let policy = answer.header("content-security-policy").unwrap_or_else(|| panic!("{address} has no policy"));
            let policy: Vec<_> = policy.split(';').map(str::trim).collect();
            assert_eq!(policy[0], "default-src 'none'", "{address}");
            assert!(policy.contains(&"frame-ancestors 'none'"), "{address}");
            for line in policy {
                let (directive, sources) = line.split_once(' ').unwrap();
                for source in sources.split(' ') {
                    let allowed = match directive {
                        "style-src" => ["'self'", "'unsafe-inline'"].contains(&source),
                        "img-src" => ["'self'", "data:"].contains(&source),
                        // It forbids.
                        "require-trusted-types-for" => source == "'script'",
                        _ => ["'none'", "'self'"].contains(&source),
                    };
                    assert!(allowed, "{address} allows {source} as {directive}");
                }
            }
            assert_eq!(answer.header("x-content-type-options"), Some("nosniff"), "{address}");
            assert_eq!(answer.header("referrer-policy"), Some("same-origin"), "{address}");
        }
    }

    async fn what_a_browser_has_is_not_sent_again(cluster: TestCluster) {
        let page = cluster.rest().get("/docs").header("accept", BROWSER).await;
        assert_eq!(page.header("cache-control"), Some("no-cache"), "a new version shows at once");
        let named = named_by(&page.body).into_iter().filter(|name| name.starts_with("assets/"));
        for address in PAGES.map(str::to_owned).into_iter().chain(named.map(|name| format!("/{name}"))) {
            let first = cluster.rest().get(&address).header("accept", BROWSER).await;
            let known = format!(r#""of-another-version", {}"#, first.header("etag").unwrap());
            let second = cluster.rest().get(&address).header("accept", BROWSER).header("if-none-match", &known).await;
            assert_eq!((second.status, second.body.as_str()), (304, ""), "{address}");
            assert_eq!(second.header("etag"), first.header("etag"), "{address}");
            assert_eq!(second.header("cache-control"), first.header("cache-control"), "{address}");
        }
    }

    async fn what_is_named_after_its_content_is_kept_for_ever_and_sent_compressed(cluster: TestCluster) {
        let page = cluster.rest().get("/graphql").header("accept", BROWSER).await;
        for script in named_by(&page.body).iter().filter(|name| name.ends_with(".js")) {
            let address = format!("/{script}");
            let plain = cluster.rest().get(&address).await;
            assert_eq!(plain.header("cache-control"), Some("public, max-age=31536000, immutable"), "{address}");
            assert_eq!(plain.header("content-type"), Some("text/javascript; charset=utf-8"), "{address}");
            let compressed = cluster.rest().head(&address).header("accept-encoding", "gzip, deflate, br").await;
            assert_eq!(compressed.header("content-encoding"), Some("gzip"), "{address}");
            let length: usize = compressed.header("content-length").unwrap().parse().unwrap();
            assert!(length < plain.body.len() / 2, "{address}");
        }
    }

    async fn unknown_assets_are_refused_in_the_house_shape(cluster: TestCluster) {
        for (name, told) in [("nothing.js", "nothing.js"), ("..%2F..%2FCargo.toml", "../../Cargo.toml"), ("%ff", "\u{fffd}")] {
            let answer = cluster.rest().get(&format!("/assets/{name}")).await;
            answer.assert_failure(404, &format!("Asset not found: {told}"));
        }
        assert_eq!(cluster.rest().post("/assets/plain.css").await.status, 405);
    }
}

/// Addresses of the dashboard, and where its front page is from there.
const DASHBOARD: [(&str, &str); 12] = [
    ("/fleet", "./"),
    ("/workers", "./"),
    ("/drains", "./"),
    ("/vms", "./"),
    ("/capacity", "./"),
    ("/events", "./"),
    ("/access", "./"),
    ("/api", "./"),
    ("/health", "./"),
    ("/workers/w1", "../"),
    ("/workers/never-heard-of", "../"),
    ("/vms/vm%2F1", "../"),
];

/// The addresses in a page, as they are written.
fn named_by(page: &str) -> Vec<String> {
    ["href=\"", "src=\""]
        .into_iter()
        .flat_map(|attribute| page.split(attribute).skip(1))
        .filter_map(|rest| rest.split('"').next())
        .map(str::to_owned)
        .collect()
}
