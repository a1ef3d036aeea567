//! Sign-in links: the address of a server with a code in its fragment, which browsers neither send nor name to others.
//! What a code is good for is not said here, but in `resolvers::sessions`.

use aetherium::auth::TokenText;
use anyhow::ensure;

/// A link without its code: the address of the front page.
#[derive(Debug)]
pub struct SignInLink(String);

impl SignInLink {
    /// A link to the front page of the server with this URL.
    pub fn to(server: &str) -> anyhow::Result<Self> {
        let rest = server.strip_prefix("https://").or_else(|| server.strip_prefix("http://"));
        let is_url = rest.is_some_and(|rest| {
            let names_host = !rest.is_empty() && !rest.starts_with(['/', ':']);
            names_host && rest.bytes().all(|byte| byte.is_ascii_graphic() && !b"?#@\\\"<>".contains(&byte))
        });
        ensure!(
            is_url,
            "--server {server:?} is not the URL of a server: write scheme and host, as in https://cluster.example"
        );
        Ok(Self(format!("{}/", server.trim_end_matches('/'))))
    }

    /// The link with a code.
    pub fn with_code(&self, code: &TokenText) -> String {
        format!("{}#code={}", self.0, code.expose())
    }
}

#[cfg(test)]
mod tests {
    use aetherium::auth::{GeneratedToken, Role, TokenKind};

    use super::*;

    #[test]
    fn a_code_is_in_the_fragment() {
        let code = GeneratedToken::new(TokenKind::SignInCode, Role::Admin).text;
        let link = |server| SignInLink::to(server).unwrap().with_code(&code);
        assert_eq!(link("http://127.0.0.1:8080"), format!("http://127.0.0.1:8080/#code={}", code.expose()));
        assert_eq!(link("https://x.example/cluster/"), format!("https://x.example/cluster/#code={}", code.expose()));
        for odd in [
            "",
            "127.0.0.1:8080",
            "ftp://x",
            "http://",
            "http:///x",
            "http://u:p@x",
            "https://x/?a",
            "https://x/#a",
            "http://a b",
        ] {
            assert!(SignInLink::to(odd).is_err(), "{odd}");
        }
    }
}
