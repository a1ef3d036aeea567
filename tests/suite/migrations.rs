//! The database's shape: made by migrations, undone by them, and never taken for granted.

use std::collections::BTreeMap;

use aetherium::auth::CostLimit;
use aetherium::clock::Clock;
use aetherium::graphql::GraphqlOptions;
use aetherium::http::HttpOptions;
use aetherium::journal::{Database, MigrationStatus};
use aetherium::journal::{Loss, Retention};
use aetherium::server::{Server, ServerOptions};
use aetherium::timing::Timing;
use migration::{Migrator, MigratorTrait};
use sea_orm::{ColumnTrait as _, ConnectionTrait, DbBackend, EntityTrait, IdenStatic as _, Iterable as _, Statement};
use serde_json::{Value, json};

use crate::harness::*;

/// The tables of a cluster.
const TABLES: [&str; 11] = [
    "cluster",
    "drain",
    "epoch",
    "event",
    "history",
    "idempotency_record",
    "reservation",
    "token",
    "vm",
    "worker",
    "worker_tombstone",
];

/// How many migrations have to be taken back, for this one to be among them.
fn steps_back_to(name: &str) -> u32 {
    let migrations = Migrator::migrations();
    let place = migrations.iter().position(|one| one.name().ends_with(name)).unwrap();
    u32::try_from(migrations.len() - place).unwrap()
}

/// The tables there are, besides the one that remembers migrations.
async fn tables(database: &Database) -> Vec<String> {
    let backend = database.backend();
    let sql = match backend {
        DbBackend::Sqlite => {
            "SELECT name FROM sqlite_master WHERE type = 'table' AND name NOT LIKE 'sqlite%' ORDER BY name"
        }
        _ => {
            "SELECT table_name::text AS name FROM information_schema.tables WHERE table_schema = 'public' ORDER BY name"
        }
    };
    let rows = database.readers().query_all_raw(Statement::from_string(backend, sql)).await.unwrap();
    let names = rows.iter().map(|row| row.try_get::<String>("", "name").unwrap());
    names.filter(|name| name != "seaql_migrations").collect()
}

/// What a server is started with that may or may not change the tables.
fn options(db: &TestDatabase, migrate: bool) -> ServerOptions {
    ServerOptions {
        database_url: db.url().to_owned(),
        migrate,
        is_beside: false,
        timing: Timing::default(),
        retention: Retention::default(),
        cost_limit: CostLimit::default(),
        http: HttpOptions::default(),
        graphql: GraphqlOptions::default(),
    }
}

/// A table by its entity: its name, and its columns, each with whether it may be null, in the order of their names.
fn columns_of<E: EntityTrait>() -> (String, Vec<(String, bool)>) {
    let columns = E::Column::iter().map(|column| (column.as_str().to_owned(), column.def().is_null()));
    let columns: BTreeMap<_, _> = columns.collect();
    (E::default().table_name().to_owned(), columns.into_iter().collect())
}

/// The columns that a table has in the database, likewise.
async fn columns(database: &Database, table: &str) -> Vec<(String, bool)> {
    let backend = database.backend();
    let sql = match backend {
        DbBackend::Sqlite => {
            format!("SELECT name, \"notnull\" = 0 AS nullable FROM pragma_table_info('{table}')")
        }
        _ => format!(
            "SELECT column_name::text AS name, is_nullable = 'YES' AS nullable FROM information_schema.columns \
             WHERE table_schema = 'public' AND table_name = '{table}'"
        ),
    };
    let rows = database.readers().query_all_raw(Statement::from_string(backend, sql)).await.unwrap();
    let columns = rows.iter().map(|row| (row.try_get("", "name").unwrap(), row.try_get("", "nullable").unwrap()));
    columns.collect::<BTreeMap<_, _>>().into_iter().collect()
}

/// The tables with their columns, each with whether it may be null.
async fn shape(database: &Database) -> BTreeMap<String, Vec<(String, bool)>> {
    let mut shape = BTreeMap::new();
    for table in tables(database).await {
        shape.insert(table.clone(), columns(database, &table).await);
    }
    shape
}

