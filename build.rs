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
                    "cargo::warning=The dashboard, the GraphQL playground and the API documentation are left out, plain pages take their place: {reason}. Once that is mended, `touch build.rs` and build again; {SWITCH}=off leaves them out without this warning."
                );
                None
            }
        }
    };
    fs::write(out.join(TABLE), table(bundle.as_deref(), &out)?)?;
    Ok(())
}

/// The sources of the pages, without what an editor or a check may have left there: `node_modules`, the types of the
/// dashboard's questions, and what is hidden.
struct Sources {
    folder: PathBuf,
    /// Path below the folder, with slashes, and content, in order.
    files: Vec<(String, Vec<u8>)>,
}

impl Sources {
    fn read(folder: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        read_below(folder, "", &mut files)?;
        files.sort();
        Ok(Self { folder: folder.to_owned(), files })
    }

    /// Copies them here, in place of what was copied before.
    fn copy_to(&self, workshop: &Path) -> io::Result<()> {
        for (name, _) in &self.files {
            if let Some((folder, _)) = name.split_once('/') {
                remove(&workshop.join(folder))?;
            }
        }
        for (name, content) in &self.files {
            let path = workshop.join(name);
            fs::create_dir_all(path.parent().unwrap_or(workshop))?;
            fs::write(path, content)?;
        }
        Ok(())
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

fn read_below(folder: &Path, prefix: &str, files: &mut Vec<(String, Vec<u8>)>) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let name = entry.file_name().to_string_lossy().into_owned();
        if ["node_modules", "generated.d.ts"].contains(&name.as_str()) || name.starts_with('.') {
            continue;
        }
        if entry.file_type()?.is_dir() {
            read_below(&entry.path(), &format!("{prefix}{name}/"), files)?;
        } else {
            files.push((format!("{prefix}{name}"), fs::read(entry.path())?));
        }
    }
    Ok(())
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
    // `OUT_DIR` is TARGET/PROFILE/build/PACKAGE/out, or TARGET/TRIPLE/PROFILE/… with `--target`. Cargo names the target
    // folder nowhere here, but marks it for backup programs to skip; not if somebody else made the folder.
    let target =
        out.ancestors().find(|folder| folder.join("CACHEDIR.TAG").is_file()).or_else(|| out.ancestors().nth(4));
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
    sources.copy_to(workshop)?;
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

/// The names of what was built, without the ends that tell how it is compressed.
fn names(folder: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(folder)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        match name.strip_suffix(".gz") {
            Some(name) => names.push(name.to_owned()),
            None if name.ends_with(".br") => {}
            None => return Err(format!("{name} is not compressed").into()),
        }
    }
    names.sort();
    Ok(names)
}

/// Copies a file in the forms that there are, and writes the expression that puts them into the program.
fn take(from: &Path, name: &str, to: &Path) -> Result<String> {
    let copied = |end: &str| -> Result<String> {
        let file = format!("{name}{end}");
        fs::copy(from.join(&file), to.join(&file))?;
        Ok(format!(r#"include_bytes!(concat!(env!("OUT_DIR"), "/bundle/{file}"))"#))
    };
    let gzip = copied(".gz")?;
    let brotli =
        if from.join(format!("{name}.br")).is_file() { format!("Some({})", copied(".br")?) } else { "None".to_owned() };
    Ok(format!("Asset {{ name: {name:?}, content: Compressed {{ gzip: {gzip}, brotli: {brotli} }} }}"))
}
