//! Who may do what: tokens with rules, and the sentences that Consul refuses with.

use std::collections::BTreeMap;

use serde::Deserialize;

use crate::answer::Refusal;

/// What requests without a token are answered as.
const ANONYMOUS: &str = "00000000-0000-0000-0000-000000000002";

/// The name of the only node, which rules for nodes and agents are about.
pub const NODE: &str = "stub";

/// What every request may do.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Acl {
    /// Tokens by their secret. With none at all, ACLs are disabled, and everybody may do everything.
    #[serde(default)]
    pub tokens: BTreeMap<String, Token>,
    /// What whoever has no token may do.
    #[serde(default)]
    pub anonymous: Rules,
    /// Whether ACLs are enforced; the default policy is `deny` then.
    #[serde(default)]
    pub enabled: bool,
}

/// A token that is known.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Token {
    /// By what it is named in sentences; the secret is told to nobody.
    pub accessor: String,
    /// What it permits.
    #[serde(default)]
    pub rules: Rules,
}

/// What is permitted; all else is denied.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Rules {
    /// `service_prefix "…" { policy = "write" }`, which permits to read them, too.
    #[serde(default)]
    pub service_write: Vec<String>,
    /// `service_prefix "…" { policy = "read" }`
    #[serde(default)]
    pub service_read: Vec<String>,
    /// `node_prefix "" { policy = "read" }`: without it, no instance of any service is shown.
    #[serde(default)]
    pub node_read: bool,
    /// `agent_prefix "" { policy = "read" }`
    #[serde(default)]
    pub agent_read: bool,
}

/// What one request may do.
#[derive(Clone, Debug)]
pub struct Authorizer {
    accessor: String,
    /// None if ACLs are disabled.
    rules: Option<Rules>,
    /// Whether the request came with a token: only then it is told that something was filtered out.
    pub authenticated: bool,
}

impl Acl {
    /// Everything is denied to everybody, whatever their tokens.
    pub fn nobody() -> Self {
        Self { enabled: true, ..Self::default() }
    }

    /// One token, which permits this.
    pub fn only(secret: &str, accessor: &str, rules: Rules) -> Self {
        let token = Token { accessor: accessor.to_owned(), rules };
        Self { tokens: BTreeMap::from([(secret.to_owned(), token)]), enabled: true, ..Self::default() }
    }

    /// Finds out what a secret permits.
    ///
    /// # Errors
    ///
    /// 403 if there is no such token.
    pub fn resolve(&self, secret: Option<&str>) -> Result<Authorizer, Refusal> {
        let (accessor, rules) = match secret {
            _ if !self.enabled => (ANONYMOUS, None),
            None => (ANONYMOUS, Some(self.anonymous.clone())),
            Some(secret) => {
                let token = self.tokens.get(secret).ok_or_else(|| Refusal::forbidden("ACL not found"))?;
                (&*token.accessor, Some(token.rules.clone()))
            }
        };
        Ok(Authorizer { accessor: accessor.to_owned(), rules, authenticated: secret.is_some() })
    }
}

impl Authorizer {
    /// Whether instances of this service, and its checks, may be read.
    pub fn reads_service(&self, name: &str) -> bool {
        self.rules.as_ref().is_none_or(|rules| {
            let mut prefixes = rules.service_read.iter().chain(&rules.service_write);
            prefixes.any(|prefix| name.starts_with(prefix.as_str()))
        })
    }

    /// Whether the node may be read.
    pub fn reads_node(&self) -> bool {
        self.rules.as_ref().is_none_or(|rules| rules.node_read)
    }

    /// # Errors
    ///
    /// 403 unless instances of this service may be changed.
    pub fn may_write_service(&self, name: &str) -> Result<(), Refusal> {
        let may = self
            .rules
            .as_ref()
            .is_none_or(|rules| rules.service_write.iter().any(|prefix| name.starts_with(prefix.as_str())));
        if may { Ok(()) } else { Err(self.lacks("service:write", name)) }
    }

    /// # Errors
    ///
    /// 403 unless the agent may be asked about itself.
    pub fn may_read_agent(&self) -> Result<(), Refusal> {
        let may = self.rules.as_ref().is_none_or(|rules| rules.agent_read);
        if may { Ok(()) } else { Err(self.lacks("agent:read", NODE)) }
    }

    fn lacks(&self, permission: &str, on: &str) -> Refusal {
        Refusal::forbidden(if self.accessor == ANONYMOUS {
            format!(
                "Permission denied: anonymous token lacks permission '{permission}' on \"{on}\". The anonymous token \
                 is used implicitly when a request does not specify a token."
            )
        } else {
            let accessor = &self.accessor;
            format!("Permission denied: token with AccessorID '{accessor}' lacks permission '{permission}' on \"{on}\"")
        })
    }
}
