//! Puts together what a document asks for in several places under one key, before the engine runs it.
//!
//! The engine resolves a field as often as it stands in a selection or in its fragments, and merges the answers. So a
//! command that is written twice would be carried out twice, and a null that one of the answers has to become would be
//! forgotten over the other. Here a field is put together from all of its places first, which is the specification's
//! CollectFields, with the variables of the request.

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, InlineFragment, Selection, SelectionSet, TypeCondition,
};
use async_graphql::{Name, Positioned, Variables};

use crate::graphql::plan::{Compiler, Fallback};
use crate::graphql::schema::index::{IndexedType, SchemaIndex, innermost, root};

/// Puts the one operation of a document together, which is valid, and whose variables have been coerced.
pub fn merge(document: &mut ExecutableDocument, variables: &Variables, types: &SchemaIndex) {
    let ExecutableDocument { operations: DocumentOperations::Single(operation), fragments } = document else { return };
    let compiler = Compiler { fragments, variables: Some(variables), types };
    let set = &operation.node.selection_set.node;
    if let Ok(merged) = merge_object(&compiler, root(operation.node.ty), &[set]) {
        operation.node.selection_set.node = merged;
    }
}

/// What is asked for of an object, each key once.
fn merge_object(compiler: &Compiler<'_>, object: &str, sets: &[&SelectionSet]) -> Result<SelectionSet, Fallback> {
    let mut items = Vec::new();
    for asked in compiler.collect(object, sets)? {
        let Positioned { pos, node: Field { alias, name, arguments, selection_set, .. } } = asked.field;
        let ty = compiler.types.field(object, &name.node).map(|field| innermost(&field.ty));
        let inside = match ty.and_then(|ty| Some((ty, compiler.types.get(ty)?))) {
            Some((ty, IndexedType::Object(_))) => merge_object(compiler, ty, &asked.sets)?,
            Some((ty, IndexedType::Interface(_))) => merge_interface(compiler, ty, &asked.sets, selection_set)?,
            // A leaf; or introspection, in which there is nothing to carry out.
            Some((_, IndexedType::Enum(_) | IndexedType::Input(_) | IndexedType::Scalar)) | None => {
                SelectionSet { items: asked.sets.iter().flat_map(|set| set.items.iter().cloned()).collect() }
            }
        };
        let field = Field {
            alias: alias.clone(),
            name: name.clone(),
            arguments: arguments.clone(),
            // Whether it is there has been decided.
            directives: Vec::new(),
            selection_set: selection_set.position_node(inside),
        };
        items.push(Positioned::new(Selection::Field(Positioned::new(field, *pos)), *pos));
    }
    Ok(SelectionSet { items })
}

/// The same of one of several objects: what is asked for of each of them, in a fragment of its own.
fn merge_interface(
    compiler: &Compiler<'_>,
    interface: &str,
    sets: &[&SelectionSet],
    place: &Positioned<SelectionSet>,
) -> Result<SelectionSet, Fallback> {
    let fragment = |member: &str| {
        let inline = InlineFragment {
            type_condition: Some(place.position_node(TypeCondition { on: place.position_node(Name::new(member)) })),
            directives: Vec::new(),
            selection_set: place.position_node(merge_object(compiler, member, sets)?),
        };
        Ok(place.position_node(Selection::InlineFragment(place.position_node(inline))))
    };
    let members = compiler.types.members(interface).into_iter().map(fragment);
    Ok(SelectionSet { items: members.collect::<Result<_, Fallback>>()? })
}
