//! The commands that documents tell people to type, typed: those of the API's documentation, of the README and of
//! `docs/`. They are taken from the pages themselves, so a page cannot fall behind the program.
//!
//! Commands that go on until somebody ends them (streams, subscriptions) are run by `tests/conformance/documentation.test.mjs`.

use std::fs;
use std::path::{Path, PathBuf};
use std::slice;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::database::TestDatabase;
use crate::harness::{Program, Server};

/// Where documents say the server is.
const DOCUMENTED: &str = "http://localhost:8080";

/// Runs commands as somebody would who has pasted them. What comes out has to be JSON.
async fn paste(commands: &str, server: &Server) -> Vec<Value> {
    let commands = commands.replace(DOCUMENTED, &server.url);
    let output = Command::new("bash").args(["-c", &commands]).output().await.expect("bash is there");
    assert!(output.status.success(), "curl and jq are there, and content: {commands}\n{output:?}");
    let answers = serde_json::Deserializer::from_slice(&output.stdout).into_iter().collect::<Result<_, _>>();
    answers.unwrap_or_else(|error| panic!("{error}: {commands}\n{}", String::from_utf8_lossy(&output.stdout)))
}

/// A cluster of three workers in two zones, of which the first is the one that the documentation shows.
async fn documented_cluster() -> Server {
    let server = Server::start(&TestDatabase::sqlite()).await;
    for (id, hostname, zone) in [
        ("worker-01", "node1.example.com", "us-west-1a"),
        ("worker-02", "node2.example.com", "us-west-1a"),
        ("worker-03", "node3.example.com", "us-east-1a"),
    ] {
        let worker = json!({
            "hostname": hostname, "address": "192.168.1.10:8081", "zone": zone,
            "labels": {"env": "production", "tier": "compute"}, "capabilities": ["firecracker", "docker"],
            "cpu_cores": 16, "memory_mb": 32768, "disk_gb": 500, "max_vms": 100
        });
        server.put(&format!("/workers/{id}"), &worker).await;
    }
    let beat = r#"curl -sS -X POST http://localhost:8080/api/v1/workers/worker-01/heartbeat -H 'Content-Type: application/json' -d '{
        "incarnation": 1, "used_cpu_cores": 4, "used_memory_mb": 8192, "used_disk_gb": 50, "vms": [
            {"id": "vm-123", "name": "dev-vm-1", "status": "running", "vcpus": 2, "memory_mb": 2048},
            {"id": "vm-456", "name": "dev-vm-2", "status": "running", "vcpus": 1, "memory_mb": 512}]}'"#;
    assert_eq!(paste(beat, &server).await[0]["policy"], "active");
    server
}

fn ids(list: &Value) -> Vec<&str> {
    list.as_array().unwrap().iter().map(|item| item["id"].as_str().unwrap()).collect()
}

