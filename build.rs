//! Builds the pages for browsers out of `src/web`, for `src/pages` to put into the program.
//!
//! With Node and npm at hand, their locked packages are installed below the target folder, never among the sources,
//! and bundled there. All profiles share that, and it is done again only when something in `src/web` has changed.
//! Without them, or without a network for the first installation, the program is built all the same: it then shows
//! plain pages, and the warning here says what is missing. `AETHERIUM_WEB=off` asks for exactly that.

use std::collections::hash_map::DefaultHasher;
use std::error::Error;
use std::fmt::Write as _;
use std::fs::{self, File};
use std::hash::{Hash as _, Hasher as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, io};

/// What decides whether the pages are built: `off` means no, anything else that they are if they can be.
const SWITCH: &str = "AETHERIUM_WEB";

/// The oldest Node that the packages in `src/web` work with.
const OLDEST_NODE: u32 = 20;

/// The generated source that `src/pages` includes.
const TABLE: &str = "bundle.rs";

type Result<T, E = Box<dyn Error>> = std::result::Result<T, E>;

fn main() -> Result<()> {
    let sources = Sources::read(Path::new("src/web"))?;
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed={SWITCH}");
    for (name, _) in &sources.files {
        println!("cargo::rerun-if-changed={}", sources.folder.join(name).display());
    }

    let out = PathBuf::from(env::var_os("OUT_DIR").ok_or("cargo sets OUT_DIR")?);
    let bundle = if env::var_os(SWITCH).is_some_and(|switch| switch == "off") {
        None
    } else {
        match bundled(&sources, &workshop(&out)) {
            Ok(bundle) => Some(bundle),
            Err(reason) => {
                // Whoever installs Node in a folder that is searched already changes nothing that cargo could see.
                println!("cargo::rerun-if-env-changed=PATH");
                println!(
                    "cargo::warning=The GraphQL playground and the API documentation are left out, plain pages take their place: {reason}. Once that is mended, `touch build.rs` and build again; {SWITCH}=off leaves them out without this warning."
                );
                None
            }
        }
    };
    fs::write(out.join(TABLE), table(bundle.as_deref(), &out)?)?;
    Ok(())
}

/// The sources of the pages. Folders in there are not looked into: `node_modules` may be one, for an editor's sake.
struct Sources {
    folder: PathBuf,
    /// Name and content, in order.
    files: Vec<(String, Vec<u8>)>,
}

impl Sources {
    fn read(folder: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        for entry in fs::read_dir(folder)? {
            let entry = entry?;
            if entry.file_type()?.is_file() {
                files.push((entry.file_name().to_string_lossy().into_owned(), fs::read(entry.path())?));
            }
        }
        files.sort();
        Ok(Self { folder: folder.to_owned(), files })
    }

    /// A name for what is built from exactly these.
    fn fingerprint(&self) -> String {
        fingerprint(self.files.iter())
    }

    /// A name for the packages that these want.
    fn packages(&self) -> String {
        fingerprint(self.files.iter().filter(|(name, _)| name.starts_with("package")))
    }
}

fn fingerprint<'a>(files: impl Iterator<Item = &'a (String, Vec<u8>)>) -> String {
    let mut hasher = DefaultHasher::new();
    for file in files {
        file.hash(&mut hasher);
    }
    format!("{:016x}", hasher.finish())
}

/// Where packages are installed and pages are built: one place below the target folder for all profiles, so that
/// `cargo build`, `cargo clippy` and a release build do it once.
fn workshop(out: &Path) -> PathBuf {
    // Cargo marks the target folder for backup programs to skip; it has no other name for it here.
    let target = out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file());
    target.unwrap_or(out).join("web")
}

/// The folder with the pages built from these sources; they are built if they have not been before.
fn bundled(sources: &Sources, workshop: &Path) -> Result<PathBuf> {
    fs::create_dir_all(workshop)?;
    // Two cargos with different profiles may be at work at once.
    let lock = File::create(workshop.join("lock"))?;
    lock.lock()?;

    let fingerprint = sources.fingerprint();
    let done = workshop.join(format!("bundle-{fingerprint}"));
    if done.is_dir() {
        return Ok(done);
    }
    require_node()?;
    for (name, content) in &sources.files {
        fs::write(workshop.join(name), content)?;
    }
    install(&sources.packages(), workshop)?;
    remove_all(workshop, "bundle-")?;
    let unfinished = workshop.join("unfinished");
    remove(&unfinished)?;
    run(Command::new("node").args(["bundle.mjs", "unfinished"]), workshop)?;
    fs::rename(&unfinished, &done)?;
    Ok(done)
}

