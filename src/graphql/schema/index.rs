//! The schema index: looks up types, fields, arguments and interfaces of the schema by name.
//!
//! The engine's own registry is private. It exports the schema as SDL, and the index is parsed from that once, when it
//! is first needed. `validation` has the schema in `apollo-compiler`'s form besides.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, FieldDefinition, InputValueDefinition, OperationType, Type, TypeKind, TypeSystemDefinition,
};
use async_graphql::{Positioned, Value};

/// All types of the schema, except those of introspection.
#[derive(Debug, Default)]
pub struct SchemaIndex {
    types: HashMap<String, IndexedType>,
    /// Pairs of an object type and an interface that it implements.
    members: HashSet<(String, String)>,
}

/// A type of the schema.
#[derive(Debug)]
pub enum IndexedType {
    /// An object type and its fields.
    Object(HashMap<String, IndexedField>),
    /// An interface and its fields.
    Interface(HashMap<String, IndexedField>),
    /// An enum and its values.
    Enum(HashSet<String>),
    /// An input object and its fields.
    Input(HashMap<String, IndexedInput>),
    /// A scalar.
    Scalar,
}

/// A field of an object type or interface.
#[derive(Debug)]
pub struct IndexedField {
    /// Its type.
    pub ty: Type,
    /// Its arguments.
    pub arguments: HashMap<String, IndexedInput>,
}

/// An argument, or a field of an input object.
#[derive(Debug)]
pub struct IndexedInput {
    /// Its type.
    pub ty: Type,
    /// Its default value.
    pub default: Option<Value>,
}

impl SchemaIndex {
    /// The index of the API's schema.
    pub fn of_schema() -> &'static Self {
        static TYPES: LazyLock<SchemaIndex> = LazyLock::new(|| SchemaIndex::read(&super::sdl::sdl()));
        &TYPES
    }

    /// Parses SDL. The engine parses what it exports; if it did not, the index would be empty and no test of its users
    /// would pass.
    fn read(sdl: &str) -> Self {
        let definitions = parse_schema(sdl).map(|document| document.definitions).unwrap_or_default();
        let mut types = Self::default();
        for definition in definitions {
            let TypeSystemDefinition::Type(ty) = definition else { continue };
            let name = ty.node.name.node.to_string();
            if let TypeKind::Object(object) = &ty.node.kind {
                types.members.extend(object.implements.iter().map(|of| (name.clone(), of.node.to_string())));
            }
            types.types.insert(name, IndexedType::of(ty.node.kind));
        }
        types
    }

    /// Whether an object type is `ty`, or implements it.
    pub fn is_a(&self, object: &str, ty: &str) -> bool {
        object == ty || self.members.iter().any(|(member, of)| member == object && of == ty)
    }

    /// The object types that implement an interface, in the order of their names.
    pub fn members(&self, interface: &str) -> Vec<&str> {
        let members = self.members.iter().filter(|(_, of)| of == interface);
        let mut members: Vec<_> = members.map(|(member, _)| member.as_str()).collect();
        members.sort_unstable();
        members
    }

    /// The type of this name.
    pub fn get(&self, name: &str) -> Option<&IndexedType> {
        self.types.get(name)
    }

    /// The custom scalars.
    #[cfg(test)]
    pub fn scalars(&self) -> Vec<&str> {
        let scalars = self.types.iter().filter(|(_, kind)| matches!(kind, IndexedType::Scalar));
        scalars.map(|(name, _)| name.as_str()).collect()
    }

    /// Whether a type has no fields.
    #[cfg(test)]
    pub fn is_leaf(&self, name: &str) -> bool {
        matches!(self.get(name), Some(IndexedType::Enum(_) | IndexedType::Scalar) | None)
    }

    /// A field of an object or interface.
    pub fn field(&self, parent: &str, name: &str) -> Option<&IndexedField> {
        match self.get(parent)? {
            IndexedType::Object(fields) | IndexedType::Interface(fields) => fields.get(name),
            IndexedType::Enum(_) | IndexedType::Input(_) | IndexedType::Scalar => None,
        }
    }
}

impl IndexedType {
    fn of(kind: TypeKind) -> Self {
        match kind {
            TypeKind::Scalar => Self::Scalar,
            TypeKind::Object(object) => Self::Object(fields(object.fields)),
            TypeKind::Interface(interface) => Self::Interface(fields(interface.fields)),
            // There is none in this schema; a union has no fields of its own.
            TypeKind::Union(_) => Self::Interface(HashMap::new()),
            TypeKind::Enum(words) => {
                Self::Enum(words.values.into_iter().map(|word| word.node.value.node.to_string()).collect())
            }
            TypeKind::InputObject(input) => Self::Input(inputs(input.fields)),
        }
    }
}

fn fields(fields: Vec<Positioned<FieldDefinition>>) -> HashMap<String, IndexedField> {
    let field = |FieldDefinition { name, ty, arguments, .. }: FieldDefinition| {
        (name.node.to_string(), IndexedField { ty: ty.node, arguments: inputs(arguments) })
    };
    fields.into_iter().map(|definition| field(definition.node)).collect()
}

fn inputs(inputs: Vec<Positioned<InputValueDefinition>>) -> HashMap<String, IndexedInput> {
    let input = |InputValueDefinition { name, ty, default_value, .. }: InputValueDefinition| {
        (name.node.to_string(), IndexedInput { ty: ty.node, default: default_value.map(|value| value.node) })
    };
    inputs.into_iter().map(|definition| input(definition.node)).collect()
}

/// The name of a type without list and non-null wrappers.
pub fn innermost(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(of) => innermost(of),
    }
}

/// Whether a type is a list.
pub fn is_list(ty: &Type) -> bool {
    matches!(ty.base, BaseType::List(_))
}

/// The root type of operations of this type.
pub fn root(kind: OperationType) -> &'static str {
    match kind {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    }
}
