//! The schema: the types of the API, with the resolvers of their fields.
//!
//! [`query`], [`mutation`] and [`subscription`] are the roots; each of their methods calls one resolver of
//! [`crate::resolvers`]. [`object_types`] has the object types and connections, generated from the field lists of
//! [`cluster::fields`](crate::cluster::fields); [`value_types`] maps values of the domain to GraphQL types, [`inputs`] and
//! [`scalars`] have the input types and the custom scalars, [`paging`] the arguments of connections,
//! [`placement_inputs`] the inputs of placements and reservations, [`history`] curves. [`sdl`] exports
//! the schema as text, and [`index`] looks up types in it.
//!
//! Documents are not parsed here (see `operation`), nor run (see `execution` and `plan`). Doc comments of types and
//! fields here are the descriptions in `schema.graphql`.

pub mod history;
pub mod index;
pub mod inputs;
pub mod mutation;
pub mod object_types;
pub mod paging;
pub mod placement_inputs;
pub mod query;
pub mod scalars;
pub mod sdl;
pub mod subscription;
pub mod value_types;
