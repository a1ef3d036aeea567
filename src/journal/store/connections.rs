//! The writer's connections, of which none is used again after a fault.
//!
//! SQLite rolls a transaction back by itself when a commit or a statement fails for want of space or of a working disk.
//! The driver does not notice: its own ROLLBACK fails then, its count of open transactions stays at one, and each later
//! BEGIN becomes a SAVEPOINT, whose RELEASE is answered with success and may commit nothing. PostgreSQL has states of
//! this kind, too: a session on a server that has become a standby refuses every write for as long as it lives.
//!
//! So every write takes a [`Lease`], which counts as failed until its holder says that everything went well. A lease
//! that is dropped before (by an error, a time-out, a panic, a future that is dropped) closes the connections; the next
//! lease opens new ones. Leases are taken in turn, so nobody can be waiting for a connection that is being discarded.
//! Once the connections are closed there is no lease any more: a late write, as after a commit that hung, would go to a
//! database that another process may have locked by then.

use std::fmt;
use std::ops::Deref;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use futures_util::future::BoxFuture;
use sea_orm::sqlx::Connection as _;
use sea_orm::{DatabaseConnection, DatabaseTransaction, DbErr};
use tokio::runtime::Handle;
use tokio::sync::{Mutex as Turns, OwnedMutexGuard};

/// Makes new connections.
type Open = Box<dyn Fn() -> BoxFuture<'static, Result<DatabaseConnection, DbErr>> + Send + Sync>;

/// Connections that one holder uses at a time, and that are replaced after each fault.
pub struct Connections {
    /// None for a database in memory, which belongs to its one connection.
    open: Option<Open>,
    turns: Arc<Turns<()>>,
    slot: Mutex<Slot>,
    /// Whether the connection to a database in memory may be in a transaction that nobody will end.
    is_in_doubt: AtomicBool,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

/// The present connections.
enum Slot {
    Open(DatabaseConnection),
    /// The last ones were discarded after a fault, and the next lease opens others.
    Empty,
    /// They are closed for good: another process may have the database by now.
    Closed,
}

/// The right to use the connections. Dropped without [`succeed`](Lease::succeed), it discards them.
#[derive(Debug)]
pub struct Lease {
    connections: Arc<Connections>,
    has_succeeded: bool,
    _turn: OwnedMutexGuard<()>,
}

impl Connections {
    /// Takes the first connections, and how to open others in their place.
    pub fn new(
        first: DatabaseConnection,
        open: impl Fn() -> BoxFuture<'static, Result<DatabaseConnection, DbErr>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::with(first, Some(Box::new(open))))
    }

    /// Takes the one connection to a database in memory. It cannot be replaced; after a fault it is used only if it is
    /// known to be in no transaction.
    pub fn to_memory(connection: DatabaseConnection) -> Arc<Self> {
        Arc::new(Self::with(connection, None))
    }

    fn with(first: DatabaseConnection, open: Option<Open>) -> Self {
        let is_in_doubt = AtomicBool::new(false);
        Self { open, turns: Arc::default(), slot: Mutex::new(Slot::Open(first)), is_in_doubt }
    }

    /// Waits for its turn, and leases the connections.
    pub async fn lease(self: &Arc<Self>) -> Result<(DatabaseConnection, Lease), DbErr> {
        let turn = self.turns.clone().lock_owned().await;
        let lease = Lease { connections: self.clone(), has_succeeded: false, _turn: turn };
        let connection = match self.current()? {
            Some(connection) => connection,
            None => self.reopen().await?,
        };
        if self.is_in_doubt.load(Ordering::Acquire) {
            // When the connection is back in its pool, a rollback that was begun is over.
            let pooled = connection.get_sqlite_connection_pool().acquire().await;
            if pooled.map_err(|error| DbErr::Custom(error.to_string()))?.is_in_transaction() {
                return Err(lost());
            }
            self.is_in_doubt.store(false, Ordering::Release);
        }
        Ok((connection, lease))
    }

    /// The present connections, if there are any.
    fn current(&self) -> Result<Option<DatabaseConnection>, DbErr> {
        match &*self.slot() {
            Slot::Open(connection) => Ok(Some(connection.clone())),
            Slot::Empty => Ok(None),
            Slot::Closed => Err(closed()),
        }
    }

    /// Opens others in the place of those that were discarded.
    async fn reopen(&self) -> Result<DatabaseConnection, DbErr> {
        let Some(open) = &self.open else { return Err(lost()) };
        let connection = open().await?;
        let is_closed = {
            // The slot may have been closed while these were being opened.
            let mut slot = self.slot();
            let is_closed = matches!(*slot, Slot::Closed);
            if !is_closed {
                *slot = Slot::Open(connection.clone());
            }
            is_closed
        };
        if is_closed {
            connection.close().await?;
            return Err(closed());
        }
        Ok(connection)
    }

    /// Closes them for good: from now on there is no lease.
    pub async fn close(&self) -> Result<(), DbErr> {
        let before = std::mem::replace(&mut *self.slot(), Slot::Closed);
        match before {
            Slot::Open(connection) => connection.close().await,
            Slot::Empty | Slot::Closed => Ok(()),
        }
    }

    fn discard(&self) {
        if self.open.is_none() {
            self.is_in_doubt.store(true, Ordering::Release);
            return;
        }
        let discarded = {
            let mut slot = self.slot();
            match &*slot {
                Slot::Open(_) => std::mem::replace(&mut *slot, Slot::Empty),
                Slot::Empty | Slot::Closed => return,
            }
        };
        if let (Slot::Open(connection), Ok(runtime)) = (discarded, Handle::try_current()) {
            // Closing may hang in the disk or in the network, so nobody waits for it.
            runtime.spawn(connection.close());
        }
    }

    fn slot(&self) -> MutexGuard<'_, Slot> {
        self.slot.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn closed() -> DbErr {
    DbErr::Custom("the database is closed".to_owned())
}

fn lost() -> DbErr {
    DbErr::Custom("the database in memory cannot be used after a fault".to_owned())
}

impl Lease {
    /// Everything that was begun has ended well: the connections are kept.
    pub fn succeed(mut self) {
        self.has_succeeded = true;
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        if !self.has_succeeded {
            self.connections.discard();
        }
    }
}

/// A transaction that may write. Dropped before it was committed or rolled back, it discards its connection.
#[derive(Debug)]
pub struct WritingTransaction {
    // The lease is dropped first: when the connection goes back to its pool, the pool has to be closed already.
    lease: Option<Lease>,
    transaction: DatabaseTransaction,
}

impl WritingTransaction {
    /// On a connection that is discarded after a fault; without a lease, on one that its pool looks after.
    pub fn new(transaction: DatabaseTransaction, lease: Option<Lease>) -> Self {
        Self { lease, transaction }
    }

    /// Commits. After an error it is unknown whether it was committed.
    pub async fn commit(self) -> Result<(), DbErr> {
        let Self { lease, transaction } = self;
        transaction.commit().await?;
        succeed(lease);
        Ok(())
    }

    /// Rolls back.
    pub async fn rollback(self) -> Result<(), DbErr> {
        let Self { lease, transaction } = self;
        transaction.rollback().await?;
        succeed(lease);
        Ok(())
    }
}

fn succeed(lease: Option<Lease>) {
    if let Some(lease) = lease {
        lease.succeed();
    }
}

impl Deref for WritingTransaction {
    type Target = DatabaseTransaction;

    fn deref(&self) -> &DatabaseTransaction {
        &self.transaction
    }
}
