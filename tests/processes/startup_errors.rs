//! What cannot work is one sentence, and an exit status that scripts can read.

use std::net::TcpListener;

use serde_json::Value;

use crate::harness::{Exit, Program};

/// Checks that a program gave up with one sentence that names these things.
fn assert_one_sentence(exit: &Exit, names: &[&str]) {
    let Exit { code, out, err } = exit;
    assert_eq!((*code, out.as_str()), (Some(1), ""), "{err}");
    let sentence = err.strip_prefix("aetherium: ").unwrap_or_else(|| panic!("{err}"));
    assert!(sentence.ends_with(".\n") && sentence.lines().count() == 1, "{err}");
    for name in names {
        assert!(sentence.contains(name), "{name} is not in: {sentence}");
    }
}

#[tokio::test]
async fn databases_that_cannot_be_used_are_named() {
    for (url, names) in [
        ("mysql://me:secret@db/fleet", &["mysql://me@db/fleet", "sqlite://", "postgres://"][..]),
        ("fleet.db", &["fleet.db", "sqlite://", "postgres://"]),
        ("sqlite:///no/such/folder/fleet.db", &["/no/such/folder/fleet.db", "unable to open"]),
        // Not even root can make a file there.
        ("sqlite:///proc/fleet.db", &["/proc/fleet.db", "unable to open"]),
        ("sqlite://fleet.db?frob=1", &["fleet.db", "frob"]),
        ("postgres://me:secret@127.0.0.1:1/fleet", &["postgres://me@127.0.0.1:1/fleet"]),
        ("postgres://me:secret@no-such-host.invalid/fleet", &["no-such-host.invalid"]),
        ("postgres://db:1:2/fleet", &["postgres://"]),
    ] {
        let serve = ["serve", "--listen", "127.0.0.1:0", "--database-url", url];
        let migrate = ["migrate", "status", "--database-url", url];
        let (serve, migrate) = tokio::join!(Program::run(&serve), Program::run(&migrate));
        for exit in [serve, migrate] {
            assert_one_sentence(&exit, names);
            assert!(!exit.err.contains("secret"), "a password is nobody's business: {}", exit.err);
        }
    }
}

#[tokio::test]
async fn a_port_in_use_is_named_with_the_flag_that_chooses_another() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap().to_string();
    for command in ["serve", "dev"] {
        let program = Program::start(&[command, "--listen", &address]);
        let folder = program.folder().to_owned();
        assert_one_sentence(&program.exit().await, &[&address, "--listen"]);
        assert!(!folder.join("aetherium.db").exists(), "nothing else is touched");
    }
}

#[tokio::test]
async fn other_machines_are_let_in_only_on_purpose() {
    for address in ["0.0.0.0:0", "[::]:0"] {
        for command in ["serve", "dev"] {
            let exit = Program::run(&[command, "--listen", address]).await;
            assert_one_sentence(&exit, &[address, "--tls self", "aetherium token create", "--insecure"]);
        }
    }

    let settings =
        [("AETHERIUM_LISTEN", "0.0.0.0:0"), ("AETHERIUM_METRICS_LISTEN", "0.0.0.0:0"), ("AETHERIUM_INSECURE", "1")];
    let mut program = Program::start_with(&["serve"], &settings);
    let risk = program.logged("what the listener for monitoring means", |line| line["level"] == "WARN").await;
    let risk = risk["message"].as_str().unwrap();
    assert!(risk.contains("can read all metrics") && risk.contains("nothing is encrypted"), "{risk}");
    program.logged("the address it listens on", |line| line["listen.address"].is_string()).await;
    let says = |line: &Value, words: &str| line["message"].as_str().is_some_and(|message| message.contains(words));
    let risk = program.logged("what that means", |line| line["level"] == "WARN" && says(line, "everything")).await;
    let risk = risk["message"].as_str().unwrap();
    assert!(risk.contains("can change everything") && risk.contains("nothing is encrypted"), "{risk}");
    assert!(program.folder().join("aetherium.db").is_file(), "the database is in the working directory by default");
    program.signal("INT");
    assert_eq!(program.exit().await.code, Some(0));
}

#[tokio::test]
async fn addresses_for_consul_that_cannot_be_used_are_refused_without_repeating_them() {
    for (arguments, option) in [
        (&["serve", "--consul", "http://me:secret@consul.example.com:8500"][..], "--consul"),
        (&["serve", "--consul", "ftp://me:secret@consul.example.com"], "--consul"),
        (&["agent", "--consul", "me:secret@consul.example.com:8500"], "--consul"),
        (&["serve", "--consul", "--advertise", "https://me:secret@node1.example.com"], "--advertise"),
    ] {
        let exit = Program::run(arguments).await;
        assert_one_sentence(&exit, &[option]);
        assert!(!exit.err.contains("secret"), "a password is nobody's business: {}", exit.err);
    }
    let variables = [("AETHERIUM_CONSUL", "http://me:secret@c:1"), ("AETHERIUM_ADVERTISE", "http://me:secret@n")];
    let help = Program::start_with(&["serve", "--help"], &variables).exit().await;
    assert!(!help.out.contains("secret"), "{}", help.out);
}

