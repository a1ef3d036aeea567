//! What the API offers: the types of the schema, with the resolvers of their fields.
//!
//! [`query`], [`mutation`] and [`subscription`] are the roots; each of their methods calls one resolver of
//! [`crate::resolvers`]. [`objects`] has the object types and connections, generated from the field lists of
//! [`cluster::fields`](crate::cluster::fields); [`values`] says which GraphQL type a value of the domain becomes,
//! [`inputs`] and [`scalars`] have the input types and the custom scalars, [`paging`] the arguments of connections.
//! [`sdl`] is the schema as text, and [`index`] looks types up in it.
//!
//! Reading documents is not done here (see `operation`), nor is running them (see `execution` and `plan`).

pub mod index;
pub mod inputs;
pub mod mutation;
pub mod objects;
pub mod paging;
pub mod query;
pub mod scalars;
pub mod sdl;
pub mod subscription;
pub mod values;
