//! Field merging: rewrites a document so that each response key is selected once, before the engine runs it.
//!
//! The engine resolves a field each time that a selection set or its fragments select it, and merges the results. A
//! mutation that is selected twice would run twice, and a null that must propagate from one of the results would be
//! lost in the other. So the selections of one response key are merged into one field first, by the specification's
//! CollectFields ([`Compiler::collect`]) with the request's variables.

use async_graphql::parser::types::{
    DocumentOperations, ExecutableDocument, Field, InlineFragment, Selection, SelectionSet, TypeCondition,
};
use async_graphql::{Name, Positioned, Variables};

use crate::graphql::plan::{Compiler, Fallback};
use crate::graphql::schema::index::{IndexedType, SchemaIndex, innermost, root};

/// Merges the fields of a document with one operation. The document is valid and its variables have been coerced.
pub fn merge(document: &mut ExecutableDocument, variables: &Variables, types: &SchemaIndex) {
    let ExecutableDocument { operations: DocumentOperations::Single(operation), fragments } = document else { return };
    let compiler = Compiler { fragments, variables: Some(variables), types };
    let set = &operation.node.selection_set.node;
    if let Ok(merged) = merge_object(&compiler, root(operation.node.ty), &[set]) {
        operation.node.selection_set.node = merged;
    }
}

/// The merged selection set of an object: each response key once.
fn merge_object(compiler: &Compiler<'_>, object: &str, sets: &[&SelectionSet]) -> Result<SelectionSet, Fallback> {
    let mut items = Vec::new();
    for collected in compiler.collect(object, sets)? {
        let Positioned { pos, node: Field { alias, name, arguments, selection_set, .. } } = collected.field;
        let ty = compiler.types.field(object, &name.node).map(|field| innermost(&field.ty));
        let merged = match ty.and_then(|ty| Some((ty, compiler.types.get(ty)?))) {
            Some((ty, IndexedType::Object(_))) => merge_object(compiler, ty, &collected.sets)?,
            Some((ty, IndexedType::Interface(_))) => merge_interface(compiler, ty, &collected.sets, selection_set)?,
            // A leaf; or introspection, which has no side effects and is left as it is.
            Some((_, IndexedType::Enum(_) | IndexedType::Input(_) | IndexedType::Scalar)) | None => {
                SelectionSet { items: collected.sets.iter().flat_map(|set| set.items.iter().cloned()).collect() }
            }
        };
        let field = Field {
            alias: alias.clone(),
            name: name.clone(),
            arguments: arguments.clone(),
            // `@skip` and `@include` have been applied.
            directives: Vec::new(),
            selection_set: selection_set.position_node(merged),
        };
        items.push(Positioned::new(Selection::Field(Positioned::new(field, *pos)), *pos));
    }
    Ok(SelectionSet { items })
}

/// The merged selection set of an interface: one inline fragment for each of its object types.
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