#[tokio::test]
async fn an_address_to_advertise_needs_a_consul() {
    for arguments in [
        &["serve", "--advertise", "node1.example.com"][..],
        &["serve", "--advertise", "node1.example.com", "--consul", "off"],
    ] {
        assert_one_sentence(&Program::run(arguments).await, &["--advertise", "--consul"]);
    }
}

#[tokio::test]
async fn workers_that_could_never_be_online_are_refused() {
    let exit = Program::run(&["serve", "--offline-after", "5s"]).await;
    assert_one_sentence(&exit, &["--offline-after", "--heartbeat-interval"]);
}

#[tokio::test]
async fn clients_say_what_is_wrong_with_the_servers_address() {
    assert_one_sentence(&Program::run(&["agent", "--server", "node1:8080"]).await, &["node1:8080"]);
    // One that has joined knows its server.
    assert_one_sentence(&Program::run(&["agent"]).await, &["--server", "--consul", "not joined"]);
    assert_one_sentence(&Program::run(&["simulate", "--server", "node1:8080"]).await, &["node1:8080"]);
    let nobody = Program::run(&["simulate", "--server", "http://127.0.0.1:1"]).await;
    assert_one_sentence(&nobody, &["http://127.0.0.1:1", "Connection refused"]);
}

#[tokio::test]
async fn a_filter_of_the_log_that_cannot_be_understood_is_refused() {
    let exit = Program::start_with(&["schema"], &[("AETHERIUM_LOG", "aetherium=loud")]).exit().await;
    assert_one_sentence(&exit, &["AETHERIUM_LOG", "aetherium=loud"]);
    // To tracing these are names of parts of the program, and nothing else would be logged.
    for silencing in ["verbose", "info,verbose", "Debugg", "aetherium", "loud,aetherium=debug", "debug warn", "true"] {
        let exit = Program::start_with(&["schema"], &[("AETHERIUM_LOG", silencing)]).exit().await;
        assert_one_sentence(&exit, &["AETHERIUM_LOG", silencing, "off, error, warn, info, debug, trace"]);
    }
    for good in ["debug", "WARN", "info,aetherium::journal=debug", "aetherium::http=debug", "off", ""] {
        let exit = Program::start_with(&["schema"], &[("AETHERIUM_LOG", good)]).exit().await;
        assert_eq!((exit.code, exit.err.as_str()), (Some(0), ""), "{good}");
    }
}

#[tokio::test]
async fn a_command_line_that_cannot_be_understood_exits_with_2() {
    for (arguments, name) in [
        (&["frob"][..], "frob"),
        (&["serve", "--listen", "8080"], "--listen"),
        (&["serve", "--listen", "example.com:80"], "--listen"),
        (&["serve", "--offline-after", "60"], "--offline-after"),
        (&["serve", "--cors-origin", "*"], "--cors-origin"),
        (&["serve", "--consul-check-ttl", "2ns"], "at least 100ms"),
        (&["dev", "--workers", "-1"], "-1"),
        (&["migrate", "sideways"], "sideways"),
    ] {
        let Exit { code, out, err } = Program::run(arguments).await;
        assert_eq!((code, out.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(err.contains(name), "{name} is not in: {err}");
    }
    let exit = Program::start_with(&["serve"], &[("AETHERIUM_INSECURE", "perhaps")]).exit().await;
    assert_eq!(exit.code, Some(2), "what is not clearly a yes opens no door: {}", exit.err);
}

#[tokio::test]
async fn help_is_there_for_every_command() {
    let help = Program::run(&["--help"]).await;
    assert_eq!(help.code, Some(0));
    for command in ["serve", "dev", "agent", "simulate", "migrate", "schema", "openapi"] {
        assert!(help.out.contains(command), "{command}");
        let Exit { code, out, err } = Program::run(&[command, "--help"]).await;
        assert_eq!((code, err.as_str()), (Some(0), ""), "{command}");
        assert!(out.contains("Usage: aetherium"), "{out}");
    }
}

#[tokio::test]
async fn a_variable_that_is_set_to_nothing_says_nothing() {
    let empty = ["LISTEN", "INSECURE", "OFFLINE_AFTER", "CORS_ORIGIN", "NO_MIGRATE", "DATABASE_URL"];
    let names: Vec<_> = empty.iter().map(|name| format!("AETHERIUM_{name}")).collect();
    let variables: Vec<_> = names.iter().map(|name| (name.as_str(), "")).collect();
    let mut program = Program::start_with(&["serve", "--listen", "localhost:0"], &variables);
    program.logged("the address it listens on", |line| line["listen.address"].is_string()).await;
    program.signal("TERM");
    assert_eq!(program.exit().await.code, Some(0));
}

#[tokio::test]
async fn the_schema_goes_to_standard_output_and_to_whoever_reads_only_its_head() {
    let exit = Program::run(&["schema"]).await;
    assert_eq!((exit.code, exit.err.as_str()), (Some(0), ""));
    assert_eq!(exit.out.trim_end(), aetherium::graphql::sdl().trim_end());

    let head = "set -o pipefail; \"$0\" schema | head -n 1";
    let head = tokio::process::Command::new("bash").args(["-c", head, env!("CARGO_BIN_EXE_aetherium")]).output().await;
    let head = head.unwrap();
    assert!(head.status.success() && head.stderr.is_empty(), "{head:?}");
}
