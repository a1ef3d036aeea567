//! The writer's connections, of which none is used again after a fault.
//!
//! SQLite rolls a transaction back by itself when a commit or a statement fails for want of space or of a working disk. The
//! driver does not notice: its own ROLLBACK fails then, its count of open transactions stays at one, and each later BEGIN
//! becomes a SAVEPOINT, whose RELEASE is answered with success and may commit nothing. PostgreSQL has states of this kind,
//! too: a session on a server that has become a standby refuses every write for as long as it lives.
//!
//! So whoever wants to write takes a [`Lease`], which counts as failed until its holder says that everything went well.
//! A lease that is dropped before (by an error, a time-out, a panic, a future that nobody waits for any more) closes the
//! connections; the next lease opens new ones. Leases are taken in turn, so nobody can be waiting for a connection that
//! is being given up. Once the connections are closed there is no lease any more: whoever comes late, as after a commit that
//! hung, would write to a database that another process may have locked by then.

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

/// Connections that are used by one at a time, and replaced after each fault.
pub(super) struct Connections {
    /// None if there is only one connection, and the database is in its memory.
    open: Option<Open>,
    turns: Arc<Turns<()>>,
    slot: Mutex<Slot>,
    /// Whether the connection to a database in memory may be in the middle of a transaction that nobody will end.
    is_in_doubt: AtomicBool,
}

impl fmt::Debug for Connections {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connections").finish_non_exhaustive()
    }
}

/// What connections there are.
enum Slot {
    /// These.
    Open(DatabaseConnection),
    /// None: the last ones were given up after a fault, and the next lease opens others.
    Empty,
    /// None, and none any more: somebody else may have the database by now.
    Closed,
}

/// The right to use the connections, and the duty to say whether they can be used again.
#[derive(Debug)]
pub(super) struct Lease {
    connections: Arc<Connections>,
    has_succeeded: bool,
    _turn: OwnedMutexGuard<()>,
}

impl Connections {
    /// These, and what opens others in their place.
    pub(super) fn new(
        first: DatabaseConnection,
        open: impl Fn() -> BoxFuture<'static, Result<DatabaseConnection, DbErr>> + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self::with(first, Some(Box::new(open))))
    }

    /// The one connection to a database in its memory. It cannot be replaced; after a fault it is used only if it is known
    /// to be in no transaction.
    pub(super) fn to_memory(connection: DatabaseConnection) -> Arc<Self> {
        Arc::new(Self::with(connection, None))
    }

    fn with(first: DatabaseConnection, open: Option<Open>) -> Self {
        let is_in_doubt = AtomicBool::new(false);
        Self { open, turns: Arc::default(), slot: Mutex::new(Slot::Open(first)), is_in_doubt }
    }

    /// Waits for its turn.
    pub(super) async fn lease(self: &Arc<Self>) -> Result<(DatabaseConnection, Lease), DbErr> {
        let turn = self.turns.clone().lock_owned().await;
        let lease = Lease { connections: self.clone(), has_succeeded: false, _turn: turn };
        let connection = match self.current()? {
            Some(connection) => connection,
            None => self.reopen().await?,
        };
        if self.is_in_doubt.load(Ordering::Acquire) {
            // A rollback that was begun is over when the connection is back.
            let pooled = connection.get_sqlite_connection_pool().acquire().await;
            if pooled.map_err(|error| DbErr::Custom(error.to_string()))?.is_in_transaction() {
                return Err(lost());
            }
            self.is_in_doubt.store(false, Ordering::Release);
        }
        Ok((connection, lease))
    }

    /// The present ones, if there are any.
    fn current(&self) -> Result<Option<DatabaseConnection>, DbErr> {
        match &*self.slot() {
            Slot::Open(connection) => Ok(Some(connection.clone())),
            Slot::Empty => Ok(None),
            Slot::Closed => Err(closed()),
        }
    }

    /// Opens others in the place of those that were given up.
    async fn reopen(&self) -> Result<DatabaseConnection, DbErr> {
        let Some(open) = &self.open else { return Err(lost()) };
        let connection = open().await?;
        let is_closed = {
            // It may have been closed while these were being opened.
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
    pub(super) async fn close(&self) -> Result<(), DbErr> {
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
            // It may hang in the disk or in the network, where nobody waits for it.
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
    /// Everything that was begun has ended well.
    pub(super) fn succeed(mut self) {
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

/// A transaction that may write. Dropped before it was committed or rolled back, it takes its connection with it.
#[derive(Debug)]
pub(super) struct WritingTransaction {
    // In this order: when the connection goes back to its pool, that has to be closed already.
    lease: Option<Lease>,
    transaction: DatabaseTransaction,
}

impl WritingTransaction {
    /// Of a connection that is replaced after a fault; without a lease, of one that its pool looks after.
    pub(super) fn new(transaction: DatabaseTransaction, lease: Option<Lease>) -> Self {
        Self { lease, transaction }
    }

    /// Commits. After an error nobody knows whether it has.
    pub(super) async fn commit(self) -> Result<(), DbErr> {
        let Self { lease, transaction } = self;
        transaction.commit().await?;
        succeed(lease);
        Ok(())
    }

    /// Ends it as if it had not been.
    pub(super) async fn rollback(self) -> Result<(), DbErr> {
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
