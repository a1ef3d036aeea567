//! Reads: how many queries a second are answered, by us and by others, of the same data. Which others there are is
//! listed here (`PEERS`); how they are installed and started is in `peers.rs`, the text of the queries in `questions.rs`.

use std::path::Path;

use anyhow::{Result, anyhow};

use super::load::Request;
use super::ours::Ours;
use super::peers::Peers;
use super::questions::{Question, Source, agree, answer};
use super::rounds::{Contender, STARTS, measure};
use super::table::{Line, Table, Target};
use super::{Wanted, limit};
use crate::support::{Postgres, Program};

/// Somebody who serves the same data from memory.
struct Peer {
    name: &'static str,
    script: &'static str,
    option: &'static str,
    serves_graphql: bool,
    /// What is wanted of us for one worker, and for all.
    targets: [Target; 2],
}

const PEERS: [Peer; 5] = [
    Peer::new("fastify with a schema", "fastify.mjs", "schema", false),
    Peer::new("fastify, JSON.stringify", "fastify.mjs", "", false),
    // The best of them.
    Peer {
        targets: [Target::AtLeast(5.0), Target::AtLeast(20.0)],
        ..Peer::new("mercurius with jit", "mercurius.mjs", "1", true)
    },
    Peer::new("mercurius", "mercurius.mjs", "0", true),
    Peer::new("graphql-yoga", "yoga.mjs", "", true),
];

impl Peer {
    const fn new(name: &'static str, script: &'static str, option: &'static str, serves_graphql: bool) -> Self {
        Self { name, script, option, serves_graphql, targets: [Target::Told; 2] }
    }

    fn target(&self, question: Question) -> Target {
        self.targets[usize::from(question.is_about_all())]
    }
}

/// Compares all that is wanted.
pub async fn compare(wanted: &Wanted, table: &mut Table) -> Result<()> {
    let questions: Vec<Question> = Question::ALL.into_iter().filter(|question| wanted.has(question.name())).collect();
    if questions.is_empty() {
        return Ok(());
    }
    let mut field = Field { questions, contenders: Vec::new(), pairs: Vec::new() };
    let peers = Peers::install();
    // Whoever is measured runs as long as these are kept.
    let (mut ours, mut limits) = (Vec::new(), Vec::new());
    for _ in 0..STARTS {
        ours.push(Ours::start(None).await?);
    }
    let bodies = ours[0].bodies(&field.questions).await?;
    for _ in 0..STARTS {
        limits.push(limit::start(&bodies).await?);
    }
    let _peers = field.enter_memory(&ours, &limits, &peers).await?;
    let tables = Tables::start(&peers).await;
    field.enter_tables(&tables).await;
    measure(&mut field.contenders).await;
    for Pair { figure, ours, other, target } in &field.pairs {
        let [ours, other] = [*ours, *other].map(|place| &field.contenders[place]);
        table.add(Line::contest(figure, "req/s", (ours, other), *target));
    }
    Ok(())
}

/// Everybody who takes part, and the lines in which they will be compared.
struct Field {
    questions: Vec<Question>,
    contenders: Vec<Contender>,
    pairs: Vec<Pair>,
}

/// Two contenders, by their places.
struct Pair {
    figure: String,
    ours: usize,
    other: usize,
    target: Target,
}

impl Field {
    fn enter(&mut self, contender: Contender) -> usize {
        self.contenders.push(contender);
        self.contenders.len() - 1
    }

    fn pair(&mut self, figure: String, ours: usize, other: Contender, target: Target) {
        let other = self.enter(other);
        self.pairs.push(Pair { figure, ours, other, target });
    }

    /// Us, the limit, and those who serve the same from memory.
    async fn enter_memory(
        &mut self,
        ours: &[Ours],
        limits: &[Program],
        peers: &Result<Peers>,
    ) -> Result<Vec<Result<Program>>> {
        let mut us = Vec::new();
        for question in self.questions.clone() {
            let request = question.request();
            let addresses = ours.iter().map(Ours::address);
            let place = self.enter(Contender::several("us", addresses, question.script(&request)));
            let constant = question.script(&request.at(&limit::path(question.name())));
            let addresses = limits.iter().map(|limit| limit.address.as_str());
            let constant = Contender::several("a constant body", addresses, constant);
            self.pair(question.name().into(), place, constant, question.of_limit());
            us.push((question, place));
        }
        let ours = &ours[0];
        let data = ours.export().await?;
        let mut programs = Vec::new();
        for peer in &PEERS {
            let mut asked = us.iter().filter(|(question, _)| question.is_graphql() == peer.serves_graphql).peekable();
            if asked.peek().is_none() {
                continue;
            }
            let program = start(peers, peer.script, &[&data, peer.option.as_ref()]).await;
            for &(question, us) in asked {
                let other = rival(peer.name, &program, question, &question.request(), ours, Source::Memory).await;
                self.pair(question.name().into(), us, other, peer.target(question));
            }
            programs.push(program);
        }
        Ok(programs)
    }

    /// Us on PostgreSQL, and who reads the same tables for each request.
    async fn enter_tables(&mut self, tables: &Result<Tables>) {
        const NAME: &str = "PostGraphile";
        for question in self.questions.clone() {
            let Some(request) = question.of_tables() else { continue };
            let target = if question.is_about_all() { Target::AtLeast(60.0) } else { Target::Told };
            let (us, other) = match tables {
                Ok(Tables { ours, theirs, .. }) => (
                    Contender::new("us", ours.address(), question.script(&question.request())),
                    rival(NAME, theirs, question, &request, ours, Source::Tables).await,
                ),
                Err(error) => (Contender::absent("us", error), Contender::absent(NAME, error)),
            };
            let us = self.enter(us);
            self.pair(format!("{} on PostgreSQL", question.name()), us, other, target);
        }
    }
}

/// A PostgreSQL, our server on it, and one that reads our server's tables.
struct Tables {
    ours: Ours,
    theirs: Result<Program>,
    /// The last to go.
    _postgres: Postgres,
}

impl Tables {
    async fn start(peers: &Result<Peers>) -> Result<Self> {
        let postgres = Postgres::start()?;
        let ours = Ours::start(Some(postgres.url())).await?;
        let theirs = start(peers, "postgraphile.mjs", &[postgres.url().as_ref()]).await;
        Ok(Self { ours, theirs, _postgres: postgres })
    }
}

async fn start(peers: &Result<Peers>, script: &str, arguments: &[&Path]) -> Result<Program> {
    match peers {
        Ok(peers) => peers.start(script, arguments).await,
        Err(error) => Err(anyhow!("{error:#}")),
    }
}

/// One who has to give the answer that we give before it is measured.
async fn rival(
    name: &'static str,
    program: &Result<Program>,
    question: Question,
    request: &Request,
    ours: &Ours,
    source: Source,
) -> Contender {
    let checked = async {
        let program = program.as_ref().map_err(|error| anyhow!("{error:#}"))?;
        let expected = answer(ours.address(), &question.request()).await?;
        agree(&expected, &answer(&program.address, request).await?, source)?;
        Ok::<_, anyhow::Error>(Contender::new(name, &program.address, question.script(request)))
    };
    checked.await.unwrap_or_else(|error| Contender::absent(name, &error))
}
