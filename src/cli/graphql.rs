//! The options of `aetherium serve` about GraphQL: limits, persisted queries and trusted documents.

use std::path::PathBuf;

use aetherium::graphql::{GraphqlOptions, Limits, TrustedMode};
use clap::builder::BoolishValueParser;
use clap::{Args, value_parser};

/// A default limit as an argument, which has 32 bits. An argument cannot be zero, which would refuse everything.
fn limit(limit: usize) -> u32 {
    u32::try_from(limit).unwrap_or(u32::MAX)
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "GraphQL")]
pub struct GraphqlArgs {
    /// A manifest of trusted documents, in Apollo's format. Each can be asked for by its id, also as
    /// /api/v1/q/ID?variable=value.
    #[arg(long, env = "AETHERIUM_TRUSTED_DOCUMENTS", value_name = "FILE")]
    trusted_documents: Option<PathBuf>,

    /// Whether trusted documents are not used (off), can be asked for beside others (allow), or nothing else is
    /// answered (only).
    #[arg(
        long,
        env = "AETHERIUM_TRUSTED_DOCUMENTS_MODE",
        value_name = "MODE",
        default_value = "allow",
        requires_if("only", "trusted_documents")
    )]
    trusted_documents_mode: TrustedMode,

    /// Do not keep documents by their hashes, which automatic persisted queries ask for.
    #[arg(long, env = "AETHERIUM_NO_PERSISTED_QUERIES", value_parser = BoolishValueParser::new())]
    no_persisted_queries: bool,

    /// Largest body of a request, in bytes.
    #[arg(long, env = "AETHERIUM_GRAPHQL_MAX_BODY", value_name = "BYTES",
          default_value_t = limit(Limits::default().body), value_parser = value_parser!(u32).range(1..))]
    graphql_max_body: u32,

    /// Longest document, in bytes.
    #[arg(long, env = "AETHERIUM_GRAPHQL_MAX_DOCUMENT", value_name = "BYTES",
          default_value_t = limit(Limits::default().document), value_parser = value_parser!(u32).range(1..))]
    graphql_max_document: u32,

    /// Most tokens, which are words and signs, of a document.
    #[arg(long, env = "AETHERIUM_GRAPHQL_MAX_TOKENS", value_name = "N",
          default_value_t = limit(Limits::default().tokens), value_parser = value_parser!(u32).range(1..))]
    graphql_max_tokens: u32,

    /// Most entries in the lists of a request's variables.
    #[arg(long, env = "AETHERIUM_GRAPHQL_MAX_ENTRIES", value_name = "N",
          default_value_t = limit(Limits::default().entries), value_parser = value_parser!(u32).range(1..))]
    graphql_max_entries: u32,

    /// Most selections of a document with all its fragments written out.
    #[arg(long, env = "AETHERIUM_GRAPHQL_MAX_SELECTIONS", value_name = "N",
          default_value_t = limit(Limits::default().selections), value_parser = value_parser!(u32).range(1..))]
    graphql_max_selections: u32,

    /// Deepest nesting of fields.
    #[arg(long, env = "AETHERIUM_GRAPHQL_MAX_DEPTH", value_name = "N",
          default_value_t = limit(Limits::default().depth), value_parser = value_parser!(u32).range(1..=60))]
    graphql_max_depth: u32,

    /// Most aliases of a document with all its fragments written out.
    #[arg(long, env = "AETHERIUM_GRAPHQL_MAX_ALIASES", value_name = "N",
          default_value_t = limit(Limits::default().aliases), value_parser = value_parser!(u32).range(1..))]
    graphql_max_aliases: u32,

    /// Most fields at the root of an operation.
    #[arg(long, env = "AETHERIUM_GRAPHQL_MAX_ROOT_FIELDS", value_name = "N",
          default_value_t = limit(Limits::default().root_fields), value_parser = value_parser!(u32).range(1..))]
    graphql_max_root_fields: u32,

    /// Most directives of one field, fragment or operation.
    #[arg(long, env = "AETHERIUM_GRAPHQL_MAX_DIRECTIVES", value_name = "N",
          default_value_t = limit(Limits::default().directives), value_parser = value_parser!(u32).range(1..))]
    graphql_max_directives: u32,

    /// Most fields of the largest answer that an operation may have, with the rows that are looked at for it.
    #[arg(long, env = "AETHERIUM_GRAPHQL_MAX_COST", value_name = "N",
          default_value_t = Limits::default().cost, value_parser = value_parser!(u64).range(1..))]
    graphql_max_cost: u64,
}

impl From<GraphqlArgs> for GraphqlOptions {
    fn from(args: GraphqlArgs) -> Self {
        let many = |limit: u32| usize::try_from(limit).unwrap_or(usize::MAX);
        Self {
            limits: Limits {
                body: many(args.graphql_max_body),
                document: many(args.graphql_max_document),
                tokens: many(args.graphql_max_tokens),
                entries: many(args.graphql_max_entries),
                selections: many(args.graphql_max_selections),
                depth: many(args.graphql_max_depth),
                aliases: many(args.graphql_max_aliases),
                root_fields: many(args.graphql_max_root_fields),
                directives: many(args.graphql_max_directives),
                cost: args.graphql_max_cost,
            },
            persisted_queries: !args.no_persisted_queries,
            trusted_documents: args.trusted_documents,
            trusted_documents_mode: args.trusted_documents_mode,
        }
    }
}
