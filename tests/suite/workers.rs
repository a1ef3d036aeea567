//! Lists of workers, and one of them: filters, order, pages, figures.

use std::time::Duration;

use serde_json::{Value, json};

use crate::harness::*;

/// Ids of the workers that a question finds.
async fn found(cluster: &TestCluster, query: &str) -> Vec<Value> {
    let answer = cluster.rest().get(&format!("/api/v1/workers{query}")).await.json();
    assert_eq!(answer["total"], answer["workers"].as_array().unwrap().len());
    pick(&answer["workers"], ["id"]).into_iter().flatten().collect()
}

on_both_databases! {
    // What the clock leaves alone of a worker is written once; a list that is filtered writes all of it.
    async fn a_worker_is_shown_as_it_is_at_each_moment(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")]), worker("w2")]).await;
        for step in 0..6 {
            match step {
                1 => cluster.advance(seconds(1)),
                2 => _ = cluster.beat("w1", json!({"incarnation": 1, "used_cpu_cores": 5, "vms": []})).await,
                3 => _ = cluster.rest().post("/api/v1/workers/w1/drain").await,
                4 => cluster.advance(seconds(61)),
                5 => _ = cluster.rest().put("/api/v1/workers/w1").json(worker("w1").zone("other").registration()).await,
                _ => {}
            }
            let written = cluster.rest().get("/api/v1/workers?id=w1").await.body;
            let alone = cluster.rest().get("/api/v1/workers/w1").await.body;
            assert_eq!(written, format!("{{\"workers\":[{alone}],\"total\":1}}"), "step {step}");
            let all = cluster.rest().get("/api/v1/workers").await.body;
            assert!(all.starts_with(&format!("{{\"workers\":[{alone},")), "step {step}: {all}");
        }
    }

    async fn an_empty_cluster_has_empty_lists(cluster: TestCluster) {
        cluster.rest().get("/api/v1/workers").await.assert_json(200, json!({"workers": [], "total": 0}));
        cluster.rest().get("/api/v1/vms").await.assert_json(200, json!({"vms": [], "total": 0}));
        let nowhere = json!({"distribution": [], "total_workers": 0});
        cluster.rest().get("/api/v1/cluster/distribution").await.assert_json(200, nowhere);
    }

    // Whole lists and single objects are written in another way than parts of lists and what stands inside of others.
    async fn an_object_is_the_same_text_wherever_it_stands(cluster: TestCluster) {
        let odd = "\"quoted\" \\ and \u{e9}\u{1f600}";
        let labels = json!({"env": odd, "tier": "", "key-3": "a/b"});
        let running = |id: &str| vm(id).name(odd).size(3, 4_096);
        cluster
            .add([
                worker("w1").zone("a").registers("hostname", odd).registers("labels", labels).vms([running("vm-1")]),
                worker("w2").cpu(3).memory_mb(7_000).vms([running("vm-1"), vm("vm-2").status("stopped"), vm("vm-3")]),
                worker("w3").cpu(7).registers("capabilities", json!([odd, "qemu"])).silent_for(Duration::from_secs(3_601)),
            ])
            .await;
        for list in ["workers", "vms"] {
            let whole = cluster.rest().get(&format!("/api/v1/{list}")).await;
            let part = cluster.rest().get(&format!("/api/v1/{list}?limit=100")).await;
            assert_eq!(with_no_next_page(&whole.body), part.body);
            let rows = whole.json()[list].as_array().unwrap().clone();
            assert!(rows.len() > 1, "{}", whole.body);
            for row in rows {
                let path = format!("/api/v1/{list}/{}", row["id"].as_str().unwrap());
                let one = cluster.rest().get(&path).await.body;
                assert!(whole.body.contains(&one), "{one} is not in {}", whole.body);
            }
        }
        let distribution = cluster.rest().get("/api/v1/cluster/distribution").await.body;
        for id in ["w1", "w2", "w3"] {
            let vms = cluster.rest().get(&format!("/api/v1/workers/{id}/vms")).await.body;
            let list = &vms[vms.find("\"vms\":[").unwrap()..=vms.rfind(']').unwrap()];
            assert!(distribution.contains(list), "{list} is not in {distribution}");
        }
        let registered = cluster.rest().put("/api/v1/workers/w1").json(worker("w1").registration()).await.body;
        let one = cluster.rest().get("/api/v1/workers/w1").await.body;
        assert!(registered.contains(&one), "{one} is not in {registered}");
        let beat = json!({"worker_id": "w1", "incarnation": 2, "sequence": 90});
        let mut alone = String::new();
        // From the second repetition on it changes nothing.
        for _ in 0..3 {
            alone = cluster.rest().post("/api/v1/workers/w1/heartbeat").json(beat.clone()).await.body;
        }
        let among = cluster.rest().post("/api/v1/heartbeats").json(json!({"heartbeats": [beat]})).await.body;
        // What changes from one to the next.
        let same = |text: &str| text.split(',').filter(|it| !it.contains("seconds")).map(str::to_owned).collect::<Vec<_>>();
        assert_eq!(same(&among.replace(",\"status\":200", "")), same(&format!("{{\"results\":[{alone}]}}")));
    }

    // semantics 19; regression: a worker without a zone failed the whole list
    async fn a_worker_without_a_zone_is_in_the_list_like_any_other(cluster: TestCluster) {
        cluster.add([worker("w1"), worker("w2").zone("a")]).await;
        cluster.rest().put("/api/v1/workers/w3").json(worker("w3").registers("zone", Value::Null).registration()).await;
        let list = cluster.rest().get("/api/v1/workers").await.json();
        assert_eq!(pick(&list["workers"], ["id", "zone"]), [["w1", ""], ["w2", "a"], ["w3", ""]]);
        let distribution = cluster.rest().get("/api/v1/cluster/distribution").await.json();
        assert_eq!(pick(&distribution["distribution"], ["worker_id", "zone"]), [["w1", ""], ["w2", "a"], ["w3", ""]]);
    }

    // semantics 19
    async fn workers_are_found_by_zone(cluster: TestCluster) {
        cluster.add([worker("w1").zone("a"), worker("w2").zone("b c"), worker("w3").zone("a"), worker("w4")]).await;
        for (query, ids) in [
            ("?zone=a", vec!["w1", "w3"]),
            ("?zone=A", vec![]),
            ("?zone=nowhere", vec![]),
            ("?zone=", vec!["w1", "w2", "w3", "w4"]),
            ("?zone", vec!["w1", "w2", "w3", "w4"]),
            ("?zone=b%20c", vec!["w2"]),
            ("?zone=b+c", vec!["w2"]),
            ("?zone=a&zone=b%20c", vec!["w1", "w2", "w3"]),
            ("?zone=a&zone=", vec!["w1", "w3"]),
        ] {
            assert_eq!(found(&cluster, query).await, ids, "{query}");
        }
    }

    // semantics 21
    async fn workers_come_by_id_in_the_order_of_code_points(cluster: TestCluster) {
        let ids = ["B", "W-10", "W-2", "a", "w_1", "z", "\u{e9}", "\u{65e5}\u{672c}", "\u{1f600}"];
        for id in ids.iter().rev() {
            let path = format!("/api/v1/workers/{}", percent_encoded(id));
            assert_eq!(cluster.rest().put(&path).json(worker(id).registration()).await.status, 201);
        }
        assert_eq!(found(&cluster, "").await, ids);
        let distribution = cluster.rest().get("/api/v1/cluster/distribution").await.json();
        assert_eq!(pick(&distribution["distribution"], ["worker_id"]).concat(), ids);
        assert_eq!(found(&cluster.restart().await, "").await, ids, "databases may sort otherwise");
    }

    // semantics 22
    async fn a_page_tells_the_number_of_all_and_where_it_goes_on(cluster: TestCluster) {
        cluster.add((1..=5).map(|n| worker(&format!("w{n}")).zone(if n == 5 { "b" } else { "a" }))).await;
        let page = |ids: [&str; 2]| (ids.map(Value::from).to_vec(), json!(4));
        let pages = follow(&cluster, "/api/v1/workers?limit=2&zone=a", "workers").await;
        assert_eq!(pages, [page(["w1", "w2"]), page(["w3", "w4"])]);
    }

    // regression: the link kept the cursor only, and led to workers of every zone
    async fn the_link_to_the_next_page_asks_the_same_question(cluster: TestCluster) {
        let zone = "b & c=\u{fc}>";
        let vms = |n: u32| [vm(&format!("up-{n}")), vm(&format!("down-{n}")).status("stopped")];
        cluster.add((1..=5).map(|n| worker(&format!("w{n}")).zone(if n == 3 { "a" } else { zone }).vms(vms(n)))).await;
        let zone = percent_encoded(zone);
        for (path, list, ids) in [
            (format!("/api/v1/workers?zone={zone}&limit=1&wait=1ms&min_revision=1"), "workers", ["w1", "w2", "w4", "w5"].as_slice()),
            (format!("/api/v1/workers?limit=3&zone=a&zone={zone}"), "workers", &["w1", "w2", "w3", "w4", "w5"]),
            ("/api/v1/vms?status=stopped&limit=2".to_owned(), "vms", &["down-1", "down-2", "down-3", "down-4", "down-5"]),
        ] {
            let pages = follow(&cluster, &path, list).await;
            assert!(pages.iter().all(|(_, total)| total == ids.len()), "{path}");
            assert_eq!(pages.into_iter().flat_map(|(ids, _)| ids).collect::<Vec<_>>(), ids, "{path}");
        }
    }

    async fn what_is_repeated_of_a_cursor_is_short(cluster: TestCluster) {
        let long = "x".repeat(10_000);
        for path in [format!("workers?cursor={long}"), format!("vms?cursor={long}"), format!("events?after={long}")] {
            let answer = cluster.rest().get(&format!("/api/v1/{path}")).await;
            assert!(answer.status == 400 && answer.body.len() < 300, "{}", answer.body);
        }
    }

    async fn a_page_that_makes_no_sense_is_refused(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        for query in ["limit=-1", "limit=501", "limit=ten", "limit=1&limit=2", "cursor=nonsense", "cursor="] {
            for list in ["workers", "vms"] {
                let answer = cluster.rest().get(&format!("/api/v1/{list}?{query}")).await;
                assert_eq!(answer.status, 400, "{list}?{query}: {}", answer.body);
                answer.assert_house_shape();
            }
        }
    }

    // semantics 12
    async fn looking_up_an_odd_id_finds_nothing(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1")])]).await;
        let long = "x".repeat(300);
        for (id, shown) in [
            ("W1", "W1"),
            ("w1%20", "w1 "),
            ("a%2Fb", "a/b"),
            ("%00", "\0"),
            ("%0a", "\n"),
            ("..", ".."),
            ("%2e%2e", ".."),
            ("%25", "%"),
            ("100%", "100%"),
            ("%F0%9F%98%80", "\u{1f600}"),
            ("%27%3B%20DROP%20TABLE%20worker%3B--", "'; DROP TABLE worker;--"),
            (&long, &long),
            ("vm-1", "vm-1"),
        ] {
            for (method, rest) in
                [("GET", ""), ("GET", "/vms"), ("POST", "/drain"), ("POST", "/activate"), ("DELETE", "")]
            {
                let answer = cluster.rest().ask(method, &format!("/api/v1/workers/{id}{rest}")).await;
                answer.assert_failure(404, &format!("Worker not found: {shown}"));
            }
            if id != "vm-1" {
                let answer = cluster.rest().get(&format!("/api/v1/vms/{id}")).await;
                answer.assert_failure(404, &format!("VM not found: {shown}"));
            }
        }
        // Bytes that are no text stand for no id either, and nothing tells two such ids apart.
        for path in ["/api/v1/workers/%ff", "/api/v1/workers/w1%c3", "/api/v1/vms/%fe", "/api/v1/workers/%ed%a0%80/vms"]
        {
            let answer = cluster.rest().get(path).await;
            assert_eq!(answer.status, 404, "{path}");
            answer.assert_house_shape();
        }
        assert_eq!(found(&cluster, "").await, ["w1"]);
    }

    // semantics 14
    async fn percentages_have_two_decimals(cluster: TestCluster) {
        let usage = |id, cores: u32, used: u32| worker(id).cpu(cores).memory_mb(1_000).reports("used_cpu_cores", used);
        cluster.add([usage("none", 3, 0), usage("over", 4, 5), usage("third", 3, 1), usage("two-thirds", 3, 2)]).await;
        let list = cluster.rest().get("/api/v1/workers").await.json();
        assert_eq!(
            pick(&list["workers"], ["id", "cpu_usage_percent"]),
            [
                [json!("none"), json!(0.0)],
                [json!("over"), json!(125.0)],
                [json!("third"), json!(33.33)],
                [json!("two-thirds"), json!(66.67)],
            ]
        );
    }
}

/// The ids and the total of each page, from link to link as they come.
async fn follow(cluster: &TestCluster, path: &str, list: &str) -> Vec<(Vec<Value>, Value)> {
    let (mut path, mut pages) = (path.to_owned(), Vec::new());
    loop {
        let page = cluster.rest().get(&path).await;
        let json = page.json();
        pages.push((pick(&json[list], ["id"]).concat(), json["total"].clone()));
        let Some(link) = page.header("link") else { return pages };
        let reference = link.strip_prefix('<').and_then(|link| link.strip_suffix(">; rel=\"next\"")).unwrap();
        path = format!("/api/v1/{list}{reference}");
    }
}

/// Every byte of the text as a path carries any byte.
fn percent_encoded(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02X}")).collect()
}

/// A whole list as a page that happens to have all of it.
fn with_no_next_page(list: &str) -> String {
    format!(r#"{},"next_cursor":null}}"#, list.strip_suffix('}').unwrap())
}