/// The columns that a row has to be given a value for, as `table.column`.
async fn required_columns(database: &Database) -> Vec<String> {
    let backend = database.backend();
    let sql = match backend {
        DbBackend::Sqlite => {
            "SELECT tables.name || '.' || columns.name AS name FROM sqlite_master AS tables \
             JOIN pragma_table_info(tables.name) AS columns \
             WHERE tables.type = 'table' AND columns.\"notnull\" AND columns.dflt_value IS NULL"
        }
        _ => {
            "SELECT table_name || '.' || column_name AS name FROM information_schema.columns \
             WHERE table_schema = 'public' AND is_nullable = 'NO' AND column_default IS NULL"
        }
    };
    let rows = database.readers().query_all_raw(Statement::from_string(backend, sql)).await.unwrap();
    rows.iter().map(|row| row.try_get("", "name").unwrap()).collect()
}

/// How many rows each of these tables has.
async fn rows_of(database: &Database, tables: &[&str]) -> Vec<i64> {
    let mut rows = Vec::new();
    for table in tables {
        let count = Statement::from_string(database.backend(), format!("SELECT count(*) AS rows FROM {table}"));
        let count = database.readers().query_one_raw(count).await.unwrap().unwrap();
        rows.push(count.try_get("", "rows").unwrap());
    }
    rows
}

/// A start of a worker's process on a start of its host.
async fn start(cluster: &TestCluster, id: &str, boot: &str, host: &str) -> Answer {
    let mut registration = worker(id).registration();
    registration["boot_id"] = boot.into();
    registration["host_boot_id"] = host.into();
    cluster.rest().put(&format!("/api/v1/workers/{id}")).json(registration).await
}

