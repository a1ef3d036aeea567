//! `build.rs`, compiled by itself and run as cargo runs it: on a machine where something is missing that the pages are built
//! with, the program is built all the same, and cargo is told what is missing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

/// A machine: a folder of programs that are found there, and a target folder.
struct Machine {
    folder: TempDir,
}

/// What a build came to.
struct Build {
    /// The lines for cargo that are warnings.
    warnings: Vec<String>,
    /// What cargo looks at to see whether to run the script again.
    rerun: Vec<String>,
    /// The source that `src/pages` includes.
    table: String,
}

impl Machine {
    fn without_node() -> Self {
        let folder = TempDir::new().unwrap();
        for name in ["programs", "target/out"] {
            fs::create_dir_all(folder.path().join(name)).unwrap();
        }
        fs::write(folder.path().join("target/CACHEDIR.TAG"), "").unwrap();
        Self { folder }
    }

    /// Puts a program there, which is these lines of a shell.
    fn with(self, name: &str, lines: &str) -> Self {
        let program = self.folder.path().join("programs").join(name);
        fs::write(&program, format!("#!/bin/sh\n{lines}\n")).unwrap();
        fs::set_permissions(&program, fs::Permissions::from_mode(0o755)).unwrap();
        self
    }

    fn build(&self) -> Build {
        self.build_with(&[])
    }

    fn build_with(&self, variables: &[(&str, &str)]) -> Build {
        let out = self.folder.path().join("target/out");
        let Output { status, stdout, stderr } = Command::new(build_script())
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .env_clear()
            .env("PATH", self.folder.path().join("programs"))
            .env("OUT_DIR", &out)
            .envs(variables.iter().copied())
            .output()
            .unwrap();
        assert!(status.success(), "the build fails: {}", String::from_utf8_lossy(&stderr));
        let said = String::from_utf8(stdout).unwrap();
        let with =
            |prefix: &str| said.lines().filter_map(|line| line.strip_prefix(prefix)).map(str::to_owned).collect();
        Build {
            warnings: with("cargo::warning="),
            rerun: with("cargo::rerun-if-env-changed="),
            table: fs::read_to_string(out.join("bundle.rs")).unwrap(),
        }
    }
}

/// The compiled script. It needs no crate, which keeps this a matter of seconds.
fn build_script() -> &'static Path {
    static SCRIPT: OnceLock<PathBuf> = OnceLock::new();
    SCRIPT.get_or_init(|| {
        let script = Path::new(env!("CARGO_TARGET_TMPDIR")).join("build-script");
        let compiled = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
            .current_dir(env!("CARGO_MANIFEST_DIR"))
            .args(["--edition", "2024", "build.rs", "-o"])
            .arg(&script)
            .output()
            .expect("rustc is there, or this would not have been compiled");
        assert!(compiled.status.success(), "{}", String::from_utf8_lossy(&compiled.stderr));
        script
    })
}

/// A Node that is young enough, and does nothing.
const NODE: &str = r#"[ "$1" != --version ] || echo v22.1.0"#;

#[test]
fn without_something_that_the_pages_are_built_with_the_program_is_built_and_cargo_told_what_is_missing() {
    let cases = [
        (Machine::without_node(), "Node 20 or newer is not in PATH"),
        (
            Machine::without_node().with("node", "echo v18.20.4"),
            r#"Node 20 or newer is needed, and `node --version` says "v18.20.4""#,
        ),
        (Machine::without_node().with("node", NODE), "`npm` cannot be run"),
        (
            Machine::without_node()
                .with("node", NODE)
                .with("npm", "echo 'npm warn old\nnpm error network is unreachable' >&2\nexit 1"),
            "`npm ci` failed, exit status: 1: network is unreachable",
        ),
        (
            Machine::without_node()
                .with(
                    "node",
                    r#"[ "$1" = --version ] && echo v22.1.0 || { echo 'Error: no such module' >&2; exit 3; }"#,
                )
                .with("npm", ""),
            "`node bundle.mjs` failed, exit status: 3: Error: no such module",
        ),
    ];
    for (machine, reason) in cases {
        let build = machine.build();
        assert_eq!(build.table, "None", "{reason}");
        let [warning] = &build.warnings[..] else { panic!("{reason}: {:?}", build.warnings) };
        assert!(warning.contains(reason), "{reason}: {warning}");
        let plain = "The dashboard, the GraphQL playground and the API documentation are left out, plain pages take their place";
        assert!(warning.starts_with(plain), "{warning}");
        assert!(warning.contains("`touch build.rs` and build again"), "{warning}");
        // Whoever installs Node where it was not in PATH before need not touch anything.
        assert_eq!(build.rerun, ["AETHERIUM_WEB", "PATH"], "{reason}");
    }
}

#[test]
fn whoever_wants_no_pages_is_not_warned() {
    let build = Machine::without_node().build_with(&[("AETHERIUM_WEB", "off")]);
    assert_eq!((build.table.as_str(), build.warnings.len()), ("None", 0));
    assert_eq!(build.rerun, ["AETHERIUM_WEB"]);
}

#[test]
fn what_is_built_is_put_into_the_program_and_not_built_again() {
    let bundle = r#"case "$1" in
        --version) echo v22.1.0 ;;
        *) [ "$1 $2" = "bundle.mjs unfinished" ] || exit 1
           /bin/mkdir -p unfinished/assets unfinished/pages
           for page in below dashboard docs playground; do : >unfinished/pages/$page-1A.html.gz; done
           : >unfinished/pages/dashboard-1A.html.br
           : >unfinished/assets/main-2B.js.gz ;;
        esac"#;
    let machine = Machine::without_node().with("node", bundle).with("npm", "");
    let build = machine.build();
    assert!(build.warnings.is_empty(), "{:?}", build.warnings);
    for expected in [
        r#"Some(Bundle { below: Asset { name: "below-1A.html","#,
        r#"dashboard: Asset { name: "dashboard-1A.html", content: Compressed { gzip: include_bytes!(concat!(env!("OUT_DIR"), "/bundle/dashboard-1A.html.gz")), brotli: Some("#,
        r#"assets: &[Asset { name: "main-2B.js", content: Compressed { gzip: include_bytes!(concat!(env!("OUT_DIR"), "/bundle/main-2B.js.gz")), brotli: None } }, ]"#,
    ] {
        assert!(build.table.contains(expected), "{expected} is not in {}", build.table);
    }
    // Node may be gone by now.
    let again = machine.with("node", "exit 1").build();
    assert_eq!((again.table, again.warnings.len()), (build.table, 0));
}
