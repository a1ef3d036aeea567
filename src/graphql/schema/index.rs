//! The schema's types, as rules of our own ask for them.
//!
//! The engine keeps its registry to itself. What it says of it is the schema in the schema language;
//! that is read back once, at the start.

use std::collections::{HashMap, HashSet};
use std::sync::LazyLock;

use async_graphql::parser::parse_schema;
use async_graphql::parser::types::{
    BaseType, FieldDefinition, InputValueDefinition, OperationType, Type, TypeKind, TypeSystemDefinition,
};
use async_graphql::{Positioned, Value};

/// All types of the schema, except those that introspection shows.
#[derive(Debug, Default)]
pub struct SchemaIndex {
    types: HashMap<String, IndexedType>,
    /// Which objects are one of the objects of an interface.
    members: HashSet<(String, String)>,
}

/// What kind of type something is.
#[derive(Debug)]
pub enum IndexedType {
    /// Has fields, and is what it is.
    Object(HashMap<String, IndexedField>),
    /// Has fields, and is one of several objects.
    Interface(HashMap<String, IndexedField>),
    /// One of these words.
    Enum(HashSet<String>),
    /// What is sent as an object.
    Input(HashMap<String, IndexedInput>),
    /// Of the language, or of our own.
    Scalar,
}

/// A field of an object.
#[derive(Debug)]
pub struct IndexedField {
    /// Its type.
    pub ty: Type,
    /// What it takes.
    pub arguments: HashMap<String, IndexedInput>,
}

/// An argument, or a field of what is sent.
#[derive(Debug)]
pub struct IndexedInput {
    /// Its type.
    pub ty: Type,
    /// What it is if it is left out.
    pub default: Option<Value>,
}

impl SchemaIndex {
    /// Those of the schema, read when they are first asked for.
    pub fn of_schema() -> &'static Self {
        static TYPES: LazyLock<SchemaIndex> = LazyLock::new(|| SchemaIndex::read(&super::sdl::sdl()));
        &TYPES
    }

    /// Reads them from the schema language. What the engine writes it also reads; were it otherwise, nothing would be
    /// known of any type, and no test of these rules would pass.
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

    /// Whether an object is of this type: its own, or an interface that it has.
    pub fn is_a(&self, object: &str, ty: &str) -> bool {
        object == ty || self.members.iter().any(|(member, of)| member == object && of == ty)
    }

    /// The objects that are of an interface, in the order of their names.
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

    /// The scalars of our own.
    #[cfg(test)]
    pub fn scalars(&self) -> Vec<&str> {
        let scalars = self.types.iter().filter(|(_, kind)| matches!(kind, IndexedType::Scalar));
        scalars.map(|(name, _)| name.as_str()).collect()
    }

    /// Whether it has no fields.
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
            // There is none in this schema; all of its fields would be asked for by fragments.
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

/// The name of a type without its wrappers.
pub fn innermost(ty: &Type) -> &str {
    match &ty.base {
        BaseType::Named(name) => name,
        BaseType::List(of) => innermost(of),
    }
}

/// Whether it is a list, whatever is in it.
pub fn is_list(ty: &Type) -> bool {
    matches!(ty.base, BaseType::List(_))
}

/// The type that the operations of a kind begin at.
pub fn root(kind: OperationType) -> &'static str {
    match kind {
        OperationType::Query => "Query",
        OperationType::Mutation => "Mutation",
        OperationType::Subscription => "Subscription",
    }
}
