//! The columns of tables: the fields of the API's objects, taken from the lists in which these are declared
//! ([`cluster::fields`](crate::cluster::fields)), so that none can be missing here. Which of them a table shows unless
//! others are named, `Objects` says.

use std::borrow::Cow;

use serde_json::Value;

use super::failure::Failure;
use crate::cluster::fields::{drain_fields, event_fields, reservation_fields, token_fields, vm_fields, worker_fields};

/// What is listed: objects of one kind.
#[derive(Debug)]
pub struct Objects {
    /// The key of the list in an answer.
    pub key: &'static str,
    /// What one is called.
    pub noun: &'static str,
    /// Every field, in the order of the API.
    pub columns: &'static [&'static str],
    /// The columns of a table, unless others are asked for.
    pub table: &'static [&'static str],
    /// The column that is printed by `-o name`.
    pub name: &'static str,
}

macro_rules! names {
    ({ $list:ident } $(#[$doc:meta])* $object:ident($this:ident: $view:ty) {
        $($(#[$field_doc:meta])* $field:ident: $shape:ident [$($where:tt)*] = $value:expr;)+
    }) => {
        const $list: &[&str] = &[$(stringify!($field)),+];
    };
}

worker_fields!(names WORKER);
vm_fields!(names VM);
drain_fields!(names DRAIN);
event_fields!(names EVENT);
reservation_fields!(names RESERVATION);
token_fields!(names TOKEN);

/// Workers.
pub static WORKERS: Objects = Objects {
    key: "workers",
    noun: "Worker",
    columns: WORKER,
    table: &["id", "zone", "status", "cpu_usage_percent", "memory_usage_percent", "vm_count", "uptime"],
    name: "id",
};

/// VMs.
pub static VMS: Objects = Objects {
    key: "vms",
    noun: "VM",
    columns: VM,
    table: &["id", "name", "worker_id", "status", "vcpus", "memory_mb"],
    name: "id",
};

/// Drains.
pub static DRAINS: Objects = Objects {
    key: "drains",
    noun: "Drain",
    columns: DRAIN,
    table: &["worker_id", "state", "initial_vms", "remaining_vms", "started_at", "deadline_at", "reason"],
    name: "id",
};

/// Workers that were purged.
pub static PURGES: Objects = Objects {
    key: "purged",
    noun: "Worker",
    columns: &["worker_id", "removed_vm_ids"],
    table: &["worker_id", "removed_vm_ids"],
    name: "worker_id",
};

/// Reservations.
pub static RESERVATIONS: Objects = Objects {
    key: "reservations",
    noun: "Reservation",
    columns: RESERVATION,
    table: &["id", "state", "count", "vcpus", "memory_mb", "expires_at", "slots.worker_id", "reason"],
    name: "id",
};

/// Events.
pub static EVENTS: Objects = Objects {
    key: "events",
    noun: "Event",
    columns: EVENT,
    table: &["at", "kind", "worker_id", "vm_id", "message"],
    name: "cursor",
};

/// Tokens.
pub static TOKENS: Objects = Objects {
    key: "tokens",
    noun: "Token",
    columns: TOKEN,
    table: &["id", "kind", "role", "state", "expires_at", "name"],
    name: "id",
};

impl Objects {
    /// The columns that were asked for; refused if the objects have no such field.
    pub fn checked(&self, wanted: &[String]) -> Result<Vec<String>, Failure> {
        for column in wanted {
            let field = column.split('.').next().unwrap_or_default();
            if !self.columns.contains(&field) {
                let columns = self.columns.join(", ");
                return Err(Failure::usage(format!("-c: there is no column {column:?}: there are {columns}")));
            }
        }
        Ok(wanted.to_vec())
    }
}

/// The value in a column: a field, or what is inside of it, as in `labels.env`; of a list, that of each. The name of a label
/// may have dots itself.
pub fn value_at<'a>(object: &'a Value, column: &str) -> Option<Cow<'a, Value>> {
    if let Some(value) = object.get(column) {
        return Some(Cow::Borrowed(value));
    }
    if let Value::Array(values) = object {
        let each = values.iter().map(|value| value_at(value, column).map_or(Value::Null, Cow::into_owned));
        return Some(Cow::Owned(each.collect()));
    }
    let (field, rest) = column.split_once('.')?;
    value_at(object.get(field)?, rest)
}

/// A value in a cell.
pub fn cell(value: Option<&Value>) -> String {
    match value {
        None | Some(Value::Null) => String::new(),
        Some(Value::String(text)) => text.clone(),
        Some(Value::Array(values)) => {
            // Of what has a sentence, such as what is in the way of a drain, that says it.
            let said = values.iter().map(|value| value.get("message").unwrap_or(value));
            let between = if values.iter().any(Value::is_object) { "; " } else { "," };
            said.map(|value| cell(Some(value))).collect::<Vec<_>>().join(between)
        }
        Some(Value::Object(fields)) => {
            let pairs = fields.iter().filter(|(_, value)| !value.is_null());
            pairs.map(|(name, value)| format!("{name}={}", cell(Some(value)))).collect::<Vec<_>>().join(",")
        }
        Some(value @ (Value::Bool(_) | Value::Number(_))) => value.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tables_show_fields_that_there_are() {
        for objects in [&WORKERS, &VMS, &DRAINS, &RESERVATIONS, &EVENTS, &TOKENS] {
            let table: Vec<_> = objects.table.iter().copied().map(str::to_owned).collect();
            assert_eq!(objects.checked(&table).unwrap(), table);
            assert!(objects.columns.contains(&objects.name), "{}", objects.key);
        }
        let refused = format!("{:?}", WORKERS.checked(&["cpu".to_owned()]));
        assert!(refused.contains("no column") && refused.contains("cpu_usage_percent"), "{refused}");
    }

    #[test]
    fn a_column_may_lead_into_an_object() {
        let worker = json!({"id": "w", "labels": {"env": "prod", "topology/zone.a": "b"}, "capabilities": ["x", "y"],
                            "drain": {"reason": null, "is_empty": true}, "cpu_cores": 4,
                            "slots": [{"vm_id": "v1"}, {"vm_id": null}]});
        for (column, expected) in [
            ("id", "w"),
            ("cpu_cores", "4"),
            ("labels", "env=prod,topology/zone.a=b"),
            ("labels.env", "prod"),
            ("labels.topology/zone.a", "b"),
            ("labels.none", ""),
            ("capabilities", "x,y"),
            ("drain", "is_empty=true"),
            ("drain.is_empty", "true"),
            ("slots.vm_id", "v1,"),
        ] {
            assert_eq!(cell(value_at(&worker, column).as_deref()), expected, "{column}");
        }
    }
}
