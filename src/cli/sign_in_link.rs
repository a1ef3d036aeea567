//! Sign-in links: the address of a server with a code in its fragment, which browsers neither send nor name to others.
//! What a code is good for is not said here, but in `resolvers::sessions`.

use aetherium::auth::TokenText;
use anyhow::{Context, ensure};
use reqwest::Url;

/// A link without its code.
pub struct SignInLink(Url);

impl SignInLink {
    /// A link to the front page of the server with this URL.
    pub fn to(server: &str) -> anyhow::Result<Self> {
        let mut url: Url = server.parse().with_context(|| format!("--server {server:?} is not a URL"))?;
        ensure!(
            matches!(url.scheme(), "http" | "https") && url.has_host(),
            "--server {server:?} has to begin with http:// or https:// and name a host"
        );
        ensure!(
            url.query().is_none() && url.fragment().is_none() && url.username().is_empty() && url.password().is_none(),
            "--server has to be the URL of the server and nothing else, as in https://cluster.example"
        );
        if !url.path().ends_with('/') {
            url.set_path(&format!("{}/", url.path()));
        }
        Ok(Self(url))
    }

    /// The link with a code.
    pub fn with_code(mut self, code: &TokenText) -> String {
        self.0.set_fragment(Some(&format!("code={}", code.expose())));
        self.0.to_string()
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
        assert_eq!(link("https://x.example/cluster"), format!("https://x.example/cluster/#code={}", code.expose()));
        for odd in ["", "127.0.0.1:8080", "ftp://x", "http://u:p@x", "https://x/?a", "https://x/#a"] {
            assert!(SignInLink::to(odd).is_err(), "{odd}");
        }
    }
}