#[tokio::test]
async fn the_documented_commands_work_letter_by_letter() {
    let server = documented_cluster().await;
    let script = include_str!("contract.sh");
    let mut paragraphs = script.split("\n\n").skip(1);
    let mut next = async |title: &str| {
        let paragraph = paragraphs.next().expect("a paragraph for each check");
        assert_eq!(paragraph.lines().next(), Some(format!("# {title}").as_str()));
        paste(paragraph, &server).await
    };

    let all = next("List all workers").await.remove(0);
    assert_eq!((ids(&all["workers"]), &all["total"]), (vec!["worker-01", "worker-02", "worker-03"], &json!(3)));
    let zone = next("List workers in specific zone").await.remove(0);
    assert_eq!((ids(&zone["workers"]), &zone["total"]), (vec!["worker-01", "worker-02"], &json!(2)));

    let worker = next("Get Worker Details").await.remove(0);
    for (key, expected) in [
        ("id", json!("worker-01")),
        ("hostname", json!("node1.example.com")),
        ("address", json!("192.168.1.10:8081")),
        ("zone", json!("us-west-1a")),
        ("status", json!("active")),
        ("labels", json!({"env": "production", "tier": "compute"})),
        ("capabilities", json!(["firecracker", "docker"])),
        ("cpu_cores", json!(16)),
        ("memory_mb", json!(32768)),
        ("disk_gb", json!(500)),
        ("used_cpu_cores", json!(4)),
        ("used_memory_mb", json!(8192)),
        ("used_disk_gb", json!(50)),
        ("cpu_usage_percent", json!(25.0)),
        ("memory_usage_percent", json!(25.0)),
        ("vm_count", json!(2)),
        ("max_vms", json!(100)),
        ("is_healthy", json!(true)),
    ] {
        assert_eq!(worker[key], expected, "{key}");
    }
    let vms = json!([
        {"id": "vm-123", "name": "dev-vm-1", "status": "running", "vcpus": 2, "memory_mb": 2048},
        {"id": "vm-456", "name": "dev-vm-2", "status": "running", "vcpus": 1, "memory_mb": 512}
    ]);
    let worker_vms = json!({"worker_id": "worker-01", "vms": vms, "total": 2});
    assert_eq!(next("Get Worker VMs").await, slice::from_ref(&worker_vms));

    let draining = json!({
        "worker_id": "worker-01", "status": "draining",
        "message": "Worker marked as draining. It will stop accepting new tasks."
    });
    let active = json!({
        "worker_id": "worker-01", "status": "active",
        "message": "Worker activated. It will resume accepting tasks."
    });
    assert_eq!(next("Drain Worker").await, slice::from_ref(&draining));
    assert_eq!(next("Activate Worker").await, slice::from_ref(&active));

    let stats = next("Get Cluster Statistics").await.remove(0);
    for (key, expected) in [
        ("total_workers", json!(3)),
        ("active_workers", json!(3)),
        ("total_cpu_cores", json!(48)),
        ("used_memory_mb", json!(8192)),
        ("available_cpu_cores", json!(44)),
        ("total_vms", json!(2)),
        ("max_vms", json!(300)),
        ("available_vm_slots", json!(298)),
        ("zones", json!({"us-west-1a": 2, "us-east-1a": 1})),
    ] {
        assert_eq!(stats[key], expected, "{key}");
    }
    let distribution = next("Get VM Distribution").await.remove(0);
    assert_eq!(distribution["total_workers"], 3);
    let first = json!({
        "worker_id": "worker-01", "hostname": "node1.example.com", "zone": "us-west-1a", "vm_count": 2, "vms": vms
    });
    assert_eq!(distribution["distribution"][0], first);

    let overview = next("Get cluster overview").await;
    assert_eq!((&overview[0], &overview[1]["total"], &overview[2]), (&stats, &json!(3), &distribution));
    assert_eq!(next("Drain worker before maintenance").await, [draining, active]);
    let capacity = json!({"available_cpu": 44, "available_memory_gb": 88, "available_vm_slots": 298});
    assert_eq!(next("Check available resources").await, [capacity]);
    let none = json!({"worker_id": "worker-02", "vms": [], "total": 0});
    assert_eq!(next("Get VMs in a zone (via worker filtering)").await, [worker_vms, none]);
    assert_eq!(paragraphs.next(), None);
}

/// The shell commands of a page that ask a server with nothing but curl and jq, each with the heading it is under.
fn examples(page: &str) -> Vec<(String, String)> {
    let text = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join(page)).unwrap();
    let (mut heading, mut block, mut found) = (String::new(), None::<String>, Vec::new());
    for line in text.lines() {
        match &mut block {
            None if line == "```bash" => block = Some(String::new()),
            None if line.starts_with('#') => heading = line.trim_start_matches(['#', ' ']).to_owned(),
            None => {}
            Some(commands) if line == "```" => {
                if commands.contains(DOCUMENTED)
                    && !["node ", "websocat ", "curl -N "].iter().any(|other| commands.contains(other))
                {
                    found.push((heading.clone(), std::mem::take(commands)));
                }
                block = None;
            }
            Some(commands) => {
                commands.push_str(line);
                commands.push('\n');
            }
        }
    }
    found
}

/// Runs every example of a page, in order, on a server with nothing in it. Returns the headings that have examples.
async fn walk(page: &str) -> Vec<String> {
    let server = Server::start(&TestDatabase::sqlite()).await;
    let mut headings = Vec::new();
    for (heading, commands) in examples(page) {
        let answers = paste(&commands, &server).await;
        assert!(!answers.is_empty(), "{page}, {heading}: {commands}");
        for answer in answers {
            let failed = answer.get("error").is_some() || answer.get("errors").is_some();
            assert!(!failed, "{page}, {heading}: {commands}\n{answer}");
        }
        headings.push(heading);
    }
    headings.dedup();
    headings
}

#[tokio::test]
async fn the_walk_of_the_readme_can_be_walked() {
    assert_eq!(walk("README.md").await, ["Five minutes with REST", "Five minutes with GraphQL"]);
}

