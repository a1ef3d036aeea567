//! Reading lists of the API, page by page, and single objects by their ids.

use std::collections::{BTreeMap, HashSet};

use serde_json::value::RawValue;

use super::columns::{Objects, WORKERS};
use super::failure::{ExitStatus, Failure};
use super::filters::{Parameters, repeated};
use super::output::{Output, Row};
use crate::client::{ApiClient, Question};

/// Rows of one page: the most that the API gives.
pub const PAGE_LENGTH: usize = 500;

/// How many ids are named in one question: beyond that its address would be too long for some proxies.
const IDS_PER_QUESTION: usize = 50;

/// A list of the API.
#[derive(Clone, Debug)]
pub struct List<'a> {
    /// What is in it.
    pub objects: &'static Objects,
    /// Where it is.
    pub path: &'a [&'a str],
    /// Filter and order.
    pub parameters: Parameters,
}

/// One object by its id.
pub async fn one(api: &ApiClient, list: &List<'_>, id: &str) -> Result<Row, Failure> {
    let nowhere = || Failure::new(ExitStatus::NotFound, format!("{} not found: {id}", list.objects.noun));
    // No URL can hold such an id, so nothing has it.
    if matches!(id, "" | "." | "..") {
        return Err(nowhere());
    }
    let answer = api.ask(Question::get(list.path.iter().copied().chain([id]))).await?;
    Ok(Row::new(answer.read()?))
}

/// The objects with these ids, in this order, and the ids of which there is none.
pub async fn named(api: &ApiClient, list: &List<'_>, ids: &[String]) -> Result<(Vec<Row>, Vec<String>), Failure> {
    let mut found = BTreeMap::new();
    if list.objects.key == WORKERS.key {
        for ids in ids.chunks(IDS_PER_QUESTION) {
            let mut some = list.clone();
            some.parameters.extend(repeated("id", ids));
            found.extend(some.all(api).await?.into_iter().map(|row| (row.text("id").to_owned(), row)));
        }
    } else {
        for id in ids {
            match one(api, list, id).await {
                Ok(row) => drop(found.insert(id.clone(), row)),
                Err(failure) if failure.is(ExitStatus::NotFound) => {}
                Err(failure) => return Err(failure),
            }
        }
    }
    let mut seen = HashSet::new();
    let wanted: Vec<_> = ids.iter().filter(|id| seen.insert(*id)).collect();
    let missing = wanted.iter().filter(|id| !found.contains_key(**id)).map(|id| (*id).clone()).collect();
    Ok((wanted.into_iter().filter_map(|id| found.remove(id)).collect(), missing))
}

impl List<'_> {
    /// All of it.
    pub async fn all(&self, api: &ApiClient) -> Result<Vec<Row>, Failure> {
        self.first(api, None).await
    }

    async fn first(&self, api: &ApiClient, limit: Option<usize>) -> Result<Vec<Row>, Failure> {
        let mut pages = Pages::new(self.clone(), limit);
        let mut all = Vec::new();
        while let Some(rows) = pages.next(api).await? {
            all.extend(rows);
        }
        Ok(all)
    }

    /// Writes it, or as much of it: page by page where the format allows that.
    pub async fn write(&self, api: &ApiClient, limit: Option<usize>, output: &mut Output) -> Result<(), Failure> {
        if output.streams() {
            let mut pages = Pages::new(self.clone(), limit);
            while let Some(rows) = pages.next(api).await? {
                output.stream(self.objects, &rows)?;
            }
            // The head of a list that is empty.
            output.stream(self.objects, &[])?;
        } else {
            let rows = self.first(api, limit).await?;
            output.list(self.objects, &rows)?;
        }
        output.flush()
    }
}

/// The pages of a list. What moves in its order meanwhile may be on two pages, and is given once.
#[derive(Debug)]
pub struct Pages<'a> {
    list: List<'a>,
    cursor: Option<String>,
    left: usize,
    seen: HashSet<String>,
    is_over: bool,
}

impl<'a> Pages<'a> {
    /// From the beginning.
    pub fn new(list: List<'a>, limit: Option<usize>) -> Self {
        Self { list, cursor: None, left: limit.unwrap_or(usize::MAX), seen: HashSet::new(), is_over: false }
    }

    /// The next page; none at the end.
    pub async fn next(&mut self, api: &ApiClient) -> Result<Option<Vec<Row>>, Failure> {
        if self.is_over || self.left == 0 {
            return Ok(None);
        }
        let limit = self.left.min(PAGE_LENGTH);
        let mut question = Question::get(self.list.path.iter().copied()).with_all(&self.list.parameters);
        question = question.with("limit", limit.to_string());
        if let Some(cursor) = &self.cursor {
            question = question.with("cursor", cursor.clone());
        }
        let answer = api.ask(question).await?;
        let mut page: BTreeMap<String, Box<RawValue>> = answer.read()?;
        let rows = page.remove(self.list.objects.key).unwrap_or_default();
        let rows: Vec<Box<RawValue>> = serde_json::from_str(rows.get()).unwrap_or_default();
        // In the body, or of an older server in `Link`.
        let told = page.remove("next_cursor").and_then(|cursor| serde_json::from_str(cursor.get()).ok());
        self.cursor = told.flatten().or(answer.next_cursor);
        self.is_over = self.cursor.is_none();
        let rows = rows.into_iter().map(Row::new);
        let name = self.list.objects.name;
        let mut is_new = |row: &Row| row.text(name).is_empty() || self.seen.insert(row.text(name).to_owned());
        let rows: Vec<_> = rows.filter(|row| is_new(row)).collect();
        self.left -= rows.len().min(self.left);
        Ok(Some(rows))
    }
}
