//! Databases for one test each, of both kinds, and the macro that runs a test on both kinds.

use std::env;
use std::panic::{AssertUnwindSafe, resume_unwind};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use futures_util::FutureExt;
use migration::{Migrator, MigratorTrait};
use sea_orm::{ConnectOptions, ConnectionTrait, Database, DatabaseConnection, DbBackend, Statement};
use tempfile::TempDir;
use tokio::sync::OnceCell;
use uuid::Uuid;

/// The environment variable with the URL of the PostgreSQL server on which databases for tests are created.
const POSTGRES_URL: &str = "AETHERIUM_TEST_POSTGRES_URL";

/// The environment variable with the folder for files of databases; without it, they are in the temporary folder.
const DATABASES: &str = "AETHERIUM_TEST_DATABASES";

/// The tables of a cluster. Every commit locks the first one.
const TABLES: [&str; 9] =
    ["cluster", "epoch", "worker", "vm", "event", "worker_tombstone", "idempotency_record", "token", "reservation"];

/// Generates two tests of each function: `…::sqlite` and `…::postgres`. The type of the argument says what is created
/// for it: an empty [`TestCluster`](super::TestCluster), or only a [`TestDatabase`].
macro_rules! on_both_databases {
    ($($(#[$attribute:meta])* async fn $name:ident($setting:ident: $Setting:ty) $behaviour:block)+) => { $(
        $(#[$attribute])*
        mod $name {
            #[allow(unused_imports, reason = "not every test of a file needs all that the file imports")]
            use super::*;

            async fn behaviour($setting: $Setting) $behaviour

            #[tokio::test]
            async fn sqlite() {
                TestDatabase::sqlite().run(behaviour).await;
            }

            #[tokio::test]
            async fn postgres() {
                TestDatabase::postgres_for::<$Setting>().await.run(behaviour).await;
            }
        }
    )+ };
}

/// An empty database that is removed after the test.
#[derive(Clone)]
pub struct TestDatabase {
    url: String,
    /// The folder of a SQLite file; deleted when the last copy of this value is dropped.
    folder: Option<Arc<TempDir>>,
    /// How many copies of the database there are, which are removed with it.
    copies: Arc<AtomicU32>,
}

/// A copy of a database that no server uses.
pub struct Backup {
    /// The path of a file, or the name of a PostgreSQL database.
    name: String,
}

/// A type that a test can have as its argument.
pub trait FromDatabase: Sized {
    /// Whether the PostgreSQL database is created with empty tables of this version.
    const HAS_TABLES: bool = true;

    /// Creates the argument on a database.
    async fn from(database: TestDatabase) -> Self;
}

impl FromDatabase for TestDatabase {
    async fn from(database: TestDatabase) -> Self {
        database
    }
}

/// A database without tables, for tests of migrations.
pub struct EmptyDatabase(pub TestDatabase);

impl FromDatabase for EmptyDatabase {
    const HAS_TABLES: bool = false;

    async fn from(database: TestDatabase) -> Self {
        Self(database)
    }
}

/// The PostgreSQL database that this process has migrated once, to be copied for each test.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

impl TestDatabase {
    /// A SQLite file in a temporary folder.
    pub fn sqlite() -> Self {
        let folder = database_folder("aetherium-suite-");
        let url = format!("sqlite://{}", folder.path().join("cluster.db").display());
        Self { url, folder: Some(Arc::new(folder)), copies: Arc::default() }
    }

    /// A SQLite file at this path, which the caller removes.
    #[allow(dead_code, reason = "only tests/processes is about files")]
    pub fn sqlite_at(file: &Path) -> Self {
        Self { url: format!("sqlite://{}", file.display()), folder: None, copies: Arc::default() }
    }

    /// A database by its URL, which the caller removes.
    #[allow(dead_code, reason = "only tests/processes has servers of its own")]
    pub fn at(url: String) -> Self {
        Self { url, folder: None, copies: Arc::default() }
    }

    /// The SQLite file.
    pub fn file(&self) -> PathBuf {
        PathBuf::from(self.url.strip_prefix("sqlite://").expect("a file"))
    }

    /// A PostgreSQL database with empty tables. It is a copy of one that the first such test has migrated, since
    /// copying takes less time than migrating.
    pub async fn postgres() -> Self {
        let template = TEMPLATE.get_or_init(make_template).await;
        Self::copy_on_postgres(template).await
    }

    /// The PostgreSQL database for a test's argument.
    pub async fn postgres_for<S: FromDatabase>() -> Self {
        if S::HAS_TABLES { Self::postgres().await } else { Self::postgres_without_tables().await }
    }

    /// A PostgreSQL database without tables.
    pub async fn postgres_without_tables() -> Self {
        Self::copy_on_postgres("template0").await
    }

    async fn copy_on_postgres(template: &str) -> Self {
        let name = format!("suite_{}", Uuid::new_v4().simple());
        administer(&format!(r#"CREATE DATABASE "{name}" TEMPLATE "{template}""#)).await;
        Self { url: postgres_url(&name), folder: None, copies: Arc::default() }
    }

    /// Runs a test on this database, and removes the database whether the test has passed or not.
    pub async fn run<S: FromDatabase>(self, behaviour: impl AsyncFnOnce(S)) {
        let outcome = AssertUnwindSafe(async { behaviour(S::from(self.clone()).await).await }).catch_unwind().await;
        if self.backend() == DbBackend::Postgres {
            administer(&format!(r#"DROP DATABASE "{}" WITH (FORCE)"#, self.name_on_server())).await;
            administer(&format!(r#"DROP ROLE IF EXISTS "{}""#, self.role_name())).await;
            for copy in 0..self.copies.load(Ordering::Relaxed) {
                administer(&format!(r#"DROP DATABASE "{}" WITH (FORCE)"#, self.copy(copy))).await;
            }
        }
        if let Err(panic) = outcome {
            resume_unwind(panic);
        }
    }

    /// Its URL.
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Its kind.
    pub fn backend(&self) -> DbBackend {
        if self.url.starts_with("sqlite") { DbBackend::Sqlite } else { DbBackend::Postgres }
    }

    /// Executes SQL on a connection that is not the server's.
    pub async fn execute(&self, sql: &str) {
        let connection = connect(&self.url).await;
        execute_on(&connection, sql).await;
        connection.close().await.unwrap();
    }

    /// Copies the database as it is now. No server may use it meanwhile.
    pub async fn back_up(&self) -> Backup {
        let name = self.copy(self.copies.fetch_add(1, Ordering::Relaxed));
        if self.backend() == DbBackend::Sqlite {
            self.execute(&format!("VACUUM INTO '{name}'")).await;
        } else {
            administer(&format!(r#"CREATE DATABASE "{name}" TEMPLATE "{}""#, self.name_on_server())).await;
        }
        Backup { name }
    }

    /// Replaces the database by a copy. No server may use it meanwhile.
    pub async fn restore(&self, Backup { name }: &Backup) {
        if self.backend() == DbBackend::Sqlite {
            let file = self.url.strip_prefix("sqlite://").unwrap();
            for beside in ["-wal", "-shm"] {
                let _ = std::fs::remove_file(format!("{file}{beside}"));
            }
            std::fs::remove_file(file).unwrap();
            std::fs::copy(name, file).unwrap();
        } else {
            let own = self.name_on_server();
            administer(&format!(r#"DROP DATABASE "{own}" WITH (FORCE)"#)).await;
            administer(&format!(r#"CREATE DATABASE "{own}" TEMPLATE "{name}""#)).await;
        }
    }

    /// Another database that begins as this copy. It is removed with the original.
    pub async fn copy_of(&self, Backup { name }: &Backup) -> Self {
        let copy = self.copy(self.copies.fetch_add(1, Ordering::Relaxed));
        let url = if self.backend() == DbBackend::Sqlite {
            std::fs::copy(name, &copy).unwrap();
            format!("sqlite://{copy}")
        } else {
            administer(&format!(r#"CREATE DATABASE "{copy}" TEMPLATE "{name}""#)).await;
            postgres_url(&copy)
        };
        Self { url, folder: self.folder.clone(), copies: Arc::default() }
    }

    fn copy(&self, number: u32) -> String {
        match &self.folder {
            Some(folder) => folder.path().join(format!("copy{number}.db")).display().to_string(),
            None => format!("{}_{number}", self.name_on_server()),
        }
    }

    /// Every row of every table, as text.
    pub async fn dump(&self) -> String {
        let connection = connect(&self.url).await;
        let texts = async |sql: String| {
            let rows = connection.query_all_raw(Statement::from_string(self.backend(), sql)).await.unwrap();
            rows.into_iter().map(|row| row.try_get_by_index::<String>(0).unwrap()).collect::<Vec<_>>()
        };
        let is_sqlite = self.backend() == DbBackend::Sqlite;
        let tables = if is_sqlite {
            "SELECT name FROM sqlite_master WHERE type = 'table'"
        } else {
            "SELECT tablename::text FROM pg_tables WHERE schemaname = 'public'"
        };
        let mut dump = String::new();
        for table in texts(tables.to_owned()).await {
            let rows = if is_sqlite {
                let columns = texts(format!("SELECT name FROM pragma_table_info('{table}')")).await;
                let columns = columns.iter().map(|column| format!("quote(\"{column}\")")).collect::<Vec<_>>();
                format!("SELECT {} FROM \"{table}\"", columns.join("||' '||"))
            } else {
                format!("SELECT row_to_json(t)::text FROM \"{table}\" t")
            };
            for row in texts(rows).await {
                dump += &format!("{table} {row}\n");
            }
        }
        connection.close().await.unwrap();
        dump
    }

    /// Saves the rows of all tables in further tables.
    pub async fn keep_tables(&self) {
        for table in TABLES {
            self.execute(&format!("CREATE TABLE kept_{table} AS SELECT * FROM {table}")).await;
        }
    }

    /// Restores the saved rows in one transaction, while servers use the tables.
    pub async fn put_tables_back(&self) {
        let put_back =
            TABLES.map(|table| format!("DELETE FROM {table}; INSERT INTO {table} SELECT * FROM kept_{table};"));
        self.execute(&format!("BEGIN; {} COMMIT", put_back.concat())).await;
    }

    /// Ends all connections and refuses new ones; PostgreSQL only.
    pub async fn cut_off(&self) {
        let name = self.name_on_server();
        administer(&format!(r#"ALTER DATABASE "{name}" ALLOW_CONNECTIONS false"#)).await;
        administer(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")).await;
    }

    /// Ends all connections, and accepts new ones; PostgreSQL only.
    pub async fn cut_off_once(&self) {
        let name = self.name_on_server();
        administer(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'")).await;
    }

    /// Ends a [`cut_off`](Self::cut_off).
    pub async fn let_in(&self) {
        administer(&format!(r#"ALTER DATABASE "{}" ALLOW_CONNECTIONS true"#, self.name_on_server())).await;
    }

    /// The same database, with a role of its own, which has all rights: so that one of several servers can be
    /// [shut out](Self::shut_out_role); PostgreSQL only.
    pub async fn by_role(&self) -> Self {
        let role = self.role_name();
        administer(&format!(r#"CREATE ROLE "{role}" SUPERUSER LOGIN"#)).await;
        let (_, server) = self.url.rsplit_once('@').unwrap();
        Self { url: format!("postgres://{role}@{server}"), folder: None, copies: Arc::default() }
    }

    /// Ends all connections of [the role](Self::by_role), and refuses new ones.
    pub async fn shut_out_role(&self) {
        let role = self.role_name();
        administer(&format!(r#"ALTER ROLE "{role}" NOLOGIN"#)).await;
        administer(&format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = '{role}'")).await;
    }

    /// Ends a [`shut_out_role`](Self::shut_out_role).
    pub async fn let_role_in(&self) {
        administer(&format!(r#"ALTER ROLE "{}" LOGIN"#, self.role_name())).await;
    }

    fn role_name(&self) -> String {
        format!("{}_role", self.name_on_server())
    }

    fn name_on_server(&self) -> &str {
        assert_eq!(self.backend(), DbBackend::Postgres, "a file has no name on a server");
        self.url.rsplit_once('/').unwrap().1
    }
}

/// A new folder for files of databases, which `tests/run` has in memory if there is room: on a disk that a build writes to,
/// a commit may wait for longer than the server allows it.
pub fn database_folder(prefix: &str) -> TempDir {
    let mut folder = tempfile::Builder::new();
    folder.prefix(prefix);
    env::var_os(DATABASES).map_or_else(|| folder.tempdir(), |parent| folder.tempdir_in(parent)).unwrap()
}

/// Migrates a database to be copied. Its name is made of the compiled test program, so that a later run of the same
/// program finds the database, and a newly compiled program removes it.
async fn make_template() -> String {
    let program = env::current_exe().unwrap();
    let compiled = program.metadata().unwrap().modified().unwrap();
    let compiled = compiled.duration_since(std::time::UNIX_EPOCH).unwrap().as_nanos();
    let (name, place) = (format!("template_{compiled}"), program.display().to_string().replace('\'', ""));
    let server = connect(&postgres_url("postgres")).await;
    // One of several processes that run at once creates it. The lock ends with the connection.
    execute_on(&server, "SELECT pg_advisory_lock(hashtext('template of tests'))").await;
    let sql = format!(
        "SELECT datname::text AS name FROM pg_database WHERE shobj_description(oid, 'pg_database') = '{place}'"
    );
    let known = server.query_all_raw(Statement::from_string(DbBackend::Postgres, sql)).await.unwrap();
    let known: Vec<String> = known.iter().map(|row| row.try_get("", "name").unwrap()).collect();
    for outdated in known.iter().filter(|known| **known != name) {
        execute_on(&server, &format!(r#"DROP DATABASE IF EXISTS "{outdated}" WITH (FORCE)"#)).await;
    }
    if !known.contains(&name) {
        // A database whose migration was not finished has no comment.
        execute_on(&server, &format!(r#"DROP DATABASE IF EXISTS "{name}" WITH (FORCE)"#)).await;
        execute_on(&server, &format!(r#"CREATE DATABASE "{name}" TEMPLATE template0"#)).await;
        let database = connect(&postgres_url(&name)).await;
        Migrator::up(&database, None).await.unwrap();
        database.close().await.unwrap();
        execute_on(&server, &format!(r#"COMMENT ON DATABASE "{name}" IS '{place}'"#)).await;
    }
    server.close().await.unwrap();
    name
}

async fn execute_on(connection: &DatabaseConnection, sql: &str) {
    connection.execute_unprepared(sql).await.unwrap_or_else(|error| panic!("{sql}: {error}"));
}

async fn administer(sql: &str) {
    TestDatabase { url: postgres_url("postgres"), folder: None, copies: Arc::default() }.execute(sql).await;
}

fn postgres_url(database: &str) -> String {
    let url = env::var(POSTGRES_URL).unwrap_or_else(|_| {
        panic!(
            "No PostgreSQL to test on: run tests/run, which starts one, \
             or set {POSTGRES_URL}=postgres://user@host:5432/postgres to one where databases may be made."
        )
    });
    let (server, _) = url.rsplit_once('/').unwrap_or_else(|| panic!("{POSTGRES_URL} names no database: {url}"));
    format!("{server}/{database}")
}

async fn connect(url: &str) -> DatabaseConnection {
    let mut options = ConnectOptions::new(url);
    options.max_connections(1).sqlx_logging(false);
    Database::connect(options).await.unwrap_or_else(|error| panic!("{url}: {error}"))
}
