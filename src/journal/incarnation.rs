//! Which process of a worker speaks: the present one, one that is over, or one that nobody knows.
//!
//! Commands refuse what another incarnation says, and signs of life of one do not count; both ask here.

use std::cmp::Ordering;

use crate::cluster::Worker;
use crate::error::{Error, Result};

/// Refuses what is said by another incarnation of a worker than the present one. The number alone does not tell them
/// apart when the database was restored to an earlier state: the same number may have been handed out to another
/// process before.
pub fn check_incarnation(worker: &Worker, given: u64, boot_id: Option<&str>) -> Result<()> {
    let (id, current, boots) = (worker.id.as_str(), worker.life.incarnation, &worker.life.boots);
    match given.cmp(&current) {
        Ordering::Less => Err(Error::Superseded { id: id.to_owned(), given, current }),
        Ordering::Greater => {
            // A process that gives no boot id cannot be recognised as one that is over.
            let over = boot_id.and_then(|said| boots.find_over(Some(said)));
            let unknown = || Error::UnknownIncarnation { id: id.to_owned(), given, current };
            Err(over.map_or_else(unknown, |boot_id| boot_is_over(id, &boot_id, current)))
        }
        Ordering::Equal => match boot_id {
            Some(said) if boots.boot_id.as_deref() != Some(said) => {
                Err(Error::AnotherProcess { id: id.to_owned(), incarnation: current, boot_id: said.to_owned() })
            }
            Some(_) | None => Ok(()),
        },
    }
}

/// The refusal of a process whose boot is over. It is the same for a registration and for a heartbeat, so that no
/// process is told to register again only to be refused then.
pub fn boot_is_over(id: &str, boot_id: &str, current: u64) -> Error {
    Error::BootIsOver { id: id.to_owned(), boot_id: boot_id.to_owned(), current }
}
