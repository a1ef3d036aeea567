//! What was measured, against what, and whether it is enough: a line each, printed as soon as it is known and kept as JSON.
//! Whom this is compared with is in `reads.rs` (`PEERS`), how they are installed in `peers.rs`.

use std::fs;
use std::path::PathBuf;

use anyhow::{Context as _, Result};
use serde::Serialize;

use super::rounds::Contender;
use super::support::digits;

/// What is wanted of a ratio, or of a value that stands for itself.
#[derive(Clone, Copy, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Target {
    /// At least this.
    AtLeast(f64),
    /// At most this.
    AtMost(f64),
    /// It is only told.
    #[serde(rename = "none")]
    Told,
}

/// One figure.
#[derive(Serialize)]
pub struct Line {
    figure: String,
    unit: &'static str,
    ours: Option<f64>,
    against: String,
    other: Option<f64>,
    ratio: Option<f64>,
    target: Target,
    met: Option<bool>,
    remark: Option<String>,
}

impl Line {
    /// Ours against another's: the ratio is what counts.
    pub fn ratio(
        figure: &str,
        unit: &'static str,
        ours: Result<f64, String>,
        (against, other): (&str, Result<f64, String>),
        target: Target,
    ) -> Self {
        let ratio = ours.as_ref().ok().zip(other.as_ref().ok()).map(|(ours, other)| ours / other);
        let remark = ours.as_ref().err().or(other.as_ref().err()).cloned();
        let (ours, other) = (ours.ok(), other.ok());
        let met = ratio.and_then(|ratio| target.is_met_by(ratio));
        Self { figure: figure.into(), unit, ours, against: against.into(), other, ratio, target, met, remark }
    }

    /// The same of two that were measured in rounds.
    pub fn contest(figure: &str, unit: &'static str, (ours, other): (&Contender, &Contender), target: Target) -> Self {
        let line = Self::ratio(figure, unit, ours.rate(), (other.name(), other.rate()), target);
        let ratio = ours.ratio_to(other);
        Self { ratio, met: ratio.and_then(|ratio| target.is_met_by(ratio)), ..line }
    }

    /// A value that stands for itself.
    pub fn value(figure: &str, unit: &'static str, ours: Result<f64, String>, target: Target) -> Self {
        let remark = ours.as_ref().err().cloned();
        let ours = ours.ok();
        let met = ours.and_then(|ours| target.is_met_by(ours));
        Self {
            figure: figure.into(),
            unit,
            ours,
            against: String::new(),
            other: None,
            ratio: None,
            target,
            met,
            remark,
        }
    }
}

impl Target {
    fn is_met_by(self, value: f64) -> Option<bool> {
        match self {
            Self::AtLeast(least) => Some(value >= least),
            Self::AtMost(most) => Some(value <= most),
            Self::Told => None,
        }
    }

    fn shown(self) -> String {
        match self {
            Self::AtLeast(least) => format!(">= {least}"),
            Self::AtMost(most) => format!("<= {most}"),
            Self::Told => String::new(),
        }
    }
}

/// Figures so far.
#[derive(Default, Serialize)]
pub struct Table {
    /// What has to be known to read the figures.
    conditions: Vec<String>,
    lines: Vec<Line>,
}

impl Table {
    /// Says something about all that follows.
    pub fn note(&mut self, condition: String) {
        println!("{condition}");
        self.conditions.push(condition);
    }

    /// Adds a line.
    pub fn add(&mut self, line: Line) {
        if self.lines.is_empty() {
            println!(
                "\n{:<34} {:>10} {:>10}  {:<28} {:>8}  {:<9} verdict",
                "figure", "ours", "other", "against", "ratio", "target"
            );
        }
        let number = |number: Option<f64>| number.map_or("-".to_owned(), digits);
        let verdict = match (line.met, &line.remark) {
            (Some(true), _) => "met",
            (Some(false), _) => "MISSED",
            (None, Some(remark)) => remark.lines().next().unwrap_or_default(),
            (None, None) => "",
        };
        println!(
            "{:<34} {:>10} {:>10}  {:<28} {:>8}  {:<9} {verdict}",
            format!("{}, {}", line.figure, line.unit),
            number(line.ours),
            number(line.other),
            line.against,
            number(line.ratio),
            line.target.shown()
        );
        self.lines.push(line);
    }

    /// Keeps all of it as `compare.json` in the folder that everything is built into.
    pub fn write(&self) -> Result<()> {
        let file = built()?.join("compare.json");
        fs::write(&file, serde_json::to_string_pretty(self)? + "\n")?;
        println!("\n{} targets missed; the same as JSON: {}", self.missed(), file.display());
        Ok(())
    }

    fn missed(&self) -> usize {
        self.lines.iter().filter(|line| line.met == Some(false)).count()
    }
}

/// The folder that everything is built into, as far as this program can tell from where it is itself.
pub fn built() -> Result<PathBuf> {
    let this = std::env::current_exe()?;
    let deps = this.ancestors().find(|folder| folder.ends_with("deps")).context("a program that cargo has built")?;
    Ok(deps.ancestors().nth(2).context("a folder of profiles")?.to_owned())
}