#[tokio::test]
async fn the_walks_through_the_protocols_can_be_walked() {
    let rest = walk("docs/rest-api.md").await;
    let expected = [
        "A worker to look at",
        "Monitoring",
        "How it went",
        "Maintenance",
        "Draining many workers",
        "Purging many workers",
        "Capacity planning",
        "Reservations",
        "Zones",
        "Filters, order, pages",
        "Commands that must be carried out once",
    ];
    assert_eq!(rest, expected);
    assert_eq!(
        walk("docs/graphql-api.md").await,
        [
            "A worker to look at",
            "A query",
            "A page",
            "How it went",
            "What happened last",
            "Who did what",
            "A mutation",
            "Where VMs fit"
        ]
    );
    assert_eq!(walk("docs/live.md").await, ["Long polls"]);
}

#[tokio::test]
async fn a_worker_can_be_written_from_the_page_about_workers() {
    let examples = examples("docs/worker-setup.md");
    let under = |heading: &str| {
        let found = examples.iter().find(|(under, _)| under == heading);
        found.unwrap_or_else(|| panic!("{heading} has an example")).1.as_str()
    };
    let last_under = |heading: &str| examples.iter().rfind(|(under, _)| under == heading).unwrap().1.as_str();
    let server = Server::start(&TestDatabase::sqlite()).await;
    let registered = paste(under("Register"), &server).await.remove(0);
    assert_eq!((&registered["worker"]["id"], &registered["incarnation"]), (&json!("worker-01"), &json!(1)));
    let beat = paste(under("Beat"), &server).await.remove(0);
    assert_eq!(
        (&beat["worker_id"], &beat["policy"], &beat["resync"]),
        (&json!("worker-01"), &json!("active"), &json!(false))
    );
    let many = paste(under("Many workers in one request"), &server).await.remove(0);
    assert_eq!((&many["results"][0]["status"], &many["results"][1]["error"]["code"]), (&json!(200), &json!(404)));
    let worked = paste(under("Did it work?"), &server).await.remove(0);
    assert_eq!(
        (&worked["status"], &worked["is_healthy"], &worked["vm_count"]),
        (&json!("active"), &json!(true), &json!(1))
    );

    assert_eq!(paste(under("Say goodbye"), &server).await, [] as [Value; 0], "it needs no words");
    assert_eq!(server.get("/workers/worker-01").await["status"], "offline");
    // It holds a VM, so the second of the three is refused.
    let goodbyes = paste(last_under("Say goodbye"), &server).await;
    assert_eq!(goodbyes.iter().map(|answer| &answer["code"]).collect::<Vec<_>>(), [409]);
    assert_eq!(server.get("/workers").await["total"], 0);
}

#[tokio::test]
async fn a_worker_can_join_from_the_page_about_workers() {
    let database = TestDatabase::sqlite();
    let create = ["token", "create", "--role", "join", "--name", "x", "--database-url", database.url()];
    let token = Program::run(&create).await.out;
    let server = Server::start(&database).await;
    let folder = tempfile::tempdir().unwrap();
    let header = folder.path().join("join.header");
    fs::write(&header, format!("Authorization: Bearer {token}")).unwrap();
    let examples = examples("docs/worker-setup.md");
    let (_, command) = examples.iter().find(|(heading, _)| heading == "Join").expect("it has an example");
    let answer = paste(&command.replace("join.header", header.to_str().unwrap()), &server).await.remove(0);
    assert_eq!((&answer["worker_id"], &answer["token_id"]), (&json!("worker-01"), &json!("Zk3bT0qY81sN")), "{answer}");
}

#[tokio::test]
async fn an_operator_can_ask_whether_the_server_is_well() {
    let server = Server::start(&TestDatabase::sqlite()).await;
    let examples = examples("docs/operations.md");
    let (_, commands) = examples.iter().find(|(heading, _)| heading == "Is it well").expect("it has an example");
    let health = paste(commands, &server).await.remove(0);
    assert!(health["timestamp"].is_string() && health["components"]["database"].is_string(), "{health}");
}

