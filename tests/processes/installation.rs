//! The pages about installing and upgrading, walked: what they tell people to type is typed, on both databases.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use serde_json::{Value, json};
use tokio::process::Command;

use crate::database::{EmptyDatabase, TestDatabase};
use crate::harness::{Program, Server, eventually};

fn page(name: &str) -> String {
    fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("docs").join(name)).unwrap()
}

/// The commands under a heading that can be run anywhere: those in `bash`. What needs root is in `sh`.
fn commands(name: &str, heading: &str) -> String {
    let page = page(name);
    let section = page.split("\n## ").find(|section| section.lines().next() == Some(heading));
    let section = section.unwrap_or_else(|| panic!("{name} has no {heading}"));
    let block = section.split("```bash\n").nth(1).and_then(|rest| rest.split("```").next());
    block.unwrap_or_else(|| panic!("{name} has no commands under {heading}")).to_owned()
}

/// Types commands, with the program in reach and the database in the environment, and returns what they said by line.
async fn typed(commands: &str, database: &TestDatabase) -> Vec<String> {
    let program = Path::new(env!("CARGO_BIN_EXE_aetherium")).parent().unwrap();
    let path = format!("{}:{}", program.display(), std::env::var("PATH").unwrap());
    let bash = Command::new("bash")
        .args(["-euc", commands])
        .env("PATH", path)
        .env("AETHERIUM_DATABASE_URL", database.url())
        .output()
        .await
        .expect("bash is there");
    let said = String::from_utf8(bash.stdout).unwrap();
    assert!(bash.status.success(), "{commands}\n{said}\n{}", String::from_utf8_lossy(&bash.stderr));
    said.lines().map(str::to_owned).collect()
}

fn with<'a>(said: &'a [String], word: &str) -> Vec<&'a str> {
    said.iter().filter_map(|line| line.strip_prefix(word)).map(str::trim).collect()
}

on_both_databases! {
    async fn the_page_about_installing_leads_to_a_server_that_is_well(empty: EmptyDatabase) {
        let EmptyDatabase(database) = empty;
        let said = typed(&commands("installation.md", "Choose the database"), &database).await;
        assert_eq!(said[0], format!("aetherium {}", env!("CARGO_PKG_VERSION")));
        // Each once as it is applied, once in the status.
        let applied = with(&said, "applied");
        assert_eq!(applied.len(), 2 * applied.iter().collect::<BTreeSet<_>>().len(), "{said:?}");
        assert!(with(&said, "pending").is_empty(), "{said:?}");

        let server = Server::start_with(&database, &["--no-migrate"]).await;
        for (heading, key) in [("Start the server", "status"), ("Bring in the workers", "total")] {
            let commands = commands("installation.md", heading).replace("http://localhost:8080", &server.url);
            let expected = if key == "status" { json!("ok") } else { json!(0) };
            let ask = async || {
                let answer: Value = serde_json::from_str(&typed(&commands, &database).await.concat()).unwrap();
                (answer[key] == expected).then_some(())
            };
            eventually(&format!("{key} to be {expected}"), ask).await;
        }
        server.stop().await;
    }

    async fn the_page_about_upgrading_leads_back_and_forth_and_keeps_the_workers(database: TestDatabase) {
        let server = Server::start(&database).await;
        let worker = json!({"hostname": "node1.example.com", "address": "192.0.2.1:8081", "cpu_cores": 16, "memory_mb": 32768});
        server.put("/workers/worker-01", &worker).await;
        server.stop().await;

        let back = typed(&commands("upgrading.md", "Going back"), &database).await;
        let taken = with(&back, "taken back");
        assert_eq!((taken.len(), with(&back, "pending")), (1, taken.clone()), "{back:?}");
        // What is pending is not guessed about.
        let listen = ["serve", "--no-migrate", "--listen", "127.0.0.1:0", "--database-url", database.url()];
        assert_eq!(Program::run(&listen).await.code, Some(1));

        let forth = typed(&commands("upgrading.md", "One server"), &database).await;
        assert_eq!(with(&forth, "pending"), taken, "{forth:?}");
        let applied = with(&forth, "applied");
        assert_eq!(applied.iter().filter(|name| **name == taken[0]).count(), 2, "{forth:?}");

        let server = Server::start_with(&database, &["--no-migrate"]).await;
        let kept = server.get("/workers/worker-01").await;
        assert_eq!((&kept["hostname"], &kept["status"]), (&json!("node1.example.com"), &json!("active")));
        server.stop().await;
    }
}

#[test]
fn the_changelog_knows_this_version_and_every_migration() {
    let changelog = page("changelog.md");
    let newest = changelog.split("\n## ").nth(1).unwrap().split([',', '\n']).next();
    assert_eq!(newest, Some(env!("CARGO_PKG_VERSION")), "the newest entry is of the version that is built");
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("migration/src");
    let names = fs::read_dir(folder).unwrap().map(|file| file.unwrap().path().file_stem().unwrap().to_owned());
    let names: Vec<_> = names.map(|name| name.into_string().unwrap()).filter(|name| name.starts_with('m')).collect();
    assert!(names.len() >= 4, "{names:?}");
    let missing: Vec<_> = names.iter().filter(|name| !changelog.contains(&format!("| `{name}` |"))).collect();
    assert!(
        missing.is_empty(),
        "docs/changelog.md says under *tables* what these make, and what is lost with them: {missing:?}"
    );
}
