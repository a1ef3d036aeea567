//! Roles: what the holder of a token may do. Which role an action needs is in [`action`](super::action).

use std::fmt;
use std::str::FromStr;

/// The role of a token.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// Asks every question and follows every stream, except about tokens.
    Viewer,
    /// May also drain and activate workers, and take them out of service.
    Operator,
    /// May also purge workers, and create, list and revoke tokens.
    Admin,
    /// Registers workers, sends their heartbeats and deregisters them, each of its own; reads nothing.
    Worker,
    /// Lets workers join, which then have tokens of their own; nothing else.
    Join,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 5] = [Self::Viewer, Self::Operator, Self::Admin, Self::Worker, Self::Join];

    /// The word for it, in both protocols, on the command line and in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Viewer => "viewer",
            Self::Operator => "operator",
            Self::Admin => "admin",
            Self::Worker => "worker",
            Self::Join => "join",
        }
    }

    /// Whether its holder is an operator in every event that it causes, and never a worker. Who joins does what an
    /// administrator has allowed by making the join token.
    pub fn acts_as_operator(self) -> bool {
        match self {
            Self::Viewer | Self::Operator | Self::Admin | Self::Join => true,
            Self::Worker => false,
        }
    }

    /// Whether it may do everything that the other role may. Workers, and those who join, are beside the others,
    /// which are a ladder.
    pub fn includes(self, other: Self) -> bool {
        match (self, other) {
            (Self::Worker | Self::Join, _) | (_, Self::Worker | Self::Join) => self == other,
            (Self::Admin, _) | (Self::Operator, Self::Operator | Self::Viewer) | (Self::Viewer, Self::Viewer) => true,
            (Self::Operator | Self::Viewer, _) => false,
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A word that names no role.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("must be one of viewer, operator, admin, worker, join")]
pub struct UnknownRole;

impl FromStr for Role {
    type Err = UnknownRole;

    fn from_str(word: &str) -> Result<Self, UnknownRole> {
        Self::ALL.into_iter().find(|role| role.as_str() == word).ok_or(UnknownRole)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roles_are_a_ladder_and_workers_beside_it() {
        use Role::{Admin, Join, Operator, Viewer, Worker};
        let includes =
            |role: Role| Role::ALL.into_iter().filter(move |other| role.includes(*other)).collect::<Vec<_>>();
        assert_eq!(includes(Viewer), [Viewer]);
        assert_eq!(includes(Operator), [Viewer, Operator]);
        assert_eq!(includes(Admin), [Viewer, Operator, Admin]);
        assert_eq!(includes(Worker), [Worker]);
        assert_eq!(includes(Join), [Join]);
    }

    #[test]
    fn a_role_reads_back_as_what_it_was() {
        for role in Role::ALL {
            assert_eq!(role.to_string().parse(), Ok(role));
        }
        assert_eq!("root".parse::<Role>(), Err(UnknownRole));
    }
}
