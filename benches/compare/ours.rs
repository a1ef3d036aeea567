//! Our server with the data that everybody has.

use std::fs;
use std::path::PathBuf;

use anyhow::Result;
use serde_json::json;
use tempfile::TempDir;

use super::load::Connection;
use super::questions::{Question, answer, graphql};
use crate::support::documents::{FIELDS, VMS};
use crate::support::{Core, Fleet, Program};

/// It runs, with a fleet in it. Nobody beats for the fleet, and it is not missed.
pub struct Ours {
    /// The program.
    pub program: Program,
    folder: TempDir,
}

impl Ours {
    /// On the SQLite file of a new folder, or on another database.
    pub async fn start(database: Option<String>) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let url = database.unwrap_or_else(|| "sqlite://aetherium.db".into());
        let arguments = ["--database-url", &url, "--offline-after", "24h"];
        let program = Program::aetherium(Core::Measured, folder.path(), &arguments).await?;
        Fleet::A.join(&program.client()).await;
        Ok(Self { program, folder })
    }

    /// Where it listens.
    pub fn address(&self) -> &str {
        &self.program.address
    }

    /// What it answers, byte by byte, in a file for each question.
    pub async fn bodies(&self, questions: &[Question]) -> Result<PathBuf> {
        let bodies = self.folder.path().join("bodies");
        fs::create_dir(&bodies)?;
        let mut connection = Connection::open(self.address()).await?;
        for question in questions {
            fs::write(bodies.join(question.name()), connection.ask(&question.request()).await?)?;
        }
        Ok(bodies)
    }

    /// All that is asked for, for others to serve.
    pub async fn export(&self) -> Result<PathBuf> {
        let all = json!({"query": format!("{{ workers {{ {FIELDS} {VMS} }} }}")});
        let workers = answer(self.address(), &graphql(&all)).await?;
        let list = answer(self.address(), &Question::AllWorkers.request()).await?;
        let file = self.folder.path().join("data.json");
        fs::write(&file, json!({"workers": workers["data"]["workers"], "rest": {"list": list}}).to_string())?;
        Ok(file)
    }
}
