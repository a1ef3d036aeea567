//! Subscriptions by plan: what writes each item of one.

use async_graphql::Variables;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition};

use super::collect::{Compiler, Fallback};
use super::objects::{ResponseBuffer, SelectionPlan};
use crate::cluster::ClusterStats;
use crate::graphql::schema::index::SchemaIndex;
use crate::graphql::subscriptions::item::StreamItem;
use crate::http::EXPECTED_ANSWER;
use crate::json;
use crate::resolvers::EventView;
use crate::resolvers::watch::Heartbeat;

/// The one field of a subscription.
pub struct ItemPlan {
    /// `{"data":{"key":`
    begin: Vec<u8>,
    fields: ItemFields,
}

enum ItemFields {
    Heartbeats(SelectionPlan<Heartbeat>),
    Events(SelectionPlan<EventView>),
    Stats(SelectionPlan<ClusterStats>),
}

impl ItemPlan {
    /// Plans a subscription that was found valid.
    pub fn compile(
        operation: &OperationDefinition,
        document: &ExecutableDocument,
        variables: &Variables,
        types: &SchemaIndex,
    ) -> Result<Self, Fallback> {
        let compiler = Compiler { fragments: &document.fragments, variables: Some(variables), types };
        let asked = compiler.collect("Subscription", &[&operation.selection_set.node])?;
        let [asked] = asked.as_slice() else { return Err(Fallback::Resolver) };
        let fields = match asked.field.node.name.node.as_str() {
            "workerHeartbeats" => ItemFields::Heartbeats(compiler.select(&asked.sets)?),
            "clusterEvents" => ItemFields::Events(compiler.select(&asked.sets)?),
            "clusterStats" => ItemFields::Stats(compiler.select(&asked.sets)?),
            _ => return Err(Fallback::Resolver),
        };
        let mut begin = br#"{"data":{"#.to_vec();
        json::plain(asked.key().as_str(), &mut begin);
        begin.push(b':');
        Ok(Self { begin, fields })
    }

    /// An item, written; none if the ordinary resolvers have to do it.
    pub fn write(&self, item: &StreamItem) -> Option<String> {
        let mut out = ResponseBuffer::default();
        out.bytes.reserve(EXPECTED_ANSWER);
        out.bytes.extend_from_slice(&self.begin);
        match (&self.fields, item) {
            (ItemFields::Heartbeats(fields), StreamItem::Heartbeat(beat)) => fields.write(beat, &mut out),
            (ItemFields::Events(fields), StreamItem::Event(event)) => fields.write(event, &mut out),
            (ItemFields::Stats(fields), StreamItem::Stats(stats)) => fields.write(stats, &mut out),
            (ItemFields::Heartbeats(_) | ItemFields::Events(_) | ItemFields::Stats(_), _) => return None,
        }
        out.bytes.extend_from_slice(b"}}");
        out.is_good().then(|| String::from_utf8(out.bytes).ok()).flatten()
    }
}