fn require_node() -> Result<()> {
    let found = Command::new("node")
        .arg("--version")
        .output()
        .map_err(|_| format!("Node {OLDEST_NODE} or newer is not in PATH"))?;
    let found = String::from_utf8_lossy(&found.stdout).trim().to_owned();
    let major = found.trim_start_matches('v').split('.').next().and_then(|major| major.parse::<u32>().ok());
    if major.is_some_and(|major| major >= OLDEST_NODE) {
        Ok(())
    } else {
        Err(format!("Node {OLDEST_NODE} or newer is needed, and `node --version` says {found:?}").into())
    }
}

/// Installs the packages, unless exactly these are there already.
fn install(packages: &str, workshop: &Path) -> Result<()> {
    let installed = workshop.join("installed");
    if fs::read_to_string(&installed).is_ok_and(|installed| installed == packages) {
        return Ok(());
    }
    remove(&installed)?;
    // No package's own script is run: none of them needs one, and one of them has one that tells on its users.
    let npm = if cfg!(windows) { "npm.cmd" } else { "npm" };
    run(
        Command::new(npm).args([
            "ci",
            "--ignore-scripts",
            "--no-audit",
            "--no-fund",
            "--prefer-offline",
            "--fetch-retries=1",
            "--fetch-timeout=30000",
        ]),
        workshop,
    )?;
    fs::write(installed, packages)?;
    Ok(())
}

/// Runs a command to its end; what it said is in the error.
fn run(command: &mut Command, folder: &Path) -> Result<()> {
    let name = command.get_program().to_string_lossy().into_owned();
    let first = command.get_args().next().unwrap_or_default().to_string_lossy().into_owned();
    let output = command.current_dir(folder).output().map_err(|error| format!("`{name}` cannot be run: {error}"))?;
    if output.status.success() {
        return Ok(());
    }
    // A warning of cargo's is one line, and the first few say what it was.
    let said = String::from_utf8_lossy(&output.stderr);
    let said = said.lines().filter(|line| !line.contains("npm warn")).map(|line| line.trim_start_matches("npm error"));
    let said: Vec<_> =
        said.map(str::trim).filter(|line| !line.is_empty() && !line.starts_with("at ")).take(4).collect();
    Err(format!("`{name} {first}` failed, {}: {}", output.status, said.join("; ")).into())
}

fn remove(path: &Path) -> io::Result<()> {
    let removed = if path.is_dir() { fs::remove_dir_all(path) } else { fs::remove_file(path) };
    removed.or_else(|error| if error.kind() == io::ErrorKind::NotFound { Ok(()) } else { Err(error) })
}

fn remove_all(folder: &Path, prefix: &str) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        if entry.file_name().to_string_lossy().starts_with(prefix) {
            remove(&entry.path())?;
        }
    }
    Ok(())
}

/// The table of everything that was built, as a Rust expression. The files are copied next to it, because the workshop
/// keeps only what was built last, and a profile that is not built now may have been built from something else.
fn table(bundle: Option<&Path>, out: &Path) -> Result<String> {
    let files = out.join("bundle");
    remove(&files)?;
    let Some(bundle) = bundle else { return Ok("None".to_owned()) };
    fs::create_dir_all(&files)?;

    let mut assets = String::new();
    for name in names(&bundle.join("assets"))? {
        write!(assets, "{}, ", take(&bundle.join("assets"), &name, &files)?)?;
    }
    let mut pages = String::new();
    for name in names(&bundle.join("pages"))? {
        let field = name.split('-').next().unwrap_or_default();
        write!(pages, "{field}: {}, ", take(&bundle.join("pages"), &name, &files)?)?;
    }
    Ok(format!("Some(Bundle {{ {pages}assets: &[{assets}] }})"))
}

fn names(folder: &Path) -> io::Result<Vec<String>> {
    let mut names = fs::read_dir(folder)?
        .map(|entry| Ok(entry?.file_name().to_string_lossy().into_owned()))
        .collect::<io::Result<Vec<_>>>()?;
    names.sort();
    Ok(names)
}

/// Copies a file, and writes the expression that puts it into the program.
fn take(from: &Path, name: &str, to: &Path) -> Result<String> {
    fs::copy(from.join(name), to.join(name))?;
    let shown = name.strip_suffix(".gz").ok_or("what is built is compressed")?;
    Ok(format!(r#"Asset {{ name: {shown:?}, gzip: include_bytes!(concat!(env!("OUT_DIR"), "/bundle/{name}")) }}"#))
}
