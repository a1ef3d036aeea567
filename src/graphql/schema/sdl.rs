//! The schema built from its roots, and exported as SDL.

use async_graphql::{SDLExportOptions, Schema, SchemaBuilder};

use super::mutation::Mutation;
use super::query::Query;
use super::subscription::Subscription;

/// The schema as SDL: the content of `schema.graphql` at the top of the repository.
pub fn sdl() -> String {
    let options = SDLExportOptions::new()
        .include_specified_by()
        .prefer_single_line_descriptions()
        .use_space_ident()
        .indent_width(2);
    let sdl = schema().finish().sdl_with_options(options);
    format!("# Written by `aetherium schema`; do not edit. The descriptions come from the code.\n\n{}\n", sdl.trim())
}

/// The builder of the engine's schema; the executor adds its limits.
pub fn schema() -> SchemaBuilder<Query, Mutation, Subscription> {
    Schema::build(Query, Mutation, Subscription)
}
