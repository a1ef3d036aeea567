//! Subscriptions by plan: what writes each item of one.

use async_graphql::Variables;
use async_graphql::parser::types::{ExecutableDocument, OperationDefinition};

use super::collect::{Compiler, Stop};
use super::objects::{Fields, Out};
use crate::cluster::ClusterStats;
use crate::graphql::schema::index::Types;
use crate::graphql::subscriptions::item::Item;
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
    Heartbeats(Fields<Heartbeat>),
    Events(Fields<EventView>),
    Stats(Fields<ClusterStats>),
}

impl ItemPlan {
    /// Plans a subscription that was found valid.
    pub fn compile(
        operation: &OperationDefinition,
        document: &ExecutableDocument,
        variables: &Variables,
        types: &Types,
    ) -> Result<Self, Stop> {
        let compiler = Compiler { fragments: &document.fragments, variables: Some(variables), types };
        let asked = compiler.collect("Subscription", &[&operation.selection_set.node])?;
        let [asked] = asked.as_slice() else { return Err(Stop::Ordinary) };
        let fields = match asked.field.node.name.node.as_str() {
            "workerHeartbeats" => ItemFields::Heartbeats(compiler.select(&asked.sets)?),
            "clusterEvents" => ItemFields::Events(compiler.select(&asked.sets)?),
            "clusterStats" => ItemFields::Stats(compiler.select(&asked.sets)?),
            _ => return Err(Stop::Ordinary),
        };
        let mut begin = br#"{"data":{"#.to_vec();
        json::plain(asked.key().as_str(), &mut begin);
        begin.push(b':');
        Ok(Self { begin, fields })
    }

    /// An item, written; none if the ordinary resolvers have to do it.
    pub fn write(&self, item: &Item) -> Option<String> {
        let mut out = Out::default();
        out.bytes.reserve(EXPECTED_ANSWER);
        out.bytes.extend_from_slice(&self.begin);
        match (&self.fields, item) {
            (ItemFields::Heartbeats(fields), Item::Heartbeat(beat)) => fields.write(beat, &mut out),
            (ItemFields::Events(fields), Item::Event(event)) => fields.write(event, &mut out),
            (ItemFields::Stats(fields), Item::Stats(stats)) => fields.write(stats, &mut out),
            (ItemFields::Heartbeats(_) | ItemFields::Events(_) | ItemFields::Stats(_), _) => return None,
        }
        out.bytes.extend_from_slice(b"}}");
        out.is_good().then(|| String::from_utf8(out.bytes).ok()).flatten()
    }
}