/// The blocks of bash of the page about the command line, one after another in one folder, as somebody would type them.
#[tokio::test]
async fn the_command_line_can_be_typed_from_its_page() {
    let server = Server::start(&TestDatabase::sqlite()).await;
    for (id, zone, vms) in [
        ("worker-01", "a", json!([{"id": "vm-1", "name": "one", "status": "running", "vcpus": 2, "memory_mb": 2048}])),
        ("worker-02", "b", json!([])),
        ("worker-03", "a", json!([])),
    ] {
        let worker = json!({
            "hostname": id, "address": "10.0.0.1:8081", "zone": zone, "labels": {"env": "prod"},
            "cpu_cores": 16, "memory_mb": 32768, "disk_gb": 500
        });
        server.put(&format!("/workers/{id}"), &worker).await;
        let beat = json!({"incarnation": 1, "vms": vms});
        server.change(reqwest::Method::POST, &format!("/workers/{id}/heartbeat"), Some(&beat)).await;
    }
    // The agent of the worker that is drained.
    let (url, http) = (format!("{}/api/v1/workers/worker-03/heartbeat", server.url), crate::harness::http());
    let agent = tokio::spawn(async move {
        while http.post(&url).json(&json!({"incarnation": 1})).send().await.is_ok() {
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
    });
    let page = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs/command-line.md")).unwrap();
    let blocks: Vec<_> = page.split("```bash\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect();
    assert!(blocks.len() > 5, "{}", blocks.len());
    let folder = tempfile::tempdir().unwrap();
    let program = Path::new(env!("CARGO_BIN_EXE_aetherium"));
    let path = format!("{}:{}", program.parent().unwrap().display(), std::env::var("PATH").unwrap());
    for block in blocks {
        let mut bash = Command::new("bash");
        bash.args(["-e", "-u", "-o", "pipefail", "-c", block]).current_dir(folder.path());
        bash.env("PATH", &path).env("HOME", folder.path()).env("AETHERIUM_SERVER", &server.url);
        bash.env_remove("XDG_CONFIG_HOME").env_remove("AETHERIUM_TOKEN").env_remove("AETHERIUM_TOKEN_FILE");
        let output = bash.output().await.expect("bash is there");
        assert!(output.status.success(), "{block}\n{output:?}");
    }
    agent.abort();
}

/// The pages for readers, by their paths from the root: the README and all below `docs/`.
fn pages() -> Vec<PathBuf> {
    let mut pages = vec![PathBuf::from("README.md")];
    for folder in ["docs", "docs/adr"] {
        let files = fs::read_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join(folder)).unwrap();
        let names = files.map(|file| Path::new(folder).join(file.unwrap().file_name()));
        pages.extend(names.filter(|name| name.extension().is_some_and(|extension| extension == "md")));
    }
    pages.sort();
    pages
}

/// The paths of this repository that a page names: words that begin with a folder at its root, and those that end like a
/// Rust file with a folder before it, which may be below `src/`.
fn named_paths(text: &str) -> Vec<&str> {
    const FOLDERS: [&str; 7] = ["src/", "tests/", "benches/", "docs/", "entity/", "migration/", "build.rs"];
    let words = text.split(|letter: char| letter.is_whitespace() || "`()[]{}<>|,;\"'".contains(letter));
    let words = words.map(|word| word.split('#').next().unwrap_or(word).trim_end_matches(['.', ':', '*']));
    let is_path = |word: &&str| {
        FOLDERS.iter().any(|folder| word.starts_with(folder)) || (word.contains('/') && word.ends_with(".rs"))
    };
    words.filter(|word| !word.contains("://")).filter(is_path).collect()
}

/// The anchor that a heading has: its words in lower case, with hyphens between.
fn anchor(heading: &str) -> String {
    let letters = heading.trim_start_matches(['#', ' ']).to_lowercase();
    let letters = letters.chars().filter(|letter| letter.is_alphanumeric() || " -_".contains(*letter));
    letters.map(|letter| if letter == ' ' { '-' } else { letter }).collect()
}

#[test]
fn every_path_and_link_in_the_documents_leads_somewhere() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut astray, mut paths, mut links) = (Vec::new(), 0, 0);
    for page in pages() {
        let text = fs::read_to_string(root.join(&page)).unwrap();
        for path in named_paths(&text) {
            paths += 1;
            if !root.join(path).exists() && !root.join("src").join(path).exists() {
                astray.push(format!("{} names {path}", page.display()));
            }
        }
        for link in text.split("](").skip(1).filter_map(|rest| rest.split(')').next()) {
            if link.contains("://") {
                continue;
            }
            links += 1;
            let (path, place) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            let has_place = |text: String| text.lines().any(|line| line.starts_with('#') && anchor(line) == place);
            let target = root.join(target);
            // A picture has no places, and is no text.
            let leads =
                if place.is_empty() { target.exists() } else { fs::read_to_string(target).is_ok_and(has_place) };
            if !leads {
                astray.push(format!("{} links to {link}", page.display()));
            }
        }
    }
    assert!(paths > 150 && links > 50, "they were not found: {paths} paths, {links} links");
    assert!(astray.is_empty(), "{}", astray.join("\n"));
}

#[test]
fn the_readme_can_be_read_in_a_few_minutes() {
    let readme = fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    assert!(readme.lines().count() < 150, "what is more belongs into docs/");
}
