//! Plans of subscriptions: write each item of one as a response.
//!
//! Which item is due when is decided in [`crate::resolvers::watch`]; equal subscriptions share what is written here.

use async_graphql::Variables;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition};

use super::collect::{Compiler, Fallback};
use super::object_writers::{ResponseBuffer, SelectionPlan};
use crate::cluster::ClusterStats;
use crate::graphql::schema::index::SchemaIndex;
use crate::graphql::subscriptions::item::StreamItem;
use crate::http::EXPECTED_ANSWER;
use crate::json;
use crate::resolvers::EventView;
use crate::resolvers::drain_watch::DrainProgress;
use crate::resolvers::watch::{Heartbeat, WorkerUpdate};

/// The plan of a subscription, which has one root field.
pub struct ItemPlan {
    /// `{"data":{"key":`
    begin: Vec<u8>,
    fields: ItemFields,
}

enum ItemFields {
    Heartbeats(SelectionPlan<Heartbeat>),
    Updates(SelectionPlan<WorkerUpdate>),
    Events(SelectionPlan<EventView>),
    Stats(SelectionPlan<ClusterStats>),
    Drains(SelectionPlan<DrainProgress>),
}

impl ItemPlan {
    /// Compiles the plan of a valid subscription.
    pub fn compile(
        operation: &OperationDefinition,
        document: &ExecutableDocument,
        variables: &Variables,
        types: &SchemaIndex,
    ) -> Result<Self, Fallback> {
        let compiler = Compiler { fragments: &document.fragments, variables: Some(variables), types };
        let collected = compiler.collect("Subscription", &[&operation.selection_set.node])?;
        let [collected] = collected.as_slice() else { return Err(Fallback::Resolver) };
        let fields = match collected.field.node.name.node.as_str() {
            "workerHeartbeats" => ItemFields::Heartbeats(compiler.select(&collected.sets)?),
            "workerUpdates" => ItemFields::Updates(compiler.select(&collected.sets)?),
            "clusterEvents" => ItemFields::Events(compiler.select(&collected.sets)?),
            "drainProgress" => ItemFields::Drains(compiler.select(&collected.sets)?),
            "clusterStats" => ItemFields::Stats(compiler.select(&collected.sets)?),
            _ => return Err(Fallback::Resolver),
        };
        let mut begin = br#"{"data":{"#.to_vec();
        json::plain(collected.key().as_str(), &mut begin);
        begin.push(b':');
        Ok(Self { begin, fields })
    }

    /// Writes an item as a response; none if the engine has to resolve it.
    pub fn write(&self, item: &StreamItem) -> Option<String> {
        let mut out = ResponseBuffer::default();
        out.bytes.reserve(EXPECTED_ANSWER);
        out.bytes.extend_from_slice(&self.begin);
        match (&self.fields, item) {
            (ItemFields::Heartbeats(fields), StreamItem::Heartbeat(heartbeat)) => fields.write(heartbeat, &mut out),
            (ItemFields::Updates(fields), StreamItem::Update(update)) => fields.write(update, &mut out),
            (ItemFields::Events(fields), StreamItem::Event(event)) => fields.write(event, &mut out),
            (ItemFields::Stats(fields), StreamItem::Stats(stats)) => fields.write(stats, &mut out),
            (ItemFields::Drains(fields), StreamItem::Drain(progress)) => fields.write(progress, &mut out),
            (
                ItemFields::Heartbeats(_)
                | ItemFields::Updates(_)
                | ItemFields::Events(_)
                | ItemFields::Stats(_)
                | ItemFields::Drains(_),
                _,
            ) => return None,
        }
        out.bytes.extend_from_slice(b"}}");
        out.is_usable().then(|| String::from_utf8(out.bytes).ok()).flatten()
    }
}