on_both_databases! {
    async fn migrations_go_up_down_and_up_again(empty: EmptyDatabase) {
        let EmptyDatabase(db) = empty;
        let database = Database::connect(db.url()).await.unwrap();
        for _ in 0..2 {
            assert!(!database.is_migrated().await.unwrap());
            database.migrate().await.unwrap();
            database.migrate().await.unwrap();
            assert!(database.is_migrated().await.unwrap());
            assert_eq!(tables(&database).await, TABLES);
            database.migrate_back(u32::MAX).await.unwrap();
            assert_eq!(tables(&database).await, [] as [&str; 0]);
        }
        database.close().await.unwrap();
        TestCluster::on(&db).await.add([worker("w1").vms([vm("vm-1")])]).await;
    }

    async fn every_migration_can_be_undone_by_itself(empty: EmptyDatabase) {
        let EmptyDatabase(db) = empty;
        let database = Database::connect(db.url()).await.unwrap();
        database.migrate().await.unwrap();
        for undone in 1..=Migrator::migrations().len() {
            database.migrate_back(1).await.unwrap();
            let pending = database.migrations().await.unwrap().into_iter().filter(|(_, status)| *status == MigrationStatus::Pending);
            assert_eq!(pending.count(), undone);
        }
        database.close().await.unwrap();
    }

    // By its name; see ADR 0077.
    async fn a_migration_that_does_not_say_otherwise_only_adds(empty: EmptyDatabase) {
        let EmptyDatabase(db) = empty;
        let database = Database::connect(db.url()).await.unwrap();
        database.migrate().await.unwrap();
        // Those before were made before there was that rule.
        let first = Migrator::migrations().iter().position(|one| one.name().ends_with("000010_reservations")).unwrap();
        for migration in Migrator::migrations().iter().skip(first).rev() {
            let (with, required_with) = (shape(&database).await, required_columns(&database).await);
            database.migrate_back(1).await.unwrap();
            let (without, required_without) = (shape(&database).await, required_columns(&database).await);
            if migration.name().ends_with(migration::CONTRACT) {
                continue;
            }
            let name = migration.name();
            for (table, columns) in &without {
                let left = with.get(table).unwrap_or_else(|| panic!("{name} takes the table {table} away"));
                assert!(columns.iter().all(|column| left.contains(column)), "{name} changes {table}: {columns:?}, {left:?}");
                let of_table = |columns: &[String]| {
                    let prefix = format!("{table}.");
                    columns.iter().filter(|column| column.starts_with(&prefix)).cloned().collect::<Vec<_>>()
                };
                let (now, before) = (of_table(&required_with), of_table(&required_without));
                assert!(now.iter().all(|column| before.contains(column)), "{name} needs a value in {now:?}");
            }
        }
        database.close().await.unwrap();
    }

    // What is told of a migration is what taking it back does, on tables with something in them.
    async fn what_is_lost_by_going_back_is_told_before(cluster: TestCluster) {
        cluster.add([worker("w1").vms([vm("vm-1"), vm("vm-2")]), worker("w2")]).await;
        let cluster = cluster.restart_after(async |database: &TestDatabase| {
            let database = Database::connect(database.url()).await.unwrap();
            let before = tables(&database).await;
            let all = u32::try_from(Migrator::migrations().len()).unwrap();
            let losses = database.preview_migrating_back(all).await.unwrap();
            let told: Vec<_> = losses.iter().map(ToString::to_string).collect();
            for expected in ["table worker, 2 rows", "table cluster, 1 row"] {
                assert!(told.iter().any(|loss| loss == expected), "{expected}: {told:?}");
            }
            let dropped: Vec<_> =
                losses.iter().filter_map(|loss| if let Loss::Table { name, .. } = loss { Some(name) } else { None }).collect();
            assert_eq!(dropped, TABLES.iter().collect::<Vec<_>>(), "all of them, and nothing else");
            let since = steps_back_to("000012_event_fields");
            let losses = database.preview_migrating_back(since).await.unwrap();
            let told: Vec<_> = losses.iter().map(ToString::to_string).collect();
            // Two VMs were started, each of which an event names; workers have none set aside.
            for expected in [
                "column event.vm_name, its value in 2 rows",
                "column event.previous_status, its value in 0 rows",
                "column worker.set_aside_vms, its value in 0 rows",
            ] {
                assert!(told.iter().any(|loss| loss == expected), "{expected}: {told:?}");
            }
            assert_eq!(tables(&database).await, before);
            assert!(database.is_migrated().await.unwrap(), "nothing was changed");
            database.close().await.unwrap();
        }).await;
        assert_eq!(cluster.rest().get("/api/v1/workers").await.json()["total"], 2);
    }

    // By a newer version, which went before this one in a rolling upgrade.
    async fn events_of_kinds_that_are_not_known_are_passed_over(cluster: TestCluster) {
        cluster.add([worker("w1")]).await;
        let cluster = cluster.restart_after(async |database: &TestDatabase| {
            for position in 0..3 {
                let at = "'2026-11-29 00:00:00+00:00'";
                database.execute(&format!(
                    "INSERT INTO event (revision, position, at, kind, worker_id, message) \
                     VALUES (1000, {position}, {at}, 'worker_dreamt', 'w1', 'Worker w1 dreamt')"
                )).await;
            }
            database.execute("UPDATE cluster SET revision = 1000").await;
        }).await;
        cluster.rest().post("/api/v1/workers/w1/drain").await;
        let page = cluster.rest().get("/api/v1/events?limit=2&order=desc").await.json();
        let kinds: Vec<_> = page["events"].as_array().unwrap().iter().map(|event| &event["kind"]).collect();
        assert_eq!(kinds, ["worker_drain_started", "worker_registered"], "{page}");
        let of_worker = cluster.graphql(r#"{ worker(id: "w1") { events(first: 2) { kind } } }"#).await;
        let expected = json!([{"kind": "WORKER_DRAIN_STARTED"}, {"kind": "WORKER_REGISTERED"}]);
        assert_eq!(of_worker["worker"]["events"], expected, "{of_worker}");
    }

    async fn the_tables_have_the_columns_of_the_entities(empty: EmptyDatabase) {
        let EmptyDatabase(db) = empty;
        let database = Database::connect(db.url()).await.unwrap();
        database.migrate().await.unwrap();
        for (table, expected) in [
            columns_of::<entity::cluster::Entity>(),
            columns_of::<entity::drain::Entity>(),
            columns_of::<entity::epoch::Entity>(),
            columns_of::<entity::event::Entity>(),
            columns_of::<entity::idempotency_record::Entity>(),
            columns_of::<entity::reservation::Entity>(),
            columns_of::<entity::token::Entity>(),
            columns_of::<entity::vm::Entity>(),
            columns_of::<entity::worker::Entity>(),
            columns_of::<entity::worker_tombstone::Entity>(),
        ] {
            assert_eq!(columns(&database, &table).await, expected, "{table}");
        }
        database.close().await.unwrap();
    }

    async fn a_migration_leaves_the_rows_of_tables_that_are_there(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1").vms([vm("vm-1"), vm("vm-2").status("stopped")]), worker("w2")]).await;
        cluster.rest().delete("/api/v1/workers/w2?purge=true").await;
        let drain = async |cluster: &TestCluster| {
            let drain = cluster.rest().post("/api/v1/workers/w1/drain").header("idempotency-key", "k1");
            drain.json(json!({"reason": "a new disk"})).await
        };
        assert_eq!(drain(&cluster).await.status, 200);
        assert_eq!(drain(&cluster).await.header("idempotency-replayed"), Some("true"));
        let (mut before, clock) = (cluster.everything().await, cluster.clock());
        cluster.into_server().stop().await;

        let database = Database::connect(db.url()).await.unwrap();
        let kept = ["cluster", "epoch", "event", "idempotency_record", "vm", "worker", "worker_tombstone"];
        let token = "INSERT INTO token (id, hash, role, name, created_at, revision) \
                     VALUES ('a', 'b', 'viewer', 'c', '2025-11-02T10:00:00.000+00:00', 1)";
        database.readers().execute_unprepared(token).await.unwrap();
        let rows = rows_of(&database, &kept).await;
        assert!(rows.iter().all(|rows| *rows > 0), "{rows:?}");
        assert_eq!(rows_of(&database, &["token"]).await, [1]);
        // Without its kind, a session would be taken for a token.
        let session = "INSERT INTO token (id, hash, kind, role, name, parent, created_at, revision) \
                       VALUES ('d', 'e', 'session', 'viewer', 'c', 'a', '2025-11-02T10:00:00.000+00:00', 1)";
        database.readers().execute_unprepared(session).await.unwrap();
        assert_eq!(rows_of(&database, &["token"]).await, [2]);
        database.migrate_back(steps_back_to("000007_sessions")).await.unwrap();
        assert_eq!(rows_of(&database, &["token"]).await, [1]);
        database.migrate_back(steps_back_to("000005_tokens") - steps_back_to("000007_sessions")).await.unwrap();
        database.migrate().await.unwrap();
        assert_eq!(rows_of(&database, &kept).await, rows);
        assert_eq!(rows_of(&database, &["token"]).await, [0]);
        database.close().await.unwrap();

        let cluster = TestCluster::by_clock(&db, clock).await;
        // What was not kept before of a drain that stands is not made up.
        before["/api/v1/workers"]["workers"][0]["drain"]["initial_vms"] = Value::Null;
        assert_eq!(cluster.everything().await, before);
        let again = drain(&cluster).await;
        assert_eq!((again.status, again.header("idempotency-replayed")), (200, Some("true")));
    }

    // A server from before them can read what is left, and is not open because of it.
    async fn without_join_tokens_there_are_revoked_ones(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        let join = cluster.token(join_token(None, 2)).await;
        assert_eq!(cluster.join(&join, "w1").await.1.status, 200);
        cluster.into_server().stop().await;
        let database = Database::connect(db.url()).await.unwrap();
        database.migrate_back(steps_back_to("000006_join_tokens")).await.unwrap();
        let dump = db.dump().await;
        assert!(!dump.contains("worker_joined") && dump.contains("viewer"), "{dump}");
        database.migrate().await.unwrap();
        database.close().await.unwrap();
        let cluster = TestCluster::on(&db).await;
        let admin = cluster.token(role_token("admin")).await;
        let list = cluster.holder(&admin).get("/api/v1/tokens").await.json();
        let of_join = list["tokens"].as_array().unwrap().iter().find(|token| token["id"] == *join.id).unwrap().clone();
        assert_eq!(pick(&json!([of_join]), ["role", "state", "uses"]), [[json!("viewer"), json!("revoked"), json!(null)]]);
        let events = cluster.holder(&admin).get("/api/v1/events").await.json();
        let kinds = pick(&events["events"], ["kind", "worker_id"]);
        assert_eq!(kinds[1], [json!("token_created"), json!("w1")], "{kinds:?}");
        cluster.holder(&join).get("/api/v1/workers").await.assert_failure(401, "The token has been revoked");
    }

    // Whoever resumes from before the log was removed has to hear that something is missing.
    async fn a_log_that_was_taken_back_and_is_made_again_begins_where_the_cluster_is(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        cluster.add([worker("w1")]).await;
        let events = cluster.rest().get("/api/v1/events").await.json();
        let path = format!("/api/v1/events?after={}", events["events"][0]["cursor"].as_str().unwrap());
        cluster.add([worker("w2")]).await;
        assert_eq!(cluster.rest().get(&path).await.status, 200);
        let clock = cluster.clock();
        cluster.into_server().stop().await;

        let database = Database::connect(db.url()).await.unwrap();
        database.migrate_back(steps_back_to("events")).await.unwrap();
        database.migrate().await.unwrap();
        database.close().await.unwrap();
        let cluster = TestCluster::by_clock(&db, clock).await;
        assert_eq!(cluster.rest().get(&path).await.status, 400);
        assert_eq!(cluster.worker("w2").await["id"], "w2");
    }

    async fn a_migration_that_fails_leaves_nothing_behind(empty: EmptyDatabase) {
        let EmptyDatabase(db) = empty;
        let database = Database::connect(db.url()).await.unwrap();
        // In the way of one of the later tables; of views nobody asks whose they are.
        db.execute("CREATE VIEW event AS SELECT 1 AS revision").await;
        let failure = database.migrate().await.unwrap_err().to_string();
        assert!(failure.contains("Cannot migrate") && failure.contains("event"), "{failure}");
        assert!(database.migrations().await.unwrap().iter().all(|(_, status)| *status == MigrationStatus::Pending));
        db.execute("DROP VIEW event").await;
        assert_eq!(tables(&database).await, [] as [&str; 0]);
        database.migrate().await.unwrap();
        assert!(database.is_migrated().await.unwrap());
        database.close().await.unwrap();
    }

    // Also one that somebody has tried newer migrations on in between.
    async fn a_database_from_before_the_first_release_says_what_to_do(db: TestDatabase) {
        TestCluster::on(&db).await.add([worker("w1")]).await;
        db.execute("INSERT INTO seaql_migrations VALUES ('m20261123_000001_cluster', 1)").await;
        for migrate in [true, false] {
            let refusal = Server::start(options(&db, migrate), Clock::system()).await.unwrap_err().to_string();
            assert!(refusal.contains("from before the first release"), "{refusal}");
        }
        db.execute("DELETE FROM seaql_migrations WHERE version = 'm20261123_000001_cluster'").await;
        assert_eq!(TestCluster::on(&db).await.worker("w1").await["id"], "w1");
    }

    // A start whose process did not name its host is known by its own name only, beside others that have both.
    async fn a_start_without_a_host_is_over_on_every_host(db: TestDatabase) {
        let cluster = TestCluster::on(&db).await;
        for n in 1..=4 {
            assert!(start(&cluster, "w1", &format!("b{n}"), &format!("h{n}")).await.status < 300);
        }
        let without_a_host = async |database: &TestDatabase| {
            database.execute(r#"UPDATE worker SET earlier_boot_ids = '["b2", "b3", "b9"]'"#).await;
        };
        let cluster = cluster.restart_after(without_a_host).await;
        for (boot, host) in [("b2", "h2"), ("b3", "h3"), ("b9", "h1"), ("b9", "h9")] {
            let late = start(&cluster, "w1", boot, host).await;
            assert_eq!(late.status, 409, "{boot} {host}: {}", late.body);
        }
        assert_eq!(start(&cluster, "w1", "b3", "h5").await.status, 200, "a program that always says the same");
    }

    async fn a_server_that_may_not_migrate_says_what_to_do(empty: EmptyDatabase) {
        let EmptyDatabase(db) = empty;
        let refusal = Server::start(options(&db, false), Clock::system()).await.unwrap_err().to_string();
        assert!(refusal.contains("has not been migrated: run `aetherium migrate up` first"), "{refusal}");
    }

    async fn two_databases_never_have_the_same_name(db: TestDatabase) {
        let other = TestDatabase::sqlite();
        let (one, another) = (TestCluster::on(&db).await, TestCluster::on(&other).await);
        let name = |cluster: &TestCluster| cluster.server().journal().snapshot().epochs.latest().clone();
        assert_ne!(name(&one), name(&another));
        assert_eq!(name(&one).len(), 12);
        let before = name(&one);
        assert_eq!(name(&one.restart().await), before);
    }
}
